"""The inner loop where the payload is a table: nothing is concave, so every count is tried."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..problem import FloatArray, Problem
from ..tolerances import EPSILON
from .bandwidth import least_area
from .kernel import Choice

BLOCK: Final = 1 << 15
"""Closed forms evaluated at once: their arrays fit into the cache."""


def choose_from_table(
    problem: Problem,
    retained: FloatArray,
    price: FloatArray,
    slot_s: FloatArray,
    energy_over_noise: FloatArray,
) -> Choice:
    """Each client's best token count at its price per area, the largest of those that rounding confuses.

    That one needs the most and is the worst conditioned of them, so twice the bound of its rounding error
    covers the true best (`Certificate`).

    Args:
        problem: an instance with `payload_bits`.
        retained: (M, N + 1) f_m(K).
        price: (M,) retained attention per Hz s, >= 0.
        slot_s: (M,) slot t_m, s.
        energy_over_noise: (M,) g_m = e_m h_m / N0 that the upload may use.

    Cost: M N closed forms; memory for `BLOCK` of them or one client's.
    """
    assert problem.payload_bits is not None
    counts = np.arange(problem.tokens + 1)
    tokens, areas, roots = np.empty_like(problem.min_tokens), np.empty_like(price), np.empty_like(price)
    step = max(1, BLOCK // counts.size)
    for first in range(0, problem.clients, step):
        rows = slice(first, first + step)
        nats = problem.payload_bits[rows] * math.log(2.0)
        nats[:, 0] = nats[:, 1]  # nobody sends 0 tokens, and 0 bits have no closed form
        area, root = least_area(nats, energy_over_noise[rows, None])
        sendable = (counts >= problem.min_tokens[rows, None]) & np.isfinite(area)
        charge = price[rows, None] * np.where(sendable, area, 0.0)
        value = np.where(sendable, retained[rows] - charge, -np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            condition = (1.0 + 1.0 / root) * (2.0 + (problem.overhead_s / slot_s)[rows, None])
            doubt = (problem.tokens + 64) * EPSILON * (np.abs(value) + 2.0 * charge * condition)
            close = value + doubt >= value.max(axis=1, keepdims=True)
        best = problem.tokens - np.argmax((close & sendable)[:, ::-1], axis=1)
        best = np.where(sendable.any(axis=1), best, problem.min_tokens[rows])
        place = np.arange(best.size)
        tokens[rows], areas[rows], roots[rows] = best, area[place, best], root[place, best]
    return Choice(tokens, areas, roots)
