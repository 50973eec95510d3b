r"""Dinkelbach's iteration on the dual price of bandwidth, the fast way to a good allocation.

At tokens K with least round time tau(K) and efficiency sigma = f(K) / tau(K), one hertz more shortens the
round by 1 / |need'|, so it is worth sigma / |need'|: their shadow price. At that price the clients choose new
tokens. At a fixed point no client gains by another count, and the certificate needs just this price.
"""

from __future__ import annotations

import math
from typing import Final

from ..bounds.certificate import BestReplies, Certificate
from ..physics.bracket import Bracket
from ..tolerances import OPTIMALITY
from .incumbent import Incumbent, shadow_price

MOST_ITERATIONS: Final = 60
"""Far beyond what a convergent iteration takes."""

LONGEST_STEP: Final = 40.0
"""Of the logarithm of the price in one iteration."""


def dinkelbach(certificate: Certificate, incumbent: Incumbent) -> BestReplies | None:
    """Improve an incumbent by price ascent until the Lagrangian at its round time nearly meets its STE.

    Secant steps on log(shadow price / price) inside a bracket.

    Args:
        certificate: of the problem.
        incumbent: improved in place, until the clients' replies improve it no more.

    Returns:
        Best replies next to the incumbent, once the Lagrangian is close enough to start a proof from; None
        when it never was: deadlines make the objective kinked.

    Cost: one inner loop and one least round time per iteration, about five iterations from afar.
    """
    budget, point = incumbent.budget, incumbent.best
    price, bracket = shadow_price(certificate, point), Bracket(longest=LONGEST_STEP)
    close: BestReplies | None = None
    for _ in range(MOST_ITERATIONS):
        if not 0 < price < math.inf or incumbent.expired():
            break
        replies = certificate.best_replies(point.round_s, price, point.tokens)
        best = incumbent.best
        settled = point is best and _settled(certificate, incumbent, replies)
        if settled:
            close = replies
            if certificate.lagrangian(replies) <= best.ste * best.round_s * (1.0 + budget.ascent_done):
                break
        reply = incumbent.offer(replies.choice.tokens, point.round_s)
        if settled and (reply is None or reply.ste <= best.ste * (1.0 + OPTIMALITY)):
            break
        if reply is None:
            point, excess = incumbent.best, math.inf
        else:
            point, excess = reply, _log_ratio(shadow_price(certificate, reply), price)
        price = math.exp(bracket.next(math.log(price), excess))
        if bracket.width <= 1e-9:
            break
    return close


def _settled(certificate: Certificate, incumbent: Incumbent, replies: BestReplies) -> bool:
    """Whether the price is nearly the incumbent's own and its tokens nearly the clients' best replies."""
    best, ascent = incumbent.best, incumbent.budget.ascent
    off = _log_ratio(shadow_price(certificate, best), replies.price)
    close = certificate.lagrangian(replies) <= best.ste * best.round_s * (1.0 + ascent)
    return close and abs(off) <= 0.3 * math.sqrt(ascent)


def _log_ratio(wanted: float, price: float) -> float:
    """ln(wanted / price) for price > 0, within `LONGEST_STEP` also where `wanted` is 0 or inf."""
    ratio = wanted / price
    if not 0 < ratio < math.inf:
        return LONGEST_STEP if ratio > 0 else -LONGEST_STEP
    return min(max(math.log(ratio), -LONGEST_STEP), LONGEST_STEP)
