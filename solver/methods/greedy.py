"""`greedy`: options by marginal gain per hertz at a searched round time (P3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from ..allocation import Allocation
from ..bounds.block_knapsack import all_of, relaxed
from ..bounds.choice_loops import clear_choices
from ..bounds.clearing_price import replies_around_budget
from ..bounds.goal import STE, new_goal, offer
from ..checks import real_number, whole_number
from ..method import Answer, Request
from ..objective import RoundTime, Ste, Weighted
from ..physics.loops import LONGEST_S, filled
from ..physics.option_loops import fastest_choice, needs
from ..physics.options import Options
from ..primal.best_choice import BestChoice
from ..primal.block_search import level_of
from ..primal.delivery import deliver
from ..problem import IntArray, Problem
from ..registry import EVERYTHING, register
from ..result import Stop
from ..tolerances import PERMITTED_SHARE

WHO: Final = "solver 'greedy'"

TAKES: Final = {
    "ste": EVERYTHING - {"requirement"},
    "retained": EVERYTHING - {"requirement"},
    "round_time": EVERYTHING,
    "weighted": EVERYTHING - {"requirement", "blocks"},
}

NOTHING: Final = np.empty(0, np.int64)

GOLDEN: Final = (math.sqrt(5.0) - 1.0) / 2.0

CLEARED: Final = 1e-4
"""How near to the clearing price a fill begins, relative."""

SHORTEST_S: Final = 1e-30
"""Where the search for a round time begins that is long enough for anybody."""


@register("greedy", takes=TAKES)
def greedy(problem: Problem, request: Request, *, tolerance: float = 1e-3, grid: int = 8) -> Answer:
    """Options of most utility per hertz, filled up at the best round time found (P3).

    At a fixed round time, tokens, or whatever may be sent, are taken in the order of gain per hertz until the
    bandwidth is used up; the round then shrinks to the least time that still fits. The round time is searched
    on a logarithmic grid between the least possible one and that of all tokens, then by golden section
    around the best grid point. Within a given round one fill does; a required sum of utilities is reached by
    bisection of the round time. No bound.

    Where deadlines leave hardly any room, a fill may miss a required sum that could be had: then there is no
    allocation, and `message` says so.

    Args:
        problem: the instance.
        request: its time limit and start (another candidate) are honoured.
        tolerance: relative width of the round time at which the search ends, >= 1e-9.
        grid: number of grid points, >= 3.

    Cost: about `grid` + 1.5 log2(1 / tolerance) round times of five evaluations of the dual function each.
    """
    tolerance = real_number(WHO, "tolerance", tolerance, 1e-9)
    grid = whole_number(WHO, "grid", grid, 3)
    if problem.is_plain:
        return _of_tokens(problem, request, tolerance, grid)
    best, round_times = BestChoice(problem, request), 0
    options, choice_at = best.permitted, _fill_of(problem, best.permitted)

    def fill(round_s: float) -> float:
        """Value of the greedy fill at a round time."""
        nonlocal round_times
        choice, round_times = choice_at(round_s), round_times + 1
        return best.offer(choice, round_s) if choice.size else -problem.objective.unproved

    if request.start is not None:
        best.offer_start(request.start)
    fastest, least_s = fastest_choice(options, math.inf)
    best.offer(fastest, least_s)
    objective, stop = best.limits.objective, Stop.CONVERGED
    last_s = min(float((options.rows["overhead_s"] + options.rows["deadline_s"]).max()), LONGEST_S)
    if objective.longest_round_s < math.inf:
        fill(objective.longest_round_s)
    elif objective.counts_utility or problem.block_hz is not None:
        low_s = least_s if least_s > 0.0 else _first_round_s(options, last_s)
        first = fill(low_s)
        if isinstance(objective, RoundTime):
            stop = _shorten(fill, low_s, last_s, tolerance, request)
        else:
            while isinstance(objective, Ste) and not best.value > 0.0 and low_s < last_s:
                low_s = min(2.0 * low_s, last_s)
                first = fill(low_s)
            most = float(np.maximum.reduceat(options.utility, options.first[:-1]).sum())
            if isinstance(objective, Weighted):
                gain, charge = most - best.value, objective.per_second
                high_s = gain / charge if charge > 0.0 else math.inf
            else:
                high_s = most / best.value if best.value > 0.0 else low_s
            high_s = max(min(high_s, last_s), low_s)
            search_s = math.log(low_s), math.log(high_s)
            stop = _search(lambda x: fill(math.exp(x)), first, *search_s, tolerance, grid, request)
    if not best.has_choice():
        message = "No fill by gain per hertz reaches what is required; solver='exact' tells whether any does."
        return Answer(None, stop=Stop.ITERATION_LIMIT, stats={"round_times": round_times}, message=message)
    allocation, share = best.deliver()
    return Answer(
        allocation=allocation,
        stop=stop,
        claimed_value=best.value,
        trace=tuple(best.trace),
        stats={"round_times": round_times, "tolerance_used": share},
    )


def _fill_of(problem: Problem, options: Options) -> Callable[[float], IntArray]:
    """The fill of a round time, (M,) options by gain per hertz; empty where nothing fits."""
    price = 0.0
    if problem.block_hz is None:

        def choice_at(round_s: float) -> IntArray:
            nonlocal price
            clearing, choice, _ = clear_choices(options, round_s, price, CLEARED)
            price = clearing.price
            return choice

        return choice_at
    level = level_of(options, problem, PERMITTED_SHARE)
    candidates = all_of(level)

    def choice_in_blocks(round_s: float) -> IntArray:
        relaxation = relaxed(level, candidates, round_s)
        return candidates.option[relaxation.choice] if relaxation.value > -math.inf else NOTHING

    return choice_in_blocks


def _of_tokens(problem: Problem, request: Request, tolerance: float, grid: int) -> Answer:
    """The same where the STE is wanted of one row per client and sums of importances."""
    goal, round_times = new_goal(problem, request), 0
    first = offer(goal, problem.min_tokens.copy(), math.inf)
    price, guess = first.ste / problem.bandwidth_hz, first.tokens

    def ste_at(logarithm: float) -> float:
        """STE of the greedy fill at a round time."""
        nonlocal price, guess, round_times
        within, beyond = replies_around_budget(goal, math.exp(min(logarithm, 300.0)), price, guess, CLEARED)
        price, guess = max(within.price, 1e-300), within.tokens
        round_times += 1
        tokens = within.tokens
        if within.need_hz <= goal.relaxed.bandwidth_hz < beyond.need_hz:
            tokens = filled(goal.relaxed, within, beyond)
        return offer(goal, tokens, within.round_s).ste

    if request.start is not None:
        offer(goal, request.start.tokens.clip(problem.min_tokens, problem.tokens), math.inf)
    low = math.log(first.round_s)
    high = math.log(goal.relaxed.most_retained / first.ste)
    stop = _search(ste_at, first.ste, low, high, tolerance, grid, request)
    bandwidth_hz, power_w, share = deliver(goal, math.inf)
    return Answer(
        allocation=Allocation(goal.tokens, bandwidth_hz, power_w),
        stop=stop,
        claimed_value=float(goal.best[STE]),
        trace=tuple(goal.monitor.trace),
        stats={"round_times": round_times, "tolerance_used": share},
    )


def _search(
    value_at: Callable[[float], float],
    first: float,
    low: float,
    high: float,
    tolerance: float,
    grid: int,
    request: Request,
) -> Stop:
    """Evaluate on a grid, then by golden section around its best point.

    Args:
        value_at: to be maximised over the logarithm of the round time.
        first: its value at `low`.
        low: where the grid begins.
        high: where it ends.
        tolerance: width at which the search ends.
        grid: number of grid points.
        request: for the clock.
    """
    step = (high - low) / (grid - 1)
    heights = [first]
    for k in range(1, grid):
        if request.expired():
            return Stop.TIME_LIMIT
        heights.append(value_at(low + k * step))
    peak = low + step * max(range(len(heights)), key=heights.__getitem__)
    left, right = max(peak - step, low), min(peak + step, high)
    inner = [right - GOLDEN * (right - left), left + GOLDEN * (right - left)]
    values = [value_at(x) if not request.expired() else 0.0 for x in inner]
    while right - left > tolerance:
        if request.expired():
            return Stop.TIME_LIMIT
        if values[0] >= values[1]:
            right, inner, values = inner[1], [math.nan, inner[0]], [math.nan, values[0]]
            inner[0] = right - GOLDEN * (right - left)
            values[0] = value_at(inner[0])
        else:
            left, inner, values = inner[0], [inner[1], math.nan], [values[1], math.nan]
            inner[1] = left + GOLDEN * (right - left)
            values[1] = value_at(inner[1])
    return Stop.CONVERGED


def _shorten(
    round_of_fill: Callable[[float], float], low_s: float, last_s: float, tolerance: float, request: Request
) -> Stop:
    """Bisect for the shortest round whose fill reaches what is required.

    Args:
        round_of_fill: its least round time, s; inf where it misses.
        low_s: a round time that may be too short, s.
        last_s: longer rounds help nobody, s.
        tolerance: relative, of the round time.
        request: for the clock.
    """
    high_s, found_s = low_s, math.inf
    while not found_s < math.inf and high_s < last_s:
        if request.expired():
            return Stop.TIME_LIMIT
        low_s, high_s = high_s, min(2.0 * high_s, last_s)
        found_s = round_of_fill(high_s)
    high_s = min(high_s, found_s)
    while high_s > low_s * (1.0 + tolerance) and found_s < math.inf:
        if request.expired():
            return Stop.TIME_LIMIT
        middle_s = math.sqrt(low_s) * math.sqrt(high_s)
        found_s = round_of_fill(middle_s)
        if found_s < math.inf:
            high_s = min(middle_s, found_s)
        else:
            low_s, found_s = middle_s, high_s
    return Stop.CONVERGED


def _first_round_s(options: Options, last_s: float) -> float:
    """About the least round time in which some option of positive utility can be sent, s."""
    low_s, high_s = SHORTEST_S, max(last_s, SHORTEST_S)
    worthy = options.utility > 0.0
    while high_s > low_s * 1.01:
        middle_s = math.sqrt(low_s) * math.sqrt(high_s)
        need_hz, _ = needs(options, middle_s)
        if (need_hz[worthy] <= options.bandwidth_hz).any():
            high_s = middle_s
        else:
            low_s = middle_s
    return high_s
