"""Upper bound over all round times from a few prices, as a conic program's multipliers give them (P4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from ..problem import IntArray
from .certificate import BestReplies, Certificate
from .intervals import Interval, IntervalCover
from .knapsack import surviving_tokens, winners

FINEST: Final = 2.0**-12
"""Relative width below which an interval is not split where the price itself, not the width, is at fault."""

MOST_SPLITS: Final = 200
"""Intervals split for one price; where that does not do, another price is needed."""

LONGEST_LIST: Final = 200_000
"""Give up listing token vectors beyond this many counts."""


class PriceCover(IntervalCover):
    """A cover of all round times worth considering, closed price by price.

    A price closes the intervals whose bound it brings under a target; the others stay open for
    another price. `bound` holds at any moment for every allocation that was not handed out as a winner.

    Args:
        certificate: of the problem.
        low_s: no allocation is faster, s.
        high_s: none slower matters, s.
        first_s: where to look first, s.

    Attributes:
        evaluations: of the dual function, so far.
    """

    def __init__(self, certificate: Certificate, low_s: float, high_s: float, first_s: float) -> None:
        super().__init__()
        self.certificate = certificate
        self.leave_open(Interval(low_s, high_s, math.inf, first_s))
        self.evaluations = 0

    def tighten(self, price: float, target: float, guess: IntArray, expired: Callable[[], bool]) -> None:
        """Bound the open intervals anew at one price, splitting them until they close or it is no use.

        Args:
            price: mu, retained attention per Hz s.
            target: an interval with this bound or less is closed, 1/s.
            guess: (M,) tokens near the optimum, for speed only.
            expired: nothing that has a bound is bounded again once this says so.

        Cost: one inner loop per interval; some tens of them with a good price.
        """
        replies = self._replies_at(price, guess)
        pending, splits = self.pop_all(), 0
        while pending:
            interval = pending.pop()
            if splits > MOST_SPLITS or (expired() and interval.bound < math.inf):
                self.leave_open(interval)
                continue
            low, high = replies(interval.low_s), replies(interval.high_s)
            bound, peak = self._bound(low, high)
            bound = min(bound, interval.bound)
            at_ends = [self.certificate.lagrangian(end) / end.round_s for end in (low, high)]
            fruitless = min(at_ends) > target or (max(at_ends) > target and interval.width < FINEST)
            if bound <= target:
                self.close(bound)
            elif fruitless or interval.width < 1e-12:
                self.leave_open(interval._replace(bound=bound, peak_s=peak.round_s))
            else:
                splits += 1
                pending.extend(interval.halves(bound))

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
        replies = self._replies_at(price, guess)
        clients = guess.size
        found: list[IntArray] = []
        for interval in self.pop_all():
            low, high = replies(interval.low_s), replies(interval.high_s)
            bound, _ = self._bound(low, high)
            slack = (bound - target) * interval.high_s
            vectors = None
            if math.isfinite(slack):
                limit = max(1000, LONGEST_LIST // clients)
                vectors = surviving_tokens(self.certificate, low, high, slack, limit)
            if vectors is None:
                self.leave_open(interval)
                continue
            self.close(target)
            found.extend(vectors[winners(self.certificate.demand, vectors, target)])
        return found

    def _replies_at(self, price: float, guess: IntArray) -> Callable[[float], BestReplies]:
        """Best replies at one price, each evaluated once."""
        known: dict[float, BestReplies] = {}

        def at(round_s: float) -> BestReplies:
            if round_s not in known:
                self.evaluations += 1
                known[round_s] = self.certificate.best_replies(round_s, price, guess)
            return known[round_s]

        return at

    def _bound(self, low: BestReplies, high: BestReplies) -> tuple[float, BestReplies]:
        """The certificate's bound between two round times, anchored at the one that seems to be larger."""
        lagrangian = self.certificate.lagrangian
        peak = low if lagrangian(low) * high.round_s > lagrangian(high) * low.round_s else high
        return self.certificate.bound(low, high, peak, self.certificate.tangent(peak)), peak
