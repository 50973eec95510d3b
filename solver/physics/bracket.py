"""Safeguarded root search: Newton or secant steps inside a bracket, bisection where they fail."""

from __future__ import annotations

import math
from typing import Final

GROWTH: Final = 2.0
"""Step into the open while the function is infinite."""

FLATTEST: Final = -0.02
STEEPEST: Final = -50.0
"""Range of slopes that are believed."""


class Bracket:
    """Where a falling function of one variable changes its sign.

    The callers search over logarithms, on which their functions are nearly straight.

    Args:
        low: below it the function is positive; -inf if unknown.
        high: above it the function is negative; inf if unknown.
        longest: longest step.
        pace: while an end is open a step is at least this long, and doubles each time; 0 for no such rule.
        bisect_every: bisect at every so many steps, so that the bracket shrinks whatever the function;
            0 for never.

    Examples:
        >>> import math
        >>> bracket, x = Bracket(), 0.0
        >>> for _ in range(12):
        ...     x = bracket.next(x, 4.0 - math.exp(x))
        >>> round(math.exp(x), 9)
        4.0
    """

    __slots__ = ("_bisect_every", "_longest", "_pace", "_previous", "_slope", "_steps", "high", "low")

    def __init__(
        self,
        low: float = -math.inf,
        high: float = math.inf,
        *,
        longest: float = math.inf,
        pace: float = 0.0,
        bisect_every: int = 0,
    ) -> None:
        self.low, self.high = low, high
        self._longest, self._pace, self._bisect_every = longest, pace, bisect_every
        self._previous: tuple[float, float] | None = None
        self._slope = -1.0
        self._steps = 0

    @property
    def width(self) -> float:
        """Length of the bracket; inf while an end is open."""
        return self.high - self.low

    def next(self, x: float, y: float, slope: float | None = None) -> float:
        """Where to evaluate next.

        Args:
            x: where the function was evaluated.
            y: its value there; +-inf where only the sign is known.
            slope: its derivative, < 0; None for that of the secant through the two last points.
        """
        if y == 0.0:
            return x
        if y > 0.0:
            self.low = x if x > self.low else self.low
        else:
            self.high = x if x < self.high else self.high
        self._steps += 1
        longest = self._longest
        if math.isinf(y):
            self._previous = None
            step = math.copysign(GROWTH, y)
        else:
            if slope is None and self._previous is not None and x != self._previous[0]:
                slope = (y - self._previous[1]) / (x - self._previous[0])
                slope = min(max(slope, STEEPEST), FLATTEST) if slope < 0.0 else None
            if slope is not None:
                self._slope = slope
            self._previous = x, y
            step = -y / self._slope
        step = longest if step > longest else -longest if step < -longest else step
        if self.high - self.low < math.inf:
            bisect = self._bisect_every and self._steps % self._bisect_every == 0
            if self.low < x + step < self.high and not bisect:
                return x + step
            return 0.5 * (self.low + self.high)
        if self._pace:
            step = math.copysign(min(max(abs(step), self._pace), longest), y)
            self._pace *= 2.0
        return x + step
