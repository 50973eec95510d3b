"""Properties of the problem that every solver must respect, over random and hostile instances."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.conformance import run
from helpers.instances import brute_force, feasible_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import Problem, Quality, Result, SolverInfo, Stop, evaluate, solvers
from stsflora.solver.tolerances import FEASIBILITY, OPTIMALITY

AVAILABLE = [info for info in solvers() if info.available]
QUICK = [info for info in AVAILABLE if not info.needs]
EXACT = [info for info in AVAILABLE if info.proves == "optimum"]

solver_cases = pytest.mark.parametrize("info", QUICK, ids=lambda info: info.name)
exact_cases = pytest.mark.parametrize(
    "info",
    [pytest.param(info, id=info.name, marks=pytest.mark.slow if info.needs else ()) for info in EXACT],
)


def budget(info: SolverInfo, quick: int = 60) -> int:
    """How many instances; solvers on foreign engines take seconds for each."""
    return 2 if info.needs else quick


def instances(count: int, clients: int = 3, tokens: int = 5) -> list[Problem]:
    """Feasible instances up to the given size, the same ones in every run."""
    rng = np.random.default_rng(20260421)
    return [
        feasible_problem(rng, int(rng.integers(1, clients + 1)), int(rng.integers(1, tokens + 1)))
        for _ in range(count)
    ]


def proved(info: SolverInfo, problem: Problem) -> Result:
    """The optimum to 1e-9, or as far as the time limit of a foreign engine allows."""
    result = run(info, problem, gap=0)
    assert result.stop is not Stop.ERROR, result.message
    if not info.needs:
        assert result.quality is Quality.OPTIMAL
    return result


@pytest.mark.parametrize("info", EXACT, ids=lambda info: info.name)
def test_exhaustive_search_agrees(info: SolverInfo) -> None:
    for problem in instances(budget(info, 150)):
        best, tokens = brute_force(problem)
        result = proved(info, problem)
        assert result.bound >= best * (1 - OPTIMALITY), tokens
        # An allocation may use the tolerance of every limit.
        permitted, _ = brute_force(problem.with_raised_limits(FEASIBILITY))
        assert result.ste <= permitted * (1 + OPTIMALITY)
        if result.quality is Quality.OPTIMAL:
            assert result.ste >= best * (1 - 2 * OPTIMALITY), tokens


@solver_cases
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_bounds_hold_and_answers_are_feasible(info: SolverInfo, seed: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed), clients=2, tokens=4)
    best, _ = brute_force(problem)
    result = run(info, problem)
    assert result.stop is not Stop.ERROR, result.message
    assert result.bound >= best * (1 - OPTIMALITY)
    if info.always_feasible:
        assert result.quality is not Quality.INFEASIBLE
    if result.quality is not Quality.INFEASIBLE:
        permitted, _ = brute_force(problem.with_raised_limits(FEASIBILITY))
        assert result.ste <= permitted * (1 + OPTIMALITY)


@exact_cases
def test_the_order_of_the_clients_does_not_matter(info: SolverInfo) -> None:
    for index, problem in enumerate(instances(budget(info), clients=5)):
        order = np.random.default_rng(index).permutation(problem.clients)
        assert_same_optimum(proved(info, problem), proved(info, problem.subset(order)))


def in_kilohertz(problem: Problem, unit: float) -> Problem:
    """Bits and bandwidth in another unit: the round takes as long; noise is per bandwidth."""
    return replace(
        problem,
        bits_per_token=problem.bits_per_token * unit,
        bandwidth_hz=problem.bandwidth_hz * unit,
        noise_w_per_hz=problem.noise_w_per_hz / unit,
    )


def with_louder_noise(problem: Problem, unit: float) -> Problem:
    """Gain and noise in another unit: only their ratio counts."""
    return replace(problem, gain=problem.gain * unit, noise_w_per_hz=problem.noise_w_per_hz * unit)


def with_stronger_clients(problem: Problem, unit: float) -> Problem:
    """Power and energy in another unit, against the gain."""
    return replace(
        problem,
        max_power_w=problem.max_power_w * unit,
        max_energy_j=problem.max_energy_j * unit,
        gain=problem.gain / unit,
    )


def in_milliseconds(problem: Problem, unit: float) -> Problem:
    """Time in another unit: the STE is per second. Noise is power per bandwidth, hence energy."""
    return replace(
        problem,
        bandwidth_hz=problem.bandwidth_hz / unit,
        max_power_w=problem.max_power_w / unit,
        deadline_s=problem.deadline_s * unit,
        overhead_s=problem.overhead_s * unit,
    )


def with_larger_importances(problem: Problem, unit: float) -> Problem:
    """The STE is proportional to the importances."""
    return replace(problem, importance=problem.importance * unit)


@pytest.mark.parametrize("unit", [1e-6, 1024.0])
@pytest.mark.parametrize(
    ("change", "per_unit"),
    [
        (in_kilohertz, 0),
        (with_louder_noise, 0),
        (with_stronger_clients, 0),
        (in_milliseconds, -1),
        (with_larger_importances, 1),
    ],
)
@exact_cases
def test_units_do_not_matter(info: SolverInfo, change: object, per_unit: int, unit: float) -> None:
    assert callable(change)
    for problem in instances(budget(info, 10)):
        scaled = proved(info, change(problem, unit))
        assert_same_optimum(proved(info, problem), scaled, unit**per_unit)


LOOSER = {
    "bandwidth_hz": 1.1,
    "max_power_w": 1.5,
    "max_energy_j": 1.5,
    "deadline_s": 1.5,
    "overhead_s": 0.5,
    "noise_w_per_hz": 0.8,
    "gain": 1.2,
}


@pytest.mark.parametrize("field", [*LOOSER, "min_tokens", "importance"])
@exact_cases
def test_looser_limits_never_hurt(info: SolverInfo, field: str) -> None:
    for problem in instances(budget(info, 15)):
        if field == "min_tokens":
            looser = replace(problem, min_tokens=np.ones(problem.clients, dtype=np.int64))
        elif field == "importance":
            looser = replace(problem, importance=problem.importance + 0.1)
        else:
            looser = replace(problem, **{field: getattr(problem, field) * LOOSER[field]})
        before, after = proved(info, problem), proved(info, looser)
        assert after.bound >= before.ste * (1 - 4 * FEASIBILITY)
        if after.quality is Quality.OPTIMAL:
            assert after.ste >= before.ste * (1 - 4 * FEASIBILITY)


@exact_cases
def test_another_client_costs_time(info: SolverInfo) -> None:
    """Dropping a client without importance never hurts: it only took bandwidth."""
    for problem in instances(budget(info, 20)):
        if problem.clients == 1:
            continue
        importance = np.array(problem.importance)
        importance[-1] = 0.0
        if not importance.any():
            continue
        burdened = replace(problem, importance=importance)
        free = burdened.subset(range(problem.clients - 1))
        before, after = proved(info, burdened), proved(info, free)
        assert after.bound >= before.ste * (1 - 4 * FEASIBILITY)


@exact_cases
def test_no_small_change_improves_the_optimum(info: SolverInfo) -> None:
    """Perturbed in any block, the optimum gets worse or leaves a limit."""
    rng = np.random.default_rng(0)
    for problem in instances(budget(info, 30)):
        result = proved(info, problem)
        assert result.allocation is not None
        for _ in range(20):
            size = 10.0 ** rng.uniform(-6, -1)
            factor = 1 + size * rng.uniform(-1, 1, problem.clients)
            bandwidth = result.allocation.bandwidth_hz * factor
            other = replace(
                result.allocation,
                tokens=np.clip(
                    result.allocation.tokens + rng.integers(-1, 2, problem.clients),
                    problem.min_tokens,
                    problem.tokens,
                ),
                bandwidth_hz=bandwidth * problem.bandwidth_hz / bandwidth.sum(),
                power_w=np.minimum(result.allocation.power_w * factor, problem.max_power_w),
            )
            evaluation = evaluate(problem, other)
            assert evaluation.violation > 1e-9 or evaluation.ste <= result.bound * (1 + 1e-8)


@solver_cases
def test_the_trace_is_monotone(info: SolverInfo) -> None:
    for problem in instances(40, clients=6, tokens=8):
        points = run(info, problem).trace
        stes = [point.value for point in points]
        assert stes == sorted(stes)


def assert_same_optimum(one: Result, other: Result, factor: float = 1.0) -> None:
    """Both intervals [STE, bound] hold the one optimum; tight ones therefore agree."""
    slack = 4 * FEASIBILITY
    assert one.ste * factor <= other.bound * (1 + slack)
    assert other.ste <= one.bound * factor * (1 + slack)
    if one.quality is other.quality is Quality.OPTIMAL:
        assert math.isclose(one.ste * factor, other.ste, rel_tol=slack)
