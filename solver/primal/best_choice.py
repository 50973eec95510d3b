"""The best known choice of options for any objective, and its allocation."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..allocation import Allocation
from ..bounds.priced_choices import fits, share_band
from ..bounds.priced_menu import chosen_options, energy_menu, menu_of
from ..bounds.priced_rounds import price_choice
from ..evaluation import Evaluation, evaluate
from ..method import Request
from ..objective import Energy, Retained, Totals, TotalTime, Weighted
from ..physics.option_loops import allocate_choice, choice_fits, least_round_of_choice
from ..physics.options import SKIP, Options, options_of, with_limits_of
from ..problem import FloatArray, IntArray, Problem
from ..result import TracePoint
from ..tolerances import FEASIBILITY, PERMITTED_SHARE
from .given_choice import soonest
from .priced_search import allocation_of

EXACTLY: Final = 1e-13
"""Rounding of an allocation that meets its limits."""

SHARED: Final = 0.01
"""Share of the gap to which bandwidths are shared out where energy, or the sum of times, counts."""


class BestChoice:
    """What a search without a proof of its own holds: the best choice offered, as `evaluate` scores it.

    Args:
        problem: the instance; with blocks, `Ste`, `Retained` or `RoundTime`.
        request: for the gap, and the clock of the trace.

    Attributes:
        limits: the problem with limits raised by what `evaluate` accepts.
        permitted: the options within them: choices are judged there.
        choice: (M,) options; empty before one is known.
        value: -inf, or inf when minimising, before one is known.
        round_s: its round time, s.
        totals: what it adds up to; None before one is known.
        bandwidth_hz: (M,) its bandwidths, Hz.
        trace: improvements so far.
    """

    def __init__(self, problem: Problem, request: Request) -> None:
        self.problem, self.request = problem, request
        self.limits = problem.with_raised_limits(PERMITTED_SHARE)
        self.permitted = options_of(self.limits)
        self.choice: IntArray = np.empty(0, np.int64)
        self.value = -problem.objective.unproved
        self.round_s = math.inf
        self.totals: Totals | None = None
        self.bandwidth_hz = np.empty(0)
        self.trace: list[TracePoint] = []

    def has_choice(self) -> bool:
        """Whether one is known."""
        return self.choice.size > 0

    def offer(self, choice: IntArray, guess_s: float = math.inf) -> float:
        """Take up (M,) options if they are better than what is known.

        Returns:
            Their value; the worst there is where they break a limit.
        """
        found = self._delivered(PERMITTED_SHARE, choice, guess_s)
        objective = self.problem.objective
        if found is None or not found[1].feasible or math.isnan(found[1].value):
            return -objective.unproved
        allocation, evaluation = found
        if objective.better(evaluation.value, self.value):
            self.choice, self.value, self.round_s = choice.copy(), evaluation.value, evaluation.round_s
            self.totals, self.bandwidth_hz = evaluation.totals, allocation.bandwidth_hz
            self.trace.append(
                TracePoint(self.request.elapsed_s(), len(self.trace), self.value, objective.unproved)
            )
        return evaluation.value

    def offer_start(self, start: Allocation) -> None:
        """Take up rows and tokens of an allocation, where they are among the options."""
        options, clients = self.permitted, self.problem.clients
        owner = np.repeat(np.arange(clients), np.diff(options.first))
        same = (options.row == start.rows_of(self.problem)[owner]) & (options.tokens == start.tokens[owner])
        choice = np.full(clients, -1)
        choice[owner[same]] = np.flatnonzero(same)
        if (choice >= 0).all():
            self.offer(choice)

    def deliver(self, bound: float | None = None) -> tuple[Allocation, float]:
        """The allocation of the best known choice, and what tolerance it uses.

        Args:
            bound: on the value, where one is proved.

        As `primal.delivery`: limits are met exactly where the choice fits so and costs no more than the gap.
        """
        objective, gap = self.problem.objective, self.request.gap
        enough = self.value
        if bound is not None and self.totals is not None and objective.gap(self.totals, bound) <= gap:
            enough = bound
        for share in (0.0, 0.5 * FEASIBILITY):
            found = self._delivered(share, self.choice, self.round_s)
            if found is None or found[1].violation > max(share, EXACTLY):
                continue
            if objective.gap(found[1].totals, enough) <= gap:
                return found[0], share
        found = self._delivered(PERMITTED_SHARE, self.choice, self.round_s)
        assert found is not None
        return found[0], PERMITTED_SHARE

    def _delivered(
        self, share: float, choice: IntArray, guess_s: float
    ) -> tuple[Allocation, Evaluation] | None:
        """A choice at its best within limits raised by a share, scored; None where it does not fit."""
        limits, options, allocation = self.limits, self.permitted, None
        if self.problem.block_hz is not None:
            row, tokens = options.row[choice], options.tokens[choice]
            found = soonest(self.problem, row, tokens, share)
            allocation = None if found is None else _named(self.problem, options, choice, *found)
        else:
            if share != PERMITTED_SHARE:
                limits = self.problem.with_raised_limits(share) if share else self.problem
                options = with_limits_of(options, limits)
            allocation = best_allocation(limits, options, choice, guess_s, SHARED * self.request.gap)
        return None if allocation is None else (allocation, evaluate(self.problem, allocation))


def best_allocation(
    problem: Problem, options: Options, choice: IntArray, guess_s: float, tolerance: float
) -> Allocation | None:
    """The best bandwidths and powers of (M,) options; None where they do not fit.

    What the objective requires of utilities is not asked here.

    Args:
        problem: with its limits; no blocks.
        options: within the same limits.
        choice: (M,).
        guess_s: of the round time, s; inf for none.
        tolerance: relative, of the value, where energy or the sum of times counts.
    """
    objective, everyone = problem.objective, np.arange(choice.shape[0])
    if isinstance(objective, Energy | TotalTime):
        chosen = chosen_options(options, choice)
        menu = menu_of(chosen, objective)._replace(asked=0.0)
        if not fits(menu, everyone):
            return None
        shared = share_band(menu, everyone, 0.0, tolerance, 0.0)
        return allocation_of(problem, chosen, menu, shared.bandwidth_hz)
    if isinstance(objective, Weighted) and objective.per_joule > 0.0:
        found = price_choice(options, objective, choice, guess_s, 0.0, tolerance)
        if not found.shared.cost < math.inf:
            return None
        chosen = chosen_options(options, choice)
        menu = energy_menu(chosen, found.round_s, objective.per_joule, 1.0)
        return allocation_of(problem, chosen, menu, found.shared.bandwidth_hz)
    if isinstance(objective, Retained):
        round_s = objective.round_s
        if not choice_fits(options, choice, round_s):
            return None
    else:
        round_s = least_round_of_choice(options, choice, guess_s)
        if round_s == math.inf:
            return None
    return _named(problem, options, choice, *allocate_choice(options, choice, round_s))


def _named(
    problem: Problem, options: Options, choice: IntArray, bandwidth_hz: FloatArray, power_w: FloatArray
) -> Allocation:
    """The allocation of (M,) options; rows are named where they are not the clients'."""
    row = options.row[choice]
    named = not problem.is_one_row_each or bool((row == SKIP).any())
    return Allocation(options.tokens[choice], bandwidth_hz, power_w, row if named else None)
