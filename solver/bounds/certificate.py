r"""Lagrangian upper bounds on intervals of the round time, valid whatever a method did (P4, P5).

Fix a price :math:`\mu \ge 0` and let :math:`\omega = \min_m o_m`. Charging :math:`\mu (\tau - \omega)` per
hertz, weak duality bounds the attention that any allocation of round time at most :math:`\tau` retains by

.. math:: L(\tau) = \mu W (\tau - \omega) + \sum_m v_m(\tau), \quad
          v_m(\tau) = \max_K [ f_m(K) - \mu\, c_m(K; \tau) ], \quad c_m = (\tau - \omega)\, need_m(K; \tau).

On an interval [a, b] each :math:`v_m` gets a convex majorant, so that their sum, divided by :math:`\tau`, is
largest at an end:

* **tangent**, for clients with overhead :math:`\omega` and no deadline before the point of contact: without
  its deadline (a relaxation) and with continuous K a client's bracket is jointly concave (P5), so a tangent
  plane bounds it everywhere;
* **chord**, for the others: for fixed K the cost is convex in :math:`\tau`, across deadlines too, and its
  marginal in K falls until the deadline binds and rises afterwards. Only counts between the best ones at
  a, at b and at the deadline matter, and :math:`v_m` is below its chord plus
  :math:`\mu (b - a) / 4\, [c_m'(b) - c_m'(a)]` at the largest of them;
* **flat**, where that is lower: the peak of :math:`v_m`.

Every bound is raised by a first-order bound of the floating-point errors in it (`physics.rounding_error`).
`docs/exact.md` has the proofs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..physics import rounding_error
from ..physics.demand import Demand
from ..physics.kernel import Choice
from ..problem import FloatArray, IntArray
from .affine_bound import AffineBound


class BestReplies(NamedTuple):
    """What each client would send at one round time and price: an evaluation of the dual function.

    Attributes:
        round_s: tau, s.
        price: mu, retained attention per Hz s.
        slot_s: (M,) slot t_m, s.
        charge: (M,) price of the area, retained attention per Hz s.
        choice: each client's best tokens, with their areas and roots.
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
    """Planes above the clients' terms, in contact at their best replies: (M,) value, (M,) slope, 1/s."""

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
        self._rounding_unit = rounding_error.unit(problem)
        # Best replies out of a table are confused by as much as they err, see `payload_table`.
        self._confusion = 1.0 if demand.payload.uniform else 2.0
        concave = bool(self._first.all()) and demand.payload.uniform
        self.concave_until_s = float(self._deadline_round_s.min()) if concave else -math.inf
        """Tangents exist for all clients at replies up to this round time: -inf when overheads differ, or
        payloads are tables."""

    def best_replies(self, round_s: float, price: float, guess: IntArray) -> BestReplies:
        """Best replies at a round time above all overheads; cost: one inner loop.

        Args:
            round_s: tau, s.
            price: mu, retained attention per Hz s, >= 0.
            guess: (M,) tokens to look at first; any values.
        """
        return self._replies(round_s, self.demand.slot_s(round_s), price, guess, round_s - self.origin_s)

    def at_deadlines(self, low: BestReplies, high: BestReplies) -> BestReplies | None:
        """Best replies of each client at its deadline where that lies between two ends, else at `high`.

        There the best count and v_m have their peaks. None where no deadline lies between; cost: one
        inner loop.
        """
        crossing = (low.round_s < self._deadline_round_s) & (self._deadline_round_s < high.round_s)
        if not crossing.any():
            return None
        charged_s = np.where(crossing, self._deadline_round_s, high.round_s) - self.origin_s
        slot = np.where(crossing, self.problem.deadline_s, high.slot_s)
        return self._replies(high.round_s, slot, high.price, high.choice.tokens, charged_s)

    def lagrangian(self, replies: BestReplies) -> float:
        """L(tau), an upper bound on the attention retained within that round time, before rounding."""
        return self._idle(replies.price, replies.round_s) + float(replies.value.sum())

    def tangent(self, replies: BestReplies) -> Tangent:
        """Tangent planes of f_m(K) - mu A_m(K, tau) over continuous K >= min_tokens and tau.

        The integer maximiser is continuous too when the marginal cost lies between the importances of
        its token and the next. Otherwise Newton's method finds the fractional one beside it, with
        A_K = b (1 + z) / (z (z + 1 - rho)) and A_KK = b^2 (1 + z) / (s z^3); what is left of the slope
        in K is charged over all K. Planes of clients with another overhead or a past deadline are inf.
        """
        problem, demand, price = self.problem, self.demand, replies.price
        tokens, area, root = replies.choice
        if not demand.payload.uniform:
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
        value, contact = replies.value, (area, root)
        off = np.flatnonzero(importance != marginal)
        if off.size:
            energy = demand.energy_over_noise(replies.slot_s)[off]
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
            value, contact = value.copy(), (area.copy(), root.copy())
            value[off] = off_value
            contact[0][off], contact[1][off] = off_area, off_root
        power_limited = problem.max_power_w * replies.slot_s < problem.max_energy_j
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = price * contact[0] / (contact[1] * replies.slot_s)
        slope = np.where(power_limited & np.isfinite(value), slope, 0.0)
        if replies.round_s > self.concave_until_s:
            value = np.where(self._first & (replies.round_s <= self._deadline_round_s), value, np.inf)
        return Tangent(value, slope)

    def affine_bound(self, replies: BestReplies, tangent: Tangent) -> AffineBound:
        """The sum of the tangents at some best replies; its value is inf where not every client has one."""
        idle_per_s = replies.price * self.problem.bandwidth_hz
        condition = rounding_error.area_condition(replies.choice.root)
        return AffineBound(
            replies.round_s,
            self._idle(replies.price, replies.round_s) + float(tangent.value.sum()),
            idle_per_s + float(tangent.slope.sum()),
            self._rounding(replies),
            self._rounding_unit * (idle_per_s + float((tangent.slope * condition).sum())),
        )

    def tangent_bound(self, round_s: float, price: float, guess: IntArray) -> tuple[IntArray, AffineBound]:
        """Best replies and the sum of their tangents, in one pass over the clients if compiled.

        The same as `best_replies`, `tangent` and `affine_bound`, for round times after the overhead and up to
        `concave_until_s`. Arguments as of `best_replies`. Cost: one inner loop.
        """
        demand = self.demand
        if demand.kernel.tangent_sums is not None:
            tokens, sums = demand.kernel.tangent_sums(
                self.problem, demand.nats_per_token, demand.gain_over_noise, round_s, price, guess
            )
            idle, idle_per_s = self._idle(price, round_s), price * self.problem.bandwidth_hz
            return tokens, AffineBound(
                round_s,
                idle + sums.value,
                idle_per_s + sums.slope,
                self._rounding_unit * (idle + sums.scale),
                self._rounding_unit * (idle_per_s + sums.scale_per_s),
            )
        replies = self.best_replies(round_s, price, guess)
        if not math.isfinite(replies.need_hz):
            return replies.choice.tokens, AffineBound(round_s, math.inf, 0.0, 0.0, 0.0)
        return replies.choice.tokens, self.affine_bound(replies, self.tangent(replies))

    def bound(self, low: BestReplies, high: BestReplies, anchor: BestReplies, tangent: Tangent) -> float:
        """Upper bound on the STE between two round times at one price, with each client's lower majorant.

        Args:
            low: best replies at the lower end.
            high: best replies at the upper end.
            anchor: the one of the two with which `tangent` is in contact.
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

    def _ratio(self, replies: BestReplies, majorant: FloatArray) -> float:
        total = self._idle(replies.price, replies.round_s) + float(majorant.sum()) + self._rounding(replies)
        return total / replies.round_s

    def _replies(
        self, round_s: float, slot: FloatArray, price: float, guess: IntArray, charged_s: float | FloatArray
    ) -> BestReplies:
        charge = price * charged_s / slot
        choice = self.demand.choose(charge, slot, guess)
        need = choice.area / slot
        cost = charged_s * need
        value = self.demand.utility(choice.tokens) - price * cost
        return BestReplies(round_s, price, slot, charge, choice, cost, value, float(need.sum()))

    def _majorant_raise(self, low: BestReplies, high: BestReplies) -> tuple[FloatArray, FloatArray]:
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

    def _cost_slope(self, replies: BestReplies, tokens: IntArray) -> FloatArray:
        """(M,) right derivative of c_m in tau for given counts, Hz; not finite where they cannot be sent."""
        area, root = self.demand.area(tokens, replies.slot_s)
        charged_s = replies.round_s - self.origin_s
        with np.errstate(invalid="ignore"):
            slope = self.demand.slope_hz_per_s(area, root, replies.slot_s, replies.round_s)
            return area / replies.slot_s + charged_s * slope

    def _rounding(self, replies: BestReplies) -> float:
        """First-order bound on the floating-point error of the Lagrangian and its majorants."""
        cost, slot_ratio = replies.price * replies.cost, replies.round_s / replies.slot_s
        condition = rounding_error.area_condition(replies.choice.root)
        scale = rounding_error.term_scale(replies.value, cost, condition, slot_ratio)
        idle = self._idle(replies.price, replies.round_s)
        return self._confusion * self._rounding_unit * (idle + float(scale.sum()))
