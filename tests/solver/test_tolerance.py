"""One tolerance: no allocation that `evaluate` accepts exceeds a bound or is called infeasible."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.hard_cells import (
    DELTAS,
    LIMITS,
    check_against_witness,
    fits_comfortably,
    hugged,
    hugged_at_random,
    kinked_problem,
    patient_allocation,
    recorded,
    scaled,
)
from helpers.instances import (
    brute_force,
    feasible_problem,
    feasible_table_problem,
    random_problem,
    small_problem,
)

from stsflora.benchmarks.families import family
from stsflora.solver import (
    Allocation,
    Evaluation,
    Problem,
    Quality,
    Result,
    SolverInfo,
    evaluate,
    solve,
    solvers,
)
from stsflora.solver.feasibility import diagnose
from stsflora.solver.physics.demand import Demand
from stsflora.solver.tolerances import FEASIBILITY

SLOW = pytest.mark.slow
AVAILABLE = [info for info in solvers() if info.available]
ALWAYS_FEASIBLE = [info.name for info in AVAILABLE if info.always_feasible and not info.needs]
FOREIGN_BOUNDS = [info for info in AVAILABLE if info.proves != "nothing" and info.needs]
FAMILIES = (
    "paper",
    "steep",
    "flat",
    "ties",
    "extreme",
    "min64",
    "heterogeneous",
    "energy_tight",
    "deadline_tight",
)
SMALL_CELLS = [
    (name, clients, tokens, 0) for name in FAMILIES[:7] for clients, tokens in ((1, 4), (2, 8), (5, 16))
]
CELLS = [
    pytest.param(name, clients, tokens, seed, marks=SLOW)
    for name in FAMILIES
    for clients, tokens in ((1, 4), (2, 8), (5, 16), (20, 196))
    for seed in range(4)
    if (name, clients, tokens, seed) not in SMALL_CELLS
]
CHOICES = [*((name,) for name in LIMITS), LIMITS]
"""The limits that are set to what an allocation uses: each alone, and all."""

foreign_bounds = pytest.mark.parametrize(
    "info",
    [
        pytest.param(info, id=info.name, marks=SLOW if info.proves == "optimum" else ())
        for info in FOREIGN_BOUNDS
    ],
)


def answer(problem: Problem, solver: str = "exact", **arguments: object) -> Result:
    """A solve that has to have a feasible allocation, on a problem that is feasible."""
    result = solve(problem, solver, **arguments)  # type: ignore[arg-type]
    assert result.allocation is not None
    assert result.quality is not Quality.INFEASIBLE
    return result


def test_a_limit_is_met_up_to_one_part_in_a_billion() -> None:
    share = np.array([2e5, 3e5, 5e5])
    for excess, accepted in ((9e-10, True), (1.1e-9, False), (1e-7, False)):
        assert (
            evaluate(small_problem(), Allocation([2, 2, 2], share * (1 + excess), [0.2] * 3)).feasible
            is accepted
        )


def hugged_cells(problem: Problem) -> Iterator[tuple[Problem, Result, Evaluation]]:
    """The problem with limits as its answer uses them, the answer, and its worth there, where feasible."""
    first = answer(problem)
    assert first.allocation is not None
    for limits in CHOICES:
        for delta in DELTAS:
            tight = hugged(problem, first.allocation, limits, delta)
            witness = evaluate(tight, first.allocation)
            if witness.feasible:
                yield tight, first, witness


@pytest.mark.parametrize(("name", "clients", "tokens", "seed"), [*SMALL_CELLS, *CELLS])
def test_limits_set_to_what_an_answer_uses(name: str, clients: int, tokens: int, seed: int) -> None:
    for tight, _, witness in hugged_cells(family(name, clients, seed, tokens=tokens)):
        check_against_witness(solve(tight), witness)


@pytest.mark.parametrize(("name", "clients", "tokens", "seed"), [*SMALL_CELLS[::2], *CELLS])
def test_warm_starts_from_the_answer_that_is_hugged(name: str, clients: int, tokens: int, seed: int) -> None:
    for tight, first, witness in hugged_cells(family(name, clients, seed, tokens=tokens)):
        check_against_witness(solve(tight, start=first), witness)
        check_against_witness(solve(tight, start=first.allocation), witness)


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=SLOW) for block in range(1, 10))])
def test_every_client_with_its_own_part_of_the_tolerance(block: int) -> None:
    """Any accepted allocation, good or not, on any instance, payload tables among them; twice in a row."""
    rng = np.random.default_rng([1, block])
    witnesses = 0
    for number in range(50):
        draw = feasible_table_problem if number % 5 == 0 else feasible_problem
        problem = draw(rng, int(rng.integers(1, 8)), int(rng.integers(1, 20)))
        names = (
            ("exact", "random", "alternating", "shi") if problem.payload_bits is None else ("exact", "shi")
        )
        first = answer(problem, names[number % len(names)])
        for _ in range(2):
            assert first.allocation is not None
            problem = hugged_at_random(problem, first.allocation, rng)
            witness = evaluate(problem, first.allocation)
            if not witness.feasible:
                break
            witnesses += 1
            second = solve(problem, start=first if rng.random() < 0.5 else None)
            check_against_witness(second, witness)
            first = second
    assert witnesses >= 50


@pytest.mark.parametrize("solver", ALWAYS_FEASIBLE)
def test_solvers_that_are_always_feasible_are_where_limits_are_hugged(solver: str) -> None:
    rng = np.random.default_rng(2)
    for name, clients, tokens, seed in SMALL_CELLS[::2]:
        problem = family(name, clients, seed, tokens=tokens)
        fewest = answer(problem, "fixed", tokens=1)
        assert fewest.allocation is not None
        tight = hugged(problem, fewest.allocation, CHOICES[int(rng.integers(5))], -9e-10)
        witness = evaluate(tight, fewest.allocation)
        if witness.feasible:
            found = answer(tight, solver)
            assert found.ste <= solve(tight).bound * (1 + 1e-12)


@foreign_bounds
def test_bounds_of_convex_and_integer_programs_hold_where_limits_are_hugged(info: SolverInfo) -> None:
    for name, clients, tokens in (("paper", 1, 4), ("flat", 2, 8), ("heterogeneous", 3, 6)):
        problem = family(name, clients, 1, tokens=tokens)
        first = answer(problem)
        assert first.allocation is not None
        for limits in CHOICES[::2]:
            for delta in (0.0, -9e-10):
                tight = hugged(problem, first.allocation, limits, delta)
                witness = evaluate(tight, first.allocation)
                if witness.feasible:
                    check_against_witness(solve(tight, info.name, time_limit_s=5), witness)


@foreign_bounds
def test_bounds_of_convex_and_integer_programs_hold_for_a_recorded_cell(info: SolverInfo) -> None:
    problem = recorded("false_bound")
    witness = evaluate(problem, patient_allocation(problem))
    check_against_witness(solve(problem, info.name, time_limit_s=5), witness)
    full = solve(problem, "full")
    assert full.evaluation is not None
    check_against_witness(solve(problem, info.name, time_limit_s=5), full.evaluation)


@pytest.mark.parametrize("delta", np.linspace(-1e-9, 1e-9, 9))
def test_a_deadline_next_to_the_last_token(delta: float) -> None:
    """One client whose deadline is what all its tokens take: the last one is worth 3 % of the STE."""
    problem = recorded("false_bound")
    everything = solve(problem, "full")
    assert everything.allocation is not None
    tight = hugged(problem, everything.allocation, ["deadline_s"], float(delta))
    witness = evaluate(tight, everything.allocation)
    if witness.feasible:
        check_against_witness(solve(tight), witness)
    least = evaluate(tight, patient_allocation(tight))
    check_against_witness(solve(tight), least)


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=SLOW) for block in range(1, 10))])
def test_the_diagnosis_agrees_with_the_evaluator(block: int) -> None:
    """Limits that the fewest tokens just meet: feasible as far as `evaluate` says so, not much further."""
    rng = np.random.default_rng([3, block])
    accepted = 0
    for _ in range(150):
        problem = random_problem(rng)
        fewest = patient_allocation(problem)
        if not evaluate(problem, fewest).feasible:
            continue
        for tight in (
            *(hugged(problem, fewest, [name], DELTAS[int(rng.integers(5))]) for name in LIMITS),
            hugged_at_random(problem, fewest, rng),
        ):
            if evaluate(tight, fewest).feasible:
                accepted += 1
                assert diagnose(tight) is None
            assert diagnose(scaled(tight, 1 + 2 * FEASIBILITY)) is None
        if np.isfinite(problem.deadline_s).all():  # then the least bandwidth and time are what it uses
            assert diagnose(hugged(problem, fewest, ["bandwidth_hz", "deadline_s"], -1e-3)) is not None
    assert accepted >= 200


def test_brute_force_at_relaxed_limits_stays_below_the_bound() -> None:
    """Tiny cells whose limits are hugged: no vector of tokens within the tolerance exceeds the bound."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        problem = feasible_problem(rng, int(rng.integers(1, 4)), int(rng.integers(1, 6)))
        first = answer(problem)
        assert first.allocation is not None
        tight = hugged(problem, first.allocation, CHOICES[int(rng.integers(5))], DELTAS[int(rng.integers(5))])
        best, tokens = brute_force(scaled(tight, 1 + FEASIBILITY))
        if best > 0:
            second = solve(tight)
            assert second.bound >= best * (1 - 1e-11), tokens
            assert second.ste <= best * (1 + 1e-9)


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=SLOW) for block in range(1, 6))])
def test_answers_meet_the_limits_exactly_where_they_can(block: int) -> None:
    rng = np.random.default_rng([5, block])
    comfortable = 0
    for number in range(80):
        if number % 4:
            problem = feasible_problem(rng, int(rng.integers(1, 8)), int(rng.integers(1, 20)))
        else:
            problem = kinked_problem(rng)[0]
        for _ in range(2):
            result = solve(problem)
            if result.allocation is None:  # a deadline below what the fewest tokens take
                break
            assert result.evaluation is not None
            assert result.evaluation.violation <= FEASIBILITY
            if fits_comfortably(result):
                comfortable += 1
                assert result.evaluation.violation <= 1e-12, result.evaluation.violations
            problem = hugged(problem, result.allocation, CHOICES[int(rng.integers(5))], -9e-10)
    assert comfortable >= 60


