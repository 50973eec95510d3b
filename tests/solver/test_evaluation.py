"""The evaluator against plain Python, and the name and size of every violation."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from helpers.instances import random_problem, score, small_problem
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver import Allocation, AllocationError, evaluate
from stsflora.solver.tolerances import FEASIBILITY

NAMES = {"bandwidth", "power", "energy", "deadline", "min_tokens", "max_tokens", "rate"}


@given(st.integers(0, 2**32 - 1))
def test_agrees_with_plain_python(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = random_problem(rng)
    clients = problem.clients
    allocation = Allocation(
        rng.integers(0, problem.tokens + 2, clients),
        rng.dirichlet(np.ones(clients)) * problem.bandwidth_hz * rng.choice([0.5, 1.0, 2.0]),
        problem.max_power_w * rng.choice([0.01, 1.0, 1.5], clients),
    )
    ste, uplink, energy = score(problem, allocation)
    evaluation = evaluate(problem, allocation)
    assert evaluation.ste == pytest.approx(ste, rel=1e-12)
    np.testing.assert_allclose(evaluation.uplink_s, uplink, rtol=1e-12)
    np.testing.assert_allclose(evaluation.energy_j, energy, rtol=1e-12)
    limits = {
        "bandwidth": [(float(allocation.bandwidth_hz.sum()), problem.bandwidth_hz)],
        "power": zip(allocation.power_w, problem.max_power_w, strict=True),
        "energy": zip(energy, problem.max_energy_j, strict=True),
        "deadline": zip(uplink, problem.deadline_s, strict=True),
        "max_tokens": [(int(count), problem.tokens) for count in allocation.tokens],
    }
    for name, pairs in limits.items():
        worst = max(0.0, *(value / limit - 1 if limit < np.inf else 0.0 for value, limit in pairs), -1.0)
        assert evaluation.violations[name] == pytest.approx(worst, rel=1e-9, abs=1e-12)
    missing = [max(0, k - count) / k for k, count in zip(problem.min_tokens, allocation.tokens, strict=True)]
    assert evaluation.violations["min_tokens"] == pytest.approx(max(missing))
    assert evaluation.feasible == (max(evaluation.violations.values()) <= FEASIBILITY)


def point(**changes: Any) -> Allocation:
    allocation = Allocation([2, 2, 2], [2e5, 3e5, 5e5], [0.2, 0.2, 0.2])
    return replace(allocation, **changes)


def test_a_feasible_point_violates_nothing() -> None:
    evaluation = evaluate(small_problem(), point())
    assert set(evaluation.violations) == NAMES
    assert set(evaluation.violations.values()) == {0.0}
    assert evaluation.feasible
    assert evaluation.violation == 0.0
    assert evaluation.round_s == max(evaluation.uplink_s)
    assert evaluation.ste == evaluation.retained.sum() / evaluation.round_s
    np.testing.assert_array_equal(evaluation.retained, [7.0, 10.0, 4.0])


@pytest.mark.parametrize(
    ("changes", "point_changes", "name", "excess"),
    [
        ({}, {"bandwidth_hz": [4e5, 3e5, 5e5]}, "bandwidth", 0.2),
        ({}, {"power_w": [0.2, 0.25, 0.2]}, "power", 0.25),
        ({"min_tokens": [2, 4, 2]}, {}, "min_tokens", 0.5),
        ({}, {"tokens": [2, 6, 2]}, "max_tokens", 0.5),
    ],
)
def test_each_violation_has_its_name_and_size(
    changes: dict[str, object], point_changes: dict[str, object], name: str, excess: float
) -> None:
    evaluation = evaluate(small_problem(**changes), point(**point_changes))
    assert evaluation.violations[name] == pytest.approx(excess)
    assert {other for other, size in evaluation.violations.items() if size > 0} == {name}
    assert not evaluation.feasible


@pytest.mark.parametrize(("field", "name"), [("deadline_s", "deadline"), ("max_energy_j", "energy")])
def test_time_and_energy_are_compared_with_their_limits(field: str, name: str) -> None:
    free = evaluate(small_problem(), point())
    spent = free.uplink_s if name == "deadline" else free.energy_j
    tight = evaluate(small_problem(**{field: spent * [1.0, 0.8, 2.0]}), point())
    assert tight.violations[name] == pytest.approx(0.25)
    assert evaluate(small_problem(**{field: spent}), point()).feasible


def test_feasibility_has_the_tolerance_of_the_table() -> None:
    within = point(bandwidth_hz=np.array([2e5, 3e5, 5e5]) * (1 + 0.9 * FEASIBILITY))
    beyond = point(bandwidth_hz=np.array([2e5, 3e5, 5e5]) * (1 + 1.1 * FEASIBILITY))
    assert evaluate(small_problem(), within).feasible
    assert not evaluate(small_problem(), beyond).feasible


@pytest.mark.parametrize("field", ["bandwidth_hz", "power_w"])
def test_a_client_without_rate_never_ends(field: str) -> None:
    silent = {"bandwidth_hz": [0.0, 3e5, 5e5], "power_w": [0.0, 0.2, 0.2]}
    evaluation = evaluate(small_problem(), point(**{field: silent[field]}))
    assert evaluation.violations["rate"] == np.inf
    assert evaluation.ste == 0.0
    assert evaluation.round_s == np.inf
    assert not evaluation.feasible


def test_a_client_that_never_ends_does_not_hide_another_that_is_late() -> None:
    problem = small_problem(deadline_s=[np.inf, 0.01, np.inf], max_energy_j=[np.inf, 1e-3, np.inf])
    evaluation = evaluate(problem, point(bandwidth_hz=[0.0, 3e5, 5e5]))
    assert evaluation.violations["deadline"] > 1
    assert evaluation.violations["energy"] > 1


def test_overhead_counts_in_the_round_but_not_in_the_deadline() -> None:
    free = evaluate(small_problem(), point())
    late = evaluate(small_problem(overhead_s=[0.0, 10.0, 0.0], deadline_s=free.uplink_s.max()), point())
    assert late.round_s == 10.0 + free.uplink_s[1]
    assert late.feasible


def test_refuses_another_problems_allocation() -> None:
    with pytest.raises(AllocationError) as caught:
        evaluate(small_problem(), Allocation([1], [1.0], [0.1]))
    assert str(caught.value) == (
        "evaluate: got an allocation for 1 clients; allowed: 3, as in the problem. "
        "Pass the problem that it was made for."
    )


def test_is_frozen() -> None:
    evaluation = evaluate(small_problem(), point())
    with pytest.raises(FrozenInstanceError):
        evaluation.ste = 1.0  # type: ignore[misc]
