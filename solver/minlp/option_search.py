"""The best known choice of options: served in closed form, scored by `evaluate`, delivered in the limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from ..allocation import Allocation
from ..evaluation import evaluate
from ..method import Request
from ..objective import TotalTime
from ..problem import FloatArray, IntArray, Problem
from ..tolerances import BOUND_SHARE, FEASIBILITY, PERMITTED_SHARE
from .choices import Choices, choices_of, with_limits_of
from .first_choices import first_choices
from .option_model import Known
from .serving import optimistic, serve

MANY: Final = 200
FEW: Final = 40
"""Choices that are served at most: those take milliseconds, these tenths of a second, energy at a price."""


class OptionSearch:
    """What is known so far of a general problem.

    Attributes:
        problem: as given.
        relaxed: within whose limits bounds are proved.
        choices: all options within those.
        best: the best allocation found, or None.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.relaxed = problem, problem.with_raised_limits(BOUND_SHARE)
        self.choices = choices_of(self.relaxed)
        self.best: Known | None = None
        self._permitted = problem.with_raised_limits(PERMITTED_SHARE)
        self._permitted_choices = with_limits_of(self.choices, self._permitted)
        self._tried: set[tuple[int, ...]] = set()

    @property
    def value(self) -> float:
        """Of the best allocation; the worst there is without one."""
        worst = -self.problem.objective.unproved
        return worst if self.best is None else self.best.score.value

    def begin(self, request: Request) -> None:
        """Offer the start and some choices. Raises Unservable where nothing can be served."""
        if request.start is not None:
            choice = choice_of(self.problem, self.choices, request.start)
            if choice is not None:
                self.offer(choice)
        for choice in first_choices(self.relaxed, self.choices, request.expired):
            self.offer(choice)
        self.exchange(request.expired)

    def offer(self, choice: IntArray) -> Known | None:
        """Serve a choice as well as can be; None where it cannot be, or was offered before.

        Args:
            choice: (M,) indices of options, in the order of the clients.
        """
        name = tuple(map(int, choice))
        if name in self._tried:
            return None
        self._tried.add(name)
        known = known_of(self.problem, self._permitted, self._permitted_choices, choice)
        if known is not None and (
            self.best is None or self.problem.objective.better(known.score.value, self.value)
        ):
            self.best = known
        return known

    def exchange(self, expired: Callable[[], bool]) -> None:
        """Exchange single options while that helps, as long as there are few enough to try."""
        joule = getattr(self.problem.objective, "per_joule", 0.0)
        most = FEW if joule > 0.0 or isinstance(self.problem.objective, TotalTime) else MANY
        improved = True
        while improved and self.best is not None:
            improved, choice = False, self.best.choice
            for j, client in enumerate(self.choices.client):
                if expired() or len(self._tried) > most:
                    return
                tried = choice.copy()
                tried[client] = j
                before = self.value
                hoped = self.problem.objective.value(
                    optimistic(self._permitted, self._permitted_choices.take(tried))
                )
                if not self.problem.objective.better(hoped, before):
                    continue
                self.offer(tried)
                improved = improved or self.problem.objective.better(self.value, before)

    def offer_values(self, values: FloatArray) -> Known | None:
        """Offer the options whose binaries an engine sets, fractional ones rounded to the largest.

        Args:
            values: (J,) of the model's binaries; 0 for options that the model leaves out.
        """
        clients = range(self.problem.clients)
        own = [self.choices.of_client(m) for m in clients]
        return self.offer(np.array([part[np.argmax(values[part])] for part in own]))

    def deliver(self, bound: float, gap: float) -> tuple[Allocation | None, float]:
        """The best choice, within the limits as given where that costs no more than the gap; the share."""
        if self.best is None:
            return None, 0.0
        objective = self.problem.objective
        for share in (0.0, 0.5 * FEASIBILITY):
            limits = self.problem.with_raised_limits(share) if share else self.problem
            found = known_of(self.problem, limits, with_limits_of(self.choices, limits), self.best.choice)
            if found is None:
                continue
            totals = found.score.totals
            if objective.gap(totals, bound) <= gap or objective.gap(totals, self.value) <= gap:
                return found.allocation, share
        return self.best.allocation, PERMITTED_SHARE


def known_of(given: Problem, limits: Problem, choices: Choices, choice: IntArray) -> Known | None:
    """A choice served within some limits; None where it cannot be, or `evaluate` does not accept it.

    Args:
        given: the instance that is evaluated.
        limits: the same within limits that `evaluate` accepts.
        choices: options within those.
        choice: (M,) indices.
    """
    allocation = serve(limits, choices.take(choice))
    if allocation is None:
        return None
    score = evaluate(given, allocation)
    return Known(choice, allocation, score) if score.feasible and not math.isnan(score.value) else None


def choice_of(problem: Problem, choices: Choices, allocation: Allocation) -> IntArray | None:
    """(M,) the options of an allocation, or as good ones of the same rows; None where one is missing."""
    found = []
    rows = allocation.rows_of(problem)
    for m in range(problem.clients):
        row, tokens = rows[m], allocation.tokens[m]
        same = choices.of_client(m)
        same = same[choices.row[same] == row]
        if row >= 0:
            same = same[choices.tokens[same] <= tokens]
        if same.size == 0:
            return None
        found.append(int(same[-1]))
    return np.array(found)
