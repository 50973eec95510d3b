r"""Price ascent: Dinkelbach's iteration with the round time eliminated, the fast way to a good allocation.

At tokens K with least round time tau(K) and efficiency sigma = f(K) / tau(K), one hertz more shortens the
round by 1 / |need'|, so it is worth sigma / |need'|. Charging that price, the clients choose new tokens.
At a fixed point no client gains by another count at this price, and the certificate needs just this price.
"""

from __future__ import annotations

import math
from typing import Final

from ..bounds.certificate import Certificate, Reading
from ..method import Request
from ..result import TracePoint
from ..tolerances import OPTIMALITY
from .incumbent import Incumbent, incumbent, own_price

MOST_ITERATIONS: Final = 60
"""Far beyond what a convergent ascent takes."""

LONGEST_STEP: Final = 40.0
"""Of the logarithm of the price in one iteration."""


def ascend(
    certificate: Certificate, start: Incumbent, request: Request, trace: list[TracePoint], enough: float
) -> tuple[Incumbent, Reading | None]:
    """Improve an incumbent by price ascent until the Lagrangian at its round time nearly meets its STE.

    Newton-secant steps on log(own price / price) inside a bracket.

    Args:
        certificate: of the problem.
        start: where to begin.
        request: for the time limit.
        trace: improvements are appended.
        enough: relative distance of Lagrangian and STE that will do for a certificate.

    Returns:
        The best incumbent, once the clients' replies improve it no more, and a reading next to it that
        is that close, or None when there was none (deadlines make the objective kinked).

    Cost: one inner loop and one least round time per iteration, about five iterations from afar.
    """
    best = point = start
    price = own_price(certificate, start)
    low, high = 0.0, math.inf
    previous: tuple[float, float] | None = None
    close: Reading | None = None
    for _ in range(MOST_ITERATIONS):
        if not 0 < price < math.inf or request.expired():
            break
        reading = certificate.read(point.round_s, price, point.tokens)
        settled = point is best and _settled(certificate, best, reading, enough)
        if settled:
            close = reading
            if certificate.lagrangian(reading) <= best.ste * best.round_s * (1.0 + 0.05 * enough):
                break
        reply = incumbent(certificate.demand, reading.choice.tokens, point.round_s)
        if settled and (reply is None or reply.ste <= best.ste * (1.0 + OPTIMALITY)):
            break
        if reply is None:
            low, point, previous = price, best, None
            price = math.sqrt(low * high) if math.isfinite(high) else 8.0 * price
            continue
        point = reply
        if point.ste > best.ste:
            best = point
            trace.append(TracePoint(request.elapsed_s(), len(trace), best.ste))
        difference = _log_ratio(own_price(certificate, point), price)
        if difference > 0:
            low = max(low, price)
        else:
            high = min(high, price)
        if high <= low * (1.0 + 1e-9):
            break
        step = difference
        if previous is not None and price != previous[0]:
            slope = (difference - previous[1]) / math.log(price / previous[0])
            if slope < -0.2:
                step = -difference / slope
        previous = (price, difference)
        price *= math.exp(min(max(step, -LONGEST_STEP), LONGEST_STEP))
        if not low < price < high and low > 0 and math.isfinite(high):
            price = math.sqrt(low * high)
    return best, close


def _settled(certificate: Certificate, best: Incumbent, reading: Reading, enough: float) -> bool:
    """Whether the price is nearly the incumbent's own and its tokens nearly the clients' best replies."""
    off = _log_ratio(own_price(certificate, best), reading.price)
    close = certificate.lagrangian(reading) <= best.ste * best.round_s * (1.0 + enough)
    return close and abs(off) <= 0.3 * math.sqrt(enough)


def _log_ratio(wanted: float, price: float) -> float:
    """ln(wanted / price) for price > 0, within `LONGEST_STEP` also where `wanted` is 0 or inf."""
    ratio = wanted / price
    if not 0 < ratio < math.inf:
        return LONGEST_STEP if ratio > 0 else -LONGEST_STEP
    return min(max(math.log(ratio), -LONGEST_STEP), LONGEST_STEP)
