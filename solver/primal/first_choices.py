"""First choices: good ones at some round times, before anything is proved."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..allocation import Allocation
from ..bounds import choice_loops
from ..bounds.choice_goal import ChoiceGoal
from ..errors import AllocationError
from ..gap_budget import CLEARING
from ..physics import option_loops
from ..physics.bracket import advance, new_bracket
from ..physics.options import SKIP
from ..problem import IntArray

GRID: Final = 5
"""Round times tried first, on a logarithmic scale."""

MOST_CLEARINGS: Final = 12
"""Round times tried then, towards the one where a longer round is worth as much as it costs."""

LONGEST_STEP: Final = 0.7
"""Of the logarithm of the round time."""

FINEST: Final = 1e-4
"""Relative width of the bracket at which the search ends."""


def first_choices(goal: ChoiceGoal) -> float:
    """Offer choices at round times where the relaxation is best; a price per hertz there.

    Where the clearing price exceeds what a hertz is worth a longer round pays, as in `bounds.round_time`.

    Cost: at most `GRID` + `MOST_CLEARINGS` clearings.
    """
    options = goal.permitted
    fastest, least_s = option_loops.fastest_choice(options, math.inf)
    if not least_s < math.inf:
        return 0.0
    goal.offer(fastest, least_s)
    start = goal.monitor.request.start
    if start is not None:
        _offer_start(goal, start)
    sender, sender_s = option_loops.fastest_sender(options)
    if sender < 0:
        # Nothing is worth anything, but somebody may have to send.
        for option in np.flatnonzero(options.row != SKIP).tolist():
            if not goal.has_choice():
                goal.offer(with_option(goal, fastest, option), math.inf)
        return 0.0
    alone = with_option(goal, fastest, sender)
    goal.offer(alone, sender_s)
    most = most_choice(goal)
    goal.offer(most, math.inf)
    low_s = max(least_s, sender_s)
    high_s = option_loops.least_round_of_choice(options, most, math.inf)
    last_s = float((options.rows["overhead_s"] + options.rows["deadline_s"]).max())
    high_s = min(high_s, last_s, goal.permitted_s, 1e4 * low_s)
    best_s, price, height = low_s, 0.0, -math.inf
    tolerance = CLEARING * goal.gap
    grid = np.geomspace(low_s, high_s, GRID + 2)[1:-1] if high_s > low_s > 0.0 else np.array([high_s])
    for round_s in grid.tolist():
        if goal.expired():
            break
        clearing, choice, _ = choice_loops.clear_choices(options, round_s, price, tolerance)
        if choice.size:
            price = clearing.price
            goal.offer(choice, round_s)
            worth = goal.worth(clearing.bound, round_s)
            if worth > height:
                best_s, height = round_s, worth
    if not high_s > low_s > 0.0:
        return price
    bracket = new_bracket(math.log(low_s), math.log(high_s), longest=LONGEST_STEP)
    logarithm = math.log(best_s)
    for _ in range(MOST_CLEARINGS):
        if bracket.high - bracket.low <= FINEST or goal.expired():
            break
        round_s = math.exp(logarithm)
        clearing, choice, falls = choice_loops.clear_choices(options, round_s, price, tolerance)
        pull = math.inf
        if choice.size:
            price = clearing.price
            goal.offer(choice, round_s)
            cost = clearing.bound / round_s if goal.is_ratio else goal.per_second
            worth = price * falls / cost if cost > 0.0 else math.inf
            pull = math.log(worth) if 0.0 < worth < math.inf else math.copysign(1.0, worth - 1.0)
            if abs(pull) <= 0.1 * math.sqrt(goal.gap):
                break
        bracket, logarithm = advance(bracket, logarithm, pull)
    return price


def _offer_start(goal: ChoiceGoal, start: Allocation) -> None:
    """Offer the caller's rows and tokens, where they are options that no other one beats."""
    options = goal.permitted
    clients = options.first.size - 1
    owner = np.repeat(np.arange(clients), np.diff(options.first))
    try:
        row = start.rows_of(goal.problem)
    except AllocationError:  # of another problem; a start proves nothing
        return
    same = np.flatnonzero((options.row == row[owner]) & (options.tokens == start.tokens[owner]))
    if same.size == clients:
        goal.offer(same, math.inf)


def most_choice(goal: ChoiceGoal) -> IntArray:
    """(M,) the option of largest utility of each client, of equal ones the one of fewest nats."""
    options = goal.permitted
    clients = options.first.size - 1
    owner = np.repeat(np.arange(clients), np.diff(options.first))
    order = np.lexsort((options.nats, -options.utility, owner))
    return order[options.first[:-1]]


def with_option(goal: ChoiceGoal, choice: IntArray, option: int) -> IntArray:
    """A choice with one client's option replaced."""
    changed = choice.copy()
    changed[np.searchsorted(goal.permitted.first, option, side="right") - 1] = option
    return changed
