"""Instance: the numbers of a problem as the loops read them."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..problem import FloatArray, IntArray, Problem
from ..tolerances import EPSILON
from .jit import compiled

CLIENT: Final = np.dtype(
    [
        ("max_power_w", np.float64),
        ("max_energy_j", np.float64),
        ("overhead_s", np.float64),
        ("deadline_s", np.float64),
        ("nats_per_token", np.float64),
        ("gain_over_noise", np.float64),
        ("min_tokens", np.int64),
    ],
    align=True,
)
"""One client: limits, nats per token (beta ln 2) and h / N0, 1/W."""

NO_TABLE: Final[FloatArray] = np.empty((0, 0))
NO_TABLE.flags.writeable = False


class Instance(NamedTuple):
    """The numbers of one problem.

    Attributes:
        clients: (M,) of `CLIENT`.
        importance: (M, N), descending along the tokens.
        payload_nats: (M, N + 1) payload of K = 0..N tokens, nat; (0, 0) where every token takes the same.
        extra_tokens: e.
        bandwidth_hz: W.
        origin_s: omega, the least overhead, s.
        latest_origin_s: the largest overhead, s.
        last_s: the last deadline on the axis of round times, s: no round takes longer; inf without one. Some
            ulps up, so that every slot in it is its deadline.
        concave_until_s: up to this round time all clients have tangent planes, s: -inf when overheads differ
            or payloads are tables.
        most_retained: attention when all tokens are kept.
        unit: relative rounding error of a sum over clients of sums over tokens, see `loops`.
    """

    clients: NDArray[Any]
    importance: FloatArray
    payload_nats: FloatArray
    extra_tokens: float
    bandwidth_hz: float
    origin_s: float
    latest_origin_s: float
    last_s: float
    concave_until_s: float
    most_retained: float
    unit: float


CLOSED_FORM_UNITS: Final = 256
"""Relative error of the closed form for areas and of what is multiplied to it, in units of EPSILON."""


def instance_of(problem: Problem) -> Instance:
    """The numbers of a problem, for `loops`; cost: one pass over the importances, no copy of them."""
    clients, origin_s, latest_origin_s, first_s, last_s, most_retained = _gathered(
        problem.gain,
        problem.importance,
        problem.bits_per_token,
        problem.noise_w_per_hz,
        problem.max_power_w,
        problem.max_energy_j,
        problem.deadline_s,
        problem.overhead_s,
        problem.min_tokens,
    )
    planar = origin_s == latest_origin_s and problem.payload_bits is None
    return Instance(
        clients,
        problem.importance,
        NO_TABLE if problem.payload_bits is None else _payload_nats(problem.payload_bits),
        float(problem.extra_tokens),
        problem.bandwidth_hz,
        origin_s,
        latest_origin_s,
        last_s * (1.0 + 4.0 * EPSILON),
        first_s if planar else -math.inf,
        most_retained,
        (problem.clients + problem.tokens + CLOSED_FORM_UNITS) * EPSILON,
    )


@compiled
def _gathered(
    gain: FloatArray,
    importance: FloatArray,
    bits_per_token: FloatArray,
    noise_w_per_hz: float,
    max_power_w: FloatArray,
    max_energy_j: FloatArray,
    deadline_s: FloatArray,
    overhead_s: FloatArray,
    min_tokens: IntArray,
) -> tuple[NDArray[Any], float, float, float, float, float]:
    """What an `Instance` has of all clients: `CLIENT`s, extremes of overheads and of deadlines, attention.

    Returns:
        (M,) of `CLIENT`; the least and the largest overhead, s; the first and the last deadline on the axis
        of round times, s; all attention: four running sums in a row, Kahan's over rows.
    """
    count, patches = importance.shape
    clients = np.empty(count, CLIENT)
    origin_s, latest_origin_s, first_s, last_s = math.inf, 0.0, math.inf, 0.0
    most_retained = carry = 0.0
    for m in range(count):
        clients[m]["max_power_w"] = max_power_w[m]
        clients[m]["max_energy_j"] = max_energy_j[m]
        clients[m]["overhead_s"] = overhead_s[m]
        clients[m]["deadline_s"] = deadline_s[m]
        clients[m]["nats_per_token"] = bits_per_token[m] * math.log(2.0)
        clients[m]["gain_over_noise"] = gain[m] / noise_w_per_hz
        clients[m]["min_tokens"] = min_tokens[m]
        origin_s = min(origin_s, float(overhead_s[m]))
        latest_origin_s = max(latest_origin_s, float(overhead_s[m]))
        deadline_round_s = float(overhead_s[m]) + float(deadline_s[m])
        first_s, last_s = min(first_s, deadline_round_s), max(last_s, deadline_round_s)
        one = two = three = four = 0.0
        n = 0
        while n + 3 < patches:
            one += importance[m, n]
            two += importance[m, n + 1]
            three += importance[m, n + 2]
            four += importance[m, n + 3]
            n += 4
        while n < patches:
            one += importance[m, n]
            n += 1
        term = (one + two) + (three + four) - carry
        raised = most_retained + term
        most_retained, carry = raised, (raised - most_retained) - term
    return clients, origin_s, latest_origin_s, first_s, last_s, most_retained


def _payload_nats(payload_bits: FloatArray) -> FloatArray:
    """(M, N + 1) payloads, nat."""
    nats = payload_bits * math.log(2.0)
    nats[:, 0] = nats[:, 1]  # nobody sends 0 tokens, and 0 bits have no closed form
    nats.flags.writeable = False
    return nats
