"""Search the round time of largest dual bound, with the clearing price at each."""

from __future__ import annotations

import math
from typing import Final

from ..physics import loops
from ..physics.bracket import advance, new_bracket
from ..physics.loops import BestReplies
from .clearing_price import clear, usable_price
from .goal import Goal, expired

MOST_CLEARINGS: Final = 15
"""Round times tried."""

LONGEST_STEP: Final = 0.7
"""Of the logarithm of the round time."""

FINEST: Final = 1e-5
"""Relative width of the bracket at which the search ends."""


def search_round_time(goal: Goal, start_s: float, price: float, low_s: float, high_s: float) -> BestReplies:
    """Best replies of largest Lagrangian over round time: next to the peak that a proof must cover.

    For when the price ascent settles nowhere: deadlines kink the objective, or even attention lets the
    replies jump. Where the clearing price exceeds what a hertz is worth, a longer round pays.

    Args:
        goal: gets tokens met on the way.
        start_s: round time to start at, s.
        price: a first guess of its clearing price.
        low_s: no allocation is faster, s.
        high_s: none slower matters, s.

    Cost: at most `MOST_CLEARINGS` clearing prices.
    """
    instance = goal.relaxed
    bracket = new_bracket(math.log(low_s), math.log(high_s), longest=LONGEST_STEP)
    best = loops.best_replies(instance, start_s, usable_price(goal, price), goal.tokens)
    logarithm, price, height = math.log(start_s), best.price, -math.inf
    for _ in range(MOST_CLEARINGS):
        if bracket.high - bracket.low <= FINEST or expired(goal.monitor):
            break
        cleared = clear(goal, math.exp(logarithm), price)
        price, round_s = cleared.price, cleared.round_s
        if cleared.lagrangian / round_s > height:
            best, height = cleared, cleared.lagrangian / round_s
        _, slope, _ = loops.total_and_slope(instance, cleared.tokens, round_s)
        worth = -price * slope * (round_s - instance.origin_s) * round_s / cleared.lagrangian
        pull = math.log(worth) if 0.0 < worth < math.inf else -1.0
        if abs(pull) <= 0.1 * math.sqrt(goal.gap):
            break
        bracket, logarithm = advance(bracket, logarithm, pull)
    return best
