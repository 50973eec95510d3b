"""The reference instances against exhaustive search."""

from __future__ import annotations

import pytest
from helpers.general import brute_force_general
from helpers.instances import brute_force

from stsflora.solver.objective import OBJECTIVES
from stsflora.solver.reference import Reference, references
from stsflora.solver.registry import EVERYTHING, features_of


@pytest.mark.parametrize("reference", references(), ids=lambda reference: reference.name)
def test_the_optimum_is_known(reference: Reference) -> None:
    value, _ = brute_force_general(reference.problem)
    assert value == pytest.approx(reference.value, rel=1e-10)
    if reference.problem.is_plain:
        ste, _ = brute_force(reference.problem)
        assert ste == pytest.approx(reference.value, rel=1e-12)


def test_names_are_unique() -> None:
    names = [reference.name for reference in references()]
    assert len(set(names)) == len(names) >= 8


def test_every_objective_and_feature_has_one() -> None:
    problems = [reference.problem for reference in references()]
    assert {problem.objective.name for problem in problems} == set(OBJECTIVES)
    assert frozenset().union(*(features_of(problem) for problem in problems)) == EVERYTHING
