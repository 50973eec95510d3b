"""`exact` returns on clients that are orders of magnitude apart, with a finite bound when stopped."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.hard_cells import (
    DELTAS,
    LIMITS,
    check_against_witness,
    highest_bound,
    hugged,
    must_return,
    patient_allocation,
    spread_problem,
    weak_clients_problem,
)

from stsflora.solver import Allocator, Client, Problem, Quality, Result, Snr, Stop, evaluate, solve

SLOW = pytest.mark.slow
FALLEN_DB = (-100.0, -101.0, -103.0, -110.0, -120.0, -140.0, -150.0, -160.0)


def check(problem: Problem, result: Result) -> None:
    """Feasible, with a bound between what is known to be possible and what is not."""
    check_against_witness(result, evaluate(problem, patient_allocation(problem)))
    assert result.evaluation is not None
    check_against_witness(result, result.evaluation)
    assert result.bound <= highest_bound(problem) * (1 + 1e-6)
    if result.stop is Stop.CONVERGED:
        assert result.quality is Quality.OPTIMAL, result


def check_proved(problem: Problem) -> None:
    """`exact` returns with a proved optimum."""
    with must_return():
        result = solve(problem)
    check(problem, result)
    assert result.quality is Quality.OPTIMAL, result


@pytest.mark.parametrize("snr_db", FALLEN_DB)
def test_one_hopeless_channel_beside_a_good_one(snr_db: float) -> None:
    problem = weak_clients_problem([snr_db])
    with must_return():
        result = solve(problem)
    check(problem, result)
    assert result.quality is Quality.OPTIMAL, result


@pytest.mark.parametrize("snr_db", [-95.0, -103.0, -140.0])
def test_an_allocator_serves_a_hopeless_channel_without_limits(snr_db: float) -> None:
    importance = np.sort(np.random.default_rng(0).dirichlet(np.full(49, 0.3)))[::-1]
    clients = [
        Client("a", Snr(snr_db), importance, 1e5, 0.2),
        Client("b", 1e-11, importance, 1e5, 0.2),
    ]
    with must_return():
        plan = Allocator(bandwidth_hz=1e6).plan(clients)
    assert (list(plan.grants), plan.dropped) == (["a", "b"], ())
    assert plan.solver == "exact"
    assert plan.quality is Quality.OPTIMAL, plan


@pytest.mark.parametrize(
    ("weak_db", "strong"),
    [
        ((-110.0, -110.0), 1),
        ((-100.0, -160.0), 1),
        ((-100.0, -120.0, -140.0, -160.0), 4),
        ((-130.0,), 20),
        ((-20.0, -60.0, -103.0), 3),
        ((-150.0, -150.0 + 1e-9), 0),
    ],
)
def test_several_hopeless_channels(weak_db: tuple[float, ...], strong: int) -> None:
    problem = weak_clients_problem(weak_db, strong)
    with must_return():
        result = solve(problem)
        again = solve(problem, start=result)
    check(problem, result)
    check(problem, again)
    assert result.quality is Quality.OPTIMAL, result


def test_a_gain_thirteen_orders_below_the_others() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        gain = 10 ** rng.uniform(-11, -10, 8)
        gain[int(rng.integers(8))] *= 1e-13
        problem = Problem(
            gain=gain,
            importance=rng.random((8, 30)),
            bits_per_token=1e6,
            bandwidth_hz=2e7,
            max_power_w=0.2,
            max_energy_j=np.inf,
        )
        check_proved(problem)


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=SLOW) for block in range(1, 20))])
def test_wide_spreads(block: int) -> None:
    rng = np.random.default_rng([1, block])
    for _ in range(25):
        problem = spread_problem(rng)
        check_proved(problem)


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=SLOW) for block in range(1, 10))])
def test_any_number_of_hopeless_channels(block: int) -> None:
    rng = np.random.default_rng([2, block])
    for _ in range(10):
        weak_db = rng.uniform(-160, -40, int(rng.integers(1, 9)))
        problem = weak_clients_problem(weak_db.tolist(), int(rng.integers(0, 20)), seed=int(rng.integers(99)))
        check_proved(problem)


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=SLOW) for block in range(1, 20))])
def test_limits_hugged_on_wide_spreads(block: int) -> None:
    """What an answer uses, as limits: deadlines of years beside some of milliseconds."""
    rng = np.random.default_rng([4, block])
    witnesses = 0
    for number in range(15):
        weak_db = rng.uniform(-160, -40, int(rng.integers(1, 4))).tolist()
        problem = (
            spread_problem(rng) if number % 3 else weak_clients_problem(weak_db, int(rng.integers(1, 9)))
        )
        with must_return():
            first = solve(problem)
        assert first.allocation is not None
        choices = [*((name,) for name in LIMITS), LIMITS]
        limits, delta = choices[int(rng.integers(5))], DELTAS[int(rng.integers(5))]
        tight = hugged(problem, first.allocation, limits, delta)
        witness = evaluate(tight, first.allocation)
        if witness.feasible:
            witnesses += 1
            with must_return():
                check_against_witness(solve(tight), witness)
                check_against_witness(solve(tight, start=first), witness)
    assert witnesses >= 10


def hard_cells() -> list[Problem]:
    rng = np.random.default_rng(3)
    fallen = [weak_clients_problem([snr_db], 3) for snr_db in FALLEN_DB[::2]]
    return [
        *fallen,
        weak_clients_problem([-100.0, -130.0, -160.0], 5),
        *(spread_problem(rng) for _ in range(6)),
    ]


@pytest.mark.parametrize("max_nodes", [1, 2, 10])
def test_few_nodes_end_it(max_nodes: int) -> None:
    for problem in hard_cells():
        with must_return():
            result = solve(problem, gap=0, max_nodes=max_nodes)
        check(problem, result)
        assert result.stop in {Stop.CONVERGED, Stop.ITERATION_LIMIT}


@pytest.mark.parametrize("limit_s", [1e-9, 5e-4, 5e-3])
def test_a_time_limit_leaves_a_finite_bound(limit_s: float) -> None:
    for problem in hard_cells():
        with must_return():
            result = solve(problem, gap=0, time_limit_s=limit_s)
        check(problem, result)
        assert math.isfinite(result.bound)
