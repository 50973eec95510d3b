"""Whole token counts from fractional ones: round, repair, and improve by single exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ..bounds.goal import Point, fastest_point
from ..physics.demand import Demand
from ..problem import FloatArray, IntArray

LEVELS: Final = 16
"""Common token counts tried for a first point, on a logarithmic scale."""

LEAST_GAIN: Final = 1e300
"""Stands for the loss of a move that does not fit into the round."""

SINGLE_MOVES: Final = 8
"""Single exchanges tried exactly when no batch of moves helps."""


def best_common_tokens(demand: Demand) -> Point:
    """The best of some common token counts, each raised to K_min; `ste` is 0 where not even K_min fits."""
    problem = demand.problem
    levels = np.unique(np.rint(np.geomspace(1, problem.tokens, LEVELS)).astype(np.int64))
    counts = [problem.min_tokens.copy(), *(np.maximum(problem.min_tokens, level) for level in levels[1:])]
    return max((fastest_point(demand.instance, tokens) for tokens in counts), key=lambda point: point.ste)


def round_and_improve(
    demand: Demand, tokens: FloatArray, most: IntArray, guess_s: float, expired: Callable[[], bool]
) -> Point:
    """The best feasible point near fractional tokens; `ste` is 0 where not even K_min fits, or time is up.

    They are rounded to the nearest counts; where those fit into no round, down; where even those fit into
    none, halfway to K_min, again and again.

    Args:
        demand: of the problem.
        tokens: (M,) fractional counts between K_min and `most`.
        most: (M,) largest counts tried.
        guess_s: a guess of the round time, s.
        expired: whether the time is up; asked before every point tried.
    """
    least = demand.problem.min_tokens
    counts = np.rint(tokens).astype(np.int64)
    point = fastest_point(demand.instance, counts, guess_s)
    excess = np.floor(tokens).astype(np.int64) - least
    while not point.ste > 0.0 and not expired():
        point = fastest_point(demand.instance, least + excess, guess_s)
        if not excess.any():
            break
        excess //= 2
    return improve(demand, point, most, expired) if point.ste > 0.0 else point


def improve(demand: Demand, start: Point, most: IntArray, expired: Callable[[], bool]) -> Point:
    """Add or drop single tokens while that raises the STE and `expired` says that there is time.

    To first order a token more costs need'(K) / |d total / d tau| seconds, each worth STE. The moves that
    pay are tried all together, then the better half of them, and so on; then the best few one by one.

    Cost: some least round times per improvement.
    """
    best, improved = start, True
    while improved and not expired():
        improved = False
        clients, steps, paying = _moves(demand, best, most)
        batches = [slice(0, paying >> halvings) for halvings in range(paying.bit_length())]
        singles = [slice(rank, rank + 1) for rank in range(min(SINGLE_MOVES, clients.size))]
        for chosen in batches + singles:
            if expired():
                break
            tokens = best.tokens.copy()
            tokens[clients[chosen]] += steps[chosen]
            trial = fastest_point(demand.instance, tokens, best.round_s)
            if trial.ste > best.ste * (1.0 + 1e-13):
                best, improved = trial, True
                break
    return best


def _moves(demand: Demand, at: Point, most: IntArray) -> tuple[IntArray, IntArray, int]:
    """Moves, best first by first-order gain: clients, +1 or -1 token, and how many of them pay."""
    tokens, rows = at.tokens, np.arange(at.tokens.size)
    _, slope = demand.total_and_slope(tokens, at.round_s)
    if not slope < 0.0:
        return rows[:0], rows[:0], 0
    price = at.ste / -slope

    def gain(step: int) -> FloatArray:
        changed = tokens + step
        allowed = (changed >= demand.problem.min_tokens) & (changed <= most)
        changed = np.where(allowed, changed, tokens)
        need = demand.bandwidth_hz(changed, at.round_s) - demand.bandwidth_hz(tokens, at.round_s)
        kept = demand.utility(changed) - demand.utility(tokens)
        # What cannot be sent in this round may be worth a longer one: such moves come last.
        return np.where(allowed, np.maximum(kept - price * need, -LEAST_GAIN), -np.inf)

    gains = np.concatenate((gain(1), gain(-1)))
    order = np.argsort(-gains, kind="stable")
    order = order[gains[order] > -np.inf]
    steps = np.where(order < rows.size, 1, -1)
    return order % rows.size, steps, int((gains > 0.0).sum())
