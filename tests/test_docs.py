"""The recipes in the documentation run as written."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.conformance import check_answer, check_infeasible
from helpers.pages import python_blocks
from helpers.paths import ROOT

from stsflora.benchmarks.families import families, family
from stsflora.solver import solve, solvers
from stsflora.solver.registry import lookup, unregister


def test_the_recipe_for_a_solver_passes_the_conformance_suite() -> None:
    (recipe,) = python_blocks(ROOT / "docs" / "add_a_solver.md")
    exec(recipe.replace("from ..", "from stsflora.solver."), {"__name__": "halves"})
    try:
        info = lookup("halves")
        assert info in solvers()
        for name in families():
            problem = family(name, 3, seed=0, tokens=10)
            if name == "infeasible":
                check_infeasible(info, problem)
            else:
                check_answer(info, problem, share=0.3)
        assert solve(family("paper", 3, 0), "halves").allocation is not None
    finally:
        unregister("halves")


def test_the_examples_of_the_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    solving, planning = python_blocks(ROOT / "README.md")
    exec(solving, {})
    printed = capsys.readouterr().out
    assert printed.startswith("exact: STE ")
    assert "optimal" in printed
    names: dict[str, Any] = {}
    exec(planning, names)
    assert set(names["plan"].grants) == {"ada", "bob"}
    assert names["plan"].quality == "optimal"


def test_the_published_problems_are_solved_with_a_proof() -> None:
    """Each block of the page, after its first, leaves a proved optimum, and is short."""
    setting, *blocks = python_blocks(ROOT / "docs" / "problems.md")
    names: dict[str, Any] = {}
    exec(setting, names)
    assert len(blocks) == 10
    for number, block in enumerate(blocks, start=1):
        assert block.count("\n") <= 20
        exec(block, names)
        results = names.pop("results", [names["result"]])
        for result in results:
            assert result.quality == "optimal", (number, str(result))
