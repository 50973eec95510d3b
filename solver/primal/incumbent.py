"""The incumbent of a search: the best known token counts, with their least round time."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..bounds.certificate import Certificate
from ..gap_budget import GapBudget
from ..method import Request
from ..physics.demand import Demand
from ..problem import IntArray
from ..result import TracePoint


class Point(NamedTuple):
    """Tokens with their least round time.

    Attributes:
        tokens: (M,) counts.
        round_s: least round time, s.
        ste: STE there, 1/s.
        slope_hz_per_s: derivative of their bandwidth need in the round time, Hz/s; 0 when deadlines bind all.
    """

    tokens: IntArray
    round_s: float
    ste: float
    slope_hz_per_s: float


def fastest_point(demand: Demand, tokens: IntArray, guess_s: float | None = None) -> Point | None:
    """The fastest round for given tokens, or None when they never fit; cost: a few closed forms."""
    round_s, slope = demand.least_round(tokens, guess_s)
    if math.isinf(round_s):
        return None
    return Point(tokens, round_s, float(demand.utility(tokens).sum()) / round_s, slope)


def fastest_round(demand: Demand) -> Point:
    """The fastest round of `min_tokens`; there is one on every instance that `diagnose` lets pass.

    Raises:
        ArithmeticError: rounding disagrees.
    """
    point = fastest_point(demand, demand.problem.min_tokens)
    if point is None:
        raise ArithmeticError("the instance is infeasible by less than the rounding error of its limits")
    return point


def shadow_price(certificate: Certificate, point: Point) -> float:
    """Price mu at which the bandwidth that a point uses is worth its STE; inf when time buys nothing."""
    charged_s = point.round_s - certificate.origin_s
    return point.ste / (-point.slope_hz_per_s * charged_s) if point.slope_hz_per_s < 0 else math.inf


class Incumbent:
    """The best point so far, how it came about, and when the search may end: a `bounds.intervals.Goal`.

    Args:
        demand: of the problem.
        request: for the gap and the time limit.
        first: where the search begins.

    Attributes:
        best: the best point.
        budget: shares of the asked gap.
        trace: improvements so far.
    """

    def __init__(self, demand: Demand, request: Request, first: Point) -> None:
        self._demand, self._request = demand, request
        self.best = first
        self.budget = GapBudget(request.gap)
        self.trace = [TracePoint(request.elapsed_s(), 0, first.ste)]

    @property
    def value(self) -> float:
        """Its STE, 1/s."""
        return self.best.ste

    @property
    def target(self) -> float:
        """A bound up to here proves the asked gap, 1/s."""
        return self.budget.target(self.best.ste)

    @property
    def tokens(self) -> IntArray:
        """(M,) its tokens."""
        return self.best.tokens

    def expired(self) -> bool:
        """Whether the time is up."""
        return self._request.expired()

    def offer(self, tokens: IntArray, round_s: float | None = None) -> Point | None:
        """Consider tokens, given a guess of their round time; their point, None where they never fit."""
        return self.consider(fastest_point(self._demand, tokens, round_s))

    def consider(self, point: Point | None) -> Point | None:
        """Take up a point if it is better; the point itself."""
        if point is not None and point.ste > self.best.ste:
            self.best = point
            self.trace.append(TracePoint(self._request.elapsed_s(), len(self.trace), point.ste))
        return point
