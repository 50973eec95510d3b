"""Delivery: the limits as given where that costs no more than the gap, else half or all of the tolerance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stsflora.solver import Allocation, Problem, Request, evaluate
from stsflora.solver.bounds.goal import ROUND_S, STE, Goal, fastest_point, new_goal, offer
from stsflora.solver.physics import loops
from stsflora.solver.primal.delivery import deliver
from stsflora.solver.tolerances import FEASIBILITY, PERMITTED_SHARE

PROBLEM = Problem(
    gain=[1e-9, 3e-10],
    importance=[[3.0, 1.0], [2.0, 2.0]],
    bits_per_token=1e5,
    bandwidth_hz=1e6,
    max_power_w=0.2,
    max_energy_j=0.03,
    overhead_s=0.01,
)
SHARES = (0.0, 0.5 * FEASIBILITY, PERMITTED_SHARE)


def known(gap: float) -> tuple[Goal, list[float]]:
    """A goal that knows one point, and the STE of its tokens within each share of the tolerance."""
    goal = new_goal(PROBLEM, Request(gap=gap))
    offer(goal, np.array([2, 1]), math.inf)
    instances = [loops.with_raised_limits(goal.given, share) for share in SHARES]
    found = [fastest_point(instance, goal.tokens, goal.best[ROUND_S]).ste for instance in instances]
    assert found[0] < found[1] < found[2] == pytest.approx(float(goal.best[STE]), rel=1e-12)
    return goal, found


def share_used(goal: Goal, bound: float) -> float:
    """What a delivery says to use, after a look at whether it uses no more."""
    bandwidth_hz, power_w, share = deliver(goal, bound)
    score = evaluate(PROBLEM, Allocation(goal.tokens, bandwidth_hz, power_w))
    assert score.violation <= share + 1e-13
    return share


@pytest.mark.parametrize(("least", "share"), [(0, SHARES[0]), (1, SHARES[1]), (2, SHARES[2])])
@pytest.mark.parametrize("gap", [0.3, 1e-3])
def test_as_little_of_the_tolerance_is_used_as_the_bound_allows(gap: float, least: int, share: float) -> None:
    """The least STE within the gap of the bound lies just below what each share attains."""
    goal, found = known(gap)
    assert share_used(goal, found[least] * (1.0 - 1e-11) * (1.0 + gap)) == share


def test_without_a_proof_exact_limits_cost_no_more_than_the_gap() -> None:
    goal, found = known(1.0)
    for least, share in enumerate(SHARES):
        gap = found[2] / found[least] * (1.0 + 1e-11) - 1.0
        for bound in (math.inf, 2.0 * found[2]):
            assert share_used(goal._replace(gap=gap), bound) == share


def test_a_share_that_just_attains_what_is_enough_is_used() -> None:
    """The gap is 1, which halves without rounding; nothing below the proved STE is enough."""
    goal, found = known(1.0)
    assert share_used(goal, 2.0 * found[0]) == SHARES[0]
    assert share_used(goal, 2.0 * found[1]) == SHARES[1]
    assert share_used(goal, 2.0 * float(goal.best[STE])) == SHARES[2]
