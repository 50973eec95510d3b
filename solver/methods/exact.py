r"""`exact`: the global optimum with a proof, by price ascent and branch and bound over the round time (P1 to P5)."""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np

from ..ascent import Incumbent, ascend, incumbent, own_price
from ..certificate import Certificate, Reading, Tangent
from ..clearing import clear
from ..demand import Demand
from ..enumeration import surviving_tokens, winners
from ..errors import OptionError
from ..kernel import select_kernel
from ..problem import IntArray
from ..problem import Problem
from ..registry import Answer, Request, register
from ..result import Stop, TracePoint

OPEN_STRIDE = 0.02
"""Relative width of a piece of the round-time axis that is left to branching."""

CHORD_BEND = 0.1
"""Excess of chord majorants over L, relative to L and to the square of the interval's relative width."""

FINEST = 1e-5
"""Pieces narrower than this are not split any further."""


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

    1. Ascend (`ascent`): a few rounds of clients replying to the price that their own bandwidth is worth.
    2. Certify (`certificate`): walk outwards from the incumbent's round time in strides whose Lagrangian
       bound stays below (1 + gap) x STE, as far as any better allocation could lie.
    3. Branch: where a stride fails, clear the market there for a better price, list the token vectors
       that could still win (`enumeration`), or halve the interval.

    `bound` is valid for every allocation: each interval's bound is a Lagrangian one, true for any price,
    raised by a first-order bound of its rounding errors, and the intervals cover all round times from
    the least possible one to (largest attention) / STE, beyond which nothing can win.

    Args:
        problem: the instance.
        request: gap, time limit and start; a start of nearly the same instance saves most of step 1.
        kernel: "auto", "numpy" or "numba" (see `kernel.select_kernel`).
        max_nodes: give up branching after this many intervals.
        max_combinations: largest list of token vectors per interval.

    Cost: O(M) per reading of all clients with a good guess, O(M log N) without; about five readings to
    ascend, two to twenty to certify.
    """
    for name, value in (("max_nodes", max_nodes), ("max_combinations", max_combinations)):
        if not (isinstance(value, int) and value >= 1):
            raise OptionError("solver 'exact'", f"{name}={value!r}", "a whole number >= 1", "Leave it out")
    search = _Search(Demand(problem, select_kernel(kernel)), request, max_nodes, max_combinations)
    return search.run()


class _Search:
    """State of one solve: the incumbent, what is proved, what is open."""

    def __init__(self, demand: Demand, request: Request, max_nodes: int, max_combinations: int) -> None:
        self.demand = demand
        self.certificate = Certificate(demand)
        self.request = request
        self.max_nodes = max_nodes
        self.max_combinations = max_combinations
        self.trace: list[TracePoint] = []
        self.counts = {"readings": 0, "nodes": 0, "combinations": 0}
        self.proved = 0.0
        """Largest bound of the intervals that are done with."""
        self.open: list[tuple[float, float, float]] = []
        """Heap of (-bound, low, high) of the intervals that are not."""

    @property
    def target(self) -> float:
        """Intervals with a bound up to here need no more work."""
        return self.best.ste * (1.0 + 0.999 * self.request.gap)

    def run(self) -> Answer:
        self.best = self.first = self._fewest()
        start = self._start()
        self.best, readings = ascend(
            self.certificate, start, self.request, self.trace, 0.01 * math.sqrt(self.request.gap)
        )
        self.counts["readings"] += readings
        if self.first.ste > self.best.ste:
            self.best = self.first
        price = self._polish()
        self._certify(price)
        stop = self._branch(price)
        bound = max(self.proved, self.best.ste, *(-node[0] for node in self.open), 0.0)
        self.trace.append(TracePoint(self.request.elapsed_s(), self.counts["nodes"], self.best.ste, bound))
        stats: dict[str, Any] = {**self.counts, "kernel": self.demand.kernel.name, "price": price}
        return Answer(
            allocation=self.demand.allocation(self.best.tokens, self.best.round_s),
            stop=stop,
            bound=bound,
            claimed_ste=self.best.ste,
            stationary=True,
            trace=tuple(self.trace),
            stats=stats,
        )

    def _fewest(self) -> Incumbent:
        fewest = incumbent(self.demand, self.demand.problem.min_tokens)
        if fewest is None:
            raise ArithmeticError("the instance is infeasible by less than the rounding error of its limits")
        self.trace.append(TracePoint(self.request.elapsed_s(), 0, fewest.ste))
        return fewest

    def _start(self) -> Incumbent:
        """The caller's tokens when they are feasible here, else the fewest."""
        problem, start = self.demand.problem, self.request.start
        if start is None:
            return self.first
        tokens = np.clip(start.tokens, problem.min_tokens, problem.tokens)
        return incumbent(self.demand, tokens) or self.first

    def _polish(self) -> float:
        """A price at which the Lagrangian nearly meets the incumbent's STE; may improve the incumbent.

        The incumbent's own price does, unless deadlines make the objective kinked: then the market is
        cleared at its round time, and what the clients choose there is another ascent's start.
        """
        price = own_price(self.certificate, self.best)
        for _ in range(5):
            if 0 < price < math.inf:
                reading = self._read(self.best.round_s, price, self.best.tokens)
                if self.certificate.lagrangian(reading) <= self.target * self.best.round_s:
                    return price
            if self.request.expired():
                return price
            before = self.best.ste
            price = self._clear(self.best.round_s, price).price
            if self.best.ste <= before:
                return price
            start, own = self.best, own_price(self.certificate, self.best)
            best, readings = ascend(self.certificate, start, self.request, self.trace, 1e-3)
            self.counts["readings"] += readings
            if best.ste > self.best.ste:
                self.best, own = best, own_price(self.certificate, best)
            price = own
        return price

    def _clear(self, round_s: float, price: float) -> Reading:
        """The market cleared at a round time, whose tokens are offered; the reading of lower Lagrangian."""
        if not 0 < price < math.inf:
            price = self.best.ste / self.demand.problem.bandwidth_hz
        both = clear(self.certificate, round_s, price, self.best.tokens, 0.1 * self.request.gap)
        for reading in both:
            self._offer(reading.choice.tokens, round_s)
        return min(both, key=self.certificate.lagrangian)

    def _offer(self, tokens: IntArray, guess_s: float) -> None:
        candidate = incumbent(self.demand, tokens, guess_s)
        if candidate is not None and candidate.ste > self.best.ste:
            self.best = candidate
            self.trace.append(TracePoint(self.request.elapsed_s(), self.counts["nodes"], candidate.ste))

    def _read(self, round_s: float, price: float, guess: IntArray) -> Reading:
        self.counts["readings"] += 1
        return self.certificate.read(round_s, price, guess)

    def _certify(self, price: float) -> None:
        """Cover all round times by intervals, from the incumbent's outwards; leave the failures open."""
        least_s = self.first.round_s
        most_s = max(float(self.demand.retained[:, -1].sum()) / self.best.ste * (1 + 1e-9), self.best.round_s)
        if not 0 < price < math.inf:
            self._leave_open(least_s, most_s, math.inf)
            return
        start = self._read(self.best.round_s, price, self.best.tokens)
        tangent = self.certificate.tangent(start)
        for end_s in (most_s, least_s):
            self._march(start, tangent, end_s)

    def _march(self, anchor: Reading, tangent: Tangent, end_s: float) -> None:
        """Walk from a reading to an end of the axis in strides as long as their bounds allow."""
        upwards = end_s > anchor.round_s
        shorten, far = 1.0, math.isfinite(self.certificate.concave_until_s)
        while anchor.round_s != end_s:
            if self.request.expired():
                self._leave_open(anchor.round_s, end_s, math.inf)
                return
            chord, plane = self._chord_stride(anchor), self._tangent_stride(anchor, tangent, upwards)
            leap = plane > chord and (far or anchor.round_s < self.certificate.concave_until_s)
            stride = shorten * (plane if leap else chord)
            stuck = stride < FINEST
            if stuck:
                stride = OPEN_STRIDE
            reach_s = anchor.round_s * (1.0 + stride if upwards else 1.0 / (1.0 + stride))
            if leap and not far:
                reach_s = min(reach_s, self.certificate.concave_until_s)
            reach_s = min(reach_s, end_s) if upwards else max(reach_s, end_s)
            reading = self._read(reach_s, anchor.price, anchor.choice.tokens)
            low, high = (anchor, reading) if upwards else (reading, anchor)
            bound = self.certificate.bound(low, high, anchor, tangent, self.target)
            if bound <= self.target:
                self.proved = max(self.proved, bound)
                shorten = min(1.0, 2.0 * shorten)
            elif stuck:
                self._leave_open(anchor.round_s, reach_s, bound)
            elif leap and far and high.round_s > self.certificate.concave_until_s:
                far = False
                continue
            else:
                shorten *= 0.4
                continue
            anchor, tangent = reading, self.certificate.tangent(reading)

    def _chord_stride(self, anchor: Reading) -> float:
        """Relative width at which chord majorants should meet the target: they exceed L by its square."""
        margin = 1.0 - self.certificate.lagrangian(anchor) / (self.target * anchor.round_s)
        return min(0.8 * math.sqrt(max(margin, 0.0) / CHORD_BEND), 10.0)

    def _tangent_stride(self, anchor: Reading, tangent: Tangent, upwards: bool) -> float:
        """Relative width up to which tangents alone, if they serve all clients, meet the target."""
        idle = anchor.price * self.demand.problem.bandwidth_hz
        value = idle * (anchor.round_s - self.certificate.origin_s) + float(tangent.value.sum())
        slope = idle + float(tangent.slope.sum())
        margin = 0.98 * self.target + 0.02 * self.best.ste - value / anchor.round_s
        adverse = slope - self.target if upwards else self.target - slope
        if margin <= 0:
            return 0.0
        if adverse <= 0:
            return math.inf
        change = margin / adverse
        return change if upwards else change / max(1.0 - change, 1e-18)

    def _leave_open(self, one_s: float, other_s: float, bound: float) -> None:
        low_s, high_s = min(one_s, other_s), max(one_s, other_s)
        bound = min(bound, float(self.demand.retained[:, -1].sum()) / low_s)
        if bound <= self.target:
            self.proved = max(self.proved, bound)
        else:
            heapq.heappush(self.open, (-bound, low_s, high_s))

    def _branch(self, price: float) -> Stop:
        """Work on the open interval of largest bound until all are within the gap or a limit is met."""
        given_up: list[tuple[float, float, float]] = []
        stop = Stop.CONVERGED
        while self.open:
            if self.request.expired():
                stop = Stop.TIME_LIMIT
                break
            if self.counts["nodes"] >= self.max_nodes:
                stop = Stop.ITERATION_LIMIT
                break
            negative, low_s, high_s = heapq.heappop(self.open)
            bound = -negative
            if bound <= self.target:
                self.proved = max(self.proved, bound)
                continue
            self.counts["nodes"] += 1
            bound, closed = self._visit(low_s, high_s, bound, price)
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
            stop = Stop.ITERATION_LIMIT
        return stop

    def _visit(self, low_s: float, high_s: float, bound: float, price: float) -> tuple[float, bool]:
        """A better bound for one interval, and whether nothing above it is left to find there."""
        middle_s = math.sqrt(low_s * high_s)
        cleared = self._clear(middle_s, price)
        low = self._read(low_s, cleared.price, cleared.choice.tokens)
        high = self._read(high_s, cleared.price, cleared.choice.tokens)
        for anchor in (low, high):
            tangent = self.certificate.tangent(anchor)
            bound = min(bound, self.certificate.bound(low, high, anchor, tangent, self.target))
        target = self.target
        if bound <= target:
            return bound, True
        narrow = high_s <= low_s * (1.0 + 100.0 * FINEST)
        if self.certificate.lagrangian(cleared) <= target * middle_s and not narrow:
            # A narrower interval has a bound near this Lagrangian: halving works.
            return bound, False
        limit = max(1000, 10 * self.max_combinations // self.demand.problem.clients)
        slack = (bound - target) * high_s
        vectors = surviving_tokens(self.certificate, low, high, slack, limit)
        if vectors is None:
            return bound, False
        self.counts["combinations"] += len(vectors)
        for tokens in vectors[winners(self.demand, vectors, target)]:
            self._offer(tokens, middle_s)
        return max(target, self.best.ste), True
