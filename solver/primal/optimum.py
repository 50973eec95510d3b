"""Search the optimum of an instance with its proof: ascent, interval certificates, branch and bound."""

from __future__ import annotations

import math

from ..bounds.goal import ROUND_S, STE, Goal, best_point, offer, shadow_price
from ..bounds.interval_search import (
    CONVERGED,
    IntervalSearch,
    branch,
    certify,
    fewest_tokens,
    most_round_s,
    new_interval_search,
)
from ..bounds.intervals import close
from ..bounds.round_time import search_round_time
from .dinkelbach import dinkelbach


def search_optimum(goal: Goal, max_nodes: int) -> tuple[IntervalSearch, int]:
    """The goal gets the best allocation, the search its bound: steps 1 to 3 of `methods.exact`.

    Returns:
        (the search, how it ended).
    """
    if goal.best[STE] == 0.0:
        offer(goal, fewest_tokens(goal), math.inf)
    search = new_interval_search(goal, max_nodes)
    replies, settled, bound = dinkelbach(goal)
    if bound < math.inf:
        close(search.cover, bound)
        return search, CONVERGED
    if not settled:
        price = shadow_price(goal.relaxed, best_point(goal))
        replies = search_round_time(goal, goal.best[ROUND_S], price, search.least_s, most_round_s(search))
    certify(search, replies)
    return search, branch(search, replies.price)
