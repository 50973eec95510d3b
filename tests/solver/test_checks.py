"""Option checks: what passes comes back clean, the rest is refused in words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from stsflora.solver import OptionError
from stsflora.solver.checks import choice, choices, real_number, whole_number


def test_good_values_come_back_clean() -> None:
    assert whole_number("who", "count", np.int32(3), 1) == 3
    assert type(whole_number("who", "count", np.int32(3), 1)) is int
    assert real_number("who", "width", np.float32(0.5)) == 0.5
    assert real_number("who", "width", 2) == 2.0
    assert choice("who", "rule", "a", ("a", "b")) == "a"
    assert choices("who", "rules", "a", ("a", "b")) == ("a",)
    assert choices("who", "rules", ["b", "a", "b"], ("a", "b")) == ("b", "a", "b")
    assert choices("who", "rules", (), ("a", "b")) == ()


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None, math.nan])
def test_whole_number_refuses(value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        whole_number("who", "count", value, 1)
    assert str(caught.value) == f"who: got count={value!r}; allowed: a whole number >= 1. Pass an int."


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, True, "1", None, 1j])
def test_real_number_refuses(value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        real_number("who", "width", value)
    assert str(caught.value) == f"who: got width={value!r}; allowed: a finite number >= 0. Pass a float."


@pytest.mark.parametrize(
    ("value", "bad"), [("c", "c"), (["a", "c"], "c"), (3, 3), ([["a"]], ["a"]), (None, None)]
)
def test_choices_refuse(value: Any, bad: Any) -> None:
    with pytest.raises(OptionError) as caught:
        choices("who", "rules", value, ("a", "b"))
    assert str(caught.value) == f"who: got rules={bad!r}; allowed: a, b. Name one or several of these."


@pytest.mark.parametrize("value", ["c", ["a"], None])
def test_choice_refuses(value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        choice("who", "rule", value, ("a", "b"))
    assert str(caught.value) == f"who: got rule={value!r}; allowed: a or b. Name one of these."
