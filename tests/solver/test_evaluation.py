"""The evaluator against plain Python, and the name and size of every violation."""

from __future__ import annotations

import math
import warnings
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from helpers.instances import random_problem, score, small_problem, with_payload_table
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver import Allocation, AllocationError, Problem, evaluate, evaluation
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


def test_bandwidths_that_add_up_to_more_than_the_floats_are_too_much() -> None:
    found = evaluate(small_problem(), point(bandwidth_hz=[1.7e308, 1.7e308, 1.0]))
    assert found.violations["bandwidth"] == math.inf


def test_attention_of_every_count() -> None:
    """Powers of two: sums are exact, and every token shows."""
    importance = 2.0 ** -np.arange(11.0)
    problem = Problem(
        gain=np.full(14, 1e-9),
        importance=np.tile(importance, (14, 1)),
        bits_per_token=1e6,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=np.inf,
    )
    found = evaluate(problem, Allocation(np.arange(14), np.full(14, 1e4), np.full(14, 0.1)))
    np.testing.assert_array_equal(found.retained, [importance[:count].sum() for count in range(14)])


def test_a_bandwidth_near_the_least_float_buys_no_endless_rate() -> None:
    """p h / (N0 W) leaves the floats there, W log2(1 + p h / (N0 W)) does not."""
    least = evaluate(small_problem(), point(bandwidth_hz=[5e-324, 3e5, 5e5]))
    assert least.uplink_s[0] > 1e300
    small = evaluate(small_problem(), point(bandwidth_hz=[1e-300, 3e5, 5e5]))
    rate = 1e-300 * (math.log2(0.2 * 1e-9 / small_problem().noise_w_per_hz) + 300 * math.log2(10.0))
    assert small.uplink_s[0] == pytest.approx(4e5 / rate, rel=1e-12)


def test_without_bits_there_is_no_time_and_no_efficiency() -> None:
    table = np.arange(5.0) * np.ones((3, 1))
    silent = evaluate(small_problem(payload_bits=table), point(tokens=[0, 0, 0]))
    assert silent.round_s == 0.0
    assert math.isnan(silent.ste)
    assert silent.violations["min_tokens"] == 1.0


def test_tokens_beyond_the_last_take_bits_but_retain_nothing() -> None:
    for problem in (small_problem(), small_problem(payload_bits=np.arange(1.0, 6.0) * np.ones((3, 1)))):
        last, beyond = evaluate(problem, point(tokens=[4, 2, 2])), evaluate(problem, point(tokens=[6, 2, 2]))
        assert beyond.retained.tolist() == last.retained.tolist()
        assert (beyond.uplink_s[0] > last.uplink_s[0]) == (problem.payload_bits is None)


@given(st.integers(0, 2**32 - 1))
def test_plain_python_gives_the_same_and_no_warning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = random_problem(rng)
    if rng.random() < 0.5:
        problem = with_payload_table(problem, rng)
    allocation = Allocation(
        rng.integers(0, problem.tokens + 2, problem.clients),
        10.0 ** rng.uniform(-320, 300, problem.clients) * (rng.random(problem.clients) < 0.9),
        10.0 ** rng.uniform(-320, 300, problem.clients) * (rng.random(problem.clients) < 0.9),
    )
    fast = evaluate(problem, allocation)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr(evaluation, "_scored", evaluation._scored.function)
        plain = evaluate(problem, allocation)
    assert plain.violations == pytest.approx(fast.violations, rel=1e-13, abs=1e-13)
    assert {type(value) for value in (*plain.violations.values(), plain.ste, plain.round_s)} == {float}
    assert plain.ste == pytest.approx(fast.ste, rel=1e-13, nan_ok=True)
    for name in ("uplink_s", "energy_j", "retained"):
        np.testing.assert_allclose(getattr(plain, name), getattr(fast, name), rtol=1e-13)


def test_sums_over_many_clients_are_accurate_to_a_few_units() -> None:
    clients, rng = 200_000, np.random.default_rng(3)
    worth = 10 ** rng.uniform(-6, 0, clients)
    problem = Problem(
        gain=np.full(clients, 1e-9),
        importance=worth[:, None],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=1.0,
    )
    bandwidth = 10 ** rng.uniform(-3, 3, clients)
    found = evaluate(problem, Allocation(np.ones(clients), bandwidth, np.full(clients, 0.2)))
    exact = math.fsum(bandwidth.tolist()) / problem.bandwidth_hz - 1.0
    assert found.violations["bandwidth"] == pytest.approx(exact, rel=1e-15, abs=4e-16)
    assert found.ste * found.round_s == pytest.approx(math.fsum(worth.tolist()), rel=1e-15)


def test_refuses_another_problems_allocation() -> None:
    with pytest.raises(AllocationError) as caught:
        evaluate(small_problem(), Allocation([1], [1.0], [0.1]))
    assert str(caught.value) == (
        "Allocation: got an allocation for 1 clients; allowed: 3, as in the problem. "
        "Pass the problem that it was made for."
    )


def test_is_frozen() -> None:
    evaluation = evaluate(small_problem(), point())
    with pytest.raises(FrozenInstanceError):
        evaluation.ste = 1.0  # type: ignore[misc]
