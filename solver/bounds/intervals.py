"""Intervals that cover every round time worth considering, with an upper bound on the STE in each (P4)."""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple, Protocol

from ..gap_budget import GapBudget
from ..problem import IntArray


class Interval(NamedTuple):
    """Round times from `low_s` to `high_s`, a bound on their STE, 1/s, and where it seems largest."""

    low_s: float
    high_s: float
    bound: float
    peak_s: float

    @property
    def middle_s(self) -> float:
        """Geometric middle."""
        return math.sqrt(self.low_s * self.high_s)

    @property
    def width(self) -> float:
        """Relative width."""
        return self.high_s / self.low_s - 1.0

    def halves(self, bound: float) -> tuple[Interval, Interval]:
        """Both halves, with a bound that holds for the whole."""
        middle_s = self.middle_s
        return Interval(self.low_s, middle_s, bound, middle_s), Interval(
            middle_s, self.high_s, bound, middle_s
        )


class Goal(Protocol):
    """What a proof works towards: the best known allocation, and when it may end."""

    @property
    def budget(self) -> GapBudget:
        """Shares of the asked gap."""

    @property
    def value(self) -> float:
        """Best known STE, 1/s."""

    @property
    def target(self) -> float:
        """Intervals with a bound up to here are done with."""

    @property
    def tokens(self) -> IntArray:
        """(M,) tokens of the best known allocation."""

    def offer(self, tokens: IntArray, round_s: float) -> object:
        """Hand over (M,) tokens that may be better, and a guess of the least round time that fits them."""

    def expired(self) -> bool:
        """Whether the time is up."""


class IntervalCover:
    """Round times done with, and open intervals, largest bound first.

    `bound` holds at any moment for every allocation whose round time lies in the cover.
    """

    def __init__(self) -> None:
        self.closed_bound = 0.0
        """Largest bound of the intervals that are done with; 0 before the first."""
        self._open: list[tuple[float, Interval]] = []

    @property
    def bound(self) -> float:
        """Upper bound on the STE over all round times in the cover, 1/s."""
        return max([self.closed_bound, *(interval.bound for interval in self.open)])

    @property
    def open(self) -> list[Interval]:
        """The intervals that are not done with."""
        return [interval for _, interval in self._open]

    @property
    def worst(self) -> Interval:
        """The open interval of largest bound."""
        return self._open[0][1]

    def contains(self, round_s: float) -> bool:
        """Whether a round time lies in an open interval."""
        return any(interval.low_s <= round_s <= interval.high_s for interval in self.open)

    def close(self, bound: float) -> None:
        """An interval with this bound is done with."""
        self.closed_bound = max(self.closed_bound, bound)

    def leave_open(self, interval: Interval) -> None:
        """An interval needs more work."""
        heapq.heappush(self._open, (-interval.bound, interval))

    def pop_worst(self) -> Interval:
        """Take it out of the cover."""
        return heapq.heappop(self._open)[1]

    def pop_all(self) -> list[Interval]:
        """Take all open intervals out of the cover."""
        taken, self._open = self.open, []
        return taken
