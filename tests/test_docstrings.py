"""Every exported name has an example in its docstring, and the examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

PACKAGES = ("stsflora", "stsflora.solver")
NAMES = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda part: str(part))
def test_the_example_of_an_exported_name_runs(package: str, name: str) -> None:
    exported = getattr(importlib.import_module(package), name)
    if isinstance(exported, str):  # __version__
        return
    text = inspect.getdoc(exported)
    assert text, f"{name} has no docstring"
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, f"{name} has no example"
    assert doctest.DocTestRunner(optionflags=FLAGS).run(example).failed == 0


@pytest.mark.parametrize(
    "module", ["stsflora", "stsflora.solver.physics.bracket"], ids=lambda module: module.rpartition(".")[2]
)
def test_examples_of_modules_and_others_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert result.attempted
    assert result.failed == 0
