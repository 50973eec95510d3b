"""The best known token counts with their least round time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..bounds.certificate import Certificate
from ..physics.demand import Demand
from ..problem import IntArray


@dataclass(frozen=True)
class Incumbent:
    """Tokens with their least round time.

    Attributes:
        tokens: (M,) counts.
        round_s: least round time, s.
        ste: STE there, 1/s.
        slope_hz_per_s: derivative of their bandwidth need in the round time, Hz/s; 0 when deadlines bind all.
    """

    tokens: IntArray
    round_s: float
    ste: float
    slope_hz_per_s: float


def incumbent(demand: Demand, tokens: IntArray, guess_s: float | None = None) -> Incumbent | None:
    """The fastest round for given tokens, or None when they never fit; cost: a few closed forms."""
    round_s, slope = demand.least_round(tokens, guess_s)
    if math.isinf(round_s):
        return None
    return Incumbent(tokens, round_s, float(demand.utility(tokens).sum()) / round_s, slope)


def fewest(demand: Demand) -> Incumbent:
    """The fastest round of `min_tokens`; there is one on every instance that `diagnose` lets pass.

    Raises:
        ArithmeticError: rounding disagrees.
    """
    point = incumbent(demand, demand.problem.min_tokens)
    if point is None:
        raise ArithmeticError("the instance is infeasible by less than the rounding error of its limits")
    return point


def own_price(certificate: Certificate, point: Incumbent) -> float:
    """Price mu at which the bandwidth an incumbent uses is worth its STE; inf when time buys nothing."""
    charged_s = point.round_s - certificate.origin_s
    return point.ste / (-point.slope_hz_per_s * charged_s) if point.slope_hz_per_s < 0 else math.inf
