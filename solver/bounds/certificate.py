r"""Upper bounds that hold whatever a solver did: Lagrangian bounds on intervals of the round time (P4, P5).

Fix a price :math:`\mu \ge 0` and let :math:`\omega = \min_m o_m`. Charging :math:`\mu (\tau - \omega)` per
hertz, weak duality bounds the attention that any allocation of round time at most :math:`\tau` retains by

.. math:: L(\tau) = \mu W (\tau - \omega) + \sum_m v_m(\tau), \quad
          v_m(\tau) = \max_K [ f_m(K) - \mu\, c_m(K; \tau) ], \quad c_m = (\tau - \omega)\, need_m(K; \tau).

On an interval [a, b] each :math:`v_m` gets a convex majorant, so that their sum, divided by :math:`\tau`, is
largest at an end:

* **tangent**, for clients with overhead :math:`\omega` and no deadline before the point of touch: without
  its deadline (a relaxation) and with continuous K a client's bracket is jointly concave (P5), so a tangent
  plane bounds it everywhere;
* **chord**, for the others: for fixed K the cost is convex in :math:`\tau`, across deadlines too, and its
  marginal in K falls until the deadline binds and rises afterwards. Only counts between the best ones at
  a, at b and at the deadline matter, and :math:`v_m` is below its chord plus
  :math:`\mu (b - a) / 4\, [c_m'(b) - c_m'(a)]` at the largest of them;
* **flat**, where that is lower: the peak of :math:`v_m`.

Every bound is raised by a first-order bound of the floating-point errors in it (`_rounding`).
`docs/exact.md` has the proofs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..physics.demand import Demand
from ..physics.kernel import Choice
from ..problem import FloatArray, IntArray
from ..tolerances import EPSILON
from .affine_bound import Planes


class Reading(NamedTuple):
    """The clients' best replies at one round time and price.

    Attributes:
        round_s: tau, s.
        price: mu, retained attention per Hz s.
        slot_s: (M,) slot t_m, s.
        charge: (M,) price of the area, retained attention per Hz s.
        choice: each client's best tokens.
        cost: (M,) c_m at the choice, Hz s.
        value: (M,) v_m.
        need_hz: total bandwidth need of the choice.
    """

    round_s: float
    price: float
    slot_s: FloatArray
    charge: FloatArray
    choice: Choice
    cost: FloatArray
    value: FloatArray
    need_hz: float


class Tangent(NamedTuple):
    """Planes above the clients' terms, touching at a reading: (M,) value there and (M,) slope, 1/s."""

    value: FloatArray
    slope: FloatArray


