"""The safeguarded root search finds roots, whatever the function and the first guess."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver.physics.bracket import advance, new_bracket, width


@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(0.05, 20))
def test_secant_steps_find_the_root_of_a_power(root: float, start: float, exponent: float) -> None:
    """On logarithms a power is a straight line: two evaluations give its slope."""
    bracket, x = new_bracket(), start
    for _ in range(4):
        bracket, x = advance(bracket, x, exponent * (root - x))
    assert x == pytest.approx(root, abs=1e-6)


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0.01, 3))
def test_secants_converge_on_a_convex_function(root: float, start: float, curvature: float) -> None:
    bracket, x = new_bracket(longest=7.0), start
    for _ in range(60):
        y = math.expm1(curvature * (root - x)) if curvature * (root - x) < 700 else math.inf
        bracket, x = advance(bracket, x, y)
    assert x == pytest.approx(root, abs=1e-9 * max(1.0, abs(root)))


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_a_sign_alone_is_bisected(root: float, start: float) -> None:
    """Infinite values give no slope: outwards while an end is open, then halves."""
    bracket, x = new_bracket(), start
    for _ in range(160):
        bracket, x = advance(bracket, x, math.inf if x < root else -math.inf)
    assert bracket.low <= root <= bracket.high
    assert width(bracket) <= 1e-9 * max(1.0, abs(root))


@given(st.floats(-5, 5), st.integers(2, 6))
def test_a_step_function_is_closed_in_on_where_bisection_is_asked_for(root: float, every: int) -> None:
    """Secants stall at a jump: one end stays where it is."""
    bracket, x = new_bracket(-10.0, 10.0, bisect_every=every), 0.0
    for _ in range(400):
        bracket, x = advance(bracket, x, 1e-3 if x < root else -1e3)
        assert bracket.low < x < bracket.high or width(bracket) < 1e-14
    assert width(bracket) <= 1e-9


def test_steps_grow_while_an_end_is_open() -> None:
    bracket, x, seen = new_bracket(pace=0.1, longest=1.0), 0.0, []
    for _ in range(6):
        bracket, following = advance(bracket, x, 1e-6)
        seen.append(following - x)
        x = following
    assert seen == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_values_stay_within_the_ends_that_are_known() -> None:
    before = new_bracket(1.0, 2.0)
    bracket, x = advance(before, 1.5, 100.0)
    assert x == 1.75
    assert (bracket.low, bracket.high) == (1.5, 2.0)
    assert advance(bracket, 1.75, -100.0)[1] == 1.625
    assert before == new_bracket(1.0, 2.0)  # what was handed over is as it was
    assert advance(bracket, 1.75, 0.0) == (bracket, 1.75)
