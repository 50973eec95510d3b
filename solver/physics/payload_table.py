"""Best token counts at a price of bandwidth where payloads are a table: every count is tried."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..problem import FloatArray
from .bandwidth import least_area
from .kernel import Choice
from .payload import TablePayload
from .rounding_error import area_condition, term_scale, unit

BLOCK: Final = 1 << 15
"""Closed forms evaluated at once: their arrays fit into the cache."""


def choose_from_table(
    payload: TablePayload,
    retained: FloatArray,
    price: FloatArray,
    slot_s: FloatArray,
    energy_over_noise: FloatArray,
) -> Choice:
    """Each client's best token count at its price per area, the largest of those that rounding confuses.

    That one needs the most and is the worst conditioned of them, so twice the bound of its rounding error
    covers the true best (`Certificate`).

    Args:
        payload: of the instance.
        retained: (M, N + 1) f_m(K).
        price: (M,) retained attention per Hz s, >= 0.
        slot_s: (M,) slot t_m, s.
        energy_over_noise: (M,) g_m = e_m h_m / N0 that the upload may use.

    Cost: M N closed forms; memory for `BLOCK` of them or one client's.
    """
    problem, doubt_unit = payload.problem, unit(payload.problem)
    counts = np.arange(problem.tokens + 1)
    tokens, areas, roots = np.empty_like(problem.min_tokens), np.empty_like(price), np.empty_like(price)
    step = max(1, BLOCK // counts.size)
    for first in range(0, problem.clients, step):
        rows = slice(first, first + step)
        nats = payload.table[rows] * math.log(2.0)
        nats[:, 0] = nats[:, 1]  # nobody sends 0 tokens, and 0 bits have no closed form
        area, root = least_area(nats, energy_over_noise[rows, None])
        sendable = (counts >= problem.min_tokens[rows, None]) & np.isfinite(area)
        charge = price[rows, None] * np.where(sendable, area, 0.0)
        value = np.where(sendable, retained[rows] - charge, -np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = 1.0 + (problem.overhead_s / slot_s)[rows, None]
            doubt = doubt_unit * term_scale(value, charge, area_condition(root), ratio)
            close = value + doubt >= value.max(axis=1, keepdims=True)
        best = problem.tokens - np.argmax((close & sendable)[:, ::-1], axis=1)
        best = np.where(sendable.any(axis=1), best, problem.min_tokens[rows])
        place = np.arange(best.size)
        tokens[rows], areas[rows], roots[rows] = best, area[place, best], root[place, best]
    return Choice(tokens, areas, roots)
