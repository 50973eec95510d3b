"""Upper bound over all round times from a few prices, as a conic program's multipliers give them (P4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from ..gap_budget import NARROWEST
from ..physics import loops
from ..physics.instance import Instance
from ..physics.loops import BestReplies
from ..problem import IntArray
from .dominance import exclude
from .goal import Goal, expired, target
from .intervals import Interval, bound_of, close, leave_open, new_cover, pop_worst, split, width_of

FINEST: Final = 2.0**-12
"""Relative width below which an interval is not split where the price itself, not the width, is at fault."""

BRANCHED: Final = 1e-5
"""Relative width below which an interval is not split where token vectors are at fault."""

MOST_SPLITS: Final = 200
"""Intervals split for one price; where that does not do, another price is needed."""


class PriceCover:
    """A cover of all round times worth considering, closed price by price.

    A price closes the intervals whose bound it brings under the goal's target; the others stay open for
    another price. `bound` holds at any moment for every allocation but the best known.

    Args:
        instance: of the problem with relaxed limits, which may leave out counts that cannot win.
        low_s: no allocation is faster, s.
        high_s: none slower matters, s.
        first_s: where to look first, s.

    Attributes:
        evaluations: of the dual function, so far.
    """

    def __init__(self, instance: Instance, low_s: float, high_s: float, first_s: float) -> None:
        self.instance = instance
        self._cover = new_cover()
        leave_open(self._cover, low_s, high_s, instance.most_retained / low_s, first_s)
        self.evaluations = 0

    @property
    def bound(self) -> float:
        """Upper bound on the STE over all round times in the cover, 1/s."""
        return bound_of(self._cover)

    @property
    def open(self) -> list[Interval]:
        """The intervals that are not done with."""
        return self._cover.open

    @property
    def worst(self) -> Interval:
        """The open interval of largest bound."""
        return self._cover.open[0]

    def contains(self, round_s: float) -> bool:
        """Whether a round time lies in an open interval."""
        return any(interval.low_s <= round_s <= interval.high_s for interval in self.open)

    def tighten(self, goal: Goal, price: float) -> None:
        """Bound the open intervals anew at one price, splitting them until they close or it is no use.

        Nothing that has a bound is bounded again once the time is up.

        Args:
            goal: for its target and its clock.
            price: mu, retained attention per Hz s.

        Cost: one inner loop per interval; some tens of them with a good price.
        """
        replies, aim = self._replies_at(price, goal.tokens), target(goal)
        pending, splits = self._pop_all(), 0
        while pending:
            interval = pending.pop()
            if splits > MOST_SPLITS or expired(goal.monitor):
                self._leave_open(interval, -interval.minus_bound, interval.peak_s)
                continue
            low, high = replies(interval.low_s), replies(interval.high_s)
            bound, peak = self._bound(low, high)
            bound = min(bound, -interval.minus_bound)
            at_ends = [end.lagrangian / end.round_s for end in (low, high)]
            width = width_of(interval)
            fruitless = min(at_ends) > aim or (max(at_ends) > aim and width < FINEST)
            if bound <= aim:
                close(self._cover, bound)
            elif fruitless or width < 1e-12:
                self._leave_open(interval, bound, peak.round_s)
            else:
                splits += 1
                halves = new_cover()
                split(halves, interval, bound)
                pending.extend(halves.open)

    def exclude(self, goal: Goal, price: float) -> None:
        """Close the open intervals in which no token vector reaches the goal's target (`dominance`).

        What a good price leaves open is the relaxation's own gap, which no price closes. Intervals in which
        some vectors may still reach it are split; the price closes the parts that it can.

        Args:
            goal: of the problem; improved in place.
            price: mu, near the best one of the intervals concerned.
        """
        narrowest = min(BRANCHED, NARROWEST * goal.gap)
        for _ in range(MOST_SPLITS):
            if not self.open or expired(goal.monitor):
                return
            interval = pop_worst(self._cover)
            excluded, _ = exclude(goal, interval.low_s, interval.high_s)
            if excluded:
                close(self._cover, target(goal))
            elif width_of(interval) <= narrowest:
                self._leave_open(interval, -interval.minus_bound, interval.peak_s)
                return  # the worst one stays
            else:
                split(self._cover, interval, -interval.minus_bound)
                self.tighten(goal, price)

    def _pop_all(self) -> list[Interval]:
        return [pop_worst(self._cover) for _ in range(len(self._cover.open))]

    def _leave_open(self, interval: Interval, bound: float, peak_s: float) -> None:
        leave_open(self._cover, interval.low_s, interval.high_s, bound, peak_s)

    def _replies_at(self, price: float, guess: IntArray) -> Callable[[float], BestReplies]:
        """Best replies at one price, each evaluated once."""
        known: dict[float, BestReplies] = {}

        def at(round_s: float) -> BestReplies:
            if round_s not in known:
                self.evaluations += 1
                known[round_s] = loops.best_replies(self.instance, round_s, price, guess)
            return known[round_s]

        return at

    def _bound(self, low: BestReplies, high: BestReplies) -> tuple[float, BestReplies]:
        """The certificate's bound between two round times, anchored at the one that seems to be larger."""
        anchored_high = low.lagrangian * high.round_s <= high.lagrangian * low.round_s
        peak = high if anchored_high else low
        if not math.isfinite(low.need_hz):
            return math.inf, peak
        planes = loops.tangent(self.instance, peak)
        return loops.interval_bound(self.instance, low, high, planes, anchored_high), peak
