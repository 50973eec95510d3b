"""Bound tightening: round times and token counts that can still matter once a feasible point is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from ..physics.demand import Demand
from ..problem import IntArray, Problem

PASSES: Final = 4
"""Alternations of the two rules; each only narrows what the one before left."""


class TightenedProblem(NamedTuple):
    """An equivalent problem and the box that holds every allocation better than the known point.

    Attributes:
        problem: as given, with the importance of tokens beyond `most` set to 0.
        most: (M,) largest token counts.
        low_s: least round time, s.
        high_s: largest round time, s.
    """

    problem: Problem
    most: IntArray
    low_s: float
    high_s: float


def tighten(demand: Demand, ste: float) -> TightenedProblem:
    """Narrow token counts and round times, given that some allocation has this STE.

    A round longer than all attention still in reach over `ste` is no better. Within the longest round,
    client m can send no more than fits while the others send K_min.

    Cost: eight closed forms per pass.
    """
    problem = demand.problem
    most = np.full(problem.clients, problem.tokens)
    low_s = demand.least_round_s(problem.min_tokens)
    high_s = np.inf
    for _ in range(PASSES):
        high_s = max(low_s, float(demand.utility(most).sum()) / ste)
        narrowed = np.minimum(most, _most_within(demand, high_s))
        if np.array_equal(narrowed, most):
            break
        most = narrowed
    beyond = np.arange(problem.tokens) >= most[:, None]
    if beyond.any():
        problem = replace(problem, importance=np.where(beyond, 0.0, problem.importance))
    return TightenedProblem(problem, most, low_s, high_s)


def _most_within(demand: Demand, round_s: float) -> IntArray:
    """(M,) largest K_m that a round can serve while the others send K_min, by bisection."""
    problem = demand.problem
    fewest = demand.bandwidth_hz(problem.min_tokens, round_s)
    left = problem.bandwidth_hz - (fewest.sum() - fewest)
    low, high = problem.min_tokens.copy(), np.full(problem.clients, problem.tokens + 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        fits = demand.bandwidth_hz(middle, round_s) <= left
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return low
