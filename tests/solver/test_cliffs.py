"""No cliff: equal or nearly equal clients, plateaus and limits met exactly are proved to the gap asked."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.hard_cells import (
    DELTAS,
    EQUAL_CELLS,
    LIMITS,
    LIVE_CASES,
    check_against_witness,
    equal_problem,
    hugged,
    hugged_at_random,
    must_return,
    nearly_equal,
    patient_allocation,
    plateau_problem,
    random_equal_problem,
    recorded,
    scaled,
)
from helpers.instances import brute_force, feasible_problem, feasible_table_problem

from stsflora.solver import Problem, Quality, Result, evaluate, solve
from stsflora.solver.tolerances import FEASIBILITY

SLOW = pytest.mark.slow
GAP = 1e-4
FEW_NODES = 200
"""Enough for a search that sees ties; one that branches on them needs thousands."""

CHOICES = [*((name,) for name in LIMITS), LIMITS]


def blocks(quick: int, slow: int) -> list[object]:
    """Numbers of blocks of draws, most of them slow."""
    return [*range(quick), *(pytest.param(block, marks=SLOW) for block in range(quick, quick + slow))]


def proved(problem: Problem, **arguments: object) -> Result:
    """A feasible answer within 1e-4 of the optimum, without a time limit."""
    with must_return():
        result = solve(problem, gap=GAP, **arguments)  # type: ignore[arg-type]
    assert result.quality is Quality.OPTIMAL, f"{result} {result.stats}"
    assert result.gap <= GAP
    return result


@pytest.mark.parametrize("case", EQUAL_CELLS, ids=lambda case: f"{case[0]}x{case[1]}-{case[2]}")
def test_recorded_cells_of_equal_clients(case: tuple[int, int, str, int]) -> None:
    proved(equal_problem(*case), max_nodes=FEW_NODES)


@pytest.mark.parametrize("name", ["hug_7x24", "hug_7x29", "false_bound", *LIVE_CASES])
def test_recorded_cells(name: str) -> None:
    proved(recorded(name))


@pytest.mark.parametrize("block", blocks(1, 15))
def test_equal_clients(block: int) -> None:
    rng = np.random.default_rng([1, block])
    for _ in range(20):
        proved(random_equal_problem(rng))


@pytest.mark.parametrize("block", blocks(1, 15))
def test_nearly_equal_clients(block: int) -> None:
    rng = np.random.default_rng([2, block])
    for _ in range(20):
        proved(nearly_equal(random_equal_problem(rng), rng))


@pytest.mark.parametrize("block", blocks(1, 15))
def test_importances_on_plateaus(block: int) -> None:
    rng = np.random.default_rng([3, block])
    for _ in range(20):
        problem = plateau_problem(rng)
        if evaluate(problem, patient_allocation(problem)).feasible:
            proved(problem)


@pytest.mark.parametrize("block", blocks(1, 20))
def test_limits_set_to_what_an_answer_uses(block: int) -> None:
    """Twice in a row, each time on the answer before, cold and warm."""
    rng = np.random.default_rng([4, block])
    draws = (plateau_problem, lambda rng: nearly_equal(random_equal_problem(rng, 12), rng), feasible_problem)
    witnesses = 0
    for number in range(30):
        problem = draws[number % 3](rng)
        before = solve(problem)
        if before.allocation is None:
            continue
        for _ in range(2):
            assert before.allocation is not None
            delta = DELTAS[int(rng.integers(5))]
            if rng.random() < 0.3:
                problem = hugged_at_random(problem, before.allocation, rng)
            else:
                problem = hugged(problem, before.allocation, CHOICES[int(rng.integers(5))], delta)
            witness = evaluate(problem, before.allocation)
            if not witness.feasible:
                break
            witnesses += 1
            before = proved(problem, start=before if rng.random() < 0.5 else None)
            check_against_witness(before, witness)
    assert witnesses >= 40


@pytest.mark.parametrize("block", blocks(0, 8))
def test_payload_tables_whose_limits_are_hugged(block: int) -> None:
    rng = np.random.default_rng([5, block])
    for _ in range(12):
        problem = feasible_table_problem(rng, int(rng.integers(1, 9)), int(rng.integers(1, 30)))
        first = proved(problem)
        assert first.allocation is not None
        tight = hugged(problem, first.allocation, CHOICES[int(rng.integers(5))], DELTAS[int(rng.integers(5))])
        witness = evaluate(tight, first.allocation)
        if witness.feasible:
            check_against_witness(proved(tight), witness)


def tiny(rng: np.random.Generator) -> Problem:
    """At most three clients of six tokens: equal, nearly equal, on plateaus, or anything."""
    kind = int(rng.integers(4))
    if kind == 3:
        return feasible_problem(rng, int(rng.integers(1, 4)), int(rng.integers(1, 7)))
    clients, tokens = int(rng.integers(1, 4)), int(rng.integers(1, 7))
    name = str(rng.choice(["ones", "half", "plateaus"])) if tokens > 1 else "ones"
    problem = equal_problem(clients, tokens, name, int(rng.integers(2**31)))
    if kind == 2:
        importance = rng.integers(0, 3, (clients, tokens)).astype(float)
        importance[:, 0] += 1.0
        return Problem(**(problem.as_dict() | {"importance": importance}))
    return nearly_equal(problem, rng) if kind == 1 else problem


@pytest.mark.parametrize("block", blocks(1, 15))
def test_brute_force_agrees_on_tiny_cells(block: int) -> None:
    """All vectors of tokens at limits that are higher by the tolerance; free, then hugged."""
    rng = np.random.default_rng([6, block])
    for _ in range(25):
        problem = tiny(rng)
        for _ in range(2):
            best, tokens = brute_force(scaled(problem, 1 + FEASIBILITY))
            if not best > 0:  # a draw that nobody can serve
                break
            result = proved(problem)
            assert result.bound >= best * (1 - 1e-11), tokens
            assert result.ste <= best * (1 + 1e-9), tokens
            assert result.ste >= best * (1 - 1.01 * GAP), tokens
            assert result.allocation is not None
            delta = DELTAS[int(rng.integers(5))]
            problem = hugged(problem, result.allocation, CHOICES[int(rng.integers(5))], delta)
            if not evaluate(problem, result.allocation).feasible:
                break
