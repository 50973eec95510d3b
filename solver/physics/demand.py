r"""What every client needs at a given round time (P1, P2, P3), as arrays: the physics behind all methods.

Granted the slot :math:`t_m = \min(\tau - o_m, D_m)`, client m spends :math:`\min(P_m t_m, E_m)` joules and
finishes exactly on time; the bandwidth it then needs is convex and increasing in its tokens, convex and
nonincreasing in :math:`\tau`.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from ..allocation import Allocation
from ..problem import FloatArray, IntArray, Problem
from . import loops
from .bandwidth import least_area
from .instance import instance_of
from .payload import payload_of
from .uplink import retained


class Demand:
    """Bandwidth needs of a problem's clients; an array view of `loops`.

    Args:
        problem: the instance.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.instance = instance_of(problem)
        self.payload = payload_of(problem)
        self.nats_per_token: FloatArray = problem.bits_per_token * math.log(2.0)
        self.gain_over_noise: FloatArray = problem.gain / problem.noise_w_per_hz

    @cached_property
    def retained(self) -> FloatArray:
        """(M, N + 1) retained attention f_m(K) for K = 0..N."""
        problem = self.problem
        table = np.empty((problem.clients, problem.tokens + 1))
        table[:, 0] = 0.0
        np.cumsum(problem.importance, axis=1, out=table[:, 1:])
        return table

    @property
    def most_retained(self) -> float:
        """Total attention when all tokens are kept."""
        return self.instance.most_retained

    def utility(self, tokens: IntArray) -> FloatArray:
        """(M,) retained attention f_m(K_m)."""
        return retained(self.problem.importance, tokens)

    def slot_s(self, round_s: float | FloatArray) -> FloatArray:
        """(M,) time t_m left for the upload, s; <= 0 where the overhead exceeds the round."""
        return np.minimum(round_s - self.problem.overhead_s, self.problem.deadline_s)

    def energy_over_noise(self, slot_s: FloatArray) -> FloatArray:
        """(M,) g_m = min(P t, E) h / N0 for a slot t, dimensionless."""
        return np.minimum(self.problem.max_power_w * slot_s, self.problem.max_energy_j) * self.gain_over_noise

    def nats(self, tokens: IntArray | FloatArray) -> FloatArray:
        """(..., M) payload S ln 2 of token counts, nat; whole ones where the payload is a table."""
        return self.payload.nats(tokens)

    def area(self, tokens: IntArray | FloatArray, slot_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(M,) least time-bandwidth product for a slot > 0, Hz s (inf where none suffices), and its root."""
        return least_area(self.nats(tokens), self.energy_over_noise(slot_s))

    def bandwidth_hz(self, tokens: IntArray | FloatArray, round_s: float) -> FloatArray:
        """(M,) least bandwidth need_m(K; tau), Hz; inf where no bandwidth suffices."""
        slot = self.slot_s(round_s)
        if slot.min() <= 0:
            return np.full(slot.shape, np.inf)
        return self.area(tokens, slot)[0] / slot

    def total_and_slope(self, tokens: IntArray | FloatArray, round_s: float) -> tuple[float, float]:
        """Total bandwidth need, Hz, and its right derivative in the round time, Hz/s; (inf, -inf) if none."""
        total, slope, _ = loops.total_and_slope(self.instance, tokens.copy(), round_s)
        return total, slope

    def least_round(self, tokens: IntArray | FloatArray, guess_s: float = math.inf) -> tuple[float, float]:
        """Least round time tau(K) at which these tokens fit, s, and the slope of the total need there, Hz/s.

        (inf, 0) when they never fit. Cost: two to five closed forms per client.
        """
        # A copy: read-only and writable arrays would be compiled for separately.
        return loops.least_round(self.instance, tokens.copy(), guess_s)

    def least_round_s(self, tokens: IntArray | FloatArray, guess_s: float = math.inf) -> float:
        """Least round time tau(K) at which these tokens fit into the bandwidth, s; inf when none does."""
        return self.least_round(tokens, guess_s)[0]

    def allocation(self, tokens: IntArray, round_s: float) -> Allocation:
        """The allocation that finishes these tokens within a round time at least bandwidth.

        Bandwidth left over is shared out in proportion, so the round never gets slower by it.
        """
        return Allocation(tokens, *loops.allocate(self.instance, tokens.copy(), round_s))
