"""Upper bounds on the retained attention that are affine in the round time: sums of tangent planes (P5)."""

from __future__ import annotations

import math
from typing import NamedTuple


class AffineBound(NamedTuple):
    """An upper bound on the attention retained within any round time, from best replies at one of them.

    Attributes:
        round_s: round time of the replies, s.
        value: the bound there, before rounding; inf where a client has no plane.
        slope: how fast it rises with the round time, 1/s.
        rounding: bound of the floating-point error in `value`.
        rounding_per_s: likewise in `slope`, 1/s.
    """

    round_s: float
    value: float
    slope: float
    rounding: float
    rounding_per_s: float

    def at(self, other_s: float) -> float:
        """Upper bound on the attention retained within a round time, rounding included; convex in it."""
        span_s = other_s - self.round_s
        bound = self.value + self.slope * span_s + self.rounding + self.rounding_per_s * abs(span_s)
        return bound if math.isfinite(bound) else math.inf

    def bound(self, other_s: float) -> float:
        """Upper bound on the STE between the replies' round time and another one."""
        return max(self.at(self.round_s) / self.round_s, self.at(other_s) / other_s)


def bound_everywhere(one: AffineBound, other: AffineBound) -> float:
    """Upper bound on the STE at all round times: the steeper bound where it is lower, else the flatter.

    inf unless the steeper one is below 0 at round time 0; divided by the round time it is then largest
    where it meets the flatter one, and that one there or towards infinity (`docs/exact.md`, (5)).
    """
    steep, flat = (one, other) if one.slope >= other.slope else (other, one)
    if not steep.at(0.0) <= 0.0:
        return math.inf
    meet_s = steep.round_s
    if steep.slope > flat.slope:
        apart = flat.value - steep.value + steep.slope * steep.round_s - flat.slope * flat.round_s
        meet_s = apart / (steep.slope - flat.slope)
        if not 0.0 < meet_s < math.inf:
            meet_s = steep.round_s
    return max(steep.at(meet_s) / meet_s, flat.at(meet_s) / meet_s, flat.slope + flat.rounding_per_s)
