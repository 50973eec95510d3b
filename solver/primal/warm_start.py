"""Warm start: the optimum of a slightly changed problem, proved by a few readings.

At the optimum's price and round time a reading's planes rise as fast as the STE, and bound it by the same
value at all round times. Next to them the value at the reading errs by the square of what price and round
time are off, only the slope to first order. Hence two readings: planes that are a little too flat bound the
longer rounds, planes that are a little too steep the shorter ones, and both are sharp where they meet.
"""

from __future__ import annotations

import math
from typing import Final

from ..bounds.affine_bound import bound_everywhere
from ..bounds.certificate import Certificate
from ..method import Request
from ..problem import IntArray
from .incumbent import Incumbent, incumbent, own_price

MOST_READINGS: Final = 6
"""Two or three do where the problem has changed little."""

FAR: Final = 0.1
"""Relative distance of bound and STE above which price ascent is the better way."""


def follow(
    certificate: Certificate, tokens: IntArray, round_s: float, price: float, request: Request
) -> tuple[Incumbent | None, float]:
    """An allocation near a guess and an upper bound on every STE, inf unless it is within the gap.

    Args:
        certificate: of the problem.
        tokens: (M,) guess; any values.
        round_s: guess of the optimum's round time, s.
        price: guess of its price; all three as of a nearly equal problem.
        request: for the gap and the time limit.

    Cost: about two inner loops and one least round time where the guess is good.
    """
    best: Incumbent | None = None
    planes, offset = None, 0.2 * math.sqrt(request.gap)
    for _ in range(MOST_READINGS):
        usable = certificate.origin_s < round_s <= certificate.concave_until_s and 0 < price < math.inf
        if not usable or request.expired():
            break
        earlier = planes
        tokens, planes = certificate.touch(round_s, price, tokens)
        height = planes.at(round_s) / round_s
        if best is None or height > _target(best, request):
            reply = incumbent(certificate.demand, tokens, round_s)
            if best is not None and (reply is None or reply.ste <= best.ste):
                break  # Whole tokens do not come closer to this bound.
            best = reply
        if best is None or not height <= best.ste * (1.0 + FAR):
            break
        bound = bound_everywhere(planes, earlier or planes)
        if bound <= _target(best, request):
            return best, bound
        # The next planes shall lie on the other side, and there for certain if these should have.
        side = 1.0 if planes.slope < height else -1.0
        round_s, price = best.round_s, own_price(certificate, best) * (1.0 + side * offset)
        offset *= 2.0
    return best, math.inf


def _target(best: Incumbent, request: Request) -> float:
    return best.ste * (1.0 + 0.999 * request.gap)
