"""The safeguarded root search finds roots, whatever the function and the first guess."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver.physics.bracket import Bracket


@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(0.05, 20))
def test_secant_steps_find_the_root_of_a_power(root: float, start: float, exponent: float) -> None:
    """On logarithms a power is a straight line: two evaluations give its slope."""
    bracket, x = Bracket(), start
    for _ in range(4):
        x = bracket.next(x, exponent * (root - x))
    assert x == pytest.approx(root, abs=1e-6)


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0.01, 3))
def test_newton_converges_on_a_convex_function(root: float, start: float, curvature: float) -> None:
    bracket, x = Bracket(longest=7.0), start
    for _ in range(60):
        y = math.expm1(curvature * (root - x)) if curvature * (root - x) < 700 else math.inf
        slope = -curvature * math.exp(curvature * (root - x)) if math.isfinite(y) else None
        x = bracket.next(x, y, slope)
    assert x == pytest.approx(root, abs=1e-9 * max(1.0, abs(root)))


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_a_sign_alone_is_bisected(root: float, start: float) -> None:
    """Infinite values give no slope: outwards while an end is open, then halves."""
    bracket, x = Bracket(), start
    for _ in range(160):
        x = bracket.next(x, math.inf if x < root else -math.inf)
    assert bracket.low <= root <= bracket.high
    assert bracket.width <= 1e-9 * max(1.0, abs(root))


@given(st.floats(-5, 5), st.integers(2, 6))
def test_a_step_function_is_closed_in_on_where_bisection_is_asked_for(root: float, every: int) -> None:
    """Secants stall at a jump: one end stays where it is."""
    bracket, x = Bracket(-10.0, 10.0, bisect_every=every), 0.0
    for _ in range(400):
        x = bracket.next(x, 1e-3 if x < root else -1e3)
        assert bracket.low < x < bracket.high or bracket.width < 1e-14
    assert bracket.width <= 1e-9


def test_steps_grow_while_an_end_is_open() -> None:
    bracket, x, seen = Bracket(pace=0.1, longest=1.0), 0.0, []
    for _ in range(6):
        seen.append(bracket.next(x, 1e-6) - x)
        x += seen[-1]
    assert seen == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_values_stay_within_the_ends_that_are_known() -> None:
    bracket = Bracket(1.0, 2.0)
    assert bracket.next(1.5, 100.0) == 1.75
    assert (bracket.low, bracket.high) == (1.5, 2.0)
    assert bracket.next(1.75, -100.0) == 1.625
