"""`greedy`: tokens by marginal gain per hertz at a searched round time (P3)."""

from __future__ import annotations

import math

from ..allocation import Allocation
from ..bounds.clearing_price import replies_around_budget
from ..bounds.goal import STE, new_goal, offer
from ..checks import real_number, whole_number
from ..method import Answer, Request
from ..physics.loops import filled
from ..primal.delivery import deliver
from ..problem import Problem
from ..registry import register
from ..result import Stop

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@register("greedy")
def greedy(problem: Problem, request: Request, *, tolerance: float = 1e-3, grid: int = 8) -> Answer:
    """Tokens of highest retained attention per hertz, filled up at the best round time found (P3).

    At a fixed round time, tokens are taken in the order of gain per hertz until the bandwidth is used
    up; the round then shrinks to the least time that still fits. The round time is searched on a
    logarithmic grid between the least possible one and that of all tokens, then by golden section
    around the best grid point. No bound.

    Args:
        problem: the instance.
        request: its time limit and start (another candidate) are honoured.
        tolerance: relative width of the round time at which the search ends, >= 1e-9.
        grid: number of grid points, >= 3.

    Cost: about `grid` + 1.5 log2(1 / tolerance) round times of five evaluations of the dual function each.
    """
    tolerance = real_number("solver 'greedy'", "tolerance", tolerance, 1e-9)
    grid = whole_number("solver 'greedy'", "grid", grid, 3)
    goal, round_times = new_goal(problem, request), 0
    first = offer(goal, problem.min_tokens.copy(), math.inf)
    price, guess = first.ste / problem.bandwidth_hz, first.tokens

    def ste_at(logarithm: float) -> float:
        """STE of the greedy fill at a round time."""
        nonlocal price, guess, round_times
        within, beyond = replies_around_budget(goal, math.exp(min(logarithm, 300.0)), price, guess, 1e-4)
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
    step = (high - low) / (grid - 1)
    stop = Stop.CONVERGED
    heights = [first.ste]
    for k in range(1, grid):
        if request.expired():
            stop = Stop.TIME_LIMIT
            break
        heights.append(ste_at(low + k * step))
    peak = low + step * max(range(len(heights)), key=heights.__getitem__)
    left, right = max(peak - step, low), min(peak + step, high)
    inner = [right - GOLDEN * (right - left), left + GOLDEN * (right - left)]
    values = [ste_at(x) if not request.expired() else 0.0 for x in inner]
    while right - left > tolerance and stop is Stop.CONVERGED:
        if request.expired():
            stop = Stop.TIME_LIMIT
            break
        if values[0] >= values[1]:
            right, inner, values = inner[1], [math.nan, inner[0]], [math.nan, values[0]]
            inner[0] = right - GOLDEN * (right - left)
            values[0] = ste_at(inner[0])
        else:
            left, inner, values = inner[0], [inner[1], math.nan], [values[1], math.nan]
            inner[1] = left + GOLDEN * (right - left)
            values[1] = ste_at(inner[1])
    bandwidth_hz, power_w, share = deliver(goal, math.inf)
    return Answer(
        allocation=Allocation(goal.tokens, bandwidth_hz, power_w),
        stop=stop,
        claimed_value=float(goal.best[STE]),
        trace=tuple(goal.monitor.trace),
        stats={"round_times": round_times, "tolerance_used": share},
    )
