"""Warm start: the optimum of a slightly changed problem, proved by a few evaluations of the dual function.

At the optimum's price and round time the affine bound rises as fast as the STE, and bounds it by the same
value at all round times. Next to them its value errs by the square of what price and round time are off,
only its slope to first order. Hence two evaluations: an affine bound that is a little too flat serves the
longer rounds, one that is a little too steep the shorter ones, and both are sharp where they meet.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from ..bounds.goal import (
    STE,
    Goal,
    Point,
    best_point,
    expired,
    fastest_point,
    new_goal,
    offer,
    shadow_price,
    target,
)
from ..method import Request
from ..physics import loops
from ..physics.instance import instance_of
from ..problem import Problem
from .dinkelbach import dinkelbach

MOST_EVALUATIONS: Final = 6
"""Two or three do where the problem has changed little."""

MANY: Final = 20_000
"""From so many clients on, a sample of them tells where to look first."""

EVERY: Final = 100
"""One client out of so many is in the sample."""

FAR: Final = 0.1
"""Relative distance of bound and STE above which price ascent is the better way."""


def start_point(problem: Problem, goal: Goal, request: Request) -> Point | None:
    """Where to look first: the caller's start, with the round time and slope it had in its own problem.

    None without a start, or with one whose tokens never fit. Cost: at most one least round time.
    """
    start, earlier = request.start, request.start_result
    if start is None:
        return None
    tokens = np.clip(start.tokens, problem.min_tokens, problem.tokens)
    if earlier is not None and earlier.evaluation is not None and earlier.problem.clients == problem.clients:
        round_s = earlier.evaluation.round_s
        if round_s < math.inf:
            counts = np.clip(start.tokens, earlier.problem.min_tokens, earlier.problem.tokens)
            _, slope, _ = loops.total_and_slope(instance_of(earlier.problem), counts, round_s)
            return Point(tokens, round_s, earlier.ste, slope)
    point = fastest_point(goal.permitted, tokens)
    return point if point.ste > 0.0 else None


def sample_point(problem: Problem, whole: Goal, request: Request) -> Point | None:
    """Where to look first among very many clients: what a hundredth of them does with its share of the band.

    Its round time is nearly that of all, its STE and slope a hundredth of theirs. None where that cannot be
    enough for a proof, since affine bounds do not hold there, and where the sample has nothing to send or
    never fits.

    Cost: a price ascent on the sample.
    """
    rows = np.arange(0, problem.clients, EVERY)
    concave_until_s = whole.relaxed.concave_until_s
    if concave_until_s == -math.inf or not problem.importance[rows].any():
        return None
    share = rows.size / problem.clients
    sample = replace(problem.subset(rows), bandwidth_hz=problem.bandwidth_hz * share)
    goal = new_goal(sample, request)
    offer(goal, sample.min_tokens.copy(), math.inf)
    if goal.best[STE] == 0.0:
        return None
    dinkelbach(goal)
    best = best_point(goal)
    if best.round_s > concave_until_s:
        return None
    tokens = np.maximum(problem.min_tokens, int(np.median(best.tokens)))
    return Point(tokens, best.round_s, best.ste / share, best.slope_hz_per_s / share)


def reoptimise(goal: Goal, near: Point) -> float:
    """An upper bound on every STE, inf unless it is within the gap; the goal gets the point that meets it.

    Args:
        goal: improved in place.
        near: a guess, as of a nearly equal problem; any values.

    Cost: about two inner loops and one least round time where the guess is good.
    """
    instance = goal.relaxed
    tokens, round_s, price = near.tokens, near.round_s, shadow_price(instance, near)
    affine, evaluations, offset = None, 0, 0.2 * math.sqrt(goal.gap)
    while evaluations < MOST_EVALUATIONS and not expired(goal.monitor):
        if not (instance.origin_s < round_s <= instance.concave_until_s and 0.0 < price < math.inf):
            break
        evaluations += 1
        earlier = affine
        replies = loops.best_replies(instance, round_s, price, tokens)
        affine, tokens = loops.tangent(instance, replies).affine, replies.tokens
        height = loops.bound_at(affine, round_s) / round_s
        if not height <= target(goal):
            before = goal.best[STE]
            offer(goal, tokens, round_s)
            if before > 0.0 and goal.best[STE] <= before:
                break  # Whole tokens do not come closer to this bound.
        if not height <= goal.best[STE] * (1.0 + FAR):
            break
        bound = loops.bound_everywhere(affine, affine if earlier is None else earlier)
        if bound <= target(goal):
            return bound
        # The next one shall lie on the other side, and there for certain if this one should have.
        side = 1.0 if affine.slope < height else -1.0
        best = best_point(goal)
        round_s, price = best.round_s, shadow_price(instance, best) * (1.0 + side * offset)
        offset *= 2.0
    return math.inf
