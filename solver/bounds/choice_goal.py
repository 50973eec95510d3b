"""What a proof over choices works towards: the objective as a line, the best known choice, when to end."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Final

import numpy as np

from ..gap_budget import PROOF
from ..method import Request
from ..objective import LEAST_SCALE, RoundTime, Ste, Weighted
from ..physics import option_loops
from ..physics.options import SKIP, Options, options_of, with_limits_of
from ..problem import IntArray, Problem
from ..tolerances import BOUND_SHARE, PERMITTED_SHARE
from .goal import Monitor, expired, record, remaining_s

COUNTED: Final = ("intervals", "nodes", "vectors", "given_up")
"""What `ChoiceGoal.counts` has: intervals bounded, those divided, choices tried, those left too narrow."""


class ChoiceGoal:
    """The best known choice, and the line that another one has to beat. Improved in place.

    For `Ste`, `Retained`, `RoundTime` and `Weighted` without a price of energy a choice is worth a function
    of its sum of utilities f and its round time: to be worth v it needs f >= offset + slope x tau.

    Attributes:
        objective: of the problem.
        problem: as given.
        relaxed: its options with limits raised beyond the tolerance: bounds are proved for them.
        permitted: with limits raised by what `evaluate` accepts: choices are sought in them.
        least_retained: sum of utilities that bounds may ask for, lowered beyond the tolerance; 0 for none.
        enough_retained: that choices must have.
        last_s: round time that bounds must allow, s; inf for no limit.
        permitted_s: that choices must keep, s.
        gap: asked relative gap.
        choice: (M,) indices of options, or None.
        round_s: least round time of the choice, s.
        retained: its sum of utilities.
        value: what it is worth, in the sense of the objective.
        monitor: clock and trace.
        counts: by the names in `COUNTED`.
    """

    def __init__(self, problem: Problem, request: Request) -> None:
        raised = problem.with_raised_limits(BOUND_SHARE)
        allowed = problem.with_raised_limits(PERMITTED_SHARE)
        self.objective = problem.objective
        self.problem = problem
        self.relaxed = options_of(raised)
        self.permitted = with_limits_of(self.relaxed, allowed)
        self.least_retained = raised.objective.least_retained
        self.enough_retained = allowed.objective.least_retained
        self.last_s = raised.objective.longest_round_s
        self.permitted_s = allowed.objective.longest_round_s
        self.gap = request.gap
        self.choice: IntArray | None = None
        self.round_s = math.inf
        self.retained = 0.0
        self.value = 0.0 if isinstance(self.objective, Ste) else -self.objective.unproved
        self.monitor = Monitor(request)
        self.counts = dict.fromkeys(COUNTED, 0)

    def has_choice(self) -> bool:
        """Whether one is known."""
        return self.choice is not None

    @property
    def is_ratio(self) -> bool:
        """Whether utilities are divided by the round time."""
        return isinstance(self.objective, Ste)

    @property
    def per_second(self) -> float:
        """Price of the round time in a net value."""
        return self.objective.per_second if isinstance(self.objective, Weighted) else 0.0

    @property
    def target(self) -> float:
        """A bound up to here proves the asked gap."""
        share = PROOF * self.gap
        if isinstance(self.objective, RoundTime):
            return self.value / (1.0 + share)
        if self.choice is None:
            return 0.0 if self.is_ratio else -math.inf
        return self.value + share * self.scale

    @property
    def scale(self) -> float:
        """What the gap is relative to."""
        if isinstance(self.objective, Weighted):
            return max(abs(self.value), LEAST_SCALE * (self.retained + self.per_second * self.round_s))
        return abs(self.value)

    def line(self, value: float) -> tuple[float, float]:
        """(offset, slope in 1/s) of the sum of utilities that is worth a value, over the round time."""
        if self.is_ratio:
            return 0.0, value
        if value == self.per_second == 0.0:
            return self.least_positive, 0.0
        return value, self.per_second

    @cached_property
    def least_positive(self) -> float:
        """The least positive utility of an option: what is worth more than nothing is worth this; or inf."""
        utility = self.relaxed.utility
        return float(np.min(utility, where=utility > 0.0, initial=math.inf)) * (1.0 - self.relaxed.unit)

    def worth(self, retained: float, round_s: float) -> float:
        """Of a sum of utilities within a round; the inverse of `line`."""
        if self.is_ratio:
            return retained / round_s if round_s > 0.0 else 0.0
        if isinstance(self.objective, RoundTime):
            return round_s
        return retained - (self.per_second * round_s if self.per_second > 0.0 else 0.0)

    def offer(self, choice: IntArray, guess_s: float) -> bool:
        """Consider a choice, given a guess of its round time, s; whether it is better than all before."""
        options = self.permitted
        retained = option_loops.chosen_utility(options, choice)
        short = retained < self.enough_retained * (1.0 - options.unit)
        if short or (self.is_ratio and not (options.row[choice] != SKIP).any()):
            return False
        round_s = option_loops.least_round_of_choice(options, choice, guess_s)
        if not round_s <= self.permitted_s or round_s == math.inf:
            return False
        value = self.worth(retained, round_s)
        if self.choice is not None and not self.objective.better(value, self.value):
            return False
        self.choice, self.round_s, self.retained, self.value = choice.copy(), round_s, retained, value
        record(self.monitor, value, self.objective.unproved)
        return True

    def expired(self) -> bool:
        """Whether the time is up."""
        return expired(self.monitor)

    def remaining_s(self) -> float:
        """Time left, s."""
        return remaining_s(self.monitor)


def most_utility(options: Options) -> float:
    """Sum of the clients' largest utilities; an upper bound on every choice's."""
    if options.utility.size == 0:
        return 0.0
    largest = np.maximum.reduceat(options.utility, options.first[:-1])
    return float(largest.sum()) * (1.0 + options.unit)
