r"""Price ascent: Dinkelbach's iteration with the round time eliminated, the fast way to a good allocation.

At tokens K with least round time tau(K) and efficiency sigma = f(K) / tau(K), one hertz more shortens the
round by 1 / |need'|, so it is worth sigma / |need'|. Charging that price, the clients choose new tokens. A
fixed point is optimal in all single-client changes to first order; the price is also what the certificate needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .certificate import Certificate
from .demand import Demand
from .problem import IntArray
from .registry import Request
from .result import TracePoint


@dataclass(frozen=True)
class Incumbent:
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


def incumbent(demand: Demand, tokens: IntArray, guess_s: float | None = None) -> Incumbent | None:
    """The fastest round for given tokens, or None when they never fit; cost: a few closed forms."""
    round_s, slope = demand.least_round(tokens, guess_s)
    if math.isinf(round_s):
        return None
    return Incumbent(tokens, round_s, float(demand.utility(tokens).sum()) / round_s, slope)


def own_price(certificate: Certificate, point: Incumbent) -> float:
    """Price mu at which the bandwidth an incumbent uses is worth its STE; inf when time buys nothing."""
    charged_s = point.round_s - certificate.origin_s
    return point.ste / (-point.slope_hz_per_s * charged_s) if point.slope_hz_per_s < 0 else math.inf


def ascend(
    certificate: Certificate, start: Incumbent, request: Request, trace: list[TracePoint], tolerance: float
) -> tuple[Incumbent, int]:
    """Improve an incumbent by price ascent until its own price moves less than `tolerance` (in log).

    Newton-secant steps on log(own price / price) inside a bracket. Returns the best incumbent and the
    number of inner loops.
    """
    best = point = start
    price = own_price(certificate, start)
    low, high = 0.0, math.inf
    previous: tuple[float, float] | None = None
    for iteration in range(1, 61):
        if not 0 < price < math.inf or request.expired():
            return best, iteration - 1
        reading = certificate.read(point.round_s, price, point.tokens)
        reply = incumbent(certificate.demand, reading.choice.tokens, point.round_s)
        if reply is None:
            low = price
            price = math.sqrt(low * high) if math.isfinite(high) else 8.0 * price
            point, previous = best, None
            continue
        settled = np.array_equal(reply.tokens, point.tokens)
        point = reply
        if point.ste > best.ste:
            best = point
            trace.append(TracePoint(request.elapsed_s(), iteration, best.ste))
        difference = math.log(own_price(certificate, point) / price)
        if abs(difference) <= tolerance or (settled and abs(difference) <= 1e-3):
            return best, iteration
        if difference > 0:
            low = max(low, price)
        else:
            high = min(high, price)
        if high <= low * (1.0 + tolerance):
            return best, iteration
        step = difference
        if previous is not None and price != previous[0]:
            slope = (difference - previous[1]) / math.log(price / previous[0])
            if slope < -0.2:
                step = -difference / slope
        previous = (price, difference)
        price *= math.exp(min(max(step, -40.0), 40.0))
        if not low < price < high:
            price = math.sqrt(low * high) if 0 < low and math.isfinite(high) else previous[0] * math.exp(difference)
    return best, iteration
