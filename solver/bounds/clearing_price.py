"""The dual price of bandwidth that balances need and budget at a fixed round time (P3)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..physics.bracket import Bracket
from ..problem import IntArray
from .certificate import BestReplies, Certificate
from .intervals import Goal

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
    certificate: Certificate, round_s: float, price: float, guess: IntArray, tolerance: float
) -> tuple[BestReplies, BestReplies]:
    """Best replies at a fixed round time just within and just beyond the bandwidth budget.

    Those within are a greedy knapsack: their tokens are those of highest gain per hertz. Both prices are
    near the dual optimum of the linear relaxation, whose value either Lagrangian bounds from above.

    Args:
        certificate: of the problem.
        round_s: tau, at least the least round time of `min_tokens`, s.
        price: a first guess of the price, retained attention per Hz s, > 0.
        guess: (M,) a first guess of the tokens.
        tolerance: stop when the idle bandwidth is worth less than this share of the Lagrangian, or when
            one token tells the two apart.

    Cost: usually three to six inner loops; secant steps on the log-log demand curve inside a bracket.
    """
    budget = certificate.problem.bandwidth_hz
    charged_s = round_s - certificate.origin_s
    within: BestReplies | None = None
    beyond: BestReplies | None = None
    bracket, logarithm = Bracket(longest=LONGEST_STEP, pace=FIRST_PACE, bisect_every=4), math.log(price)
    for step in range(MOST_STEPS):
        replies = certificate.best_replies(round_s, math.exp(logarithm), guess)
        guess = replies.choice.tokens
        if replies.need_hz > budget:
            beyond = replies
        else:
            within = replies
            idle = replies.price * charged_s * (budget - replies.need_hz)
            if idle <= tolerance * certificate.lagrangian(replies):
                return within, beyond or within
        if within is not None and beyond is not None:
            apart = int(np.abs(within.choice.tokens - beyond.choice.tokens).sum())
            if apart <= 1 or within.price - beyond.price <= 1e-13 * within.price:
                return within, beyond
        elif within is not None and step >= PATIENCE:
            # Do all tokens of any importance fit? Then bandwidth is worth next to nothing.
            nearly_free = certificate.best_replies(round_s, 1e-30 * within.price, guess)
            if nearly_free.need_hz <= budget:
                return nearly_free, nearly_free
            beyond = nearly_free
            bracket.low = math.log(nearly_free.price)
        logarithm = bracket.next(logarithm, math.log(replies.need_hz / budget))
        logarithm = min(max(logarithm, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    return within or replies, beyond or replies


def clear(certificate: Certificate, goal: Goal, round_s: float, price: float) -> BestReplies:
    """Best replies at the clearing price of a round time; tokens met on the way are offered to the goal.

    Args:
        certificate: of the problem.
        goal: gets the tokens just within and just beyond the budget.
        round_s: tau, s.
        price: a first guess of the price; of any magnitude.
    """
    around = replies_around_budget(
        certificate, round_s, usable_price(goal, certificate, price), goal.tokens, goal.budget.clearing
    )
    for replies in around:
        goal.offer(replies.choice.tokens, round_s)
    return min(around, key=certificate.lagrangian)


def usable_price(goal: Goal, certificate: Certificate, price: float) -> float:
    """The price, or one of the right magnitude where it is 0 or infinite."""
    return price if 0 < price < math.inf else goal.value / certificate.problem.bandwidth_hz
