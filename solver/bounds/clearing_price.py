"""The dual price of bandwidth that balances need and budget at a fixed round time (P3)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..gap_budget import CLEARING
from ..physics import loops
from ..physics.bracket import advance, new_bracket
from ..physics.loops import BestReplies
from ..problem import IntArray
from .goal import STE, Goal, expired, offer

MOST_STEPS: Final = 200
"""Far beyond what bisection of the logarithm of a price takes."""

LARGEST_EXPONENT: Final = 690.0
"""Of a price that float64 holds."""

LONGEST_STEP: Final = 16.0
"""Of the logarithm of the price."""

FIRST_PACE: Final = 0.05
"""Least first step of the logarithm of the price while demand or supply is in excess all along."""

PATIENCE: Final = 8
"""Steps down after which all tokens of any importance may be suspected to fit."""


def replies_around_budget(
    goal: Goal, round_s: float, price: float, guess: IntArray, tolerance: float
) -> tuple[BestReplies, BestReplies]:
    """Best replies at a fixed round time just within and just beyond the bandwidth budget.

    Those within are a greedy knapsack: their tokens are those of highest gain per hertz. Both prices are
    near the dual optimum of the linear relaxation, whose value either Lagrangian bounds from above. The
    same replies twice where only one side is known.

    Args:
        goal: of the problem; its relaxed instance counts.
        round_s: tau, at least the least round time of `min_tokens`, s.
        price: a first guess of the price, retained attention per Hz s, > 0.
        guess: (M,) a first guess of the tokens.
        tolerance: stop when the Lagrangian is within this share of its least value over all prices, or when
            one token tells the two apart.

    Cost: usually three to six inner loops; secant steps on the log-log demand curve inside a bracket.
    """
    instance = goal.relaxed
    budget = instance.bandwidth_hz
    charged_s = round_s - instance.origin_s
    replies = loops.best_replies(instance, round_s, price, guess)
    within, beyond = replies, replies
    some_within = some_beyond = False
    bracket = new_bracket(longest=LONGEST_STEP, pace=FIRST_PACE, bisect_every=4)
    for step in range(MOST_STEPS):
        idle_hz = budget - replies.need_hz
        if idle_hz < 0.0:
            beyond, some_beyond = replies, True
        else:
            within, some_within = replies, True
            if replies.price * charged_s * idle_hz <= tolerance * replies.lagrangian:
                break
        if some_within and some_beyond:
            apart = int(np.abs(within.tokens - beyond.tokens).sum())
            if apart <= 1 or within.price - beyond.price <= 1e-13 * within.price:
                break
            # The dual function is convex in the price: `within` is this close to its least value.
            excess = (within.price - beyond.price) * charged_s * (budget - within.need_hz)
            if excess <= tolerance * within.lagrangian:
                break
        if expired(goal.monitor):
            break
        following = replies.price
        if some_within and not some_beyond and step >= PATIENCE:
            # Do all tokens of any importance fit? Then bandwidth is worth next to nothing.
            nearly_free = loops.best_replies(instance, round_s, 1e-30 * within.price, replies.tokens)
            if nearly_free.need_hz <= budget:
                return nearly_free, nearly_free
            beyond, some_beyond = nearly_free, True
            bracket = new_bracket(
                math.log(nearly_free.price), math.log(within.price), longest=LONGEST_STEP, bisect_every=4
            )
            following = math.sqrt(nearly_free.price) * math.sqrt(within.price)
        else:
            ratio = replies.need_hz / budget
            excess = math.log(ratio) if ratio < math.inf else math.inf
            bracket, logarithm = advance(bracket, math.log(replies.price), excess)
            following = math.exp(min(max(logarithm, -LARGEST_EXPONENT), LARGEST_EXPONENT))
        replies = loops.best_replies(instance, round_s, following, replies.tokens)
    if not some_within:
        within = beyond
    if not some_beyond:
        beyond = within
    return within, beyond


def clear(goal: Goal, round_s: float, price: float) -> BestReplies:
    """Best replies at the clearing price of a round time; tokens met on the way are offered to the goal.

    Between the replies just within and just beyond the budget lie the tokens that tie at the price: filled up
    in the order of gain per hertz they miss the linear relaxation by less than one token's gain.

    Args:
        goal: gets the tokens just within and just beyond the budget, and the fill.
        round_s: tau, s.
        price: a first guess of the price; of any magnitude.
    """
    within, beyond = replies_around_budget(
        goal, round_s, usable_price(goal, price), goal.tokens, CLEARING * goal.gap
    )
    offer(goal, within.tokens, round_s)
    if beyond.price < within.price:
        offer(goal, beyond.tokens, round_s)
        if within.need_hz <= goal.relaxed.bandwidth_hz < beyond.need_hz:
            offer(goal, loops.filled(goal.relaxed, within, beyond), round_s)
    return within if within.lagrangian <= beyond.lagrangian else beyond


def usable_price(goal: Goal, price: float) -> float:
    """The price, or one of the right magnitude where it is 0 or infinite."""
    return price if 0.0 < price < math.inf else goal.best[STE] / goal.relaxed.bandwidth_hz
