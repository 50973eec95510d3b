"""Search the best choice among options with its proof, by the objective that is wanted."""

from __future__ import annotations

import math
from typing import Any, Final

from ..bounds import choice_loops
from ..bounds.choice_goal import ChoiceGoal, most_utility
from ..bounds.choice_search import AXIS, contenders, new_search
from ..bounds.dominance import PAIRS_PER_S
from ..bounds.goal import record
from ..gap_budget import CLEARING
from ..method import Answer, Request
from ..objective import RoundTime
from ..physics import option_loops
from ..physics.loops import LONGEST_S
from ..problem import Problem
from ..result import Stop
from ..tolerances import EPSILON
from .choice_delivery import deliver_choice
from .first_choices import first_choices, most_choice

TRIES: Final = 40
"""Round times at which a requirement is tested for good."""

HALVINGS: Final = 100
"""Of the range of round times in which a requirement may be met."""

FIRST_STRIDE: Final = 2.0
"""Ratio of the first round times tried in it, from below; squared with every step."""


def search_choices(problem: Problem, request: Request, max_nodes: int) -> Answer:
    """The optimum of any problem whose value rests on utilities and round time, with its proof.

    Args:
        problem: with `Ste`, `Retained`, `RoundTime`, or `Weighted` without a price of energy; no blocks.
        request: gap and time limit.
        max_nodes: intervals divided at most.
    """
    goal = ChoiceGoal(problem, request)
    if isinstance(problem.objective, RoundTime):
        bound, stop = shortest_round(goal)
    else:
        bound, stop = best_value(goal, max_nodes)
    stats: dict[str, Any] = {
        "options": int(goal.relaxed.row.size),
        "options_dominated": goal.relaxed.dominated,
        **goal.counts,
    }
    if not goal.has_choice():
        return Answer(None, stop=stop, bound=bound, trace=tuple(goal.monitor.trace), stats=stats)
    bound = min(bound, goal.value) if isinstance(goal.objective, RoundTime) else max(bound, goal.value)
    allocation, share = deliver_choice(goal, bound)
    record(goal.monitor, goal.value, bound)
    return Answer(
        allocation=allocation,
        stop=stop,
        bound=bound,
        claimed_value=goal.value,
        stationary=True,
        trace=tuple(goal.monitor.trace),
        stats=stats | {"tolerance_used": share},
    )


def best_value(goal: ChoiceGoal, max_nodes: int) -> tuple[float, Stop]:
    """An upper bound on every choice's value, and how the search ended; the goal gets the best choice."""
    _, least_s = option_loops.fastest_choice(goal.relaxed, math.inf)
    if not least_s <= goal.last_s or least_s == math.inf:
        return -goal.objective.unproved, Stop.INFEASIBLE
    price = first_choices(goal)
    if not goal.has_choice():
        return goal.worth(most_utility(goal.relaxed), least_s * (1.0 - AXIS)), Stop.CONVERGED
    if goal.is_ratio and not goal.value > 0.0:
        return 0.0, Stop.CONVERGED
    search = new_search(goal, price)
    done = search.run(max_nodes)
    stop = Stop.CONVERGED
    if not done:
        stop = Stop.TIME_LIMIT if goal.expired() else Stop.ITERATION_LIMIT
    return search.bound, stop


