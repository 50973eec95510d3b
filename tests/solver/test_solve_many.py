"""`solve_many` gives what `solve` gives, problem by problem, with and without a compiler."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from stsflora.benchmarks.families import family
from stsflora.solver import Problem, ProblemError, Quality, Request, Stop, precompile, solve, solve_many
from stsflora.solver.methods.exact import exact
from stsflora.solver.physics import jit
from stsflora.solver.physics.instance import instance_of
from stsflora.solver.primal.whole_search import whole_search

FAMILIES = ("paper", "round_time", "deadline_tight", "flat", "heterogeneous")


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loops and searches run as plain Python."""
    monkeypatch.setattr(jit._State, "mode", jit.Mode.PLAIN)
    whole_search.cache_clear()
    yield
    whole_search.cache_clear()


def cells() -> list[Problem]:
    """Small problems of unequal sizes."""
    return [family(name, 3 + seed, seed, tokens=6 + seed) for name in FAMILIES for seed in range(2)]


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
def test_the_compiled_search_answers_as_its_text_does_and_halts_when_told_to() -> None:
    """One test, since compiling takes a minute: figures agree bit by bit, on one thread and on two."""
    problems = cells()
    text = [exact(problem, Request()) for problem in problems]
    precompile()
    assert whole_search().is_ready()
    for jobs in (1, 2):
        for problem, result, answer in zip(problems, solve_many(problems, jobs=jobs), text, strict=True):
            assert result.problem is problem
            assert result.quality is Quality.OPTIMAL
            assert (result.claimed_value, result.bound) == (answer.claimed_value, answer.bound)
            np.testing.assert_array_equal(result.allocation.tokens, answer.allocation.tokens)
    for problem, answer in zip(problems, text, strict=True):  # `solve` uses it now
        assert solve(problem).bound == answer.bound
    found = whole_search()(instance_of(problems[2]), 1e-9, 2000, np.zeros(1, np.int64))
    assert found.ste > 0.0
    assert found.stop != 0
    hard = family("deadline_tight", 400, 0, tokens=196)
    started = time.perf_counter()
    (halted,) = solve_many([hard], gap=1e-9, time_limit_s=1e-3)
    assert halted.stop is Stop.TIME_LIMIT
    assert halted.evaluation is not None
    assert halted.evaluation.feasible
    assert halted.ste <= halted.bound < math.inf
    assert time.perf_counter() - started < 30.0  # it ends


@pytest.mark.usefixtures("without_compiler")
def test_without_a_compiler_answers_are_the_same() -> None:
    """The text runs as it is."""
    problems = cells()[:4]
    assert [result.bound for result in solve_many(problems)] == [solve(problem).bound for problem in problems]


@pytest.mark.usefixtures("without_compiler")
def test_an_infeasible_member_is_a_result_among_others() -> None:
    """With its diagnosis, in its place."""
    good, bad = family("paper", 3, 0), family("infeasible", 3, 0)
    results = solve_many([good, bad, good])
    assert [result.stop for result in results] == [Stop.CONVERGED, Stop.INFEASIBLE, Stop.CONVERGED]
    assert results[1].diagnosis == solve(bad).diagnosis


@pytest.mark.usefixtures("without_compiler")
def test_nothing_is_solved_where_a_member_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named by its place before the first solve."""
    module = import_module("stsflora.solver.solve_many")
    monkeypatch.setattr(module, "diagnose", lambda problem: pytest.fail("solved"))
    with pytest.raises(ProblemError, match="dict at place 1"):
        solve_many([family("paper", 3, 0), {}])  # type: ignore[list-item]
    assert solve_many([]) == []


def test_a_search_compiled_from_other_texts_is_not_taken(tmp_path: Path) -> None:
    """The mark of what is in the cache carries a digest of the texts."""
    text = tmp_path / "text.py"
    names = []
    for content in ("a", "b", "a"):
        text.write_text(content)
        names.append(jit.Whole(abs, [text])._title)
    assert names[0] == names[2] != names[1]
