"""Bandwidths and powers of given rows and tokens, of any problem."""

from __future__ import annotations

import math

import numpy as np

from ..allocation import SKIPPED
from ..bounds.block_knapsack import fastest_round
from ..objective import Energy
from ..physics.option_loops import allocate_choice, least_round_of_choice
from ..physics.options import Options, rows_of
from ..problem import FloatArray, IntArray, Problem
from ..tolerances import EPSILON
from .block_search import allocate_blocks, level_of


def soonest(
    problem: Problem, row: IntArray, tokens: IntArray, share: float
) -> tuple[FloatArray, FloatArray] | None:
    """(M,) Hz and W that end given uploads soonest, all at once; None where they do not fit.

    By `Energy` uploads end when the round must. Resource blocks that are not needed stay idle.

    Args:
        problem: the instance.
        row: (M,) chosen rows, -1 for who is skipped.
        tokens: (M,) counts.
        share: of themselves, by which limits are raised.

    Cost: one least round time.
    """
    permitted = problem.with_raised_limits(share) if share else problem
    options = given_options(permitted, row, tokens)
    sends = row != SKIPPED
    if not (options.rows["energy_j"][row[sends]] > 0.0).all():
        return None
    choice = np.arange(problem.clients)
    longest_s = permitted.objective.longest_round_s
    if problem.block_hz is not None:
        level = level_of(options, problem, share)
        round_s, blocks = fastest_round(level, choice, math.inf)
        if not round_s <= longest_s or round_s == math.inf:
            return None
        allocation = allocate_blocks(problem, options, level, choice, blocks, round_s)
        return allocation.bandwidth_hz, allocation.power_w
    round_s = least_round_of_choice(options, choice, math.inf)
    if not round_s <= longest_s or round_s == math.inf:
        return None
    return allocate_choice(options, choice, longest_s if isinstance(problem.objective, Energy) else round_s)


def given_options(problem: Problem, row: IntArray, tokens: IntArray) -> Options:
    """The list of what is chosen, one option per client, without utilities; (M,) rows and tokens."""
    sends = row != SKIPPED
    nats = np.zeros(problem.clients)
    nats[sends] = problem.bits_of(row[sends], tokens[sends]) * math.log(2.0)
    return Options(
        rows=rows_of(problem),
        first=np.arange(problem.clients + 1),
        row=row,
        tokens=tokens,
        utility=np.zeros(problem.clients),
        nats=nats,
        bandwidth_hz=problem.bandwidth_hz,
        unit=problem.clients * EPSILON,
        dominated=0,
    )
