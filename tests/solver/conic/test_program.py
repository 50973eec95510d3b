"""The relaxed program: its data against the physics, its forms against each other."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
from helpers.instances import feasible_problem
from hypothesis import given
from hypothesis import strategies as st

from stsflora.benchmarks.families import family
from stsflora.solver import Problem
from stsflora.solver.conic.data import (
    MEMORY,
    PIECES,
    TANGENTS,
    Centre,
    coefficients,
    least_snr,
    retained,
)
from stsflora.solver.conic.engines import ENGINES
from stsflora.solver.conic.program import Programs
from stsflora.solver.physics.demand import Demand
from stsflora.solver.primal.rounding import best_common_tokens

pytest.importorskip("cvxpy")

SEEDS = st.integers(0, 2**32 - 1)


def any_problem(seed: int) -> Problem:
    """Feasible, one overhead and no deadlines, so that both forms apply."""
    problem = feasible_problem(np.random.default_rng(seed))
    return replace(problem, deadline_s=np.full(problem.clients, np.inf), overhead_s=problem.overhead_s[:1])


def centre_of(problem: Problem) -> Centre:
    point = best_common_tokens(Demand(problem))
    return Centre(point.tokens.astype(float), point.round_s)


def all_tokens(problem: Problem) -> np.ndarray:
    return np.full(problem.clients, problem.tokens)


@given(SEEDS)
def test_the_centre_meets_every_row_with_all_variables_one(seed: int) -> None:
    problem = any_problem(seed)
    centre = centre_of(problem)
    data, _ = coefficients(Demand(problem), centre, all_tokens(problem), joint=True)
    for j in range(TANGENTS.size + MEMORY):
        assert (data[f"cut_area_{j}"] + data[f"cut_energy_{j}"] >= 1 - 1e-12).all()
    touching = TANGENTS.size // 2
    np.testing.assert_allclose(data[f"cut_area_{touching}"] + data[f"cut_energy_{touching}"], 1, rtol=1e-9)
    pieces = [data[f"piece_slope_{j}"] + data[f"piece_start_{j}"] for j in range(PIECES.size + 2 * MEMORY)]
    kept = retained(Demand(problem), centre.tokens)
    np.testing.assert_allclose(np.min(pieces, axis=0), kept / kept.mean(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(data["noise_share"] + data["signal_share"], 1)
    np.testing.assert_allclose(data["slot_constant"] + data["slot_slope"], 1, atol=1e-9)
    power = data["power_constant"] + data["power_slope"]
    np.testing.assert_allclose(np.minimum(power, data["energy_limit"]), 1, rtol=1e-6)
    assert data["share"].sum() == pytest.approx(1, rel=1e-6)


@given(SEEDS, st.floats(0.01, 100), st.floats(0.01, 100))
def test_cuts_are_never_below_the_rate(seed: int, area: float, energy: float) -> None:
    problem = any_problem(seed)
    data, _ = coefficients(Demand(problem), centre_of(problem), all_tokens(problem), joint=True)
    snr = np.expm1(data["log_snr"])
    rate = area * np.log1p(snr * energy / area) / data["log_snr"]
    for j in range(TANGENTS.size + MEMORY):
        cut = data[f"cut_area_{j}"] * area + data[f"cut_energy_{j}"] * energy
        assert (cut >= rate * (1 - 1e-9)).all()


@given(SEEDS)
def test_pieces_and_chords_hold_at_every_whole_count(seed: int) -> None:
    problem = any_problem(seed)
    demand, centre = Demand(problem), centre_of(problem)
    data, _ = coefficients(demand, centre, all_tokens(problem), joint=False)
    sent = centre.tokens + problem.extra_tokens
    mean = retained(demand, centre.tokens).mean()
    at_centre = demand.area(centre.tokens, demand.slot_s(centre.round_s))[0]
    for count in range(1, problem.tokens + 1):
        tokens = np.full(problem.clients, count)
        allowed = tokens >= problem.min_tokens
        area = demand.area(tokens, demand.slot_s(centre.round_s))[0] / at_centre
        allowed_area = allowed & np.isfinite(area)
        r = (tokens + problem.extra_tokens) / sent
        for j in range(PIECES.size):
            line = data[f"piece_slope_{j}"] * r + data[f"piece_start_{j}"]
            assert (line >= demand.utility(tokens) / mean - 1e-9)[allowed].all()
            with np.errstate(invalid="ignore"):
                chord = data[f"cut_area_{j}"] * area + data[f"cut_energy_{j}"]
            assert (chord >= r * (1 - 1e-9))[allowed_area].all()


def test_fractional_attention_interpolates() -> None:
    problem = family("paper", 3, 0, tokens=8)
    demand = Demand(problem)
    between = retained(demand, np.array([1.5, 2.0, 7.25]))
    low, high = demand.utility(np.array([1, 2, 7])), demand.utility(np.array([2, 3, 8]))
    np.testing.assert_allclose(between, low + np.array([0.5, 0.0, 0.25]) * (high - low))
    np.testing.assert_allclose(retained(demand, np.full(3, 8.0)), demand.utility(np.full(3, 8)))


def test_the_least_snr_is_the_smallest() -> None:
    problem = family("paper", 4, 0)
    centre = centre_of(problem)
    demand = Demand(problem)
    slot = demand.slot_s(centre.round_s)
    area, _ = demand.area(centre.tokens, slot)
    assert least_snr(demand, centre) == pytest.approx((demand.energy_over_noise(slot) / area).min())


@pytest.mark.parametrize("joint", [True, False])
def test_cone_and_cuts_agree(joint: bool) -> None:
    problem = family("paper", 4, 1, tokens=32, overhead_s=0.05)
    demand, programs = Demand(problem), Programs()
    values = []
    for engine, form in (("clarabel", "cone"), ("clarabel", "cuts"), ("ecos", "cuts"), ("highs", "cuts")):
        program = programs.get(problem.clients, ENGINES[engine], form, joint)
        centre, earlier = centre_of(problem), []
        for _ in range(6):
            solution = program.solve(demand, centre, all_tokens(problem), np.inf, earlier)
            assert not isinstance(solution, str), solution
            earlier = [*earlier, centre]
            round_s = demand.least_round_s(solution.tokens) if joint else centre.round_s
            centre = Centre(solution.tokens, round_s)
        values.append((solution.ste, solution.price))
    # At a fixed round time the cuts are chords between whole counts: a little tighter than the cone.
    np.testing.assert_allclose(values, np.broadcast_to(values[0], (4, 2)), rtol=1e-3)
    assert len(programs) == 4


@pytest.mark.parametrize("form", ["cone", "cuts"])
@pytest.mark.parametrize("joint", [True, False])
def test_programs_are_parametrised(form: str, joint: bool) -> None:
    programs = Programs()
    program = programs.get(3, ENGINES["clarabel"], form, joint)
    assert program.problem.is_dpp()
    assert programs.get(3, ENGINES["clarabel"], form, joint) is program
    assert programs.get(4, ENGINES["clarabel"], form, joint) is not program


def test_no_engine_starts_once_the_compilation_has_used_up_the_time() -> None:
    problem = family("paper", 3, 0, tokens=8)
    program = Programs().get(3, ENGINES["clarabel"], "cone", True)
    said = program.solve(Demand(problem), centre_of(problem), all_tokens(problem), 0.0)
    assert said == "not started, the time was up"


def test_a_program_taken_is_nobody_elses_until_it_is_brought_back() -> None:
    programs, engine = Programs(), ENGINES["clarabel"]
    program = programs.get(3, engine, "cone", True)
    assert programs.take(3, engine, "cone", True) is program
    assert programs.take(3, engine, "cone", True) is not program
    programs.keep(program)
    assert programs.get(3, engine, "cone", True) is program


def test_an_engine_without_an_answer_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = family("paper", 3, 0, tokens=8)
    program = Programs().get(3, ENGINES["clarabel"], "cone", True)
    refused = {"get_problem_data.return_value": ({}, MagicMock(), [])}
    monkeypatch.setattr(program, "problem", MagicMock(status="infeasible", **refused))
    said = program.solve(Demand(problem), centre_of(problem), all_tokens(problem), np.inf)
    assert said == "no point, infeasible"
    broken = {"get_problem_data.side_effect": RuntimeError("licence expired. Call us")}
    monkeypatch.setattr(program, "problem", MagicMock(**broken))
    said = program.solve(Demand(problem), centre_of(problem), all_tokens(problem), np.inf)
    assert said == "RuntimeError: licence expired"
