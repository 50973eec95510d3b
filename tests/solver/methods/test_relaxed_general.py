"""`relaxed` beyond the token problem: its bounds hold whatever engines say, and are near for many clients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.conformance import beyond
from helpers.general import feasible_general
from helpers.instances import small_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.benchmarks.families import family
from stsflora.solver import Energy, Problem, Quality, Retained, RoundTime, Stop, Weighted, solve
from stsflora.solver.conic.engines import ENGINES
from stsflora.solver.conic.program import Programs
from stsflora.solver.conic.round_bounds import RoundBounds
from stsflora.solver.conic.round_data import Hulls, RoundCentre
from stsflora.solver.conic.round_program import RoundProgram, RoundSolution

pytest.importorskip("cvxpy")

FEATURES = ("utility", "token_limits", "skip", "before_j", "caps")
OBJECTIVES = ("retained", "round_time", "weighted", "energy")


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(OBJECTIVES), st.sampled_from(["clarabel", "ecos", "highs"]))
def test_bounds_and_answers_bracket_exhaustive_search(seed: int, objective: str, engine: str) -> None:
    rng = np.random.default_rng(seed)
    features = tuple(name for name in FEATURES if rng.random() < 0.4)
    if objective in {"round_time", "energy"} and rng.random() < 0.6:
        features = (*features, "requirement")
    problem, best = feasible_general(rng, objective, int(rng.integers(1, 3)), 3, features)
    result = solve(problem, "relaxed", engine=engine)
    assert result.stop is not Stop.ERROR, result.message
    assert "withdrawn" not in result.message
    assert not beyond(problem, best, result.bound, 1e-9)
    if result.evaluation is not None:
        assert result.evaluation.feasible
        assert not beyond(problem, result.value, best, 1e-6 * max(1.0, 1.0 / abs(best)))


def wanted(problem: Problem) -> list[Problem]:
    """The same round for every objective, around its best STE."""
    best = solve(problem)
    assert best.evaluation is not None
    round_s, kept = best.evaluation.round_s, float(best.evaluation.retained.sum())
    joules = float(best.evaluation.energy_j.sum())
    objectives = (
        Retained(1.3 * round_s),
        RoundTime(kept),
        Weighted(0.5 * kept / round_s),
        Weighted(0.4 * kept / round_s, 0.1 * kept / joules),
        Energy(2.0 * round_s, kept),
        Energy(2.0 * round_s),
    )
    return [replace(problem, objective=objective) for objective in objectives]


@pytest.mark.parametrize("engine", ["clarabel", "highs"])
def test_many_clients_leave_a_small_gap(engine: str) -> None:
    for problem in wanted(family("round_time", 20, 0, tokens=32)):
        result = solve(problem, "relaxed", engine=engine)
        assert result.quality is not Quality.INFEASIBLE
        assert result.gap <= 5e-3, problem.objective
        assert result.stats["fallbacks"] == ()
        best = solve(problem, gap=1e-3)
        assert not beyond(problem, best.value, result.bound, 1e-9)


def test_fixed_payloads_at_a_deadline_are_one_program() -> None:
    """Yang et al.'s problem: convex, one price, and the engine's price proves it."""
    problem = family("paper", 10, 0)
    fixed = replace(
        problem, max_tokens=problem.min_tokens, objective=Energy(3.0 * solve(problem).evaluation.round_s)
    )
    result = solve(fixed, "relaxed", gap=1e-6)
    assert (result.quality, result.stats["programs"]) == (Quality.OPTIMAL, 1)


@given(st.floats(-3, 3), st.floats(-3, 3), st.sampled_from(OBJECTIVES), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_lies_of_an_engine_never_reach_the_bound(
    price: float, worth: float, objective: str, seed: int
) -> None:
    def lie(
        self: RoundProgram, hulls: Hulls, centre: RoundCentre, bandwidth_hz: float, *_: Any
    ) -> RoundSolution | str:
        nats = np.random.default_rng(seed).uniform(hulls.nats[:, 0], hulls.nats.max(axis=1))
        unit = hulls.utility.max() / bandwidth_hz
        return RoundSolution(nats, centre.area, float(unit * 10**price), float(10**worth), "optimal")

    rng = np.random.default_rng(seed)
    features = ("requirement",) if objective in {"round_time", "energy"} else ()
    problem, best = feasible_general(rng, objective, 2, 2, features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundProgram, "solve", lie)
        result = solve(problem, "relaxed", time_limit_s=2.0)
    assert not beyond(problem, best, result.bound, 1e-9)


def test_when_all_engines_fail_an_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoundProgram, "solve", lambda *_: "no point, infeasible")
    result = solve(small_problem(objective=Retained(0.1)), "relaxed")
    assert result.quality is Quality.FEASIBLE
    assert result.stop is Stop.ERROR
    assert result.bound == np.inf
    assert result.message.endswith("no engine gave a bound.")


def test_programs_are_kept_by_their_kind() -> None:
    programs = Programs()
    for objective in (Retained(0.2), Retained(0.3), Energy(0.3), Energy(0.4, retained=5.0)):
        solve(small_problem(objective=objective), "relaxed", programs=programs)
    kinds = {key[3:] for key in programs._programs}
    assert kinds == {(False, False), (True, False), (True, True)}


def test_what_is_out_of_reach_is_proved() -> None:
    problem = small_problem(deadline_s=0.08, objective=RoundTime(retained=25.0))
    result = solve(problem, "relaxed")
    assert result.allocation is None
    assert (result.stop, result.bound) == (Stop.INFEASIBLE, np.inf)


def test_both_forms_give_nearly_the_same_prices() -> None:
    for problem in wanted(family("heterogeneous", 5, 1, tokens=24))[:1]:
        bounds = RoundBounds(problem)
        found = []
        for engine, form in (("clarabel", "cone"), ("ecos", "cuts"), ("highs", "cuts")):
            result = solve(problem, "relaxed", engine=engine, form=form)
            found.append(result.bound)
            assert ENGINES[engine].available
        assert max(found) <= min(found) * (1 + 1e-3)
        assert bounds.most_utility(problem.objective.longest_round_s, 0.0) >= min(found)
