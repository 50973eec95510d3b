"""The exact solver: against brute force on hostile instances, at scale, interrupted, warm."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.conformance import check_against_brute_force
from helpers.instances import feasible_problem

from stsflora.benchmarks.families import fading_sequence, families, family
from stsflora.solver import OptionError, Problem, Quality, Stop, solve
from stsflora.solver.physics.demand import Demand
from stsflora.solver.tolerances import FEASIBILITY

SLOW = pytest.mark.slow
FEASIBLE = [name for name in families() if name != "infeasible"]


@pytest.mark.parametrize("block", range(4))
def test_brute_force_agrees_on_hostile_instances(block: int) -> None:
    rng = np.random.default_rng([1, block])
    for number in range(40):
        clients = int(rng.integers(1, 4))
        problem = feasible_problem(rng, clients, int(rng.integers(1, (40, 10, 6)[clients - 1])))
        check_against_brute_force(problem, (0.0, 1e-4, 1e-2)[number % 3])


@SLOW
@pytest.mark.parametrize("block", range(20))
def test_brute_force_agrees_on_two_thousand_hostile_instances(block: int) -> None:
    rng = np.random.default_rng([2, block])
    for number in range(100):
        clients = int(rng.integers(1, 4))
        problem = feasible_problem(rng, clients, int(rng.integers(1, (60, 14, 8)[clients - 1])))
        check_against_brute_force(problem, (0.0, 1e-4, 1e-2)[number % 3])


@pytest.mark.parametrize("name", FEASIBLE)
@pytest.mark.parametrize(("clients", "tokens"), [(1, 12), (2, 12), pytest.param(3, 12, marks=SLOW)])
def test_exhaustive_search_agrees_on_every_family(name: str, clients: int, tokens: int) -> None:
    for seed in range(3):
        check_against_brute_force(family(name, clients, seed, tokens=tokens), 0.0)


@pytest.mark.parametrize("name", FEASIBLE)
@pytest.mark.parametrize("clients", [2, 10])
def test_zero_gap_is_proved_with_ten_clients(name: str, clients: int) -> None:
    result = solve(family(name, clients, seed=3), gap=0, time_limit_s=60)
    assert result.quality is Quality.OPTIMAL, result
    assert result.gap <= 1e-9


@pytest.mark.parametrize("name", FEASIBLE)
def test_the_bound_holds_for_what_all_other_solvers_find(name: str) -> None:
    for seed in range(3):
        problem = family(name, 8, seed, tokens=60)
        result = solve(problem, gap=0)
        for other in ("alternating", "greedy", "shi", "equal", "random"):
            found = solve(problem, other)
            if found.quality is not Quality.INFEASIBLE:
                assert found.ste <= result.bound * (1 + FEASIBILITY)
                assert found.ste <= result.ste * (1 + FEASIBILITY)


def test_gaps_on_request() -> None:
    problem = family("round_time", 30, seed=0)
    for gap in (1e-2, 1e-4, 1e-6):
        result = solve(problem, gap=gap)
        assert result.quality is Quality.OPTIMAL
        assert result.gap <= gap


@pytest.mark.parametrize("name", ["paper", "round_time", "deadline_tight", "flat"])
def test_a_time_limit_leaves_a_valid_bound(name: str) -> None:
    problem = family(name, 12, seed=5)
    optimum = solve(problem, gap=0)
    for limit_s in (1e-9, 5e-4, 2e-3, 1e-2):
        result = solve(problem, gap=0, time_limit_s=limit_s)
        assert result.quality in {Quality.STATIONARY, Quality.OPTIMAL}
        assert result.ste <= optimum.bound * (1 + 1e-9)
        assert np.isfinite(result.bound)
        assert result.bound >= optimum.ste * (1 - 1e-9)
    assert solve(problem, gap=0, time_limit_s=1e-9).stop is Stop.TIME_LIMIT


def test_node_limits_leave_a_valid_bound() -> None:
    problem = family("deadline_tight", 12, seed=5)
    optimum = solve(problem, gap=0)
    result = solve(problem, gap=0, max_nodes=1)
    assert result.stop is Stop.ITERATION_LIMIT
    assert result.bound >= optimum.ste * (1 - 1e-9)


def test_a_warm_start_gives_the_same_optimum() -> None:
    earlier = None
    for problem in fading_sequence(20, 6, 0, 0.95):
        cold = solve(problem)
        warm = solve(problem, start=earlier)
        assert warm.quality is Quality.OPTIMAL
        assert warm.ste == pytest.approx(cold.ste, rel=2e-4)
        assert warm.bound >= cold.ste * (1 - 1e-9)
        earlier = warm


def test_a_start_that_no_longer_fits_is_replaced() -> None:
    problem = family("deadline_tight", 6, seed=0)
    full = solve(problem, "full")
    assert full.quality is Quality.INFEASIBLE
    assert solve(problem, start=full).quality is Quality.OPTIMAL


def test_ties_between_many_identical_clients() -> None:
    problem = Problem(
        gain=1e-8,
        importance=np.ones((10, 30)),
        bits_per_token=1e6,
        bandwidth_hz=1e7,
        max_power_w=0.2,
        max_energy_j=1.0,
        overhead_s=1.0,
    )
    result = solve(problem, gap=0, time_limit_s=60)
    assert result.quality is Quality.OPTIMAL
    common = [np.full(10, k) for k in range(1, 31)]
    demand = Demand(problem)
    assert result.ste >= max(k.sum() / demand.least_round_s(k) for k in common) * (1 - 1e-9)


def test_bad_options() -> None:
    with pytest.raises(OptionError, match="max_nodes=0; allowed: a whole number >= 1"):
        solve(family("paper", 2, 0), max_nodes=0)


@pytest.mark.parametrize("name", ["kernel", "max_combinations"])
def test_options_of_earlier_versions_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=name):
        solve(family("paper", 2, 0), **{name: 1})


@SLOW
def test_a_hundred_thousand_clients() -> None:
    result = solve(family("paper", 100_000, 0))
    assert result.quality is Quality.OPTIMAL
