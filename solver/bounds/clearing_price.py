"""The price of bandwidth that balances demand and budget at a fixed round time (P3)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..problem import IntArray
from .certificate import Certificate, Reading

MOST_STEPS: Final = 200
"""Far beyond what bisection of the logarithm of a price takes."""

LARGEST_EXPONENT: Final = 690.0
"""Of a price that float64 holds."""


def clear(
    certificate: Certificate, round_s: float, price: float, guess: IntArray, tolerance: float
) -> tuple[Reading, Reading]:
    """Readings at a fixed round time just within and just beyond the bandwidth budget.

    The within one is a greedy knapsack: its tokens are those of highest gain per hertz. Both prices are
    near the dual optimum of the linear relaxation, whose value either Lagrangian bounds from above.

    Args:
        certificate: of the problem.
        round_s: tau, at least the least round time of `min_tokens`.
        price: a first guess of the price, > 0.
        guess: (M,) a first guess of the tokens.
        tolerance: stop when the idle bandwidth is worth less than this share of the Lagrangian, or when
            one token tells the two apart.

    Cost: usually three to six inner loops; secant steps on the log-log demand curve inside a bracket.
    """
    budget = certificate.problem.bandwidth_hz
    charged_s = round_s - certificate.origin_s
    within: Reading | None = None
    beyond: Reading | None = None
    logarithm, elasticity = math.log(price), -1.0
    previous: tuple[float, float] | None = None
    for step in range(MOST_STEPS):
        reading = certificate.read(round_s, math.exp(logarithm), guess)
        guess = reading.choice.tokens
        excess = math.log(reading.need_hz / budget)
        if excess > 0:
            beyond = reading
        else:
            within = reading
            idle = reading.price * charged_s * (budget - reading.need_hz)
            if idle <= tolerance * certificate.lagrangian(reading):
                return within, beyond or within
        if within is not None and beyond is not None:
            apart = int(np.abs(within.choice.tokens - beyond.choice.tokens).sum())
            if apart <= 1 or within.price - beyond.price <= 1e-13 * within.price:
                return within, beyond
        if previous is not None and logarithm != previous[0]:
            slope = (excess - previous[1]) / (logarithm - previous[0])
            if slope < 0:
                elasticity = min(max(slope, -50.0), -0.02)
        previous = (logarithm, excess)
        proposed = logarithm - excess / elasticity
        if within is not None and beyond is not None:
            low, high = math.log(beyond.price), math.log(within.price)
            if not low < proposed < high or step % 4 == 3:
                proposed = 0.5 * (low + high)
        elif within is not None and step >= 8:
            # Do all tokens of any importance fit? Then bandwidth is worth next to nothing.
            nearly_free = certificate.read(round_s, 1e-30 * within.price, guess)
            if nearly_free.need_hz <= budget:
                return nearly_free, nearly_free
            beyond = nearly_free
            proposed = logarithm - 30.0
        else:
            # Not bracketed yet: step outwards at a growing pace at least.
            pace = 0.05 * 2.0**step
            move = min(max(abs(proposed - logarithm), pace), 16.0)
            proposed = logarithm + math.copysign(move, excess)
        logarithm = min(max(proposed, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    return within or reading, beyond or reading
