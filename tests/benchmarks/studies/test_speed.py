"""The speed study compares like with like: the same instances, each solver in an interpreter of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.paths import ROOT

from stsflora.benchmarks.families import family
from stsflora.benchmarks.studies.speed import HERE, main, solver_of
from stsflora.benchmarks.studies.speed_worker import answer
from stsflora.solver import OptionError, SolverFailedError, solve


def test_two_checkouts_solve_the_same_instances(tmp_path: Path) -> None:
    problems = [family("deadline_tight", 3, seed) for seed in range(2)]
    paths = [tmp_path / f"{seed}.npz" for seed in range(2)]
    for problem, path in zip(problems, paths, strict=True):
        problem.save(path)
    stes = [solve(problem).ste for problem in problems]
    with solver_of(HERE) as this, solver_of(ROOT) as other:
        for ask in (this, other):
            timed = ask(paths)
            assert timed.values == pytest.approx(stes, rel=1e-4)
            assert timed.solved == 2
            assert timed.seconds > 0


@pytest.mark.parametrize(("part", "lines"), [("solve", 2), ("many", 2), ("million", 1)])
@pytest.mark.parametrize("other", [None, ROOT])
def test_every_part_is_a_table(
    capsys: pytest.CaptureFixture[str], part: str, lines: int, other: Path | None
) -> None:
    main(part, other, families="paper,flat", clients="2", seeds=1, repeats=1, cells=2, crowd=500)
    head, rule, *rows = capsys.readouterr().out.strip().splitlines()
    assert {row.count("|") for row in (head, rule, *rows)} == {head.count("|")}
    assert ("other" in head) == (other is not None)
    assert len(rows) == lines
    for row in rows:
        proved = next(cell for cell in row.split(" | ") if " of " in cell).split(" of ")
        assert proved[0] == proved[1]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(OptionError, match="got part='all'; allowed: solve, many, million, peers"):
        main("all")


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as raised, solver_of(tmp_path):
        pass
    assert str(raised.value) == (
        f"speed: got --other {str(tmp_path)!r} without solver/__init__.py; "
        "allowed: the folder of a checkout of this project. Make one by git worktree add FOLDER COMMIT."
    )


def test_a_checkout_that_does_not_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "solver").mkdir()
    (tmp_path / "solver" / "__init__.py").write_text("raise ImportError('of another time')")
    with solver_of(tmp_path) as ask, pytest.raises(SolverFailedError) as raised:
        ask([])
    assert raised.value.who == f"speed, the solver of {tmp_path}"


def test_the_first_of_two_solves_is_not_timed() -> None:
    """Every solve has an instance of its own: nothing kept from the first helps the second."""
    solved: list[object] = []

    class Solver:
        class Problem:
            @staticmethod
            def load(path: str) -> object:
                return object()

        @staticmethod
        def solve_many(problems: list[object], gap: float, jobs: int) -> list[object]:
            solved.extend(problems)
            return []

    request = {"paths": ["a", "b"], "clock": "process_time", "gap": 1e-4, "many": True}
    assert answer(Solver, request)["values"] == []
    assert len(set(solved)) == 4
