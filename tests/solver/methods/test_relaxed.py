"""`relaxed`: certified on every family by every engine, whatever the engines say."""

from __future__ import annotations

import time
from threading import Thread
from typing import Any

import numpy as np
import pytest
from helpers.instances import brute_force, feasible_problem, small_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.benchmarks.families import fading_sequence, families, family
from stsflora.solver import (
    MissingDependencyError,
    OptionError,
    Problem,
    Quality,
    Stop,
    solve,
)
from stsflora.solver.conic.data import Centre
from stsflora.solver.conic.engines import ENGINES, ConicEngine
from stsflora.solver.conic.program import ConvexProgram, Programs, Solution
from stsflora.solver.physics.demand import Demand

pytest.importorskip("cvxpy")

FEASIBLE = [name for name in families() if name != "infeasible"]
INSTALLED = [name for name, engine in ENGINES.items() if engine.available]


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize("name", FEASIBLE)
def test_every_family_is_certified(name: str, engine: str) -> None:
    problem = family(name, 4, 1, tokens=24)
    result = solve(problem, "relaxed", engine=engine)
    assert result.stop is Stop.CONVERGED
    assert result.quality is Quality.OPTIMAL
    assert result.gap <= 1e-4
    exact = solve(problem, "exact", gap=1e-6)
    assert result.bound >= exact.ste * (1 - 1e-9)
    assert result.ste <= exact.bound * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["clarabel", "ecos"])
@pytest.mark.parametrize("clients", [1, 5, 20, 50, 100, 200])
def test_all_sizes_are_certified_without_fallbacks(clients: int, engine: str) -> None:
    for name in FEASIBLE:
        result = solve(family(name, clients, 0), "relaxed", engine=engine)
        assert (result.gap <= 1e-4, result.message) == (True, ""), name


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["clarabel", "ecos"]))
def test_bounds_bracket_brute_force(seed: int, engine: str) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 4)), int(rng.integers(1, 6)))
    result = solve(problem, "relaxed", engine=engine)
    best, _ = brute_force(problem)
    assert result.stop is Stop.CONVERGED, result.message
    assert result.ste <= best * (1 + 1e-9)
    assert result.bound >= best * (1 - 1e-9)
    assert result.gap <= 1e-4


def test_the_two_formulations_and_the_forms_agree() -> None:
    problem = family("paper", 5, 2, tokens=32)
    results = [
        solve(problem, "relaxed", engine=engine, form=form, joint=joint)
        for engine, form in (("clarabel", "cone"), ("ecos", "cuts"), ("highs", "cuts"))
        for joint in (True, False)
    ]
    assert max(result.ste for result in results) <= min(result.bound for result in results)
    assert max(result.gap for result in results) <= 1e-4
    assert [result.stats["fallbacks"] for result in results] == [()] * 6
    claims = [result.stats["relaxation_ste"] for result in results]
    assert claims[1::2] == [None] * 3
    np.testing.assert_allclose(claims[::2], claims[0], rtol=1e-4)


def test_a_smaller_gap_is_honoured() -> None:
    result = solve(family("heterogeneous", 6, 0), "relaxed", gap=1e-6)
    assert result.gap <= 1e-6
    assert result.quality is Quality.OPTIMAL


def test_an_engine_that_fails_is_named_with_its_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ConvexProgram.solve

    def refuse(self: ConvexProgram, *arguments: Any) -> Solution | str:
        return "no point, infeasible" if self.engine.name == "clarabel" else answer(self, *arguments)

    monkeypatch.setattr(ConvexProgram, "solve", refuse)
    result = solve(family("paper", 4, 0), "relaxed")
    assert result.quality is Quality.OPTIMAL
    assert result.message == (
        "clarabel (cone) failed or was inaccurate; clarabel (cuts), then highs (cuts) took over."
    )
    assert result.stats["engine"] == "clarabel"
    assert result.stats["fallbacks"] == ("clarabel (cuts)", "highs (cuts)")
    assert "no point, infeasible" in result.stats["statuses"]


def test_when_all_engines_fail_a_feasible_point_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConvexProgram, "solve", lambda *_: "no point, infeasible")
    result = solve(family("paper", 4, 0), "relaxed")
    assert result.quality is Quality.FEASIBLE
    # All attention over the least round time, which no engine has to say.
    assert result.ste < result.bound < np.inf
    assert result.stop is Stop.ERROR
    assert result.message.endswith("no engine gave a bound.")