@pytest.mark.parametrize("block", [0, *(pytest.param(block, marks=SLOW) for block in range(1, 6))])
def test_the_least_round_time_next_to_kinks(block: int) -> None:
    """Deadlines and E / P within 1e-8 of it: what fits is no more than the band, and not before it fits."""
    rng = np.random.default_rng([6, block])
    for _ in range(300):
        problem, tokens, _ = kinked_problem(rng)
        demand = Demand(problem)
        last_s = float((problem.overhead_s + problem.deadline_s).max())
        least_s = demand.least_round_s(tokens)
        band = problem.bandwidth_hz
        if not np.isfinite(least_s):
            assert demand.bandwidth_hz(tokens, last_s).sum() > band * (1 - 1e-12)
            continue
        assert least_s <= last_s * (1 + 1e-12)
        assert demand.bandwidth_hz(tokens, least_s).sum() <= band * (1 + 1e-12)
        assert demand.bandwidth_hz(tokens, least_s * (1 - 1e-8)).sum() >= band * (1 - 1e-12)


def test_tokens_that_fit_only_by_rounding_end_with_the_last_deadline() -> None:
    """Where every client has a deadline, a band that is just used up gives no endless round."""
    rng = np.random.default_rng(7)
    for _ in range(100):
        problem, tokens, round_s = kinked_problem(rng)
        deadline = (round_s - problem.overhead_s) * np.where(rng.random(problem.clients) < 0.7, 1.0, 3.0)
        free = Problem(**(problem.as_dict() | {"deadline_s": deadline, "max_energy_j": np.inf}))
        last_s = float((free.overhead_s + deadline).max())
        used_hz = float(Demand(free).bandwidth_hz(tokens, last_s).sum())
        for off in (-1e-13, -1e-14, 0.0, 1e-14, 1e-13):
            demand = Demand(Problem(**(free.as_dict() | {"bandwidth_hz": used_hz * (1 + off)})))
            least_s = demand.least_round_s(tokens)
            assert least_s == np.inf or least_s <= last_s * (1 + 1e-12)


