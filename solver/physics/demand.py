r"""What every client needs at a given round time (P1, P2, P3): the physics behind all closed-form solvers.

Granted the slot :math:`t_m = \min(\tau - o_m, D_m)`, client m spends :math:`\min(P_m t_m, E_m)` joules and
finishes exactly on time; the bandwidth it then needs is convex and increasing in its tokens, convex and
nonincreasing in :math:`\tau`.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Final

import numpy as np

from ..allocation import Allocation
from ..problem import FloatArray, IntArray, Problem
from ..tolerances import NEWTON, TIME
from .bracket import Bracket
from .kernel import NUMPY_KERNEL, Choice, Kernel
from .payload import TablePayload, payload_of
from .payload_table import choose_from_table
from .uplink import retained

MOST_STEPS: Final = 200
"""Far beyond what a search for the least round time takes."""


class Demand:
    """Bandwidth needs of a problem's clients, vectorised over clients.

    Args:
        problem: the instance.
        kernel: who evaluates the closed form.
    """

    def __init__(self, problem: Problem, kernel: Kernel = NUMPY_KERNEL) -> None:
        self.problem = problem
        self.kernel = kernel
        self.payload = payload_of(problem)
        self.nats_per_token: FloatArray = problem.bits_per_token * math.log(2.0)
        self.gain_over_noise: FloatArray = problem.gain / problem.noise_w_per_hz
        self._timed = bool(np.isfinite(problem.deadline_s).any())

    @cached_property
    def retained(self) -> FloatArray:
        """(M, N + 1) retained attention f_m(K) for K = 0..N."""
        problem = self.problem
        table = np.empty((problem.clients, problem.tokens + 1))
        table[:, 0] = 0.0
        np.cumsum(problem.importance, axis=1, out=table[:, 1:])
        return table

    @cached_property
    def most_retained(self) -> float:
        """Total attention when all tokens are kept."""
        return float(self.problem.importance.sum())

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
        return self.kernel.area(self.nats(tokens), self.energy_over_noise(slot_s))

    def choose(self, price: FloatArray, slot_s: FloatArray, guess: IntArray) -> Choice:
        """Each client's best tokens at its price per area, see `kernel.choose_tokens`."""
        energy = self.energy_over_noise(slot_s)
        if isinstance(self.payload, TablePayload):
            return choose_from_table(self.payload, self.retained, price, slot_s, energy)
        return self.kernel.choose(self.problem, self.nats_per_token, price, energy, guess)

    def bandwidth_hz(self, tokens: IntArray | FloatArray, round_s: float) -> FloatArray:
        """(M,) least bandwidth need_m(K; tau), Hz; inf where no bandwidth suffices."""
        slot = self.slot_s(round_s)
        if slot.min() <= 0:
            return np.full(slot.shape, np.inf)
        return self.area(tokens, slot)[0] / slot

    def slope_hz_per_s(
        self, area: FloatArray, root: FloatArray, slot_s: FloatArray, round_s: float | FloatArray
    ) -> FloatArray:
        """(M,) right derivative of need_m in the round time, Hz/s, <= 0; 0 once the deadline binds.

        Args:
            area: (M,) from `area`, with its `root`.
            root: (M,) likewise.
            slot_s: (M,) slot at `round_s`.
            round_s: tau, one value or (M,).
        """
        problem = self.problem
        power_limited = problem.max_power_w * slot_s < problem.max_energy_j
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = area * (-1.0 - power_limited / root) / (slot_s * slot_s)
        if self._timed:
            slope[round_s - problem.overhead_s >= problem.deadline_s] = 0.0
        return slope

    def total_and_slope(self, tokens: IntArray | FloatArray, round_s: float) -> tuple[float, float]:
        """Total bandwidth need, Hz, and its derivative in the round time, Hz/s; (inf, -inf) if unmet."""
        if self.kernel.total_and_slope is not None and self.payload.uniform:
            return self.kernel.total_and_slope(
                self.problem, self.nats_per_token, self.gain_over_noise, tokens, round_s
            )
        slot = self.slot_s(round_s)
        if slot.min() <= 0:
            return math.inf, -math.inf
        area, root = self.area(tokens, slot)
        total = float((area / slot).sum())
        if not math.isfinite(total):
            return math.inf, -math.inf
        return total, float(self.slope_hz_per_s(area, root, slot, round_s).sum())

    def fits_eventually(self, tokens: IntArray | FloatArray) -> bool:
        """Whether some round time serves these tokens: the limit of P6 as the round time grows."""
        problem = self.problem
        slot = problem.deadline_s
        if not self._timed:
            return bool((self.nats(tokens) < problem.max_energy_j * self.gain_over_noise).all())
        slot = np.minimum(slot, 1e100)
        area = self.area(tokens, slot)[0]
        return bool(area.max() < math.inf and (area / slot).sum() <= problem.bandwidth_hz * (1 + TIME))

    def least_round(self, tokens: IntArray | FloatArray, guess_s: float | None = None) -> tuple[float, float]:
        """Least round time tau(K) at which these tokens fit, s, and the slope of the total need there, Hz/s.

        The total need falls in tau, is convex, and nearly a power of tau minus the largest overhead:
        Newton's method on that log-log scale, kept inside a bracket, until a step is so short that its
        square is beyond float64. (inf, 0) when the tokens never fit. Cost: two to five evaluations.
        """
        problem = self.problem
        budget = problem.bandwidth_hz
        origin = float(problem.overhead_s.max())
        if guess_s is not None and guess_s > origin:
            step = guess_s - origin
        else:
            fair_snr = problem.max_power_w * self.gain_over_noise * (problem.clients / budget)
            step = float((self.nats(tokens) / np.log1p(fair_snr)).sum()) / budget
        bracket, logarithm, slope = Bracket(longest=7.0), math.log(step), 0.0
        for iteration in range(MOST_STEPS):
            step = math.exp(logarithm)
            total, slope = self.total_and_slope(tokens, origin + step)
            if total < math.inf and slope < 0.0:
                excess, exponent = math.log(total / budget), slope * step / total
                # The next step would be |exponent| / 2 times the square of this one near the wideband limit.
                if abs(excess / exponent) <= NEWTON / math.sqrt(max(-exponent, 1.0)):
                    # Some ulps up: next to a large overhead they are what a short slot needs to fit.
                    return (origin + step * (1.0 - excess / exponent)) * (1.0 + 1e-15), slope
                logarithm = bracket.next(logarithm, excess, exponent)
            else:
                logarithm = bracket.next(logarithm, math.inf if total > budget else -math.inf)
            if iteration == 3 and bracket.high == math.inf and not self.fits_eventually(tokens):
                return math.inf, 0.0
            if bracket.width * step <= 4 * TIME * (origin + step):
                break
        fits = bracket.high if bracket.high < math.inf else logarithm
        return origin + math.exp(fits), slope

    def least_round_s(self, tokens: IntArray | FloatArray, guess_s: float | None = None) -> float:
        """Least round time tau(K) at which these tokens fit into the bandwidth, s; inf when none does."""
        return self.least_round(tokens, guess_s)[0]

    def allocation(self, tokens: IntArray, round_s: float) -> Allocation:
        """The allocation that finishes these tokens within a round time at least bandwidth.

        Bandwidth left over is shared out in proportion, so the round never gets slower by it.
        """
        slot = self.slot_s(round_s)
        problem = self.problem
        bandwidth = self.bandwidth_hz(tokens, round_s)
        power = np.minimum(problem.max_power_w, problem.max_energy_j / slot)
        return Allocation(tokens, bandwidth * (problem.bandwidth_hz / bandwidth.sum()), power)
