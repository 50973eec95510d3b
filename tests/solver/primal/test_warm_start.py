"""Warm starts: the same optimum from a few evaluations, and the whole proof whatever the start says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from helpers.instances import brute_force, feasible_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.benchmarks.families import fading_sequence, families, family
from stsflora.solver import Allocation, AllocationError, Problem, Quality, Request, Result, solve
from stsflora.solver.bounds.goal import STE, Point, new_goal
from stsflora.solver.primal.warm_start import reoptimise
from stsflora.solver.tolerances import FEASIBILITY

FEASIBLE = [name for name in families() if name != "infeasible"]


@pytest.mark.parametrize("clients", [20, 100])
def test_a_few_evaluations_prove_a_slightly_changed_round(clients: int) -> None:
    reoptimised, earlier = 0, None
    for problem in fading_sequence(clients, 8, 0, 0.999):
        cold = solve(problem)
        warm = solve(problem, start=earlier)
        assert warm.quality is Quality.OPTIMAL
        assert warm.gap <= 1e-4
        assert warm.ste >= cold.ste * (1 - 1e-4)
        assert cold.ste <= warm.bound
        reoptimised += warm.stats["reoptimised"]
        if warm.stats["reoptimised"]:
            assert (warm.stats["intervals"], warm.stats["nodes"]) == (0, 0)
        earlier = warm
    assert reoptimised >= 6
    assert not solve(problem).stats["reoptimised"]


@pytest.mark.parametrize("name", FEASIBLE)
def test_every_family_keeps_its_optimum_when_gains_change(name: str) -> None:
    before, after = family(name, 10, seed=1), family(name, 10, seed=1)
    after = replace(after, gain=after.gain * np.random.default_rng(0).uniform(1.0, 1.2, 10))
    proved = solve(after, gap=1e-6)
    for gap in (1e-2, 1e-4, 1e-6):
        warm = solve(after, gap=gap, start=solve(before, gap=gap))
        assert warm.quality is Quality.OPTIMAL
        assert warm.bound >= proved.ste * (1 - 1e-12)
        assert warm.ste >= proved.ste * (1 - gap - 1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_bound_holds_whatever_the_start(seed: int) -> None:
    """A start for another problem, from another solver, or a bare allocation, against brute force."""
    rng = np.random.default_rng(seed)
    clients, tokens = int(rng.integers(1, 3)), int(rng.integers(1, 10))
    problem = feasible_problem(rng, clients, tokens)
    other = feasible_problem(rng, clients, int(rng.integers(1, 10)))
    nearly = replace(problem, gain=problem.gain * rng.uniform(0.9, 1.1, clients))
    best, _ = brute_force(problem)
    most, _ = brute_force(problem.with_raised_limits(FEASIBILITY))
    starts: list[Result | Allocation] = [
        result
        for result in (solve(other), solve(nearly), solve(problem), solve(nearly, "full"))
        if result.allocation is not None
    ]
    for start in (*starts, *(result.allocation for result in starts if isinstance(result, Result))):
        for gap in (1e-6, 1e-2):
            result = solve(problem, start=start, gap=gap)
            assert result.quality is Quality.OPTIMAL
            assert result.bound >= most * (1 - 1e-12)
            assert best * (1 - gap - 1e-9) <= result.ste <= most * (1 + 1e-12)


def spoilt(result: Result, **figures: float) -> Result:
    assert result.evaluation is not None
    return replace(result, evaluation=replace(result.evaluation, **figures))


GARBAGE: dict[str, Callable[[Result], Result]] = {
    "no evaluation": lambda result: replace(result, evaluation=None),
    "no allocation": lambda result: replace(result, allocation=None),
    "another problem": lambda result: replace(result, problem=family("extreme", 20, 3)),
    "a smaller problem": lambda result: replace(result, problem=family("paper", 7, 0)),
    "a larger problem": lambda result: replace(result, problem=family("paper", 30, 0)),
    "fewer tokens": lambda result: replace(result, problem=family("paper", 20, 0, tokens=3)),
    "no time": lambda result: spoilt(result, round_s=0.0),
    "negative time": lambda result: spoilt(result, round_s=-1.0),
    "endless": lambda result: spoilt(result, round_s=math.inf),
    "time is no number": lambda result: spoilt(result, round_s=math.nan),
    "too short": lambda result: spoilt(result, round_s=1e-9),
    "far too long": lambda result: spoilt(result, round_s=1e30),
    "no efficiency": lambda result: spoilt(result, ste=0.0),
    "endless efficiency": lambda result: spoilt(result, ste=math.inf),
    "efficiency is no number": lambda result: spoilt(result, ste=math.nan),
    "far too efficient": lambda result: spoilt(result, ste=1e300),
    "too many tokens": lambda result: replace(
        result, allocation=Allocation(np.full(20, 10**12), np.ones(20), np.ones(20))
    ),
    "no tokens": lambda result: replace(
        result, allocation=Allocation(np.zeros(20, dtype=np.int64), np.zeros(20), np.zeros(20))
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", list(GARBAGE))
def test_garbage_is_no_worse_than_no_start(name: str) -> None:
    first, second = fading_sequence(20, 2, 0, 0.999)
    cold = solve(second, gap=1e-5)
    warm = solve(second, gap=1e-5, start=GARBAGE[name](solve(first)))
    assert warm.quality is Quality.OPTIMAL
    assert warm.bound >= cold.ste
    assert cold.bound >= warm.ste
    assert warm.ste >= cold.ste * (1 - 1e-5)


def test_the_same_start_gives_the_same_answer() -> None:
    first, second = fading_sequence(20, 2, 0, 0.99)
    earlier = solve(first)
    one, other = (solve(second, start=earlier) for _ in range(2))
    assert one.allocation is not None
    assert other.allocation is not None
    np.testing.assert_array_equal(one.allocation.tokens, other.allocation.tokens)
    np.testing.assert_array_equal(one.allocation.bandwidth_hz, other.allocation.bandwidth_hz)
    assert (one.ste, one.bound) == (other.ste, other.bound)


def test_a_start_of_another_size_is_refused() -> None:
    with pytest.raises(AllocationError, match="a start for 5 clients"):
        solve(family("paper", 6, 0), start=solve(family("paper", 5, 0)))


def test_reoptimise_gives_up_where_its_affine_bound_does_not_hold() -> None:
    problem = replace(family("paper", 5, 0), overhead_s=np.arange(5.0))
    goal = new_goal(problem, Request())
    assert reoptimise(goal, Point(problem.min_tokens.copy(), 10.0, 1.0, -1.0)) == math.inf
    assert goal.best[STE] == 0.0


def test_a_time_limit_ends_a_warm_start_too() -> None:
    first, second = fading_sequence(20, 2, 0, 0.999)
    proved = solve(second)
    warm = solve(second, start=solve(first), time_limit_s=1e-9)
    assert warm.bound >= proved.ste
    assert warm.ste <= proved.bound


def test_joined_problem_keeps_the_warm_optimum_of_its_parts() -> None:
    """Twice the clients on twice the band have twice the STE: a start from the half says where it is."""
    half = family("paper", 10, 0)
    doubled = {
        name: np.concatenate((value, value))
        for name, value in half.as_dict().items()
        if np.ndim(value) and name not in {"client", "may_skip"}
    }
    doubled |= {"client": None, "may_skip": False}
    whole = Problem(**{**half.as_dict(), **doubled, "bandwidth_hz": 2 * half.bandwidth_hz})
    result = solve(half)
    assert result.allocation is not None
    tokens, bandwidth, power = (
        np.concatenate((value, value))
        for value in (result.allocation.tokens, result.allocation.bandwidth_hz, result.allocation.power_w)
    )
    warm = solve(whole, start=Allocation(tokens, bandwidth, power))
    assert warm.stats["reoptimised"]
    assert warm.ste == pytest.approx(2 * result.ste, rel=1e-4)
