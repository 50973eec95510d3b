"""`exact`: the global optimum with a proof, by price ascent and branch and bound over the round time."""

from __future__ import annotations

import heapq
import math
from typing import Final, NamedTuple

import numpy as np

from ..bounds.affine_bound import Planes
from ..bounds.certificate import Certificate, Reading, Tangent
from ..bounds.clearing_price import clear
from ..bounds.knapsack import surviving_tokens, winners
from ..checks import whole_number
from ..method import Answer, Request
from ..physics.demand import Demand
from ..physics.kernel_choice import select_kernel
from ..primal.dinkelbach import ascend
from ..primal.incumbent import Incumbent, fewest, incumbent, own_price
from ..primal.warm_start import follow
from ..problem import IntArray, Problem
from ..registry import register
from ..result import Stop, TracePoint

CHORD_BEND: Final = 0.1
"""Typical excess of chord majorants over L, relative to L and to the square of the relative width."""

OPEN_STRIDE: Final = 0.02
"""Relative width of a piece of the round-time axis that is left to branching."""

MOST_CLEARINGS: Final = 15
"""Round times tried when ascent settles nowhere."""

LONGEST_DOWN: Final = 3.0
"""Largest relative width of a stride towards shorter rounds, whose end may not be known."""

LONGEST_STRETCH: Final = 64.0
"""Of a stride by chords beyond `CHORD_BEND`, where they turn out to bend less, as with energy limits."""

FINEST: Final = 1e-5
"""Intervals of a relative width below this are not split any further."""


@register("exact", proves="optimum")
def exact(
    problem: Problem,
    request: Request,
    *,
    kernel: str = "auto",
    max_nodes: int = 2000,
    max_combinations: int = 100_000,
) -> Answer:
    """Global optimum with a proved gap: price ascent, interval certificates, branching on what is left.

    0. Follow (`warm`): where the caller gives a start, a few readings next to it often find and prove the
       optimum at once, and nothing else is done.
    1. Ascend (`ascent`): a few rounds of clients replying to the price that their own bandwidth is worth.
    2. Certify (`certificate`): walk outwards from the incumbent's round time in strides whose Lagrangian
       bound stays below (1 + gap) x STE, as far as any better allocation could lie (P4, P5).
    3. Branch: where a stride fails, clear the market there for a better price, list the token vectors
       that could still win (`enumeration`), or halve the interval.

    `bound` holds for every allocation: each interval's bound is a Lagrangian one, true at any price,
    raised by a first-order bound of its rounding errors, and the intervals cover all round times from
    the least possible one to (all attention) / STE, beyond which nothing can win. It never rests on the
    start: what an earlier result says is a guess of where to read this problem.

    Args:
        problem: the instance.
        request: gap, time limit and start; a start from nearly the same instance saves steps 1 to 3.
        kernel: "auto", "numpy" or "numba" (see `kernel_choice.select_kernel`).
        max_nodes: give up branching after this many intervals.
        max_combinations: largest list of token vectors at 10 clients; fewer with more clients.

    Raises:
        OptionError: an option is out of range. MissingDependencyError: numba is asked for and absent.

    Cost: O(M) per reading of all clients with a good guess, O(M log N) without; about five readings to
        ascend, two to forty to certify, more where deadlines bind; two in all for a good start without
        overheads of several lengths. Memory: two (M, N) tables.
    """
    max_nodes = whole_number("solver 'exact'", "max_nodes", max_nodes, 1)
    max_combinations = whole_number("solver 'exact'", "max_combinations", max_combinations, 1)
    demand = Demand(problem, select_kernel(kernel, problem.clients))
    return _Search(demand, request, max_nodes, max_combinations).run()


class Anchor(NamedTuple):
    """A reading, its tangents and their sum."""

    reading: Reading
    tangent: Tangent
    planes: Planes


