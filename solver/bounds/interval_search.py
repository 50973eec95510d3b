"""An upper bound over all round times: intervals outwards from one price, then branch and bound (P4)."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from ..result import Stop
from ..tolerances import TIME
from .affine_bound import AffineBound
from .certificate import BestReplies, Certificate, Tangent
from .clearing_price import clear
from .intervals import Goal, Interval, IntervalCover
from .knapsack import surviving_tokens, winners

CHORD_BEND: Final = 0.1
"""Typical excess of chord majorants over L, relative to L and to the square of the relative width."""

OPEN_WIDTH: Final = 0.02
"""Relative width of an interval that is left to branching."""

LONGEST_DOWN: Final = 3.0
"""Largest relative width of an interval towards shorter rounds, whose end may not be known."""

LONGEST_STRETCH: Final = 64.0
"""Of an interval by chords beyond `CHORD_BEND`, where they turn out to bend less, as with energy limits."""

INTERVALS_PER_NODE: Final = 10
"""Intervals outwards, per node allowed: where gains spread far, those by chords may hardly advance."""

FINEST: Final = 1e-5
"""Intervals of a relative width below this are not split any further."""


class Anchor(NamedTuple):
    """Best replies, their tangents and the sum of these: what an interval starts from."""

    replies: BestReplies
    tangent: Tangent
    affine: AffineBound


class IntervalSearch:
    """Intervals that cover all round times at which something better than the best known could lie.

    Args:
        certificate: of the problem.
        goal: the best known allocation and when the proof may end.
        max_nodes: give up branching after this many intervals, and going outwards after some times as many.
        most_vectors: longest list of token vectors.
        least_s: the least round time of any allocation, s, where it is known.

    Attributes:
        intervals: bounded so far.
        nodes: open intervals branched on.
        vectors: token vectors listed.
    """

    def __init__(
        self,
        certificate: Certificate,
        goal: Goal,
        *,
        max_nodes: int,
        most_vectors: int,
        least_s: float | None = None,
    ) -> None:
        self.certificate, self.goal = certificate, goal
        self.demand, self.problem = certificate.demand, certificate.problem
        self._max_nodes, self._most_vectors, self._least_s = max_nodes, most_vectors, least_s
        self._cover = IntervalCover()
        self.intervals = self.nodes = self.vectors = 0

    @property
    def bound(self) -> float:
        """Upper bound on the STE of every allocation that is not known, 1/s; after `certify`."""
        return self._cover.bound

    @property
    def least_round_s(self) -> float:
        """The least round time of any allocation, s."""
        if self._least_s is None:
            self._least_s = self.demand.least_round_s(self.problem.min_tokens)
        return self._least_s

    @property
    def most_round_s(self) -> float:
        """A round time beyond which even all attention gives no better STE, s."""
        return self.demand.most_retained / self.goal.value * (1 + 1e-9)

    def certify(self, replies: BestReplies) -> None:
        """Cover all round times, outwards from some best replies; what fails stays open for `branch`."""
        anchor = self._anchor(replies)
        concave = replies.round_s <= self.certificate.concave_until_s
        if concave and not self._covers(anchor) and anchor.affine.slope > 0:
            # An affine bound that rises exactly as fast as the best known STE reaches furthest.
            price = replies.price * self.goal.value / anchor.affine.slope
            replies = self.certificate.best_replies(replies.round_s, price, replies.choice.tokens)
            anchor = self._anchor(replies)
        for upwards in (True, False):
            self._march(anchor, upwards)

    def branch(self, price: float) -> Stop:
        """Work on the open interval of largest bound until all are within the gap or a limit is met."""
        given_up: list[Interval] = []
        stop = Stop.CONVERGED
        while self._cover.open:
            if self.goal.expired():
                stop = Stop.TIME_LIMIT
                break
            if self.nodes >= self._max_nodes:
                stop = Stop.ITERATION_LIMIT
                break
            interval = self._cover.pop_worst()
            if interval.bound <= self.goal.target:
                self._cover.close(interval.bound)
                continue
            self.nodes += 1
            bound, closed = self._visit(interval, price)
            if closed:
                self._cover.close(bound)
            elif interval.width <= FINEST:
                given_up.append(interval._replace(bound=bound))
            else:
                for half in interval.halves(bound):
                    self._cover.leave_open(half)
        for interval in given_up:
            self._cover.leave_open(interval)
        if stop is Stop.CONVERGED and any(interval.bound > self.goal.target for interval in given_up):
            return Stop.ITERATION_LIMIT
        return stop

    def _anchor(self, replies: BestReplies) -> Anchor:
        tangent = self.certificate.tangent(replies)
        return Anchor(replies, tangent, self.certificate.affine_bound(replies, tangent))

    def _covers(self, anchor: Anchor) -> bool:
        """Whether the affine bound of one anchor meets the target at all round times that matter."""
        up, _ = self._reach(anchor, upwards=True)
        down, _ = self._reach(anchor, upwards=False)
        round_s = anchor.replies.round_s
        if round_s * (1.0 + up) < self.most_round_s or down <= 0:
            return False
        return self._nothing_below(round_s / (1.0 + down))

    def _march(self, anchor: Anchor, upwards: bool) -> None:
        """Walk from an anchor to an end of the axis in intervals as wide as their bounds allow."""
        stretch, longest = 1.0, LONGEST_STRETCH
        while not self._at_end(anchor.replies.round_s, upwards):
            round_s = anchor.replies.round_s
            if self.goal.expired() or self.intervals >= INTERVALS_PER_NODE * self._max_nodes:
                self._leave_open(round_s, self.most_round_s if upwards else self.least_round_s, math.inf)
                return
            width, affine = self._reach(anchor, upwards)
            if affine:  # its reach is known, not guessed
                stretch = min(stretch, 1.0)
            stuck = width * stretch < FINEST
            width = OPEN_WIDTH if stuck else stretch * width
            if upwards:
                other_s = min(round_s * (1.0 + width), self.most_round_s)
            else:
                other_s = round_s / (1.0 + min(width, LONGEST_DOWN))
                other_s = max(other_s, (self._least_s or 0.0) if affine else self.least_round_s)
            bound, replies = self._bound(anchor, other_s, affine)
            if bound <= self.goal.target:
                self._cover.close(bound)
            elif stuck:
                self._leave_open(round_s, other_s, bound)
            else:
                longest = max(1.0, 0.5 * stretch)
                stretch *= 0.4
                continue
            if self._at_end(other_s, upwards):
                return
            stretch = min(longest, 2.0 * stretch)
            if replies is None:
                price, tokens = anchor.replies.price, anchor.replies.choice.tokens
                replies = self.certificate.best_replies(other_s, price, tokens)
            anchor = self._anchor(replies)

    def _at_end(self, round_s: float, upwards: bool) -> bool:
        """Whether no better allocation has a round time above, or none at all one below."""
        return round_s >= self.most_round_s if upwards else self._nothing_below(round_s)

    def _nothing_below(self, round_s: float) -> bool:
        """Whether no allocation has a round time below this one."""
        if self._least_s is not None:
            return round_s <= self._least_s
        total, _ = self.demand.total_and_slope(self.problem.min_tokens, round_s)
        return total > self.problem.bandwidth_hz

    def _reach(self, anchor: Anchor, upwards: bool) -> tuple[float, bool]:
        """Relative width of the next interval that should do; whether the affine bound gives it."""
        target, replies = self.goal.target, anchor.replies
        margin = 1.0 - self.certificate.lagrangian(replies) / (target * replies.round_s)
        chords = min(0.8 * math.sqrt(max(margin, 0.0) / CHORD_BEND), 10.0)
        if replies.round_s > self.certificate.concave_until_s:
            return chords, False
        margin = 0.98 * target + 0.02 * self.goal.value - anchor.affine.value / replies.round_s
        adverse = (anchor.affine.slope - target) * (1.0 if upwards else -1.0)
        if margin <= 0:
            affine = 0.0
        elif adverse <= 0:
            affine = math.inf
        else:
            change = margin / adverse
            affine = change if upwards else change / max(1.0 - change, 1e-18)
        return max(affine, chords), affine > chords

    def _bound(self, anchor: Anchor, other_s: float, affine: bool) -> tuple[float, BestReplies | None]:
        """Bound between an anchor and another round time; the replies there if they were needed."""
        self.intervals += 1
        if affine:
            return anchor.affine.bound(other_s), None
        replies = anchor.replies
        other = self.certificate.best_replies(other_s, replies.price, replies.choice.tokens)
        low, high = (replies, other) if other_s > replies.round_s else (other, replies)
        return self.certificate.bound(low, high, replies, anchor.tangent), other

    def _leave_open(self, one_s: float, other_s: float, bound: float) -> None:
        low_s, high_s = sorted((one_s, other_s))
        # The slack covers the accuracy of the least round times, which the ends are taken from.
        bound = min(bound, self.demand.most_retained / low_s * (1.0 + 8.0 * TIME))
        self._cover.leave_open(Interval(low_s, high_s, bound, one_s))

    def _visit(self, interval: Interval, price: float) -> tuple[float, bool]:
        """A better bound for one interval, and whether nothing above it is left to find there."""
        certificate, middle_s, bound = self.certificate, interval.middle_s, interval.bound
        cleared = clear(certificate, self.goal, middle_s, price)
        low = certificate.best_replies(interval.low_s, cleared.price, cleared.choice.tokens)
        high = certificate.best_replies(interval.high_s, cleared.price, cleared.choice.tokens)
        for anchor in (low, high):
            bound = min(bound, certificate.bound(low, high, anchor, certificate.tangent(anchor)))
        target = self.goal.target
        if bound <= target:
            return bound, True
        narrow = interval.width <= 100.0 * FINEST
        if certificate.lagrangian(cleared) <= target * middle_s and not narrow:
            # A narrower interval has a bound near this Lagrangian: halving works.
            return bound, False
        slack = (bound - target) * interval.high_s
        vectors = surviving_tokens(certificate, low, high, slack, self._most_vectors)
        if vectors is None:
            return bound, False
        self.vectors += len(vectors)
        for tokens in vectors[winners(self.demand, vectors, target)]:
            self.goal.offer(tokens, middle_s)
        return max(target, self.goal.value), True
