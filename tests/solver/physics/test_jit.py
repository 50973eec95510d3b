"""Numba compiles the loops where it can; where it cannot, answers are the same and one warning is given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import ROOT

from stsflora.solver.physics import jit
from stsflora.solver.physics.jit import Loop, Mode

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")

SOLVES = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from stsflora.benchmarks.families import family
    from stsflora.solver import solve
    for name in ("paper", "deadline_tight", "heterogeneous"):
        result = solve(family(name, 4, 1, tokens=8), gap=1e-6)
        print(name, result.quality.value, *result.allocation.tokens, format(result.ste, ".9e"))
print(sum(issubclass(one.category, RuntimeWarning) and "stsflora" in str(one.message) for one in caught))
"""

NO_NUMBA = "import sys; sys.modules['numba'] = None\n"

NO_CACHE = """
import numba
njit = numba.njit
def refusing(*arguments, cache=False, **options):
    if cache:
        raise RuntimeError("cannot cache function: no locator available")
    return njit(*arguments, **options)
numba.njit = refusing
"""

FULL_DISK = """
import numba.core.caching
def full(*arguments):
    raise OSError("No space left on device")
numba.core.caching.Cache.save_overload = full
"""

BROKEN = """
import numba
def njit(*arguments, **options):
    def dispatcher(function):
        def run(*values):
            raise TypeError("the compiler is broken")
        return run
    return dispatcher
numba.njit = njit
"""


