r"""The form of the problem that spatial branch and bound can prove: homogenised, in entropies, centred.

With :math:`t = \tau^0 / \tau` every quantity is divided by the round time, in units of an incumbent
:math:`(K^0, \tau^0)`, where client m needs the area :math:`A^0_m` (Hz s) at the SNR :math:`x_m`:

.. math:: r_m = t \frac{K_m + e}{K^0_m + e}, \quad w_m = t \frac{A_m}{A^0_m}, \quad
          q_m = t \frac{g_m}{g^0_m}, \quad v_m = t \frac{f_m(K_m)}{\sum f(K^0)}.

The objective :math:`\sum v_m` and the pieces of f are then linear, the rate is a difference of entropies,

.. math:: (r_m - w_m) \ln(1 + x_m) \le w_m \ln \frac{w_m + x_m q_m}{1 + x_m} - w_m \ln w_m,

jointly convex, and the only products left are with t: :math:`(K_m + e)\, t` and, where slots differ
between clients, share of the band times t. Branching on t resolves them. `docs/minlp.md` derives each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ..bounds.bound_tightening import tighten
from ..bounds.goal import Point
from ..physics.bandwidth import least_area
from ..physics.demand import Demand
from ..problem import FloatArray, IntArray
from .pieces import pieces

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel  # type: ignore[import-untyped]

CUTOFF: Final = 1e-6
"""How far below the incumbent the objective is cut off: as far as an engine may miss a row."""

SLACK: Final = 1e-9
"""Relative widening of bounds that come from closed forms, against rounding."""

FINEST: Final = 0.0025
STEPS: Final = 11
"""Tangents of the rate: the logarithms of their ratios r / q are 0 and +- FINEST 2^k, k < STEPS."""

FLAT: Final = 1e-6
"""No tangents where the root z is below this (SNR near 0): their coefficients are too far apart."""


class Affine(NamedTuple):
    """The function level + slope t of t."""

    level: float
    slope: float

    def at(self, t: FloatArray) -> FloatArray:
        """Its values."""
        return self.level + self.slope * t

    def over(self, unit: float) -> Affine:
        """In another unit."""
        return Affine(self.level / unit, self.slope / unit)


class Limits(NamedTuple):
    """What a client may use at t: the least of some affine functions, each least somewhere; 1 at t = 1.

    Attributes:
        slot: upload time over round time, in units of the incumbent's.
        energy: energy over round time, likewise.
    """

    slot: tuple[Affine, ...]
    energy: tuple[Affine, ...]


def limits(demand: Demand, client: int, unit_s: float, low_s: float, high_s: float) -> Limits:
    """The limits of one client for round times from low_s to high_s around unit_s."""
    problem = demand.problem
    overhead_s, deadline_s = float(problem.overhead_s[client]), float(problem.deadline_s[client])
    power_w, energy_j = float(problem.max_power_w[client]), float(problem.max_energy_j[client])

    def slot_s(round_s: float) -> float:
        return min(round_s - overhead_s, deadline_s)

    slot = []
    if low_s - overhead_s < deadline_s:
        slot.append(Affine(unit_s, -overhead_s).over(slot_s(unit_s)))
    if high_s - overhead_s > deadline_s:
        slot.append(Affine(0.0, deadline_s).over(slot_s(unit_s)))
    spent_j = min(power_w * slot_s(unit_s), energy_j)
    energy = []
    if power_w * slot_s(low_s) < energy_j:
        energy += [part.over(spent_j / (power_w * slot_s(unit_s))) for part in slot]
    if power_w * slot_s(high_s) > energy_j or not energy:
        energy.append(Affine(0.0, energy_j / spent_j))
    return Limits(tuple(slot), tuple(energy))


def entropy_model(demand: Demand, point: Point, accuracy: float) -> ConcreteModel:
    """The entropy form around an incumbent; see the head of this file and `minlp.model.minlp_model`.

    Variables: `inverse_round` t, `tokens` K, `payload` r, `area` w, `energy` q where several limits may
    bind, `attention` v and, where slots differ, `share` of the band and `share_rate` = share x t, in units
    of the incumbent's.
    """
    import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

    builder = _Entropy(demand, point, accuracy)
    model = pyo.ConcreteModel(name="STE, entropy form")
    model.ste_unit_per_s = pyo.Param(initialize=point.ste)
    model.clients = pyo.RangeSet(0, demand.problem.clients - 1)
    builder.add_variables(model)
    for name in ("token_products", "token_ranges", "pieces", "energy_limits", "rates", "tangents"):
        model.add_component(name, pyo.ConstraintList())
    for m in model.clients:
        builder.add_tokens(model, m)
        builder.add_rate(model, m)
    builder.add_band(model)
    total = pyo.quicksum(model.attention.values())
    model.cutoff = pyo.Constraint(expr=total >= 1.0 - CUTOFF)
    model.ste = pyo.Objective(expr=total, sense=pyo.maximize)
    return model


class _Entropy:
    """Numbers around the incumbent, and the variables and rows made of them."""

    def __init__(self, demand: Demand, point: Point, accuracy: float) -> None:
        problem = demand.problem
        self.demand, self.problem, self.point = demand, problem, point
        self.error = accuracy / problem.clients
        box = tighten(demand, point.ste)
        upload_s = box.low_s - float(problem.overhead_s.max())
        self.low_s, self.high_s = box.low_s - SLACK * upload_s, box.high_s * (1.0 + SLACK)
        self.most = np.maximum(box.most, point.tokens)
        self.ends = np.array([point.round_s / self.high_s, point.round_s / self.low_s])
        slot = demand.slot_s(point.round_s)
        self.area = demand.area(point.tokens, slot)[0]
        self.snr = demand.energy_over_noise(slot) / self.area
        self.need = self.area / slot / problem.bandwidth_hz
        self.sent = (point.tokens + problem.extra_tokens).astype(np.float64)
        self.kept = demand.retained / float(demand.utility(point.tokens).sum())
        rounds = point.round_s, self.low_s, self.high_s
        self.limits = [limits(demand, m, *rounds) for m in range(problem.clients)]

    def add_variables(self, model: ConcreteModel) -> None:
        """All variables with bounds from P1 to P6 and the incumbent's values."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        problem, demand, tokens = self.problem, self.demand, self.point.tokens
        few, many, rows = problem.min_tokens, self.most, np.arange(problem.clients)
        least, most = self.ends
        one = np.ones(problem.clients)

        def variables(
            low: FloatArray | IntArray,
            high: FloatArray | IntArray,
            start: FloatArray | IntArray,
            **options: Any,
        ) -> Any:
            return pyo.Var(
                model.clients,
                bounds=lambda _, m: (low[m].item(), high[m].item()),
                initialize=lambda _, m: start[m].item(),
                **options,
            )

        model.inverse_round = pyo.Var(bounds=(float(least), float(most)), initialize=1.0)
        model.tokens = variables(few, many, tokens, domain=pyo.Integers)
        share_of = (few + problem.extra_tokens) / self.sent, (many + problem.extra_tokens) / self.sent
        model.payload = variables(least * share_of[0], most * share_of[1], one)
        model.attention = variables(
            least * self.kept[rows, few], most * self.kept[rows, many], self.kept[rows, tokens]
        )
        smallest = demand.area(few, demand.slot_s(self.high_s))[0] / self.area * (1.0 - SLACK)
        slots = np.array([min(part.at(self.ends).max() for part in each.slot) for each in self.limits])
        model.area = variables(least * smallest, slots / self.need * (1.0 + SLACK), one)
        several = [m for m in model.clients if len(self.limits[m].energy) > 1]
        ranges = {m: [part.at(self.ends) for part in self.limits[m].energy] for m in several}
        model.energy = pyo.Var(
            several,
            bounds=lambda _, m: (float(np.min(ranges[m])), float(np.max(ranges[m], axis=1).min())),
            initialize=1.0,
        )

    def add_tokens(self, model: ConcreteModel, m: int) -> None:
        """R = t (K + e) in units of the incumbent's, and v below every piece of f_m."""
        problem, t, r = self.problem, model.inverse_round, model.payload[m]
        sent, extra = float(self.sent[m]), problem.extra_tokens
        model.token_products.add(sent * r == model.tokens[m] * t + extra * t)
        few, many = int(problem.min_tokens[m]) + extra, int(self.most[m]) + extra
        model.token_ranges.add(_row([sent, -float(few)], [r, t]) >= 0.0)
        model.token_ranges.add(_row([-sent, float(many)], [r, t]) >= 0.0)
        for slope, level in pieces(self.kept[m], int(problem.min_tokens[m]), int(self.most[m]), self.error):
            model.pieces.add(
                _row([slope * sent, level - slope * extra, -1.0], [r, t, model.attention[m]]) >= 0.0
            )

    def add_rate(self, model: ConcreteModel, m: int) -> None:
        """The rate as a difference of entropies, and tangent planes of it."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        t, r, w, snr = model.inverse_round, model.payload[m], model.area[m], float(self.snr[m])
        allowed = self.limits[m].energy
        if m in model.energy:
            level, slope, q = 0.0, 0.0, [model.energy[m]]
            for part in allowed:
                model.energy_limits.add(model.energy[m] <= part.level + part.slope * t)
        else:
            (level, slope), q = allowed[0], []
        energy = level + slope * t + sum(q)
        gain = pyo.log((w + snr * energy) / (1.0 + snr))
        model.rates.add((r - w) * float(np.log1p(snr)) <= w * gain - w * pyo.log(w))
        for r_0, w_0, z in self._tangent_points(m):
            # (1 + z) r / r_0 <= z w / w_0 + q: exact at the point and at its multiples.
            weights = [-(1.0 + z) / r_0, z / w_0, slope, *(1.0 for _ in q)]
            model.tangents.add(_row(weights, [r, w, t, *q], level) >= 0.0)

    def _tangent_points(self, m: int) -> list[tuple[float, float, float]]:
        """(r, w, z) of uploads on the incumbent's energy, q = 1, that finish just in time.

        A tangent plane goes through the origin, so only the ratio r / q of its point matters.
        """
        q = np.min([part.at(self.ends) for part in self.limits[m].energy], axis=0)
        sent = self.problem.extra_tokens + np.array([self.problem.min_tokens[m], self.most[m]])
        r = _ratios(*(self.ends / q * sent / self.sent[m]))
        area, root = least_area(self.demand.nats_per_token[m] * self.sent[m] * r, self.snr[m] * self.area[m])
        useful = np.isfinite(area) & (root > FLAT)
        columns = (r[useful], area[useful] / self.area[m], root[useful])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def add_band(self, model: ConcreteModel) -> None:
        """The bandwidth budget: linear where all share one slot, else through shares."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        t, first = model.inverse_round, self.limits[0].slot
        if len(first) == 1 and all(each.slot == first for each in self.limits):
            used = pyo.quicksum(
                float(need) * w for need, w in zip(self.need, model.area.values(), strict=True)
            )
            model.band = pyo.Constraint(expr=used <= first[0].level + first[0].slope * t)
            return
        problem, demand, used = self.problem, self.demand, float(self.need.sum())
        unit = self.need / used
        least = demand.bandwidth_hz(problem.min_tokens, self.high_s) / problem.bandwidth_hz * (1.0 - SLACK)
        most = 1.0 + SLACK - (least.sum() - least)
        bounds = [(float(low), float(high)) for low, high in zip(least / unit, most / unit, strict=True)]
        low_t, high_t = (float(end) for end in self.ends)
        model.share = pyo.Var(model.clients, bounds=lambda _, m: bounds[m], initialize=1.0)
        model.share_rate = pyo.Var(
            model.clients, bounds=lambda _, m: (bounds[m][0] * low_t, bounds[m][1] * high_t), initialize=1.0
        )
        model.share_products = pyo.Constraint(
            model.clients, rule=lambda model, m: model.share_rate[m] == model.share[m] * t
        )
        # Giving away all of the band harms nobody, and makes both sums equations.
        model.band = pyo.Constraint(expr=pyo.sum_product(dict(enumerate(unit.tolist())), model.share) == 1.0)
        model.band_rate = pyo.Constraint(
            expr=pyo.sum_product(dict(enumerate(unit.tolist())), model.share_rate) == t
        )
        model.slots, model.deadline_tangents = pyo.ConstraintList(), pyo.ConstraintList()
        for m in model.clients:
            for level, slope in self.limits[m].slot:
                allowed = _row([level / used, slope / used], [model.share[m], model.share_rate[m]])
                model.slots.add(model.area[m] <= allowed)
            if self.limits[m].slot[-1].level == 0.0:
                self._add_deadline_tangents(model, m, float(unit[m]))

    def _add_deadline_tangents(self, model: ConcreteModel, m: int, unit: float) -> None:
        """Share against tokens in the longest slot: it does not depend on the round time."""
        demand, slot_s, extra = self.demand, float(self.problem.deadline_s[m]), self.problem.extra_tokens
        ends = extra + np.array([self.problem.min_tokens[m], self.most[m]])
        sent = self.sent[m] * _ratios(*(ends / self.sent[m]))
        energy = demand.energy_over_noise(np.full(self.problem.clients, slot_s))[m]
        area, root = least_area(demand.nats_per_token[m] * sent, energy)
        useful = np.isfinite(area) & (root > FLAT)
        share = area / (slot_s * self.problem.bandwidth_hz * unit)
        for k, s, z in zip(sent[useful].tolist(), share[useful].tolist(), root[useful].tolist(), strict=True):
            # (1 + z) (K + e) / k <= z share / s + 1
            row = _row(
                [-(1.0 + z) / k, z / s], [model.tokens[m], model.share[m]], 1.0 - (1.0 + z) * extra / k
            )
            model.deadline_tangents.add(row >= 0.0)


def _ratios(low: float, high: float) -> FloatArray:
    """Numbers from low to high, both near or around 1: dense at 1, then further and further apart."""
    steps = np.append(0.0, FINEST * 2.0 ** np.arange(STEPS))
    return np.unique(np.clip(np.exp(np.append(-steps, steps)), min(low, 1.0), max(high, 1.0)))


def _row(weights: list[float], variables: list[Any], level: float = 0.0) -> Any:
    """Level + sum of weight x variable, without the cost of building it by addition."""
    from pyomo.core.expr import LinearExpression  # type: ignore[import-untyped]

    return LinearExpression(constant=level, linear_coefs=weights, linear_vars=variables)