def shortest_round(goal: ChoiceGoal) -> tuple[float, Stop]:
    """A lower bound on the round of every choice of enough utility; the goal gets the shortest one.

    The most utility within a round does not fall with the round, so that excluding a round time excludes all
    shorter ones.
    """
    required, options = goal.least_retained, goal.relaxed
    fastest, least_s = option_loops.fastest_choice(options, math.inf)
    if not least_s < math.inf:
        return math.inf, Stop.INFEASIBLE
    goal.offer(fastest, least_s)
    if not goal.has_choice():  # it may need the last bit of the tolerance
        goal.offer(option_loops.fastest_choice(goal.permitted, least_s)[0], least_s)
    if goal.has_choice():  # the fastest of all has enough
        return least_s * (1.0 - AXIS), Stop.CONVERGED
    _, sender_s = option_loops.fastest_sender(options)  # somebody has to send what is required
    if not sender_s < math.inf:
        return math.inf, Stop.INFEASIBLE
    low_s = max(least_s, sender_s) * (1.0 - AXIS)
    last_s = float((options.rows["overhead_s"] + options.rows["deadline_s"]).max()) * (1.0 + AXIS)
    goal.offer(most_choice(goal), math.inf)
    high_s = min(goal.round_s, last_s, LONGEST_S)
    price = 0.0
    if not goal.has_choice():
        reached, price = _may_reach(goal, high_s, price)
        if not reached:
            return math.inf, Stop.INFEASIBLE
    # The least round time at which the relaxation has enough, and choices on the way.
    from_s, to_s, stride = low_s, high_s, FIRST_STRIDE
    for _ in range(HALVINGS):
        if to_s <= from_s * (1.0 + 0.1 * goal.gap) or goal.expired():
            break
        middle_s = math.sqrt(from_s) * math.sqrt(to_s) if from_s > 0.0 else 0.1 * to_s
        middle_s = min(middle_s, max(from_s, EPSILON * to_s) * stride)
        reached, price = _may_reach(goal, middle_s, price)
        if reached:
            to_s = min(middle_s, goal.round_s)
        else:
            from_s, stride = middle_s, stride * stride
    low_s = max(low_s, from_s)
    # What fills the band there falls short by a little: in a round that is longer by as little it may not.
    longer = 0.1 * goal.gap
    while low_s * (1.0 + longer) < min(goal.round_s, high_s) and not goal.expired():
        _, price = _may_reach(goal, low_s * (1.0 + longer), price)
        longer *= 2.0
    # What the relaxation leaves open is for dominance, which may drop nothing here.
    try_s = goal.target if goal.has_choice() else high_s
    infeasible_below = low_s
    for _ in range(TRIES):
        if goal.has_choice() and infeasible_below >= goal.target:
            return infeasible_below, Stop.CONVERGED
        if goal.expired():
            return infeasible_below, Stop.TIME_LIMIT
        before = goal.value
        if _exclude_round(goal, try_s, required):
            infeasible_below = try_s
            if not goal.has_choice() and try_s >= high_s:
                return math.inf, Stop.INFEASIBLE
            try_s = goal.target if goal.has_choice() else high_s
        elif goal.value < before:
            try_s = goal.target
        else:
            if try_s <= infeasible_below * (1.0 + 1e-3 * goal.gap):
                break
            try_s = math.sqrt(max(infeasible_below, EPSILON * try_s)) * math.sqrt(try_s)
    return infeasible_below, Stop.ITERATION_LIMIT


def _may_reach(goal: ChoiceGoal, round_s: float, price: float) -> tuple[bool, float]:
    """Whether the relaxation has enough utility within a round, and its price; what fills it is offered."""
    goal.counts["intervals"] += 1
    options = goal.relaxed
    clearing, choice, _ = choice_loops.clear_choices(options, round_s, price, CLEARING * goal.gap)
    if not choice.size:
        return False, price
    magnitude = clearing.bound + 2.0 * clearing.price * options.bandwidth_hz
    reached = clearing.bound + options.unit * magnitude >= goal.least_retained
    if reached:
        goal.offer(choice, round_s)
    return reached, clearing.price


def _exclude_round(goal: ChoiceGoal, round_s: float, required: float) -> bool:
    """Whether no choice has enough utility within a round; those that do are offered."""
    found = choice_loops.visit(goal.relaxed, round_s, round_s, required, 0.0, 0.0, CLEARING * goal.gap)
    if found.low_s > found.high_s:
        return True
    options, source = option_loops.taken(goal.relaxed, found.keep)
    pairs = PAIRS_PER_S * goal.remaining_s()
    complete, choices = contenders(options, round_s, round_s, required, 0.0, 0.0, round_s, pairs)
    if not complete:
        return False
    goal.counts["vectors"] += choices.shape[0]
    for choice in choices:
        goal.offer(source[choice], round_s)
    return not choices.size
