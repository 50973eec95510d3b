"""Search the round time of largest dual bound, with the clearing price at each."""

from __future__ import annotations

import math
from typing import Final

from ..physics.bracket import Bracket
from .certificate import BestReplies, Certificate
from .clearing_price import clear, usable_price
from .intervals import Goal

MOST_CLEARINGS: Final = 15
"""Round times tried."""

LONGEST_STEP: Final = 0.7
"""Of the logarithm of the round time."""

FINEST: Final = 1e-5
"""Relative width of the bracket at which the search ends."""


def search_round_time(
    certificate: Certificate, goal: Goal, start_s: float, price: float, low_s: float, high_s: float
) -> BestReplies:
    """Best replies of largest Lagrangian over round time: next to the peak that a proof must cover.

    For when the price ascent settles nowhere: deadlines kink the objective, or even attention lets the
    replies jump. Where the clearing price exceeds what a hertz is worth, a longer round pays.

    Args:
        certificate: of the problem.
        goal: gets tokens met on the way.
        start_s: round time to start at, s.
        price: a first guess of its clearing price.
        low_s: no allocation is faster, s.
        high_s: none slower matters, s.

    Cost: at most `MOST_CLEARINGS` clearing prices.
    """
    bracket = Bracket(math.log(low_s), math.log(high_s), longest=LONGEST_STEP)
    logarithm, price = math.log(start_s), usable_price(goal, certificate, price)
    found: list[BestReplies] = []
    while len(found) < MOST_CLEARINGS and bracket.width > FINEST and not goal.expired():
        cleared = clear(certificate, goal, math.exp(logarithm), price)
        found.append(cleared)
        price, round_s = cleared.price, cleared.round_s
        _, slope = certificate.demand.total_and_slope(cleared.choice.tokens, round_s)
        charged_s = round_s - certificate.origin_s
        worth = -price * slope * charged_s * round_s / certificate.lagrangian(cleared)
        pull = math.log(worth) if worth > 0 else -1.0
        if abs(pull) <= 0.1 * goal.budget.price:
            break
        logarithm = bracket.next(logarithm, pull)
    if not found:
        return certificate.best_replies(start_s, price, goal.tokens)
    return max(found, key=lambda replies: certificate.lagrangian(replies) / replies.round_s)