@given(st.floats(-3, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_lies_of_an_engine_never_reach_the_bound(log_price: float, seed: int) -> None:
    def lie(self: ConvexProgram, demand: Demand, centre: Centre, most: np.ndarray, *_: Any) -> Solution | str:
        tokens = np.random.default_rng(seed).uniform(demand.problem.min_tokens, most)
        price = demand.utility(demand.problem.min_tokens).sum() / demand.problem.bandwidth_hz / centre.round_s
        return Solution(tokens, centre.round_s, float(price * 10**log_price), 1e9, "optimal")

    problem = small_problem()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConvexProgram, "solve", lie)
        result = solve(problem, "relaxed", time_limit_s=2.0)
    best, _ = brute_force(problem)
    assert result.bound >= best * (1 - 1e-9)
    assert result.quality in {Quality.FEASIBLE, Quality.OPTIMAL}


def test_programs_are_reused_from_round_to_round() -> None:
    programs = Programs()
    sizes = []
    for problem in fading_sequence(5, 3, seed=0, correlation=0.99):
        kept = solve(problem, "relaxed", programs=programs)
        anew = solve(problem, "relaxed")
        np.testing.assert_array_equal(kept.allocation.tokens, anew.allocation.tokens)
        assert kept.bound == pytest.approx(anew.bound, rel=1e-6)
        sizes.append(len(programs))
    assert sizes[0] == sizes[-1]


def test_the_time_limit_leaves_a_feasible_point() -> None:
    result = solve(family("round_time", 20, 0), "relaxed", engine="ecos", time_limit_s=1e-3)
    assert result.stop is Stop.TIME_LIMIT
    assert result.quality is Quality.FEASIBLE
    assert result.bound >= result.ste


def test_an_engine_that_overruns_the_limit_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConvexProgram, "solve", lambda *_: time.sleep(30.0))
    programs = Programs()
    started = time.perf_counter()
    result = solve(family("paper", 4, 0), "relaxed", time_limit_s=0.1, programs=programs)
    assert time.perf_counter() - started < 10.0
    assert result.stop is Stop.TIME_LIMIT
    assert result.quality is Quality.FEASIBLE
    assert result.message == "clarabel (cone) overran the time limit by 0.5 s and was left behind."
    assert len(programs) == 0  # it is still in use


def test_an_interrupt_leaves_solve_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Thread, "join", interrupted)
    monkeypatch.setattr(ConvexProgram, "solve", lambda *_: time.sleep(30.0))
    programs = Programs()
    with pytest.raises(KeyboardInterrupt):
        solve(family("paper", 4, 0), "relaxed", programs=programs)
    assert len(programs) == 0


def test_many_clients_are_solved_by_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConvexProgram, "solve", lambda *_: "no point, infeasible")
    forms = [solve(family("paper", clients, 0), "relaxed").stats["form"] for clients in (300, 301)]
    assert forms == ["cone", "cuts"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"engine": "gurobi"},
            "solver 'relaxed': got engine='gurobi'; allowed: clarabel or ecos or scs or mosek or highs. "
            "Name one of these.",
        ),
        (
            {"form": "dqcp"},
            "solver 'relaxed': got form='dqcp'; allowed: auto or cone or cuts. Name one of these.",
        ),
        (
            {"engine": "highs", "form": "cone"},
            "solver 'relaxed': got form='cone' for engine 'highs'; allowed: 'cuts'. "
            "It has no exponential cones.",
        ),
        ({"joint": 1}, "solver 'relaxed': got joint=1; allowed: True or False. Leave it out."),
        (
            {"programs": {}},
            "solver 'relaxed': got programs of type dict; allowed: a Programs object. Leave it out.",
        ),
    ],
)
def test_bad_options_get_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as error:
        solve(small_problem(), "relaxed", **options)
    assert str(error.value) == sentence


def test_a_missing_engine_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConicEngine, "available", property(lambda self: self.name != "mosek"))
    with pytest.raises(MissingDependencyError) as error:
        solve(small_problem(), "relaxed", engine="mosek")
    assert str(error.value) == (
        "engine 'mosek': got no package mosek; allowed: an installed engine. "
        "Run pip install mosek, or choose another engine."
    )


def test_infeasible_instances_never_reach_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConvexProgram, "solve", lambda *_: pytest.fail("an engine was called"))
    problem: Problem = family("infeasible", 3, 0)
    assert solve(problem, "relaxed").stop is Stop.INFEASIBLE
