"""Delivery: the allocation of the best known tokens, within the limits as given where it can be."""

from __future__ import annotations

from ..bounds.goal import ROUND_S, STE, Goal, fastest_point
from ..physics import loops
from ..problem import FloatArray
from ..tolerances import FEASIBILITY, PERMITTED_SHARE


def deliver(goal: Goal, bound: float) -> tuple[FloatArray, FloatArray, float]:
    """Bandwidths and powers of the best known tokens in their least round, and what tolerance that uses.

    The limits are met exactly where the tokens fit so and it costs no more than the gap. Else by half of the
    tolerance, or all of it: next to the wideband limit, or where deadlines leave one client a sliver of the
    band, a billionth of a limit may be worth more than the gap.

    Args:
        goal: with a known point.
        bound: on the STE, 1/s; inf where none was proved.

    Returns:
        ((M,) Hz, (M,) W, share).

    Cost: one least round time.
    """
    best = goal.best[STE]
    enough = bound / (1.0 + goal.gap)
    if best < enough:  # not proved: what exact limits cost shall be within the gap all the same
        enough = best / (1.0 + goal.gap)
    for share in (0.0, 0.5 * FEASIBILITY):
        instance = goal.given if share == 0.0 else loops.with_raised_limits(goal.given, share)
        point = fastest_point(instance, goal.tokens, goal.best[ROUND_S])
        if point.ste >= enough:
            bandwidth_hz, power_w = loops.allocate(instance, goal.tokens, point.round_s)
            return bandwidth_hz, power_w, share
    bandwidth_hz, power_w = loops.allocate(goal.permitted, goal.tokens, goal.best[ROUND_S])
    return bandwidth_hz, power_w, PERMITTED_SHARE