class Certificate:
    """Bounds on a problem's STE from prices.

    Args:
        demand: of the problem.
    """

    def __init__(self, demand: Demand) -> None:
        problem = demand.problem
        self.demand = demand
        self.problem = problem
        self.origin_s = float(problem.overhead_s.min())
        self._first = problem.overhead_s == self.origin_s
        self._deadline_round_s = problem.overhead_s + problem.deadline_s
        concave = bool(self._first.all()) and problem.payload_bits is None
        self.concave_until_s = float(self._deadline_round_s.min()) if concave else -math.inf
        """Tangents exist for all clients at readings up to this round time: -inf when overheads differ, or
        payloads are tables."""

    def read(self, round_s: float, price: float, guess: IntArray) -> Reading:
        """Best replies at a round time above all overheads; cost: one inner loop."""
        return self._read(round_s, self.demand.slot_s(round_s), price, guess, round_s - self.origin_s)

    def at_deadlines(self, low: Reading, high: Reading) -> Reading | None:
        """Best replies of each client at its deadline where that lies between two readings, else at `high`.

        There the best count and v_m have their peaks. None where no deadline lies between; cost: one
        inner loop.
        """
        crossing = (low.round_s < self._deadline_round_s) & (self._deadline_round_s < high.round_s)
        if not crossing.any():
            return None
        charged_s = np.where(crossing, self._deadline_round_s, high.round_s) - self.origin_s
        slot = np.where(crossing, self.problem.deadline_s, high.slot_s)
        return self._read(high.round_s, slot, high.price, high.choice.tokens, charged_s)

    def lagrangian(self, reading: Reading) -> float:
        """L(tau), an upper bound on the attention retained within that round time, before rounding."""
        return self._idle(reading.price, reading.round_s) + float(reading.value.sum())

    def tangent(self, reading: Reading) -> Tangent:
        """Tangent planes of f_m(K) - mu A_m(K, tau) over continuous K >= min_tokens and tau.

        The integer maximiser is continuous too when the marginal cost lies between the importances of
        its token and the next. Otherwise Newton's method finds the fractional one beside it, with
        A_K = b (1 + z) / (z (z + 1 - rho)) and A_KK = b^2 (1 + z) / (s z^3); what is left of the slope
        in K is charged over all K. Planes of clients with another overhead or a past deadline are inf.
        """
        problem, demand, price = self.problem, self.demand, reading.price
        tokens, area, root = reading.choice
        if problem.payload_bits is not None:
            return Tangent(np.full(tokens.shape, np.inf), np.zeros(tokens.shape))
        nats_per_token = demand.nats_per_token
        rows = np.arange(tokens.size)
        here = np.where(tokens > problem.min_tokens, problem.importance[rows, tokens - 1], np.inf)
        following = np.where(
            tokens < problem.tokens, problem.importance[rows, np.minimum(tokens, problem.tokens - 1)], -np.inf
        )
        nats = demand.nats(tokens)
        marginal = price * nats_per_token * (area / nats) * (1.0 + 1.0 / root)
        importance = np.minimum(np.maximum(marginal, following), here)
        value, touching = reading.value, (area, root)
        off = np.flatnonzero(importance != marginal)
        if off.size:
            energy = demand.energy_over_noise(reading.slot_s)[off]
            b, target, start = nats_per_token[off], importance[off], tokens[off]
            count = start.astype(np.float64)
            slope_in_k = target - marginal[off]
            off_area, off_root = area[off], root[off]
            with np.errstate(divide="ignore", invalid="ignore"):
                for _ in range(3):
                    off_nats = b * (count + problem.extra_tokens)
                    curvature = price * b**2 * (1.0 + off_root) / (off_nats * off_root**3)
                    step = count + slope_in_k / curvature
                    count = np.minimum(np.maximum(step, start - 1.0), start + 1.0)
                    off_nats = b * (count + problem.extra_tokens)
                    off_area, off_root = demand.kernel.area(off_nats, energy)
                    slope_in_k = target - price * b * (off_area / off_nats) * (1.0 + 1.0 / off_root)
                retained = demand.utility(tokens)[off] + target * (count - start)
                off_value = retained - price * off_area + np.abs(slope_in_k) * problem.tokens
            # Next to the wideband limit a step can leave the domain: no plane is claimed there.
            off_value[~np.isfinite(off_value)] = np.inf
            value, touching = value.copy(), (area.copy(), root.copy())
            value[off] = off_value
            touching[0][off], touching[1][off] = off_area, off_root
        power_limited = problem.max_power_w * reading.slot_s < problem.max_energy_j
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = price * touching[0] / (touching[1] * reading.slot_s)
        slope = np.where(power_limited & np.isfinite(value), slope, 0.0)
        if reading.round_s > self.concave_until_s:
            value = np.where(self._first & (reading.round_s <= self._deadline_round_s), value, np.inf)
        return Tangent(value, slope)

    def planes(self, anchor: Reading, tangent: Tangent) -> Planes:
        """The sum of a reading's tangents; its value is inf where not every client has one."""
        rounding = (self.problem.tokens + 64) * EPSILON
        idle_per_s = anchor.price * self.problem.bandwidth_hz
        condition = 1.0 + 1.0 / anchor.choice.root
        return Planes(
            anchor.round_s,
            self._idle(anchor.price, anchor.round_s) + float(tangent.value.sum()),
            idle_per_s + float(tangent.slope.sum()),
            self._rounding(anchor),
            rounding * (idle_per_s + float((tangent.slope * condition).sum())),
        )

    def touch(self, round_s: float, price: float, guess: IntArray) -> tuple[IntArray, Planes]:
        """Best replies and the sum of their tangents: `read`, `tangent` and `planes`; one pass if compiled.

        For round times after the overhead and up to `concave_until_s`. Cost: one inner loop.
        """
        demand = self.demand
        if demand.kernel.touch is not None:
            tokens, sums = demand.kernel.touch(
                self.problem, demand.nats_per_token, demand.gain_over_noise, round_s, price, guess
            )
            idle, idle_per_s = self._idle(price, round_s), price * self.problem.bandwidth_hz
            # As in `planes`; terms are added one after the other here, hence the number of clients.
            rounding = (self.problem.clients + self.problem.tokens + 64) * EPSILON
            return tokens, Planes(
                round_s,
                idle + sums.value,
                idle_per_s + sums.slope,
                rounding * (idle + sums.magnitude),
                rounding * (idle_per_s + sums.magnitude_per_s),
            )
        reading = self.read(round_s, price, guess)
        if not math.isfinite(reading.need_hz):
            return reading.choice.tokens, Planes(round_s, math.inf, 0.0, 0.0, 0.0)
        return reading.choice.tokens, self.planes(reading, self.tangent(reading))

    def bound(self, low: Reading, high: Reading, anchor: Reading, tangent: Tangent) -> float:
        """Upper bound on the STE between two readings of one price, with each client's lower majorant.

        Args:
            low: reading at the lower end.
            high: reading at the upper end.
            anchor: the one of the two at which `tangent` touches.
            tangent: planes of the anchor.

        Cost: two evaluations of the closed form, an inner loop more where a deadline lies between.
        """
        if not math.isfinite(low.need_hz):
            return math.inf
        width = high.round_s - low.round_s
        planes_low = tangent.value - (tangent.slope * width if anchor is high else 0.0)
        planes_high = tangent.value + (tangent.slope * width if anchor is low else 0.0)
        raise_low, raise_high = self._majorant_raise(low, high)
        chord_low, chord_high = low.value + raise_low, high.value + raise_high
        planes, chords = (
            at_low / low.round_s + at_high / high.round_s
            for at_low, at_high in ((planes_low, planes_high), (chord_low, chord_high))
        )
        return max(
            self._ratio(low, np.where(planes < chords, planes_low, chord_low)),
            self._ratio(high, np.where(planes < chords, planes_high, chord_high)),
        )

    def _idle(self, price: float, round_s: float) -> float:
        """The charge for the whole bandwidth."""
        return price * self.problem.bandwidth_hz * (round_s - self.origin_s)

    def _ratio(self, reading: Reading, majorant: FloatArray) -> float:
        total = self._idle(reading.price, reading.round_s) + float(majorant.sum()) + self._rounding(reading)
        return total / reading.round_s

    def _read(
        self, round_s: float, slot: FloatArray, price: float, guess: IntArray, charged_s: float | FloatArray
    ) -> Reading:
        charge = price * charged_s / slot
        choice = self.demand.choose(charge, slot, guess)
        need = choice.area / slot
        cost = charged_s * need
        value = self.demand.utility(choice.tokens) - price * cost
        return Reading(round_s, price, slot, charge, choice, cost, value, float(need.sum()))

    def _majorant_raise(self, low: Reading, high: Reading) -> tuple[FloatArray, FloatArray]:
        """(M,) How far the chord or flat majorant exceeds v_m at either end."""
        widest, peak = np.maximum(low.choice.tokens, high.choice.tokens), np.maximum(low.value, high.value)
        middle = self.at_deadlines(low, high)
        if middle is not None:
            widest, peak = np.maximum(widest, middle.choice.tokens), np.maximum(peak, middle.value)
        bend = self._cost_slope(high, widest) - self._cost_slope(low, widest)
        sag = 0.25 * low.price * (high.round_s - low.round_s) * bend
        # Not curved where the sag is large, or not a number: such counts cannot be sent at `low` at all.
        curved = 2.0 * sag <= 2.0 * peak - low.value - high.value
        return np.where(curved, sag, peak - low.value), np.where(curved, sag, peak - high.value)

    def _cost_slope(self, reading: Reading, tokens: IntArray) -> FloatArray:
        """(M,) right derivative of c_m in tau for given counts, Hz; not finite where they cannot be sent."""
        area, root = self.demand.area(tokens, reading.slot_s)
        charged_s = reading.round_s - self.origin_s
        with np.errstate(invalid="ignore"):
            slope = self.demand.slope_hz_per_s(area, root, reading.slot_s, reading.round_s)
            return area / reading.slot_s + charged_s * slope

    def _rounding(self, reading: Reading) -> float:
        """First-order bound on the floating-point error of the Lagrangian and its majorants at a reading.

        Sums of N importances and of M terms err by N and log2 M units, the closed form by a few units
        times its condition 1 + 1/z, the slot by the cancellation in tau - o. Doubled for payload tables,
        whose best replies are confused by as much (`payload_table`).
        """
        condition = (1.0 + 1.0 / reading.choice.root) * (1.0 + reading.round_s / reading.slot_s)
        scale = float(np.abs(reading.value).sum()) + self._idle(reading.price, reading.round_s)
        scale += 2.0 * reading.price * float((reading.cost * condition).sum())
        doubled = 1.0 if self.problem.payload_bits is None else 2.0
        return doubled * (self.problem.tokens + 64) * EPSILON * scale
