"""A bound for all round times at once, from a few prices (P4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from ..problem import IntArray
from .certificate import Certificate, Reading
from .knapsack import surviving_tokens, winners

FINEST: Final = 2.0**-12
"""Relative width below which an interval is not split where the price itself, not the width, is at fault."""

MOST_SPLITS: Final = 200
"""Intervals split for one price; where that does not do, another price is needed."""

LONGEST_LIST: Final = 200_000
"""Give up listing token vectors beyond this many counts."""


class Interval(NamedTuple):
    """Round times from `low_s` to `high_s`, a bound on their STE, and where it seems largest."""

    low_s: float
    high_s: float
    bound: float
    peak_s: float


class Cover:
    """Intervals that cover every round time worth considering.

    A price closes the intervals whose bound it brings under a target; the others stay open for
    another price. `bound` holds at any moment for every allocation that was not handed out as a winner.

    Args:
        certificate: of the problem.
        low_s: no allocation is faster, s.
        high_s: none slower matters, s.
        first_s: where to look first, s.
    """

    def __init__(self, certificate: Certificate, low_s: float, high_s: float, first_s: float) -> None:
        self.certificate = certificate
        self._closed_bound = 0.0
        self.open = [Interval(low_s, high_s, math.inf, first_s)]
        self.readings = 0

    @property
    def bound(self) -> float:
        """Upper bound on the STE, 1/s, over all round times covered."""
        return max([self._closed_bound, *(interval.bound for interval in self.open)])

    @property
    def worst(self) -> Interval:
        """The open interval of largest bound."""
        return max(self.open, key=lambda interval: interval.bound)

    def contains(self, round_s: float) -> bool:
        """Whether a round time lies in an open interval."""
        return any(interval.low_s <= round_s <= interval.high_s for interval in self.open)

    def tighten(self, price: float, target: float, guess: IntArray, expired: Callable[[], bool]) -> None:
        """Bound the open intervals anew at one price, splitting them until they close or it is no use.

        Args:
            price: mu, retained attention per Hz s.
            target: an interval with this bound or less is closed, 1/s.
            guess: (M,) tokens near the optimum, for speed only.
            expired: nothing that has a bound is read again once this says so.

        Cost: one inner loop per interval; some tens of them with a good price.
        """
        read = self._reader(price, guess)
        pending, self.open = self.open, []
        splits = 0
        while pending:
            interval = pending.pop()
            if splits > MOST_SPLITS or (expired() and interval.bound < math.inf):
                self.open.append(interval)
                continue
            low, high = read(interval.low_s), read(interval.high_s)
            bound, peak = self._bound(low, high)
            bound = min(bound, interval.bound)
            at_ends = [self.certificate.lagrangian(end) / end.round_s for end in (low, high)]
            width = interval.high_s / interval.low_s - 1.0
            fruitless = min(at_ends) > target or (max(at_ends) > target and width < FINEST)
            if bound <= target:
                self._closed_bound = max(self._closed_bound, bound)
            elif fruitless or width < 1e-12:
                self.open.append(Interval(interval.low_s, interval.high_s, bound, peak.round_s))
            else:
                splits += 1
                middle_s = math.sqrt(interval.low_s * interval.high_s)
                pending.append(Interval(interval.low_s, middle_s, bound, middle_s))
                pending.append(Interval(middle_s, interval.high_s, bound, middle_s))

    def list_winners(self, price: float, target: float, guess: IntArray) -> list[IntArray]:
        """Close open intervals by listing the tokens that could reach the target, where those are few.

        What a good price leaves open is the relaxation's own gap, which no price closes.

        Args:
            price: mu, near the best one of the intervals concerned.
            target: a feasible STE, or a little more, 1/s.
            guess: (M,) tokens near the optimum, for speed only.

        Returns:
            (M,) tokens that do reach it. The intervals listed are closed at the target.
        """
        read = self._reader(price, guess)
        clients = guess.size
        pending, self.open = self.open, []
        found: list[IntArray] = []
        for interval in pending:
            low, high = read(interval.low_s), read(interval.high_s)
            bound, _ = self._bound(low, high)
            slack = (bound - target) * interval.high_s
            vectors = None
            if math.isfinite(slack):
                limit = max(1000, LONGEST_LIST // clients)
                vectors = surviving_tokens(self.certificate, low, high, slack, limit)
            if vectors is None:
                self.open.append(interval)
                continue
            self._closed_bound = max(self._closed_bound, target)
            found.extend(vectors[winners(self.certificate.demand, vectors, target)])
        return found

    def _reader(self, price: float, guess: IntArray) -> Callable[[float], Reading]:
        readings: dict[float, Reading] = {}

        def read(round_s: float) -> Reading:
            if round_s not in readings:
                self.readings += 1
                readings[round_s] = self.certificate.read(round_s, price, guess)
            return readings[round_s]

        return read

    def _bound(self, low: Reading, high: Reading) -> tuple[float, Reading]:
        """The certificate's bound between two readings, anchored at the one that seems to be larger."""
        lagrangian = self.certificate.lagrangian
        peak = low if lagrangian(low) * high.round_s > lagrangian(high) * low.round_s else high
        return self.certificate.bound(low, high, peak, self.certificate.tangent(peak)), peak
