"""What the engines are called, and what they are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stsflora.solver import MissingDependencyError
from stsflora.solver.conic.engines import ENGINES, FORMS


def test_every_engine_has_a_form_it_can_solve() -> None:
    for name, engine in ENGINES.items():
        assert engine.name == name
        assert engine.form in FORMS
        assert engine.conic or engine.form == "cuts"


def test_a_missing_engine_says_how_to_get_it() -> None:
    absent = replace(ENGINES["mosek"], package="no_such_package")
    assert not absent.available
    with pytest.raises(MissingDependencyError) as error:
        absent.require()
    assert str(error.value) == (
        "engine 'mosek': got no package no_such_package; allowed: an installed engine. "
        "Run pip install no_such_package, or choose another engine."
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ecos", {}),
        ("highs", {"time_limit": 2.5}),
        ("mosek", {"mosek_params": {"MSK_DPAR_OPTIMIZER_MAX_TIME": 2.5}}),
    ],
)
def test_time_limits_reach_the_engines_that_take_one(name: str, expected: dict[str, object]) -> None:
    assert ENGINES[name].options(2.5) == expected
    assert ENGINES[name].options(np.inf) == {}
