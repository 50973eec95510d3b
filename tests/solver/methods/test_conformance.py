"""Every registered solver on every family and every reference instance.

Solvers and families are read from their registries, so a new one takes part at once. What a solver owes
follows from its capabilities; solvers on foreign engines get fewer instances.
"""

from __future__ import annotations

from functools import cache

import pytest
from helpers.conformance import (
    beyond,
    check_answer,
    check_infeasible,
    check_refusal,
    check_same_answer,
    check_time_limit,
    run,
    scale,
    takes,
)

from stsflora.benchmarks.families import families, family
from stsflora.solver import Problem, Quality, Result, SolverInfo, evaluate, solvers
from stsflora.solver.feasibility import diagnose
from stsflora.solver.reference import Reference, references
from stsflora.solver.tolerances import BOUND_CONTRADICTION, FEASIBILITY

TOKENS = 10
GRID = tuple((clients, seed) for clients in (1, 3, 6) for seed in (0, 1, 2))
SHORT_GRID = ((3, 0),)

PERMITTED = 20 * FEASIBILITY
"""What the tolerance of every limit may be worth on the reference instances, relative."""

INFO = [
    pytest.param(
        info,
        id=info.name,
        marks=() if info.available else pytest.mark.skip(reason=f"{info.name}: {info.how_to_install}"),
    )
    for info in solvers()
]


@cache
def instance(name: str, clients: int, seed: int) -> Problem:
    return family(name, clients, seed, tokens=TOKENS)


@cache
def answer(name: str, family_name: str, clients: int, seed: int) -> Result:
    info = next(info for info in solvers() if info.name == name)
    return check_answer(info, instance(family_name, clients, seed))


def grid(info: SolverInfo) -> tuple[tuple[int, int], ...]:
    return SHORT_GRID if info.needs else GRID


def is_feasible(name: str) -> bool:
    return diagnose(instance(name, *GRID[0])) is None


FEASIBLE = [name for name in families() if is_feasible(name)]
INFEASIBLE = [name for name in families() if not is_feasible(name)]


def test_the_families_cover_both_outcomes() -> None:
    assert len(FEASIBLE) >= 2
    assert len(INFEASIBLE) >= 1


@pytest.mark.parametrize("family_name", FEASIBLE)
@pytest.mark.parametrize("info", INFO)
def test_answers_are_what_they_say(info: SolverInfo, family_name: str) -> None:
    for clients, seed in grid(info):
        if takes(info, instance(family_name, clients, seed)):
            answer(info.name, family_name, clients, seed)
        else:
            check_refusal(info, instance(family_name, clients, seed))


@pytest.mark.parametrize("family_name", FEASIBLE)
def test_no_answer_beats_any_bound(family_name: str) -> None:
    for clients, seed in GRID:
        results = [
            answer(info.name, family_name, clients, seed)
            for info in solvers()
            if info.available
            and (clients, seed) in grid(info)
            and takes(info, instance(family_name, clients, seed))
        ]
        for result in results:
            if result.quality is not Quality.INFEASIBLE:
                for other in results:
                    # An allocation may use the tolerance of every limit.
                    assert not beyond(result.problem, result.value, other.bound, 4 * FEASIBILITY)


@pytest.mark.parametrize("family_name", FEASIBLE)
@pytest.mark.parametrize("info", INFO)
def test_same_seed_same_answer(info: SolverInfo, family_name: str) -> None:
    clients, seed = grid(info)[-1]
    if not takes(info, instance(family_name, clients, seed)):
        pytest.skip(f"{info.name} does not take it")
    again = run(info, instance(family_name, clients, seed))
    check_same_answer(answer(info.name, family_name, clients, seed), again)


@pytest.mark.parametrize("info", INFO)
def test_a_start_is_accepted(info: SolverInfo) -> None:
    problem = instance(FEASIBLE[0], 3, 0)
    start = run(next(other for other in solvers() if other.always_feasible and not other.needs), problem)
    check_answer(info, problem, start=start)
    check_answer(info, problem, start=start.allocation)


@pytest.mark.parametrize("name", INFEASIBLE)
@pytest.mark.parametrize("info", INFO)
def test_infeasible_instances_end_with_a_reason(info: SolverInfo, name: str) -> None:
    for clients in (1, 6):
        for seed in range(4):
            check = check_infeasible if takes(info, instance(name, clients, seed)) else check_refusal
            check(info, instance(name, clients, seed))


@pytest.mark.parametrize("info", INFO)
def test_the_time_limit_holds(info: SolverInfo) -> None:
    check_time_limit(info, family(FEASIBLE[0], 30, 0, tokens=60), 0.05)


@pytest.mark.parametrize("reference", references(), ids=lambda reference: reference.name)
@pytest.mark.parametrize("info", INFO)
def test_reference_instances(info: SolverInfo, reference: Reference) -> None:
    problem = reference.problem
    if not takes(info, problem):
        check_refusal(info, problem)
        return
    result = check_answer(info, problem)
    assert not beyond(problem, reference.value, result.bound, BOUND_CONTRADICTION)
    if result.quality is not Quality.INFEASIBLE:
        slack = PERMITTED * scale(result) / abs(reference.value)
        assert not beyond(problem, result.value, reference.value, slack)
    if info.proves == "optimum":
        assert result.quality is Quality.OPTIMAL
        assert problem.objective.gap(evaluate(problem, result.allocation).totals, reference.value) <= 1e-4
