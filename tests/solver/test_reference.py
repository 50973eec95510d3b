"""The reference instances against exhaustive search."""

from __future__ import annotations

import pytest
from helpers.instances import brute_force

from stsflora.solver.reference import Reference, references


@pytest.mark.parametrize("reference", references(), ids=lambda reference: reference.name)
def test_the_optimum_is_known(reference: Reference) -> None:
    ste, _ = brute_force(reference.problem)
    assert ste == pytest.approx(reference.ste, rel=1e-12)


def test_names_are_unique() -> None:
    names = [reference.name for reference in references()]
    assert len(set(names)) == len(names) >= 8
