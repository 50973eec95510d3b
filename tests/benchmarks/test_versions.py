"""Rows of edited code are told from older ones, and only of code that makes rows."""

import shutil
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from helpers.imports import SOURCES, arrows
from helpers.paths import ROOT

from stsflora.benchmarks.versions import digest_of, source_digest, versions_for
from stsflora.solver.registry import lookup


def test_versions_name_what_a_solver_depends_on():
    info = replace(lookup("equal"), needs=("joblib",), extra="convex")
    assert {"python", "stsflora", "numpy", "scipy"} <= set(versions_for(lookup("equal")))
    assert versions_for(info)["numpy"] == np.__version__
    assert ("cvxpy" in versions_for(info)) == (find_spec("cvxpy") is not None)
    assert "cvxpy" not in versions_for(lookup("equal"))


def test_edited_sources_have_another_digest(tmp_path):
    source = tmp_path / "a.py"
    source.write_text("x = 1")
    before = digest_of([source])
    source.write_text("x = 2")
    assert before != digest_of([source]) != digest_of([])


@pytest.fixture
def copy(tmp_path):
    """A copy of our folders."""
    for folder in ("benchmarks", "solver", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_digest_depends_on_contents_and_not_on_links(copy, tmp_path):
    here = source_digest(ROOT)
    assert source_digest(copy) == here
    linked = tmp_path / "linked"
    for file in copy.rglob("*.py"):
        link = linked / file.relative_to(copy)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    assert source_digest(linked) == here


@pytest.mark.parametrize(
    ("place", "inside"),
    [
        ("solver/methods/exact.py", True),
        ("solver/physics/uplink.py", True),
        ("models/cell/fading.py", True),
        ("benchmarks/families.py", True),
        ("benchmarks/job.py", True),
        ("benchmarks/report/tables.py", False),
        ("benchmarks/studies/drop_in.py", False),
        ("benchmarks/suites/named.py", False),
        ("models/vit/split.py", False),
    ],
)
def test_what_makes_rows_is_inside_the_border_and_nothing_else(copy, place, inside):
    before = source_digest(copy)
    file = copy / place
    file.write_bytes(file.read_bytes() + b"# edited\n")
    assert (source_digest(copy) != before) == inside


def test_a_new_solver_is_inside_and_a_new_report_outside(copy):
    before = source_digest(copy)
    (copy / "benchmarks" / "report" / "new.py").write_text("x = 1")
    assert source_digest(copy) == before
    (copy / "solver" / "methods" / "new.py").write_text("x = 1")
    assert source_digest(copy) != before


def test_what_makes_rows_imports_nothing_from_outside_the_border():
    """But checks of arguments, which refuse and change nothing."""
    outside = set()
    for path in SOURCES:
        parts = path.relative_to(ROOT).parts
        if parts[0] == "solver" or parts[:2] == ("models", "cell") or parts[:-1] == ("benchmarks",):
            outside |= {
                target
                for target in arrows(path)
                if target[0] != "solver"
                and target[:2] != ("models", "cell")
                and not (target[0] == "benchmarks" and len(target) == 2)
            }
    assert outside <= {("models", "arguments")}
