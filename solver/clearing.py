"""The price of bandwidth that balances demand and budget at a fixed round time (P3)."""

from __future__ import annotations

import math

import numpy as np

from .certificate import Certificate, Reading
from .problem import IntArray


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
    for step in range(100):
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
        elif beyond is None and step >= 8:
            # Nothing costs enough to matter: all tokens fit for free, or the price is below float range.
            free = certificate.read(round_s, 0.0, guess)
            if free.need_hz <= budget:
                return free, free
            beyond = certificate.read(round_s, math.exp(logarithm - 40.0), guess)
            if beyond.need_hz <= budget:
                within, beyond = beyond, None
        logarithm = min(max(proposed, logarithm - 8.0), logarithm + 8.0)
    return within or reading, beyond or reading
