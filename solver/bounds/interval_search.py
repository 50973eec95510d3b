"""An upper bound over all round times: intervals outwards from one price, then branch and bound (P4)."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from ..gap_budget import NARROWEST
from ..physics import loops
from ..physics.loops import BestReplies, Tangent
from ..problem import IntArray
from .clearing_price import clear
from .dominance import exclude
from .goal import STE, Goal, expired, target
from .intervals import (
    Cover,
    Interval,
    bound_of,
    close,
    leave_open,
    middle_of,
    new_cover,
    pop_worst,
    split,
    width_of,
)

CHORD_BEND: Final = 0.05
"""Typical excess of middle tangents over L, relative to L and to the square of the relative width."""

OPEN_WIDTH: Final = 0.02
"""Relative width of an interval that is left to branching."""

LONGEST_DOWN: Final = 3.0
"""Largest relative width of an interval towards shorter rounds."""

LONGEST_STRETCH: Final = 64.0
"""Of an interval beyond `CHORD_BEND`, where the terms turn out to bend less, as with energy limits."""

FRESH_PRICE: Final = 0.008
"""Intervals narrower than this call for a price of their own."""

INTERVALS_PER_NODE: Final = 10
"""Intervals outwards, per node allowed: where gains spread far, those by chords may hardly advance."""

FINEST: Final = 1e-5
"""Intervals of a relative width below this are not split any further, or below a share of a finer gap."""

AXIS: Final = 1e-13
"""Accuracy of the least round time, at which the axis begins."""

CONVERGED: Final = 0
TIME_LIMIT: Final = 1
ITERATION_LIMIT: Final = 2
"""How a search ended."""

INTERVALS: Final = 0
NODES: Final = 1
VECTORS: Final = 2
"""Places in `IntervalSearch.counts`: intervals bounded, open ones branched on, token vectors tried."""


class IntervalSearch(NamedTuple):
    """A proof in progress: what it works towards, and the round times covered so far.

    Attributes:
        goal: the best known allocation and when the proof may end.
        cover: of round times.
        max_nodes: give up branching after this many intervals, and going outwards after some times as many.
        least_s: the least round time of any allocation, s.
        counts: (3,) see `INTERVALS`, `NODES`, `VECTORS`.
    """

    goal: Goal
    cover: Cover
    max_nodes: int
    least_s: float
    counts: IntArray


class Anchor(NamedTuple):
    """Best replies with their tangents: what an interval starts from."""

    replies: BestReplies
    planes: Tangent


def new_interval_search(goal: Goal, max_nodes: int) -> IntervalSearch:
    """A search that has covered nothing; cost: one least round time."""
    least_s, _ = loops.least_round(goal.relaxed, fewest_tokens(goal), goal.best[0])
    return IntervalSearch(goal, new_cover(), max_nodes, least_s, np.zeros(3, np.int64))


def fewest_tokens(goal: Goal) -> IntArray:
    """(M,) K_min."""
    return goal.given.clients["min_tokens"].copy()


def most_round_s(search: IntervalSearch) -> float:
    """A round time beyond which even all attention gives no better STE, or no round lasts, s."""
    goal = search.goal
    return min(goal.relaxed.most_retained / float(goal.best[STE]) * (1.0 + 1e-9), goal.relaxed.last_s)


def proved_bound(search: IntervalSearch) -> float:
    """Upper bound on the STE of every allocation that is not known, 1/s; after `certify`."""
    return max(bound_of(search.cover), float(search.goal.best[STE])) * (1.0 + AXIS)


def certify(search: IntervalSearch, replies: BestReplies) -> None:
    """Cover all round times, outwards from some best replies; what fails stays open for `branch`."""
    goal = search.goal
    anchor = _anchor(goal, replies)
    concave = replies.round_s <= goal.relaxed.concave_until_s
    slope = anchor.planes.affine.slope
    if concave and not _covers(search, anchor) and 0.0 < slope < math.inf:
        # An affine bound that rises exactly as fast as the best known STE reaches furthest.
        price = replies.price * goal.best[STE] / slope
        scaled = _anchor(goal, loops.best_replies(goal.relaxed, replies.round_s, price, replies.tokens))
        # Where demand is elastic or the peak is a kink, another price only raises the planes.
        if scaled.planes.affine.value <= target(goal) * replies.round_s:
            anchor = scaled
    _march(search, anchor, True)
    _march(search, anchor, False)


def branch(search: IntervalSearch, price: float) -> int:
    """Work on the open interval of largest bound until all are within the gap or a limit is met.

    Args:
        search: after `certify`.
        price: a first guess of clearing prices.

    Returns:
        `CONVERGED`, `TIME_LIMIT` or `ITERATION_LIMIT`.
    """
    goal, cover, counts = search.goal, search.cover, search.counts
    given_up = new_cover()
    stop = CONVERGED
    while len(cover.open) > 0:
        if expired(goal.monitor):
            stop = TIME_LIMIT
            break
        if counts[NODES] >= search.max_nodes:
            stop = ITERATION_LIMIT
            break
        interval = pop_worst(cover)
        if -interval.minus_bound <= target(goal):
            close(cover, -interval.minus_bound)
            continue
        counts[NODES] += 1
        bound, closed = _visit(search, interval, price)
        if closed:
            close(cover, bound)
        elif width_of(interval) <= min(FINEST, NARROWEST * goal.gap):
            leave_open(given_up, interval.low_s, interval.high_s, bound, interval.peak_s)
        else:
            split(cover, interval, bound)
    while len(given_up.open) > 0:
        interval = pop_worst(given_up)
        if stop == CONVERGED and -interval.minus_bound > target(goal):
            stop = ITERATION_LIMIT
        leave_open(cover, interval.low_s, interval.high_s, -interval.minus_bound, interval.peak_s)
    return stop


def _anchor(goal: Goal, replies: BestReplies) -> Anchor:
    return Anchor(replies, loops.tangent(goal.relaxed, replies))


def _covers(search: IntervalSearch, anchor: Anchor) -> bool:
    """Whether the affine bound of one anchor meets the target at all round times that matter."""
    up, _ = _reach(search.goal, anchor, True)
    down, _ = _reach(search.goal, anchor, False)
    round_s = anchor.replies.round_s
    return round_s * (1.0 + up) >= most_round_s(search) and round_s / (1.0 + down) <= search.least_s


def _march(search: IntervalSearch, anchor: Anchor, upwards: bool) -> None:
    """Walk from an anchor to an end of the axis in intervals as wide as their bounds allow."""
    goal, counts = search.goal, search.counts
    stretch, longest = 1.0, LONGEST_STRETCH
    fresh, cleared_s, clear_here = False, anchor.replies.round_s, False
    while True:
        round_s, end_s = anchor.replies.round_s, most_round_s(search) if upwards else search.least_s
        if round_s >= end_s if upwards else round_s <= end_s:
            return
        if expired(goal.monitor) or counts[INTERVALS] >= INTERVALS_PER_NODE * search.max_nodes:
            _leave_open(search, round_s, end_s, math.inf)
            return
        width, affine = _reach(goal, anchor, upwards)
        if affine:  # its reach is known, not guessed
            stretch = min(stretch, 1.0)
        stuck = width * stretch < FINEST
        narrow = width * stretch < FRESH_PRICE and abs(round_s / cleared_s - 1.0) > 3.0 * width * stretch
        if (narrow or clear_here) and not fresh:
            # The price is at fault, not the width: clear the market here.
            anchor = _anchor(goal, clear(goal, round_s, anchor.replies.price))
            fresh, cleared_s, clear_here = True, round_s, False
            stretch, longest = 1.0, LONGEST_STRETCH
            continue
        width = OPEN_WIDTH if stuck else stretch * width
        if upwards:
            other_s = min(round_s * (1.0 + width), end_s)
        else:
            other_s = max(round_s / (1.0 + min(width, LONGEST_DOWN)), end_s)
        counts[INTERVALS] += 1
        replies = anchor.replies
        if affine:
            bound = loops.affine_bound(anchor.planes.affine, other_s)
        else:
            replies = loops.best_replies(goal.relaxed, other_s, replies.price, replies.tokens)
            if upwards:
                bound = loops.interval_bound(goal.relaxed, anchor.replies, replies, anchor.planes, False)
            else:
                bound = loops.interval_bound(goal.relaxed, replies, anchor.replies, anchor.planes, True)
        if bound <= target(goal):
            close(search.cover, bound)
        elif stuck and not fresh:
            clear_here = True
            continue
        elif stuck:
            _leave_open(search, round_s, other_s, bound)
        else:
            longest = max(1.0, 0.5 * stretch)
            stretch *= 0.4
            continue
        fresh = False
        if other_s == end_s:
            return
        stretch = min(longest, 2.0 * stretch)
        if affine:
            replies = loops.best_replies(goal.relaxed, other_s, replies.price, replies.tokens)
        anchor = _anchor(goal, replies)


def _reach(goal: Goal, anchor: Anchor, upwards: bool) -> tuple[float, bool]:
    """Relative width of the next interval that should do; whether the affine bound gives it."""
    aim, replies, affine = target(goal), anchor.replies, anchor.planes.affine
    margin = 1.0 - replies.lagrangian / (aim * replies.round_s)
    chords = min(0.8 * math.sqrt(max(margin, 0.0) / CHORD_BEND), 10.0)
    if not affine.value < math.inf:
        return chords, False
    margin = 0.98 * aim + 0.02 * goal.best[STE] - affine.value / replies.round_s
    adverse = affine.slope - aim if upwards else aim - affine.slope
    if margin <= 0.0:
        planes = 0.0
    elif adverse <= 0.0:
        planes = math.inf
    else:
        change = margin / adverse
        planes = change if upwards else change / max(1.0 - change, 1e-18)
    return max(planes, chords), planes > chords


def _leave_open(search: IntervalSearch, one_s: float, other_s: float, bound: float) -> None:
    low_s, high_s = min(one_s, other_s), max(one_s, other_s)
    bound = min(bound, search.goal.relaxed.most_retained / low_s)
    leave_open(search.cover, low_s, high_s, bound, one_s)


def _visit(search: IntervalSearch, interval: Interval, price: float) -> tuple[float, bool]:
    """A better bound for one interval, and whether nothing above it is left to find there."""
    goal, instance = search.goal, search.goal.relaxed
    middle_s, bound = middle_of(interval), -interval.minus_bound
    low_s, high_s = interval.low_s, interval.high_s
    cleared = clear(goal, middle_s, price)
    low = loops.best_replies(instance, low_s, cleared.price, cleared.tokens)
    high = loops.best_replies(instance, high_s, cleared.price, cleared.tokens)
    bound = min(bound, loops.interval_bound(instance, low, high, loops.tangent(instance, low), False))
    bound = min(bound, loops.interval_bound(instance, low, high, loops.tangent(instance, high), True))
    if bound <= target(goal):
        return bound, True
    narrow = width_of(interval) <= 100.0 * FINEST
    if cleared.lagrangian <= target(goal) * middle_s and not narrow:
        # A narrower interval has a bound near this Lagrangian: halving works.
        return bound, False
    excluded, tried = exclude(goal, low_s, high_s)
    search.counts[VECTORS] += tried
    return (target(goal) if excluded else bound), excluded