def test_no_answer_takes_longer_than_the_last_deadline() -> None:
    rng = np.random.default_rng(8)
    for _ in range(80):
        problem, *_ = kinked_problem(rng)
        result = solve(problem)
        if result.evaluation is not None:
            last_s = float((problem.overhead_s + problem.deadline_s).max())
            assert result.evaluation.feasible
            assert result.evaluation.round_s <= last_s * (1 + FEASIBILITY)


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_a_recorded_allocation_is_feasible_when_replayed(ending: str, tmp_path: Path) -> None:
    """Limits hugged, saved, read again: the violations are those of the first time."""
    rng = np.random.default_rng(9)
    for number in range(20):
        problem = feasible_problem(rng, int(rng.integers(1, 6)), int(rng.integers(1, 12)))
        first = answer(problem)
        assert first.allocation is not None
        tight = hugged(problem, first.allocation, CHOICES[number % 5], -9e-10)
        second = solve(tight)
        assert second.allocation is not None
        assert second.evaluation is not None
        tight.save(tmp_path / f"problem.{ending}")
        (tmp_path / "result.json").write_text(json.dumps(second.as_dict()), encoding="utf-8")
        again = evaluate(
            Problem.load(tmp_path / f"problem.{ending}"), Allocation.load(tmp_path / "result.json")
        )
        assert again.feasible
        assert again.violations == second.evaluation.violations
        assert again.ste == second.ste
