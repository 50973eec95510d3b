"""An upper bound over all round times for choices: branch and bound with fewer and fewer options.

An interval of round times comes with the options that may still be part of a choice that beats the best known
one in it. Its parts inherit what is left, so that far from the optimum whole clients are settled, and next to
it few options stay (`docs/exact.md`, sections 12 to 14).
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Final, NamedTuple

import numpy as np

from ..gap_budget import CLEARING, HIDDEN, NARROWEST
from ..physics import option_loops
from ..physics.options import Options
from ..problem import IntArray
from ..tolerances import EPSILON
from . import choice_loops
from .choice_goal import ChoiceGoal, most_utility
from .dominance import PAIRS_PER_S, undominated

AXIS: Final = 1e-12
"""By how much the axis of round times begins earlier than the least round, and ends later than the last."""

FINEST: Final = 1e-5
"""Intervals of a relative width below this are not divided any further, or below a share of a finer gap."""

DIVIDED: Final = 4.0
"""Intervals of a larger ratio of their ends are divided at their geometric middle, others at the middle."""

WIDEST: Final = 0.3
"""Relative width from which on dominance is tried where prices cannot close an interval."""

FIRST_PAIRS: Final = 3e5
"""Partial choices times options that dominance may weigh up in a wide interval: some ms."""

NARROW: Final = 2e-3
"""Relative width from which on it may take all the time there is."""


class ChoiceInterval(NamedTuple):
    """Round times, and what may win in them; the largest bound comes first in order.

    Attributes:
        minus_bound: the bound on the value, sign turned.
        order: tells equal bounds apart.
        low_s: where it begins, s.
        high_s: where it ends, s.
        options: those that may be part of a better choice there.
        source: (J,) which of all options they are.
        price: a guess of the clearing price per hertz.
    """

    minus_bound: float
    order: int
    low_s: float
    high_s: float
    options: Options
    source: IntArray
    price: float


class RoundSearch:
    """A proof in progress over round times from the least to the last that matters.

    Attributes:
        goal: improved in place.
        closed: largest bound of intervals that are done with.
    """

    def __init__(self, goal: ChoiceGoal, low_s: float, high_s: float, price: float, bound: float) -> None:
        self.goal = goal
        self.closed = -math.inf
        self._number = itertools.count()
        self._open: list[ChoiceInterval] = []
        everything = np.arange(goal.relaxed.row.size)
        self._push(bound, low_s, high_s, goal.relaxed, everything, price)

    @property
    def bound(self) -> float:
        """Upper bound on the value of every choice but the best known one."""
        worst = -self._open[0].minus_bound if self._open else -math.inf
        return max(self.closed, worst)

    def run(self, max_nodes: int) -> bool:
        """Work on the interval of largest bound until all are within the gap; False where a limit was met."""
        goal, counts = self.goal, self.goal.counts
        while self._open and -self._open[0].minus_bound > goal.target:
            if goal.expired() or counts["nodes"] >= max_nodes:
                return False
            self._visit(heapq.heappop(self._open))
        return True

    def _visit(self, interval: ChoiceInterval) -> None:
        goal, counts = self.goal, self.goal.counts
        counts["intervals"] += 1
        target = goal.target
        offset, slope = goal.line(target)
        options, low_s, high_s = interval.options, interval.low_s, interval.high_s
        found = choice_loops.visit(options, low_s, high_s, offset, slope, interval.price, CLEARING * goal.gap)
        if found.choice.size and goal.offer(interval.source[found.choice], found.contact_s):
            target = goal.target
        if found.low_s > found.high_s:
            self.closed = max(self.closed, target)
            return
        bound = max(goal.worth(found.most_low, low_s), goal.worth(found.most_high, high_s), target)
        bound = min(bound, -interval.minus_bound)
        source = interval.source
        if not found.keep.all():
            options, kept = option_loops.taken(options, found.keep)
            source = source[kept]
        narrower = found.high_s - found.low_s < 0.7 * (high_s - low_s)
        low_s, high_s = found.low_s, found.high_s
        width = high_s / low_s - 1.0 if low_s > 0.0 else math.inf
        offset, slope = goal.line(target)
        # A narrower interval has a bound near this one: where that is low enough, dividing does.
        hopeless = found.clearing.bound > offset + slope * found.contact_s
        narrowest = width <= min(FINEST, NARROWEST * goal.gap)
        if (hopeless and width <= WIDEST) or narrowest:
            if self._exclude(options, source, low_s, high_s, width):
                self.closed = max(self.closed, goal.target)
                return
            if narrowest:
                counts["given_up"] += 1
                self.closed = max(self.closed, bound)
                return
        counts["nodes"] += 1
        price = found.clearing.price
        if narrower:
            self._push(bound, low_s, high_s, options, source, price)
            return
        middle_s = 0.5 * (low_s + high_s)
        if high_s > DIVIDED * low_s:
            middle_s = math.sqrt(max(low_s, high_s * EPSILON)) * math.sqrt(high_s)
        self._push(bound, low_s, middle_s, options, source, price)
        self._push(bound, middle_s, high_s, options, source, price)

    def _exclude(self, options: Options, source: IntArray, low_s: float, high_s: float, width: float) -> bool:
        """Whether nothing in an interval beats the target; what may is offered."""
        goal = self.goal
        contact_s = high_s
        hidden = HIDDEN * goal.gap * goal.scale * (low_s if goal.is_ratio else 1.0)
        while not goal.expired():
            pairs = PAIRS_PER_S * goal.remaining_s()
            if width > NARROW:
                pairs = min(pairs, FIRST_PAIRS)
            target = goal.target
            offset, slope = goal.line(target)
            complete, found = contenders(options, low_s, high_s, offset, slope, hidden, contact_s, pairs)
            if not complete:
                return False
            if found.shape[0] == 0:
                return True
            goal.counts["vectors"] += found.shape[0]
            better = [goal.offer(source[choice], high_s) for choice in found]
            if not any(better):
                if contact_s < high_s or low_s == high_s or slope == 0.0:
                    return False
                contact_s = 0.5 * (low_s + high_s)
        return False

    def _push(
        self, bound: float, low_s: float, high_s: float, options: Options, source: IntArray, price: float
    ) -> None:
        interval = ChoiceInterval(-bound, next(self._number), low_s, high_s, options, source, price)
        heapq.heappush(self._open, interval)


def contenders(
    options: Options,
    low_s: float,
    high_s: float,
    offset: float,
    slope: float,
    hidden: float,
    contact_s: float,
    most_pairs: float,
) -> tuple[bool, IntArray]:
    """Choices that may have a sum of utilities of offset + slope x tau with a round time tau in an interval.

    Args:
        options: limits raised.
        low_s: where the interval begins, s.
        high_s: where it ends, s.
        offset: sum of utilities to reach at round time 0.
        slope: how it rises, 1/s; with 0 only `high_s` counts.
        hidden: sum of utilities that dominance may hide; 0 where a requirement has to be met.
        contact_s: where the tangents of needs touch, s.
        most_pairs: partial choices times options after which the search gives up.

    Returns:
        (whether the search was complete, (L, M) choices). Complete and empty: there is none.
    """
    level, fall, utility, allowed, source, tilt = choice_loops.dominance_tables(options, contact_s, high_s)
    least = offset + slope * low_s
    complete, columns = undominated(
        level,
        fall,
        utility,
        allowed,
        low_s,
        high_s,
        contact_s,
        slope,
        hidden / least if least > 0.0 else 0.0,
        options.bandwidth_hz,
        options.unit,
        float(most_pairs),
        offset,
        tilt if slope > 0.0 else 0.0,
    )
    return complete, np.take_along_axis(source, columns.T, axis=1).T if columns.size else columns


def new_search(goal: ChoiceGoal, price: float) -> RoundSearch:
    """A search over all round times that matter, given the best known choice.

    Args:
        goal: with a choice.
        price: a guess of the clearing price per hertz.
    """
    options, target = goal.relaxed, goal.target
    most = most_utility(options)
    _, least_s = option_loops.fastest_choice(options, goal.round_s)
    _, sender_s = option_loops.fastest_sender(options)
    last_s = min(float((options.rows["overhead_s"] + options.rows["deadline_s"]).max()), goal.last_s)
    if goal.is_ratio:
        last_s = min(last_s, most / target)
    elif goal.per_second > 0.0:
        last_s = min(last_s, (most - target) / goal.per_second)
    last_s = max(last_s, least_s) * (1.0 + AXIS)  # or the target is beyond the most of all
    # Where nobody sends what is of worth, nothing is better than being fast.
    nothing = 0.0 if goal.is_ratio else goal.worth(0.0, least_s * (1.0 - AXIS))
    low_s = min(max(least_s, sender_s) * (1.0 - AXIS), last_s)
    if not goal.is_ratio and goal.per_second == 0.0:
        low_s = last_s  # the more time, the more utility
    search = RoundSearch(goal, low_s, last_s, price, goal.worth(most, low_s))
    search.closed = nothing
    return search
