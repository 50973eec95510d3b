"""Warm start: the optimum of a slightly changed problem, proved by a few evaluations of the dual function.

At the optimum's price and round time the affine bound rises as fast as the STE, and bounds it by the same
value at all round times. Next to them its value errs by the square of what price and round time are off,
only its slope to first order. Hence two evaluations: an affine bound that is a little too flat serves the
longer rounds, one that is a little too steep the shorter ones, and both are sharp where they meet.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..bounds.affine_bound import bound_everywhere
from ..bounds.certificate import Certificate
from ..gap_budget import GapBudget
from ..method import Request
from ..physics.demand import Demand
from .incumbent import Point, fastest_point, shadow_price

MOST_EVALUATIONS: Final = 6
"""Two or three do where the problem has changed little."""

FAR: Final = 0.1
"""Relative distance of bound and STE above which price ascent is the better way."""


def start_point(demand: Demand, request: Request) -> Point | None:
    """Where to look first: the caller's start, with the round time and slope it had in its own problem.

    None without a start, or with one whose tokens never fit. Cost: at most one least round time.
    """
    start, problem, earlier = request.start, demand.problem, request.start_result
    if start is None:
        return None
    tokens = np.clip(start.tokens, problem.min_tokens, problem.tokens)
    if earlier is not None and earlier.evaluation is not None and earlier.problem.clients == problem.clients:
        round_s = earlier.evaluation.round_s
        if round_s < math.inf:
            _, slope = Demand(earlier.problem, demand.kernel).total_and_slope(start.tokens, round_s)
            return Point(tokens, round_s, earlier.ste, slope)
    return fastest_point(demand, tokens)


def reoptimise(certificate: Certificate, near: Point, request: Request) -> tuple[Point | None, float]:
    """A point near a guess and an upper bound on every STE, inf unless it is within the gap.

    Args:
        certificate: of the problem.
        near: a guess, as of a nearly equal problem; any values.
        request: for the gap and the time limit.

    Cost: about two inner loops and one least round time where the guess is good.
    """
    budget = GapBudget(request.gap)
    tokens, round_s, price = near.tokens, near.round_s, shadow_price(certificate, near)
    best: Point | None = None
    affine, offset = None, 0.2 * budget.price
    for _ in range(MOST_EVALUATIONS):
        usable = certificate.origin_s < round_s <= certificate.concave_until_s and 0 < price < math.inf
        if not usable or request.expired():
            break
        earlier = affine
        tokens, affine = certificate.tangent_bound(round_s, price, tokens)
        height = affine.at(round_s) / round_s
        if best is None or height > budget.target(best.ste):
            reply = fastest_point(certificate.demand, tokens, round_s)
            if best is not None and (reply is None or reply.ste <= best.ste):
                break  # Whole tokens do not come closer to this bound.
            best = reply
        if best is None or not height <= best.ste * (1.0 + FAR):
            break
        bound = bound_everywhere(affine, earlier or affine)
        if bound <= budget.target(best.ste):
            return best, bound
        # The next one shall lie on the other side, and there for certain if this one should have.
        side = 1.0 if affine.slope < height else -1.0
        round_s, price = best.round_s, shadow_price(certificate, best) * (1.0 + side * offset)
        offset *= 2.0
    return best, math.inf
