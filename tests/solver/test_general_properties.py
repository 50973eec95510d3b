"""Properties of the general problem that every solver must respect, each objective in its own sense."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from helpers.conformance import beyond, check_allocation, check_bound, run, scale, takes
from helpers.general import FEATURES_AT_RANDOM, feasible_general

from stsflora.solver import Problem, Quality, Result, SolverInfo, Stop, TotalTime, Weighted, evaluate, solvers
from stsflora.solver.objective import OBJECTIVES
from stsflora.solver.tolerances import FEASIBILITY

AVAILABLE = [info for info in solvers() if info.available]
GAP = 1e-6
SLACK = 4 * GAP
"""Two intervals [value, bound] of one optimum differ by no more, relative."""

PERMITTED = 2000 * FEASIBILITY
"""What the tolerance of every limit may be worth, relative, where deadlines hug."""


def slow_where_engines(infos: list[SolverInfo]) -> list[object]:
    return [pytest.param(info, id=info.name, marks=pytest.mark.slow if info.needs else ()) for info in infos]


solver_cases = pytest.mark.parametrize("info", slow_where_engines(AVAILABLE))
exact_cases = pytest.mark.parametrize(
    "info", slow_where_engines([info for info in AVAILABLE if info.proves == "optimum"])
)
objective_cases = pytest.mark.parametrize("objective", OBJECTIVES)


@cache
def instances(objective: str, count: int = 6) -> tuple[tuple[Problem, float], ...]:
    """Feasible instances of two or three clients with features at random, and their optima."""
    rng = np.random.default_rng([20260421, list(OBJECTIVES).index(objective)])
    made = []
    for index in range(count):
        features = tuple(name for name in FEATURES_AT_RANDOM if rng.random() < 0.4)
        if index % 2 and objective in {"round_time", "energy"}:
            features = (*features, "requirement")
        if index % 3 == 2 and objective in {"ste", "retained", "round_time"}:
            features = (*features, "blocks")
        if objective == "total_time":
            features = tuple(name for name in features if name not in {"skip", "utility"})
        made.append(feasible_general(rng, objective, 2 + index % 2, 2, features))
    return tuple(made)


def taken(info: SolverInfo, objective: str) -> list[tuple[Problem, float]]:
    """The instances that a solver takes; few for foreign engines, which take seconds for each."""
    able = [(problem, value) for problem, value in instances(objective) if takes(info, problem)]
    if not able:
        pytest.skip(f"{info.name} takes none")
    return able[:2] if info.needs else able


def proved(info: SolverInfo, problem: Problem) -> Result:
    """The optimum, or as far as the time limit of a foreign engine allows."""
    result = run(info, problem, gap=GAP)
    assert result.stop not in {Stop.ERROR, Stop.INFEASIBLE}, result.message
    if not info.needs:
        assert result.quality is Quality.OPTIMAL, result
    return result


def room(result: Result, value: float) -> float:
    """What a relative slack is relative to, as a multiple of a value."""
    return max(scale(result), abs(value)) / abs(value) if value != 0.0 else math.inf


def assert_no_worse(after: Result, before: Result, slack: float = SLACK) -> None:
    """What has more to choose from is no worse than what was found before."""
    slack *= room(before, before.value)
    assert not beyond(before.problem, before.value, after.bound, slack)
    if after.quality is Quality.OPTIMAL:
        assert not beyond(before.problem, before.value, after.value, 2 * slack)


@objective_cases
@solver_cases
def test_no_answer_beats_exhaustive_search(info: SolverInfo, objective: str) -> None:
    for problem, best in taken(info, objective):
        result = run(info, problem)
        assert result.stop is not Stop.ERROR, result.message
        check_allocation(result)
        check_bound(info, result)
        assert not beyond(problem, best, result.bound, 1e-9)
        if result.evaluation is not None and result.evaluation.feasible:
            assert not beyond(problem, result.value, best, PERMITTED * room(result, best))


@objective_cases
@exact_cases
def test_exhaustive_search_agrees(info: SolverInfo, objective: str) -> None:
    for problem, best in taken(info, objective):
        result = proved(info, problem)
        if result.quality is Quality.OPTIMAL:
            assert not beyond(problem, best, result.value, 2 * GAP * room(result, best))


def permuted(problem: Problem, rng: np.random.Generator) -> Problem:
    """The same round with other numbers of clients, and rows in another order."""
    clients = rng.permutation(problem.clients)
    renamed = problem.subset(clients)
    rows = rng.permutation(problem.row_count)
    arguments = renamed.as_dict()
    for name, value in arguments.items():
        if isinstance(value, np.ndarray) and name != "may_skip":
            arguments[name] = value[rows]
    return Problem(**arguments)


@objective_cases
@exact_cases
def test_the_order_of_clients_and_rows_does_not_matter(info: SolverInfo, objective: str) -> None:
    for index, (problem, _) in enumerate(taken(info, objective)):
        one = proved(info, problem)
        other = proved(info, permuted(problem, np.random.default_rng(index)))
        assert_no_worse(one, other)
        assert_no_worse(other, one)


def in_kilohertz(problem: Problem, unit: float) -> Problem:
    """Bits and bandwidth in another unit: the round takes as long; noise is per bandwidth."""
    changes = {"bits_per_token": problem.bits_per_token * unit}
    if problem.payload_bits is not None:
        changes["payload_bits"] = problem.payload_bits * unit
    return replace(
        problem,
        bandwidth_hz=problem.bandwidth_hz * unit,
        noise_w_per_hz=problem.noise_w_per_hz / unit,
        max_psd_w_per_hz=problem.max_psd_w_per_hz / unit,
        block_hz=None if problem.block_hz is None else problem.block_hz * unit,
        **changes,
    )


def with_stronger_clients(problem: Problem, unit: float) -> Problem:
    """Power and energy in another unit, against the gain."""
    objective = problem.objective
    if isinstance(objective, Weighted):
        objective = replace(objective, per_joule=objective.per_joule / unit)
    return replace(
        problem,
        max_power_w=problem.max_power_w * unit,
        max_energy_j=problem.max_energy_j * unit,
        before_j=problem.before_j * unit,
        max_psd_w_per_hz=problem.max_psd_w_per_hz * unit,
        gain=problem.gain / unit,
        objective=objective,
    )


@pytest.mark.parametrize("change", [in_kilohertz, with_stronger_clients])
@objective_cases
@exact_cases
def test_units_do_not_matter(info: SolverInfo, objective: str, change: object) -> None:
    assert callable(change)
    for problem, _ in taken(info, objective):
        factor = 1024.0 if objective == "energy" and change is with_stronger_clients else 1.0
        one, other = proved(info, problem), proved(info, change(problem, 1024.0))
        slack = SLACK * room(one, one.value)
        assert not beyond(problem, other.value / factor, one.bound, slack)
        assert not beyond(problem, one.value, other.bound / factor, slack)


def with_another_row(problem: Problem) -> Problem:
    """One more row: that of a client with half the payload, half the tokens and half the worth."""
    arguments = problem.as_dict()
    for name, value in arguments.items():
        if isinstance(value, np.ndarray) and name != "may_skip":
            arguments[name] = np.concatenate((value, value[:1]))
    arguments["bits_per_token"][-1] *= 0.5
    arguments["importance"][-1] *= 0.5
    if problem.utility is not None:
        arguments["utility"][-1] *= 0.5
    return Problem(**arguments)


LOOSER = {
    "bandwidth_hz": 1.1,
    "max_power_w": 1.5,
    "max_energy_j": 1.5,
    "deadline_s": 1.5,
    "overhead_s": 0.5,
    "before_j": 0.5,
    "gain": 1.2,
    "max_psd_w_per_hz": 1.3,
    "max_bps_per_hz": 1.3,
}


@pytest.mark.parametrize("field", [*LOOSER, "block_hz", "may_skip", "another row", "requirement"])
@objective_cases
@exact_cases
def test_more_to_choose_from_never_hurts(info: SolverInfo, objective: str, field: str) -> None:
    for problem, _ in taken(info, objective):
        if field == "another row":
            looser = with_another_row(problem)
        elif field == "requirement":
            looser = replace(problem, objective=problem.objective.relaxed(0.2))
        elif field == "block_hz":
            looser = replace(problem, block_hz=None)
        elif field == "may_skip":
            if not (problem.objective.maximises or problem.objective.least_retained > 0.0):
                continue
            looser = replace(problem, may_skip=True)
        else:
            looser = replace(problem, **{field: getattr(problem, field) * LOOSER[field]})
        if not takes(info, looser) or (field == "bandwidth_hz" and problem.block_hz is not None):
            continue
        assert_no_worse(proved(info, looser), proved(info, problem), 8 * SLACK)


@exact_cases
def test_dearer_time_is_shorter(info: SolverInfo) -> None:
    """The net value falls in the price of time, and the round that is best gets no longer."""
    for problem, _ in taken(info, "weighted"):
        price = problem.objective.settings()["per_second"]
        dearer = replace(problem, objective=Weighted(per_second=3.0 * price))
        one, other = proved(info, problem), proved(info, dearer)
        assert other.value <= one.bound + SLACK * scale(one)
        if one.quality is other.quality is Quality.OPTIMAL and one.evaluation and other.evaluation:
            doubt = (scale(one) + scale(other)) * SLACK / (2.0 * price)
            assert other.evaluation.round_s <= one.evaluation.round_s * (1 + 1e-9) + doubt


@exact_cases
def test_a_sum_of_times_is_at_least_the_weighted_makespan_of_one(info: SolverInfo) -> None:
    for problem, _ in taken(info, "total_time"):
        result = proved(info, problem)
        assert isinstance(problem.objective, TotalTime)
        assert result.allocation is not None
        finish = evaluate(problem, result.allocation).totals.finish_s
        weights = problem.objective.weights(problem.clients)
        assert result.value == pytest.approx(float((weights * finish).sum()), rel=1e-12)
        assert result.value >= float((weights * finish).max())
