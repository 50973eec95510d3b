"""Instance: the numbers of a problem as the loops read them."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..problem import FloatArray, Problem
from ..tolerances import EPSILON

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
    """The numbers of a problem, for `loops`; cost O(M) and one pass over the importances."""
    clients = np.empty(problem.clients, CLIENT)
    for name in ("max_power_w", "max_energy_j", "overhead_s", "deadline_s", "min_tokens"):
        clients[name] = getattr(problem, name)
    clients["nats_per_token"] = problem.bits_per_token * math.log(2.0)
    clients["gain_over_noise"] = problem.gain / problem.noise_w_per_hz
    deadline_round_s = problem.overhead_s + problem.deadline_s
    origin_s, latest_origin_s = float(problem.overhead_s.min()), float(problem.overhead_s.max())
    planar = origin_s == latest_origin_s and problem.payload_bits is None
    return Instance(
        clients=clients,
        importance=problem.importance,
        payload_nats=_payload_nats(problem),
        extra_tokens=float(problem.extra_tokens),
        bandwidth_hz=problem.bandwidth_hz,
        origin_s=origin_s,
        latest_origin_s=latest_origin_s,
        last_s=float(deadline_round_s.max()) * (1.0 + 4.0 * EPSILON),
        concave_until_s=float(deadline_round_s.min()) if planar else -math.inf,
        most_retained=float(problem.importance.sum()),
        unit=(problem.clients + problem.tokens + CLOSED_FORM_UNITS) * EPSILON,
    )


def _payload_nats(problem: Problem) -> FloatArray:
    if problem.payload_bits is None:
        return NO_TABLE
    nats = np.ascontiguousarray(problem.payload_bits * math.log(2.0))
    nats[:, 0] = nats[:, 1]  # nobody sends 0 tokens, and 0 bits have no closed form
    nats.flags.writeable = False
    return nats
