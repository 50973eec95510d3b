"""Safeguarded root search: Newton or secant steps inside a bracket, bisection where they fail."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

GROWTH: Final = 2.0
"""Step into the open while the function is infinite."""

FLATTEST: Final = -0.02
STEEPEST: Final = -50.0
"""Range of slopes that are believed."""


class Bracket(NamedTuple):
    """Where a falling function of one variable changes its sign; `advance` narrows it.

    The callers search over logarithms, on which their functions are nearly straight.

    Attributes:
        low: below it the function is positive; -inf if unknown.
        high: above it the function is negative; inf if unknown.
        longest: longest step.
        pace: while an end is open a step is at least this long, and doubles each time; 0 for no such rule.
        bisect_every: bisect at every so many steps, so that the bracket shrinks whatever the function;
            0 for never.
        steps: taken so far.
        x: where the function was evaluated last; nan before, and where it was infinite.
        y: its value there.
        slope: of the last secant.

    Examples:
        >>> import math
        >>> bracket, x = new_bracket(), 0.0
        >>> for _ in range(12):
        ...     bracket, x = advance(bracket, x, 4.0 - math.exp(x))
        >>> round(math.exp(x), 9)
        4.0
    """

    low: float
    high: float
    longest: float
    pace: float
    bisect_every: int
    steps: int
    x: float
    y: float
    slope: float


def new_bracket(
    low: float = -math.inf,
    high: float = math.inf,
    longest: float = math.inf,
    pace: float = 0.0,
    bisect_every: int = 0,
) -> Bracket:
    """A bracket before the first evaluation; `Bracket` has the arguments."""
    return Bracket(low, high, longest, pace, bisect_every, 0, math.nan, math.nan, -1.0)


def width(bracket: Bracket) -> float:
    """Length of the bracket; inf while an end is open."""
    return bracket.high - bracket.low


def advance(bracket: Bracket, x: float, y: float) -> tuple[Bracket, float]:
    """The narrowed bracket and where to evaluate next.

    Args:
        bracket: as it was.
        x: where the function was evaluated.
        y: its value there; +-inf where only the sign is known.
    """
    low, high, longest, pace, bisect_every, steps, last_x, last_y, slope = bracket
    if y == 0.0:
        return bracket, x
    if y > 0.0:
        low = max(low, x)
    else:
        high = min(high, x)
    steps += 1
    if math.isinf(y):
        last_x = last_y = math.nan
        step = math.copysign(GROWTH, y)
    else:
        if x != last_x and not math.isnan(last_x):
            secant = (y - last_y) / (x - last_x)
            if secant < 0.0:
                slope = min(max(secant, STEEPEST), FLATTEST)
        last_x, last_y = x, y
        step = -y / slope
    step = min(max(step, -longest), longest)
    if high - low < math.inf:
        following = x + step
        if not low < following < high or (bisect_every > 0 and steps % bisect_every == 0):
            following = 0.5 * (low + high)
    else:
        if pace > 0.0:
            step = math.copysign(min(max(abs(step), pace), longest), y)
            pace *= 2.0
        following = x + step
    return Bracket(low, high, longest, pace, bisect_every, steps, last_x, last_y, slope), following
