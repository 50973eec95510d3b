r"""Dinkelbach's iteration on the dual price of bandwidth, the fast way to a good allocation.

At tokens K with least round time tau(K) and efficiency sigma = f(K) / tau(K), one hertz more shortens the
round by 1 / |need'|, so it is worth sigma / |need'|: their shadow price. At that price the clients choose new
tokens. At a fixed point no client gains by another count, and the certificate needs just this price.
"""

from __future__ import annotations

import math
from typing import Final

from ..bounds.goal import STE, Goal, best_point, expired, offer, shadow_price, target
from ..gap_budget import ASCENT, ASCENT_DONE
from ..physics import loops
from ..physics.bracket import advance, new_bracket, width
from ..physics.loops import BestReplies
from ..tolerances import OPTIMALITY

MOST_ITERATIONS: Final = 60
"""Far beyond what a convergent iteration takes."""

NEAR: Final = 30.0
"""Distance of Lagrangian and value, in gaps, from which on affine bounds may prove the gap."""

LONGEST_STEP: Final = 40.0
"""Of the logarithm of the price in one iteration."""


def dinkelbach(goal: Goal) -> tuple[BestReplies, bool, float]:
    """Improve the best known allocation by price ascent until the Lagrangian nearly meets its STE.

    Secant steps on log(shadow price / price) inside a bracket.

    Args:
        goal: improved in place, until the clients' replies improve it no more.

    Returns:
        (best replies next to the best known allocation, whether the Lagrangian is close enough there to start
        a proof from, an upper bound on every STE). It is never close where deadlines make the objective
        kinked. The bound is inf unless it proves the gap: affine bounds of the replies on the way often do.

    Cost: one inner loop and one least round time per iteration, about five iterations from afar.
    """
    instance = goal.relaxed
    point = best_point(goal)
    price, bracket = shadow_price(instance, point), new_bracket(longest=LONGEST_STEP)
    usable = 0.0 < price < math.inf
    replies = loops.best_replies(
        instance, point.round_s, price if usable else goal.best[STE] / instance.bandwidth_hz, point.tokens
    )
    close, settled = replies, False
    earlier = loops.no_affine_bound()
    for iteration in range(MOST_ITERATIONS):
        if not 0.0 < price < math.inf or expired(goal.monitor):
            break
        if iteration > 0:
            replies = loops.best_replies(instance, point.round_s, price, point.tokens)
        height = goal.best[STE]
        at_best = point.ste == height and _is_settled(goal, point.round_s, replies)
        if at_best:
            close, settled = replies, True
            if replies.lagrangian <= height * point.round_s * (1.0 + ASCENT_DONE * goal.gap):
                break
        affine, own = loops.no_affine_bound(), math.inf
        near = replies.lagrangian <= height * point.round_s * (1.0 + NEAR * goal.gap)
        if near and point.round_s <= instance.concave_until_s:
            affine = loops.tangent(instance, replies).affine
            own = loops.bound_everywhere(affine, affine)
            bound = min(own, loops.bound_everywhere(affine, earlier))
            if bound <= target(goal):
                return replies, True, bound
        reply = offer(goal, replies.tokens, point.round_s)
        if own <= target(goal):
            return replies, True, own
        earlier = affine
        if at_best and reply.ste <= height * (1.0 + OPTIMALITY):
            break
        excess = math.inf
        if reply.ste > 0.0:
            point = reply
            excess = _log_ratio(shadow_price(instance, reply), price)
        else:
            point = best_point(goal)
        bracket, logarithm = advance(bracket, math.log(price), excess)
        price = math.exp(logarithm)
        if width(bracket) <= 1e-9:
            break
    return close, settled, math.inf


def _is_settled(goal: Goal, round_s: float, replies: BestReplies) -> bool:
    """Whether the price is nearly the best point's own and its tokens nearly the clients' best replies."""
    off = _log_ratio(shadow_price(goal.relaxed, best_point(goal)), replies.price)
    close = replies.lagrangian <= goal.best[STE] * round_s * (1.0 + ASCENT * goal.gap)
    return close and abs(off) <= 0.3 * math.sqrt(ASCENT * goal.gap)


def _log_ratio(wanted: float, price: float) -> float:
    """ln(wanted / price) for price > 0, within `LONGEST_STEP` also where `wanted` is 0 or inf."""
    ratio = wanted / price
    if not 0.0 < ratio < math.inf:
        return LONGEST_STEP if ratio > 0.0 else -LONGEST_STEP
    return min(max(math.log(ratio), -LONGEST_STEP), LONGEST_STEP)