class _Search:
    """State of one solve: the incumbent, what is proved, what is open."""

    best: Incumbent

    def __init__(self, demand: Demand, request: Request, max_nodes: int, max_combinations: int) -> None:
        self.demand = demand
        self.problem = demand.problem
        self.certificate = Certificate(demand)
        self.request = request
        self.max_nodes = max_nodes
        self.most_vectors = max(1000, 10 * max_combinations // demand.problem.clients)
        self.trace: list[TracePoint] = []
        self.nodes = self.vectors = self.strides = 0
        self.least_s: float | None = None
        """The least round time of any allocation, once known."""
        self.proved = 0.0
        """Largest bound of the intervals that are done with."""
        self.open: list[tuple[float, float, float]] = []
        """Heap of (-bound, low, high) of the intervals that are not."""

    @property
    def target(self) -> float:
        """Intervals with a bound up to here need no more work."""
        return self.best.ste * (1.0 + 0.999 * self.request.gap)

    def run(self) -> Answer:
        self.best = self._warm() or self._fewest()
        self.trace.append(TracePoint(self.request.elapsed_s(), 0, self.best.ste))
        stop = Stop.CONVERGED
        followed = self.proved > 0
        if not followed:
            reading = self._ascend() or self._polish()
            self._certify(reading)
            stop = self._branch(reading.price)
        bound = max(self.proved, self.best.ste, *(-node[0] for node in self.open), 0.0)
        self.trace.append(TracePoint(self.request.elapsed_s(), len(self.trace), self.best.ste, bound))
        return Answer(
            allocation=self.demand.allocation(self.best.tokens, self.best.round_s),
            stop=stop,
            bound=bound,
            claimed_ste=self.best.ste,
            stationary=True,
            trace=tuple(self.trace),
            stats={
                "kernel": self.demand.kernel.name,
                "followed": followed,
                "strides": self.strides,
                "nodes": self.nodes,
                "vectors": self.vectors,
            },
        )

    def _warm(self) -> Incumbent | None:
        """What a few readings next to the caller's start give; `proved` is set if they prove it."""
        start, problem = self.request.start, self.problem
        if start is None:
            return None
        tokens = np.minimum(np.maximum(start.tokens, problem.min_tokens), problem.tokens)
        point = self._earlier() or incumbent(self.demand, tokens)
        if point is None:
            return None
        price = own_price(self.certificate, point)
        found, bound = follow(self.certificate, tokens, point.round_s, price, self.request)
        if math.isfinite(bound):
            self.proved = bound
        return found or incumbent(self.demand, tokens, point.round_s)

    def _earlier(self) -> Incumbent | None:
        """The earlier result's outcome on its own problem; a guess here."""
        earlier = self.request.start_result
        if earlier is None or earlier.allocation is None or earlier.evaluation is None:
            return None
        tokens, round_s = earlier.allocation.tokens, earlier.evaluation.round_s
        if earlier.problem.clients != self.problem.clients or not round_s < math.inf:
            return None
        _, slope = Demand(earlier.problem, self.demand.kernel).total_and_slope(tokens, round_s)
        return Incumbent(tokens, round_s, earlier.ste, slope)

    def _fewest(self) -> Incumbent:
        first = fewest(self.demand)
        self.least_s = first.round_s
        return first

    def _ascend(self) -> Reading | None:
        enough = 0.3 * self.request.gap
        self.best, reading = ascend(self.certificate, self.best, self.request, self.trace, enough)
        return reading

    def _polish(self) -> Reading:
        """Search the round time with the market cleared at each, for when ascent settles nowhere.

        That happens when deadlines kink the objective, or when even attention lets the clients' replies
        jump. Where the clearing price exceeds what an hertz is worth, a longer round pays. Returns the
        reading of largest Lagrangian over round time, next to the peak that a certificate must cover.
        """
        logarithm = math.log(self.best.round_s)
        low, high = math.log(self._least_round_s()), math.log(self._most_s())
        price = self._usable(own_price(self.certificate, self.best))
        previous: tuple[float, float] | None = None
        readings: list[Reading] = []
        while len(readings) < MOST_CLEARINGS and high - low > FINEST and not self.request.expired():
            cleared = self._clear(math.exp(logarithm), price)
            readings.append(cleared)
            price, round_s = cleared.price, cleared.round_s
            _, slope = self.demand.total_and_slope(cleared.choice.tokens, round_s)
            charged_s = round_s - self.certificate.origin_s
            worth = -price * slope * charged_s * round_s / self.certificate.lagrangian(cleared)
            pull = math.log(worth) if worth > 0 else -1.0
            if abs(pull) <= 0.1 * math.sqrt(self.request.gap):
                break
            low, high = (logarithm, high) if pull > 0 else (low, logarithm)
            step = min(max(pull, -0.7), 0.7)
            if previous is not None and (pull - previous[1]) * (logarithm - previous[0]) < 0:
                step = -pull * (logarithm - previous[0]) / (pull - previous[1])
            previous = (logarithm, pull)
            logarithm = logarithm + step if low < logarithm + step < high else 0.5 * (low + high)
        if not readings:
            return self.certificate.read(self.best.round_s, price, self.best.tokens)
        return max(readings, key=lambda reading: self.certificate.lagrangian(reading) / reading.round_s)

    def _clear(self, round_s: float, price: float) -> Reading:
        """The market cleared at a round time, whose tokens are offered; the reading of lower Lagrangian."""
        both = clear(self.certificate, round_s, self._usable(price), self.best.tokens, 0.1 * self.request.gap)
        for reading in both:
            self._offer(reading.choice.tokens, round_s)
        return min(both, key=self.certificate.lagrangian)

    def _usable(self, price: float) -> float:
        """The price, or one of the right magnitude where it is 0 or infinite."""
        return price if 0 < price < math.inf else self.best.ste / self.problem.bandwidth_hz

    def _offer(self, tokens: IntArray, guess_s: float) -> None:
        candidate = incumbent(self.demand, tokens, guess_s)
        if candidate is not None and candidate.ste > self.best.ste:
            self.best = candidate
            self.trace.append(TracePoint(self.request.elapsed_s(), len(self.trace), candidate.ste))

    def _certify(self, reading: Reading) -> None:
        """Cover all round times by intervals, from a reading outwards; leave the failures open."""
        anchor = self._anchor(reading)
        concave = reading.round_s <= self.certificate.concave_until_s
        if concave and not self._covers(anchor) and anchor.planes.slope > 0:
            # Planes whose total rises exactly as fast as the incumbent's STE reach furthest.
            price = reading.price * self.best.ste / anchor.planes.slope
            reading = self.certificate.read(reading.round_s, price, reading.choice.tokens)
            anchor = self._anchor(reading)
        for upwards in (True, False):
            self._march(anchor, upwards)

    def _anchor(self, reading: Reading) -> Anchor:
        tangent = self.certificate.tangent(reading)
        return Anchor(reading, tangent, self.certificate.planes(reading, tangent))

    def _covers(self, anchor: Anchor) -> bool:
        """Whether the planes of one reading meet the target at all round times that matter."""
        up, _ = self._stride(anchor, upwards=True)
        down, _ = self._stride(anchor, upwards=False)
        round_s = anchor.reading.round_s
        if round_s * (1.0 + up) < self._most_s() or down <= 0:
            return False
        return self._nothing_below(round_s / (1.0 + down))

    def _march(self, anchor: Anchor, upwards: bool) -> None:
        """Walk from a reading to an end of the axis in strides as long as their bounds allow."""
        stretch, longest = 1.0, LONGEST_STRETCH
        while not self._at_end(anchor.reading.round_s, upwards):
            round_s = anchor.reading.round_s
            if self.request.expired():
                self._leave_open(round_s, self._most_s() if upwards else self._least_round_s(), math.inf)
                return
            stride, planes = self._stride(anchor, upwards)
            if planes:  # their reach is known, not guessed
                stretch = min(stretch, 1.0)
            stuck = stride * stretch < FINEST
            stride = OPEN_STRIDE if stuck else stretch * stride
            if upwards:
                reach_s = min(round_s * (1.0 + stride), self._most_s())
            else:
                reach_s = round_s / (1.0 + min(stride, LONGEST_DOWN))
                reach_s = max(reach_s, (self.least_s or 0.0) if planes else self._least_round_s())
            bound, reading = self._bound(anchor, reach_s, planes)
            if bound <= self.target:
                self.proved = max(self.proved, bound)
            elif stuck:
                self._leave_open(round_s, reach_s, bound)
            else:
                longest = max(1.0, 0.5 * stretch)
                stretch *= 0.4
                continue
            if self._at_end(reach_s, upwards):
                return
            stretch = min(longest, 2.0 * stretch)
            if reading is None:
                price, tokens = anchor.reading.price, anchor.reading.choice.tokens
                reading = self.certificate.read(reach_s, price, tokens)
            anchor = self._anchor(reading)

    def _at_end(self, round_s: float, upwards: bool) -> bool:
        """Whether no better allocation has a round time above, or none at all one below."""
        return round_s >= self._most_s() if upwards else self._nothing_below(round_s)

    def _most_s(self) -> float:
        """A round time beyond which even all attention gives no better STE."""
        return self.demand.most_retained / self.best.ste * (1 + 1e-9)

    def _nothing_below(self, round_s: float) -> bool:
        """Whether no allocation has a round time below this one."""
        if self.least_s is not None:
            return round_s <= self.least_s
        total, _ = self.demand.total_and_slope(self.problem.min_tokens, round_s)
        return total > self.problem.bandwidth_hz

    def _least_round_s(self) -> float:
        if self.least_s is None:
            self.least_s = self.demand.least_round_s(self.problem.min_tokens)
        return self.least_s

    def _stride(self, anchor: Anchor, upwards: bool) -> tuple[float, bool]:
        """Relative width of the next interval that should meet the target, and whether planes give it."""
        target, reading = self.target, anchor.reading
        margin = 1.0 - self.certificate.lagrangian(reading) / (target * reading.round_s)
        chords = min(0.8 * math.sqrt(max(margin, 0.0) / CHORD_BEND), 10.0)
        if reading.round_s > self.certificate.concave_until_s:
            return chords, False
        margin = 0.98 * target + 0.02 * self.best.ste - anchor.planes.value / reading.round_s
        adverse = (anchor.planes.slope - target) * (1.0 if upwards else -1.0)
        if margin <= 0:
            planes = 0.0
        elif adverse <= 0:
            planes = math.inf
        else:
            change = margin / adverse
            planes = change if upwards else change / max(1.0 - change, 1e-18)
        return max(planes, chords), planes > chords

    def _bound(self, anchor: Anchor, other_s: float, planes: bool) -> tuple[float, Reading | None]:
        """Bound between a reading and another round time; the reading there if one was needed."""
        self.strides += 1
        if planes:
            return anchor.planes.bound(other_s), None
        reading = anchor.reading
        other = self.certificate.read(other_s, reading.price, reading.choice.tokens)
        low, high = (reading, other) if other_s > reading.round_s else (other, reading)
        return self.certificate.bound(low, high, reading, anchor.tangent), other

    def _leave_open(self, one_s: float, other_s: float, bound: float) -> None:
        low_s, high_s = sorted((one_s, other_s))
        bound = min(bound, self.demand.most_retained / low_s)
        heapq.heappush(self.open, (-bound, low_s, high_s))

    def _branch(self, price: float) -> Stop:
        """Work on the open interval of largest bound until all are within the gap or a limit is met."""
        given_up: list[tuple[float, float, float]] = []
        stop = Stop.CONVERGED
        while self.open:
            if self.request.expired():
                stop = Stop.TIME_LIMIT
                break
            if self.nodes >= self.max_nodes:
                stop = Stop.ITERATION_LIMIT
                break
            negative, low_s, high_s = heapq.heappop(self.open)
            if -negative <= self.target:
                self.proved = max(self.proved, -negative)
                continue
            self.nodes += 1
            bound, closed = self._visit(low_s, high_s, -negative, price)
            if closed:
                self.proved = max(self.proved, bound)
            elif high_s <= low_s * (1.0 + FINEST):
                given_up.append((-bound, low_s, high_s))
            else:
                middle_s = math.sqrt(low_s * high_s)
                heapq.heappush(self.open, (-bound, low_s, middle_s))
                heapq.heappush(self.open, (-bound, middle_s, high_s))
        self.open.extend(given_up)
        if stop is Stop.CONVERGED and any(-node[0] > self.target for node in given_up):
            return Stop.ITERATION_LIMIT
        return stop

    def _visit(self, low_s: float, high_s: float, bound: float, price: float) -> tuple[float, bool]:
        """A better bound for one interval, and whether nothing above it is left to find there."""
        middle_s = math.sqrt(low_s * high_s)
        cleared = self._clear(middle_s, price)
        low = self.certificate.read(low_s, cleared.price, cleared.choice.tokens)
        high = self.certificate.read(high_s, cleared.price, cleared.choice.tokens)
        for anchor in (low, high):
            bound = min(bound, self.certificate.bound(low, high, anchor, self.certificate.tangent(anchor)))
        target = self.target
        if bound <= target:
            return bound, True
        narrow = high_s <= low_s * (1.0 + 100.0 * FINEST)
        if self.certificate.lagrangian(cleared) <= target * middle_s and not narrow:
            # A narrower interval has a bound near this Lagrangian: halving works.
            return bound, False
        slack = (bound - target) * high_s
        vectors = surviving_tokens(self.certificate, low, high, slack, self.most_vectors)
        if vectors is None:
            return bound, False
        self.vectors += len(vectors)
        for tokens in vectors[winners(self.demand, vectors, target)]:
            self._offer(tokens, middle_s)
        return max(target, self.best.ste), True