def answers_after(preparation: str, tmp_path: Path, **environment: str) -> tuple[list[str], int]:
    """Lines of three solves in a fresh interpreter, and how many warnings they gave."""
    finished = subprocess.run(
        [sys.executable, "-c", preparation + SOLVES],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.anchor,
        env={"PATH": "", "HOME": str(tmp_path), **environment},
    )
    assert finished.returncode == 0, finished.stderr
    *lines, warned = finished.stdout.splitlines()
    return lines, int(warned)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Answers as they should be."""
    lines, warned = answers_after("", tmp_path_factory.mktemp("home"))
    assert warned == (find_spec("numba") is None)
    assert all(" optimal " in line for line in lines)
    assert len(lines) == 3
    return lines


def test_without_numba_the_answers_are_the_same(expected: list[str], tmp_path: Path) -> None:
    assert answers_after(NO_NUMBA, tmp_path) == (expected, 1)


@needs_numba
@pytest.mark.parametrize(
    ("preparation", "warned"),
    [
        pytest.param(NO_CACHE, 1, id="no place for a cache"),
        pytest.param(FULL_DISK, 1, id="disk is full"),
        pytest.param(BROKEN, 1, id="compiler fails"),
    ],
)
def test_where_numba_fails_the_answers_are_the_same(
    preparation: str, warned: int, expected: list[str], tmp_path: Path
) -> None:
    found = answers_after(preparation, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert found == (expected, warned)


@needs_numba
def test_a_cache_that_cannot_be_written_changes_no_answer(expected: list[str], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    lines, _ = answers_after("", tmp_path, NUMBA_CACHE_DIR=str(blocked / "cache"))
    assert lines == expected


class FakeNumba:
    """Compiles by a function of (function, cache)."""

    def __init__(self, compile_it: Callable[[Any, bool], Any]) -> None:
        self.compile_it = compile_it
        self.calls: list[bool] = []

    def njit(self, cache: bool = False, **_: Any) -> Callable[[Any], Any]:
        self.calls.append(cache)
        return lambda function: self.compile_it(function, cache)


def use(monkeypatch: pytest.MonkeyPatch, numba: Any, mode: Mode) -> None:
    monkeypatch.setattr(jit._State, "mode", mode)
    monkeypatch.setattr(jit._State, "numba", numba)


def double(value: float) -> float:
    return 2.0 * value


def refuse(*_: Any) -> Any:
    raise ValueError("not compiled\nand why")


def test_plain_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None, Mode.PLAIN)
    loop = Loop(double)
    assert loop(3.0) == 6.0
    assert loop.function is double
    assert (loop.__name__, loop.__doc__) == ("double", None)


def test_missing_numba_warns_once_and_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    use(monkeypatch, None, Mode.CACHED)
    with pytest.warns(RuntimeWarning, match="numba or its cache fails .*Reinstall numba") as caught:
        assert [Loop(double)(value) for value in (1.0, 2.0)] == [2.0, 4.0]
    assert len(caught) == 1
    assert jit._State.mode is Mode.PLAIN


def no_place(function: Any, cache: bool) -> Any:
    if cache:
        raise RuntimeError("cannot cache")
    return function


@pytest.mark.parametrize(
    "compile_it", [no_place, lambda function, cache: refuse if cache else function], ids=["no place", "full"]
)
def test_a_failing_cache_is_left_out_by_all(monkeypatch: pytest.MonkeyPatch, compile_it: Any) -> None:
    numba = FakeNumba(compile_it)
    use(monkeypatch, numba, Mode.CACHED)
    loop, other = Loop(double), Loop(double)
    with pytest.warns(RuntimeWarning, match=r"cache fails.*NUMBA_CACHE_DIR") as caught:
        assert [each(value) for each, value in ((loop, 3.0), (loop, 4.0), (other, 5.0))] == [6.0, 8.0, 10.0]
    assert len(caught) == 1
    assert numba.calls == [True, False, False]


def test_a_failing_compiler_is_left_out_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = FakeNumba(lambda function, cache: refuse)
    use(monkeypatch, numba, Mode.CACHED)
    loop, other = Loop(double), Loop(double)
    with pytest.warns(RuntimeWarning, match=r"\(ValueError: not compiled\)") as caught:
        assert [each(value) for each, value in ((loop, 3.0), (loop, 4.0), (other, 5.0))] == [6.0, 8.0, 10.0]
    assert len(caught) == 1
    assert numba.calls == [True, False]


def test_an_error_of_the_plain_function_is_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeNumba(lambda function, cache: function), Mode.CACHED)
    with (
        pytest.warns(RuntimeWarning, match="ZeroDivisionError"),
        pytest.raises(ZeroDivisionError),
    ):
        Loop(lambda value: 1.0 / value)(0.0)


def test_memory_that_runs_out_is_not_numbas_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(value: float) -> float:
        raise MemoryError

    use(monkeypatch, FakeNumba(lambda function, cache: function), Mode.CACHED)
    with pytest.raises(MemoryError):
        Loop(exhausted)(0.0)
    assert jit._State.mode is Mode.CACHED


@needs_numba
def test_a_loop_is_compiled_anew_when_a_file_changes_whose_loops_it_calls(tmp_path: Path) -> None:
    """numba's cache looks at one file only: the other one's text is part of the key."""
    package = tmp_path / "pair"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(
        "from stsflora.solver.physics.jit import compiled\n@compiled\ndef base(x):\n    return x + 1.0\n"
    )
    (package / "two.py").write_text(
        "from stsflora.solver.physics.jit import compiled_on\nfrom . import one\nfrom .one import base\n"
        "@compiled_on(one)\ndef twice(x, by=2.0):\n    return base(x) * by\n"
    )
    code = (
        "from pair.two import twice\nprint(twice(1.0), twice.function(1.0))\n"
        "stats = twice.dispatcher().stats\nprint(len(stats.cache_hits), len(stats.cache_misses))"
    )

    def answers() -> list[str]:
        finished = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        return finished.stdout.split()

    assert answers() == ["4.0", "4.0", "0", "1"]
    assert answers() == ["4.0", "4.0", "1", "0"]
    (package / "one.py").write_text((package / "one.py").read_text().replace("1.0", "5.0"))
    assert answers() == ["12.0", "12.0", "0", "1"]
