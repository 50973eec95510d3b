"""Delivery of the best known choice, within the limits as given where it can be."""

from __future__ import annotations

import math

from ..allocation import Allocation
from ..bounds.choice_goal import ChoiceGoal
from ..objective import Retained, RoundTime, Weighted
from ..physics import option_loops
from ..physics.options import Options, with_limits_of
from ..problem import FloatArray, IntArray, Problem
from ..tolerances import FEASIBILITY, PERMITTED_SHARE


def deliver_choice(goal: ChoiceGoal, bound: float) -> tuple[Allocation, float]:
    """The allocation of the best known choice, and the share of the tolerance that it uses.

    As `primal.delivery`: limits are met exactly where the choice fits so and it costs no more than the gap.

    Args:
        goal: with a choice.
        bound: on the value.
    """
    assert goal.choice is not None
    for share in (0.0, 0.5 * FEASIBILITY, PERMITTED_SHARE):
        problem = goal.problem.with_raised_limits(share) if share else goal.problem
        options = with_limits_of(goal.permitted, problem)
        round_s = option_loops.least_round_of_choice(options, goal.choice, goal.round_s)
        last = share == PERMITTED_SHARE
        if last or (
            _is_allowed(problem, options, goal.choice, round_s)
            and _is_enough(goal, goal.worth(goal.retained, round_s), bound)
        ):
            break
    if last:
        round_s = goal.round_s
    round_s = _slowest(problem, options, round_s)
    bandwidth_hz, power_w = option_loops.allocate_choice(options, goal.choice, round_s)
    return choice_to_allocation(options, goal.choice, bandwidth_hz, power_w), share


def choice_to_allocation(
    options: Options, choice: IntArray, bandwidth_hz: FloatArray, power_w: FloatArray
) -> Allocation:
    """The allocation of (M,) options with bandwidths in Hz and powers in W."""
    return Allocation(options.tokens[choice], bandwidth_hz, power_w, row=options.row[choice])


def _is_allowed(problem: Problem, options: Options, choice: IntArray, round_s: float) -> bool:
    """Whether a choice meets the limits and what the objective requires."""
    retained = option_loops.chosen_utility(options, choice)
    enough = retained >= problem.objective.least_retained * (1.0 - options.unit)
    return enough and round_s <= problem.objective.longest_round_s and round_s < math.inf


def _is_enough(goal: ChoiceGoal, value: float, bound: float) -> bool:
    """Whether a value is within the gap of the bound, or of the best known value where that is not."""
    if isinstance(goal.objective, RoundTime):
        enough = bound * (1.0 + goal.gap)
        return value <= (enough if goal.value <= enough else goal.value * (1.0 + goal.gap))
    enough = bound - goal.gap * goal.scale
    return value >= (enough if goal.value >= enough else goal.value - goal.gap * goal.scale)


def _slowest(problem: Problem, options: Options, round_s: float) -> float:
    """The longest round that costs nothing: where time is free, slow saves energy."""
    objective = problem.objective
    if isinstance(objective, Retained):
        return objective.longest_round_s
    if isinstance(objective, Weighted) and objective.per_second == 0.0:
        return float((options.rows["overhead_s"] + options.rows["deadline_s"]).max())
    return round_s
