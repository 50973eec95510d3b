r"""The general problem as a mixed-integer program: one binary per option, convex but for a few products.

In shares of the band and units of a known round time, an option j that sends s nats takes a width w, a time T
and a rate r that are 0 unless it is chosen (:math:`x_j = 1`), so that

.. math:: x_j^2 \le r_j T_j / s_j, \quad x_j^2 \le w_j T_j / B_j, \quad
          \sum_j r_j \le w \ln \frac{w + c}{w}, \quad w = \sum_j w_j, \; c = \sum_j c_j x_j,

with c the received power over noise and B the least product of width and time by energy budget and caps.
The first two are second-order cones, the third is jointly concave and has tangents for every option,
:math:`r_j \le w_j (\ln(1 + y) - y / (1 + y)) + c_j x_j / (1 + y)`. Where the round time is given, so are the
times, and areas and energies take the place of widths and rates. So they do for the STE, divided by the round
time, and where energy has a price: there products of widths with the (inverse) round time are left, which
branching on it resolves. `docs/minlp.md` derives each row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ..allocation import Allocation
from ..evaluation import Evaluation
from ..objective import LEAST_SCALE, Energy, Objective, Retained, RoundTime, Ste, TotalTime, Weighted
from ..problem import FloatArray, IntArray, Problem
from ..tolerances import BOUND_SHARE
from .choices import Choices, needs_hz, slots_s
from .serving import HAIR, STEPS, joules, least_product

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel  # type: ignore[import-untyped]

CUTOFF: Final = 1e-6
"""How far below the incumbent the objective is cut off: as far as an engine may miss a row."""

SLACK: Final = 1e-9
"""Relative widening of bounds that come from closed forms, against rounding."""

MOST_NATS: Final = 600.0
"""Spectral efficiencies beyond this, nat/s/Hz, leave the floats."""

SLIVER: Final = 1e-6
"""Width of a client without bits, which counts for nothing: its logarithm shall be finite."""

SHORTEST: Final = 1e-12
"""Share of its longest slot below which no upload is looked at."""

FINEST: Final = 0.0025
STEPS_OUT: Final = 11
"""Tangents at widths whose logarithms differ from the known one by 0 and +- FINEST 2^k, k < STEPS_OUT."""


class Known(NamedTuple):
    """An allocation to centre on and to improve on.

    Attributes:
        choice: (M,) indices of its options.
        allocation: within the limits as `evaluate` takes them.
        score: its evaluation.
    """

    choice: IntArray
    allocation: Allocation
    score: Evaluation


def value_unit(known: Known, objective: Objective) -> float:
    """What the model's objective is counted in: the known value, or what is weighed where that is more."""
    value = abs(known.score.value)
    if isinstance(objective, Weighted):
        totals = known.score.totals
        weighed = totals.retained + objective.per_second * totals.round_s
        joule = objective.per_joule * totals.energy_j if objective.per_joule > 0.0 else 0.0
        value = max(value, LEAST_SCALE * (weighed + joule))
    return value or 1.0


class Box(NamedTuple):
    """Ranges of all that is better than the known allocation; (J,) or scalar, s and Hz.

    Attributes:
        low_s: least round time.
        high_s: longest.
        slot_low_s: least upload time of each option.
        slot_high_s: longest; below the least where the option cannot be part of anything better.
        width_low_hz: least bandwidth.
    """

    low_s: float
    high_s: float
    slot_low_s: FloatArray
    slot_high_s: FloatArray
    width_low_hz: FloatArray


def box_of(problem: Problem, choices: Choices, known: Known) -> Box:
    """Ranges by the known value and the least need of the others, each widened by `SLACK`.

    Cost: about a hundred closed forms per option.
    """
    objective, value = problem.objective, known.score.value
    starts = np.flatnonzero(np.diff(choices.client, prepend=-1))
    longest_s = float((choices.overhead_s + choices.deadline_s).max())
    slot_limit_s = np.full(choices.client.size, math.inf)
    utility = float(np.maximum.reduceat(choices.utility, starts).sum())
    if isinstance(objective, Retained | Energy):
        high_s = objective.round_s
    elif isinstance(objective, RoundTime):
        high_s = value
    elif isinstance(objective, TotalTime):
        weight = objective.weights(problem.clients)
        least_s = np.minimum.reduceat(choices.overhead_s, starts)
        others = float((weight * least_s).sum()) - weight * least_s
        ends_s = (value - others) / weight
        high_s, slot_limit_s = float(ends_s.max()), ends_s[choices.client] - choices.overhead_s
    elif isinstance(objective, Weighted):
        high_s = (utility - value) / objective.per_second if objective.per_second > 0.0 else longest_s
    else:
        high_s = utility / value if value > 0.0 else longest_s
    high_s = min(high_s, longest_s) * (1.0 + SLACK)
    slot_high = np.minimum(np.minimum(slots_s(choices, high_s), choices.deadline_s), slot_limit_s)

    def least_needs(slot_s: FloatArray) -> FloatArray:
        return np.minimum.reduceat(needs_hz(choices, slot_s), starts)

    width_low = needs_hz(choices, slot_high)
    least = np.minimum.reduceat(width_low, starts)
    left_hz = problem.bandwidth_hz * (1.0 + SLACK) - (least.sum() - least)
    # Least slot in which an option fits beside the others' least needs, and least round in which all fit.
    high = np.maximum(slot_high, 1e-300)
    low = SHORTEST * high
    for _ in range(STEPS):
        middle = np.sqrt(low * high)
        enough = needs_hz(choices, middle) <= left_hz[choices.client]
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    fits = needs_hz(choices, slot_high) <= left_hz[choices.client]
    slot_low = np.where(choices.nats > 0.0, high * (1.0 - SLACK), 0.0)
    slot_high = np.where(fits & (slot_high >= 0.0), slot_high * (1.0 + SLACK), -1.0)
    low_s, end_s = 0.0, high_s
    for _ in range(STEPS):
        middle_s = 0.5 * (low_s + end_s)
        if least_needs(slots_s(choices, middle_s)).sum() <= problem.bandwidth_hz * (1.0 + SLACK):
            end_s = middle_s
        else:
            low_s = middle_s
    if isinstance(objective, Ste):  # somebody sends what is worth something
        worth = (choices.utility > 0.0) & (slot_high >= 0.0)
        low_s = max(low_s, float(np.min((choices.overhead_s + slot_low)[worth])))
    low_s *= 1.0 - SLACK
    if not isinstance(objective, TotalTime):  # slower costs nothing while the round lasts
        early = np.minimum(low_s - choices.overhead_s, choices.deadline_s) * (1.0 - SLACK)
        slot_low = np.where(choices.nats > 0.0, np.maximum(slot_low, early), 0.0)
    return Box(low_s, high_s, slot_low, slot_high, width_low * (1.0 - SLACK))


def simple_bound(problem: Problem, choices: Choices, known: Known) -> float:
    """A bound without an engine: 0 when minimising, all utilities that can be had by `Retained`, or none."""
    if not problem.objective.maximises:
        return 0.0
    if not isinstance(problem.objective, Retained):
        return math.inf
    can = box_of(problem, choices, known).slot_high_s >= 0.0
    starts = np.flatnonzero(np.diff(choices.client, prepend=-1))
    return float(np.maximum.reduceat(np.where(can, choices.utility, 0.0), starts).sum() * (1.0 + SLACK))


def option_model(problem: Problem, choices: Choices, known: Known) -> ConcreteModel:
    """The model around a known allocation; see the head of this file.

    Variables, 0 where an option j is not chosen: `option[j]` (binary), `width[j]` in shares of the band, and
    as far as the objective needs them `time[j]` in units of the known round time, `rate[j]` in payloads per
    such unit and `energy[j]`; then `round` or `scale`, the (inverse) round time, and `blocks[m]`.

    Args:
        problem: the instance, within whose limits the model is.
        choices: its options.
        known: an allocation that the model contains.
    """
    import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

    builder = _Builder(problem, choices, known)
    model = pyo.ConcreteModel(name=f"{problem.objective.name}, options")
    model.value_unit = pyo.Param(initialize=value_unit(known, problem.objective))
    model.clients = pyo.RangeSet(0, problem.clients - 1)
    builder.add(model)
    return model


class _Areas(NamedTuple):
    """Areas in the model's units, and slots now or about so, (J,) each; 1 without bits."""

    low: FloatArray
    now: FloatArray
    high: FloatArray
    slot: FloatArray


class _Builder:
    """Numbers in the model's units, and the variables and rows made of them."""

    def __init__(self, problem: Problem, choices: Choices, known: Known) -> None:
        self.problem, self.choices, self.known = problem, choices, known
        self.objective = problem.objective
        self.box = box_of(problem, choices, known)
        self.fixed = isinstance(self.objective, Retained | Energy)
        self.joule = self.objective.per_joule if isinstance(self.objective, Weighted) else 0.0
        self.unit_s = known.score.round_s or self.box.high_s or 1.0
        if self.fixed:
            self.unit_s = self.objective.longest_round_s
        self.band = problem.bandwidth_hz
        usable = self.box.slot_high_s >= 0.0
        usable[known.choice] = True
        self.usable = np.flatnonzero(usable)
        self.sends = np.flatnonzero(usable & (choices.nats > 0.0))
        self.chosen = np.zeros(choices.client.size, dtype=bool)
        self.chosen[known.choice] = True
        slot_s = np.maximum(self.box.slot_high_s, self.box.slot_low_s)
        if self.fixed:
            slot_s = np.maximum(slots_s(choices, self.objective.longest_round_s), 0.0)
        self.slot = slot_s / self.unit_s
        self.slot_low = self.box.slot_low_s / self.unit_s
        area = self.band * self.unit_s
        self.payload = choices.nats / area
        self.product = least_product(choices) / area
        self.power = choices.power_w * choices.over_noise / self.band
        self.low = np.where(np.isfinite(self.box.width_low_hz), self.box.width_low_hz / self.band, 0.0)
        self.low = np.minimum(self.low, 1.0)
        self.width = self._known_widths()
        typical_j = joules(choices, self.width * self.band, np.where(slot_s > 0.0, slot_s, 1.0))[self.sends]
        spent_j = known.score.totals.energy_j - float(choices.before_j[known.choice].sum())
        if not spent_j > SLACK * known.score.totals.energy_j:
            spent_j = problem.clients * float(np.median(typical_j)) if typical_j.size else 1.0
        self.unit_j = spent_j / problem.clients
        self.energy = self.unit_j * choices.over_noise / area

    def _known_widths(self) -> FloatArray:
        """(J,) the known shares of the band, and about the same for options that are not chosen."""
        choices, known = self.choices, self.known
        own = np.maximum(known.allocation.bandwidth_hz[choices.client], self.band / self.problem.clients)
        slot_s = np.clip(slots_s(choices, known.score.round_s), self.box.slot_low_s, None)
        need = needs_hz(choices, np.where(slot_s > 0.0, slot_s, 1.0))
        width = np.where(np.isfinite(need) & (need > 0.0), need, own)
        if isinstance(self.objective, Energy | TotalTime):
            width = np.maximum(width, own)
        width[known.choice] = known.allocation.bandwidth_hz
        return np.clip(width / self.band, self.low, 1.0)

    def add(self, model: ConcreteModel) -> None:
        """All variables and rows."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        choices = self.choices
        self.of_client = [[int(j) for j in self.usable if choices.client[j] == m] for m in model.clients]
        model.option = pyo.Var(
            range(choices.client.size), domain=pyo.Binary, initialize=lambda _, j: int(self.chosen[j])
        )
        model.width = self._variables(self.low, np.ones(choices.client.size), self.width)
        self._ranges(model, "width", model.width, self.low, np.ones(choices.client.size))
        model.one_each = pyo.Constraint(
            model.clients, rule=lambda model, m: sum(model.option[j] for j in self.of_client[m]) == 1
        )
        if model.width:
            model.band = pyo.Constraint(expr=pyo.quicksum(model.width.values()) <= 1.0)
        for kind in ("power", "energy"):
            model.add_component(f"width_by_{kind}", pyo.Var(model.clients, bounds=(0.0, 1.0)))
            model.add_component(f"received_by_{kind}", pyo.Var(model.clients, bounds=(0.0, 1.0)))
        for name in ("cones", "tangents", "sums", "rates", "products"):
            model.add_component(name, pyo.ConstraintList())
        if self.problem.block_hz is not None:
            self._add_blocks(model)
        if self.fixed:
            self._add_energies_in_slots(model)
        elif isinstance(self.objective, Ste) or self.joule > 0.0:
            self._add_areas(model)
        else:
            self._add_times(model)
        self._add_objective(model)

    def _variables(self, low: FloatArray, high: FloatArray, start: FloatArray, which: Any = None) -> Any:
        """One variable per option that sends, 0 or within a range, with its value in the known allocation."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        index = self.sends if which is None else which
        return pyo.Var(
            index.tolist(),
            bounds=lambda _, j: (0.0, float(high[j])),
            initialize=lambda _, j: float(np.clip(start[j], low[j], high[j])) * float(self.chosen[j]),
        )

    def _ranges(
        self, model: ConcreteModel, name: str, variable: Any, low: FloatArray, high: FloatArray
    ) -> None:
        """Within a range where the option is chosen, and 0 where it is not."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        index, option = list(variable), model.option
        model.add_component(
            f"{name}_least",
            pyo.Constraint(index, rule=lambda _, j: variable[j] >= float(low[j]) * option[j]),
        )
        model.add_component(
            f"{name}_most",
            pyo.Constraint(index, rule=lambda _, j: variable[j] <= float(high[j]) * option[j]),
        )

    def _add_blocks(self, model: ConcreteModel) -> None:
        """Whole blocks, as `evaluate` counts them."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        block = float(self.problem.block_hz or 1.0)
        most = math.floor(self.band / block * (1.0 + BOUND_SHARE) + HAIR)
        start = np.round(self.known.allocation.bandwidth_hz / block)
        model.blocks = pyo.Var(
            model.clients, domain=pyo.Integers, bounds=(0, most), initialize=lambda _, m: int(start[m])
        )
        model.block_total = pyo.Constraint(expr=pyo.quicksum(model.blocks.values()) <= most)
        share = block * (1.0 + BOUND_SHARE) / self.band
        model.whole_blocks = pyo.Constraint(
            model.clients,
            rule=lambda model, m: (
                sum(model.width[j] for j in self.of_client[m] if j in model.width) <= share * model.blocks[m]
            ),
        )

    def _around(self, j: int, centre: float) -> FloatArray:
        """Widths for tangents of an option, dense around one."""
        return self._points(centre, max(float(self.low[j]), SLIVER * centre), 1.0)

    def _points(self, centre: float, low: float, high: float) -> FloatArray:
        """Where tangents are put: a few over a range, more around one of its values."""
        out = FINEST * 2.0 ** np.arange(STEPS_OUT)
        spread = centre * np.exp(np.concatenate((-out[::-1], [0.0], out)))
        inside = spread[(spread > low) & (spread < high)]
        return np.unique(np.concatenate((np.geomspace(low, high, 8), inside)))

    def _exact_rate(
        self,
        model: ConcreteModel,
        m: int,
        kind: str,
        width: Any,
        least: FloatArray,
        received: Any,
        largest: float,
        typical: float,
        sent: Any,
        unit: float,
    ) -> None:
        """Sent <= width ln(1 + received / width) for one client, its logarithms near 0.

        Args:
            model: with variables `width_by_{kind}` and `received_by_{kind}`, which get their ranges here.
            m: the client.
            kind: "power" (per unit of time) or "energy".
            width: expression, of a share of the band or of an area.
            least: (J,) what it is at least for each option.
            received: expression, over noise.
            largest: what that is at most.
            typical: what it is counted in.
            sent: expression, nats.
            unit: what that is about, nats.
        """
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        own = self.of_client[m]
        zero = [j for j in own if not self.choices.nats[j] > 0.0]
        smallest = min(float(least[j]) for j in own if j not in zero)
        w, c = getattr(model, f"width_by_{kind}")[m], getattr(model, f"received_by_{kind}")[m]
        w.setlb(min(smallest, SLIVER) if zero else smallest)
        w.setub(1.0 if kind == "power" else max(1.0, *(float(self.slot[j]) for j in own)))
        model.sums.add(w == width + SLIVER * sum(model.option[j] for j in zero))
        model.sums.add(c == received / typical)
        c.setub(max(1.0, largest / typical))
        w.value, c.value = max(pyo.value(width), w.lb), pyo.value(received) / typical
        gain = w * pyo.log((w + typical * c) / (1.0 + typical)) - w * pyo.log(w) + w * math.log1p(typical)
        model.rates.add(sent / unit <= gain / unit)

    def _typical(self, own: list[int], area: FloatArray) -> float:
        """Least energy over noise of some options on given areas, median."""
        return float(np.median([_received(float(self.payload[j]), float(area[j])) for j in own]))

    def _add_energies_in_slots(self, model: ConcreteModel) -> None:
        """The round time is given: a known slot for every upload, energy against bandwidth."""
        choices, option = self.choices, model.option
        counts = isinstance(self.objective, Energy)
        area_unit = self.slot
        most = np.minimum(choices.power_w * self.slot * self.unit_s, choices.energy_j) / self.unit_j
        if counts:  # nobody alone spends more than all do now
            most = np.minimum(most, self._left_j(self.known.score.value * (1.0 + 2.0 * CUTOFF)) / self.unit_j)
            spent = joules(choices, self.width * self.band, self.slot * self.unit_s) / self.unit_j
            start = np.where(self.chosen, np.minimum(spent, most), 0.0)
            least = choices.nats / np.where(choices.nats > 0.0, choices.over_noise, 1.0) / self.unit_j
            model.energy = self._variables(np.zeros(most.size), most, start)
            self._ranges(model, "energy", model.energy, least * (1.0 - SLACK), most)
        for j in map(int, self.sends):
            w, x = model.width[j], option[j]
            received = self.energy[j] * (model.energy[j] if counts else float(most[j]) * x)
            # Without a price of energy one tangent says all: at the least width.
            widths = self._around(j, float(self.width[j])) if counts else np.array([self.low[j]])
            for width in widths:
                snr = math.expm1(min(float(self.payload[j] / (width * self.slot[j])), MOST_NATS))
                slope, level = _tangent(snr)
                row = slope * float(area_unit[j]) * w + level * received
                model.tangents.add(row / float(self.payload[j]) >= x)
            if math.isfinite(float(choices.efficiency[j])):
                capped = choices.nats[j] / choices.efficiency[j] / (self.band * self.unit_s)
                model.products.add(float(self.slot[j]) * w >= float(capped) * x)
        for m in model.clients:
            own = [j for j in self.of_client[m] if j in model.width]
            if own:
                area = sum(float(self.slot[j]) * model.width[j] for j in own)
                received = sum(
                    float(self.energy[j]) * (model.energy[j] if counts else float(most[j]) * option[j])
                    for j in own
                )
                largest = max(float(self.energy[j] * most[j]) for j in own)
                sent = sum(float(self.payload[j]) * option[j] for j in own)
                least = self.low * self.slot
                typical = self._typical(own, self.width * self.slot) if counts else largest
                unit = max(float(self.payload[j]) for j in own)
                self._exact_rate(model, m, "energy", area, least, received, largest, typical, sent, unit)

    def _add_times(self, model: ConcreteModel) -> None:
        """Round time free: cones of width, time and rate."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        choices, option, unit_s = self.choices, model.option, self.unit_s
        slot_s = np.clip(slots_s(choices, self.known.score.round_s), self.box.slot_low_s, self.slot * unit_s)
        if isinstance(self.objective, TotalTime):
            slot_s = self._known_uploads_s()
        model.time = self._variables(self.slot_low, self.slot, slot_s / unit_s)
        self._ranges(model, "time", model.time, self.slot_low, self.slot)
        spends = choices.power_w * self.slot_low * unit_s < choices.energy_j  # power may be what limits it
        powered = self.sends[spends[self.sends]]
        # Rates are 1 where an upload takes as long as now, or about so.
        typical = np.where(slot_s > 0.0, slot_s, unit_s) / unit_s
        fastest = typical / np.where(self.slot_low > 0.0, self.slot_low, 1.0)
        model.rate = self._variables(np.zeros(fastest.size), fastest, np.ones(fastest.size), powered)
        speed = self.payload / typical
        for j in map(int, self.sends):
            w, x, time = model.width[j], option[j], model.time[j]
            if self.product[j] > 0.0:
                model.cones.add(x**2 - w * time / float(self.product[j]) <= 0.0)
            if j in model.rate:
                model.cones.add(x**2 - model.rate[j] * time / float(typical[j]) <= 0.0)
                for width in self._around(j, float(self.width[j])):
                    slope, level = _tangent(float(self.power[j]) / width)
                    row = slope * w + level * float(self.power[j]) * x
                    model.tangents.add(row / float(speed[j]) >= model.rate[j])
        for m in model.clients:
            own = [j for j in self.of_client[m] if j in model.rate]
            if own:
                width = sum(model.width[j] for j in self.of_client[m] if j in model.width)
                received = sum(float(self.power[j]) * option[j] for j in own)
                sent = sum(float(speed[j]) * model.rate[j] for j in own)
                largest, unit = max(float(self.power[j]) for j in own), max(float(speed[j]) for j in own)
                self._exact_rate(model, m, "power", width, self.low, received, largest, largest, sent, unit)
        if not isinstance(self.objective, TotalTime):
            ends = (self.box.low_s / unit_s, self.box.high_s / unit_s)
            model.round = pyo.Var(
                bounds=ends, initialize=float(np.clip(self.known.score.round_s / unit_s, *ends))
            )
            model.ends = pyo.Constraint(
                model.clients, rule=lambda model, m: self._finish(model, m) <= model.round
            )

    def _known_uploads_s(self) -> FloatArray:
        """(J,) the known upload times, those of other options in proportion of their bits, s."""
        choices, known, box = self.choices, self.known, self.box
        nats = choices.nats[known.choice]
        pace = np.where(nats > 0.0, known.score.uplink_s / np.where(nats > 0.0, nats, 1.0), 0.0)
        pace = np.where(nats > 0.0, pace, np.max(pace, initial=0.0))
        return np.clip(pace[choices.client] * choices.nats, box.slot_low_s, self.slot * self.unit_s)

    def _finish(self, model: ConcreteModel, m: int) -> Any:
        """When a client ends, in units of the known round time."""
        overhead = self.choices.overhead_s / self.unit_s
        own = self.of_client[m]
        late = sum(float(overhead[j]) * model.option[j] for j in own)
        return late + sum(model.time[j] for j in own if j in model.time)

    def _left_j(self, total_j: float) -> FloatArray:
        """(J,) what a total leaves for an upload beside the least that is spent before, J."""
        choices = self.choices
        starts = np.flatnonzero(np.diff(choices.client, prepend=-1))
        least_j = np.minimum.reduceat(choices.before_j, starts)
        left_j = total_j - least_j.sum() - (choices.before_j - least_j[choices.client])
        return np.asarray(np.maximum(left_j, total_j * CUTOFF))

    def _affordable_j(self) -> float:
        """Energy that costs as much as all utilities are above the known value, J."""
        starts = np.flatnonzero(np.diff(self.choices.client, prepend=-1))
        utility = float(np.maximum.reduceat(self.choices.utility, starts).sum())
        assert isinstance(self.objective, Weighted)
        spare = max(utility - self.known.score.value, 0.0) + CUTOFF * value_unit(self.known, self.objective)
        return spare * (1.0 + SLACK) / self.objective.per_joule

    def _add_objective(self, model: ConcreteModel) -> None:
        """What is wanted, the required utility, and no worse than what is known."""
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        choices, objective, unit = self.choices, self.objective, float(model.value_unit.value)
        worth = sum(float(choices.utility[j]) * model.option[j] for j in map(int, self.usable))
        before = sum(float(choices.before_j[j]) * model.option[j] for j in map(int, self.usable))
        required = objective.least_retained
        if required > 0.0:
            model.required = pyo.Constraint(expr=worth / required >= 1.0)
        if isinstance(objective, Ste):
            rates = (float(choices.utility[j]) * model.scaled[j] for j in map(int, self.usable))
            total = sum(rates) / self.unit_s
        elif isinstance(objective, Retained):
            total = worth
        elif isinstance(objective, RoundTime):
            total = self.unit_s * model.round
        elif isinstance(objective, Energy):
            total = self.unit_j * sum(model.energy.values()) + before
        elif isinstance(objective, TotalTime):
            weight = objective.weights(self.problem.clients)
            total = sum(float(weight[m]) * self.unit_s * self._finish(model, m) for m in model.clients)
        else:
            assert isinstance(objective, Weighted)
            round_time = model.scale if self.joule > 0.0 else model.round
            total = worth - objective.per_second * self.unit_s * round_time
            if self.joule > 0.0:
                spent = sum(float(self.joules[j]) * model.received[j] for j in map(int, self.sends))
                total = total - self.joule * (spent + before)
        known = self.known.score.value / unit
        if objective.maximises:
            model.cutoff = pyo.Constraint(expr=total / unit >= known - CUTOFF)
        else:
            model.cutoff = pyo.Constraint(expr=total / unit <= known + CUTOFF)
        model.known_value = pyo.Param(initialize=known)
        model.objective = pyo.Objective(
            expr=total / unit, sense=pyo.maximize if objective.maximises else pyo.minimize
        )

    def _add_areas(self, model: ConcreteModel) -> None:
        """STE, or energy at a price: areas and energies, with products of options and widths with the time.

        The STE has everything over the round time: t is its inverse, and a payload is there at the rate x t.
        Otherwise t is the round time itself, and x t is the time that an option has.
        """
        import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

        choices, box, count = self.choices, self.box, self.choices.client.size
        inverse = isinstance(self.objective, Ste)
        ends = box.low_s / self.unit_s, box.high_s / self.unit_s
        if inverse:
            ends = 1.0 / ends[1], 1.0 / ends[0]
        scale = ends if inverse else (1.0, 1.0)
        now = 1.0 if self.known.score.round_s > 0.0 or inverse else ends[0]
        model.scale = pyo.Var(bounds=ends, initialize=now)
        model.scaled = pyo.Var(
            self.usable.tolist(), bounds=(0.0, ends[1]), initialize=lambda _, j: now * float(self.chosen[j])
        )
        self._ranges(model, "scaled", model.scaled, np.full(count, ends[0]), np.full(count, ends[1]))
        model.scaled_each = pyo.Constraint(
            model.clients, rule=lambda _, m: sum(model.scaled[j] for j in self.of_client[m]) == model.scale
        )
        bits, time = (model.scaled, model.option) if inverse else (model.option, model.scaled)

        overhead, deadline = choices.overhead_s / self.unit_s, choices.deadline_s / self.unit_s
        late = choices.overhead_s + choices.deadline_s < box.high_s  # the deadline may end the slot
        timed = self.sends[(late | (overhead > 0.0))[self.sends]] if inverse else self.sends
        low_width = self.low * ends[0]
        model.scaled_width = self._variables(low_width, np.full(count, ends[1]), self.width * now, timed)
        self._ranges(model, "scaled_width", model.scaled_width, low_width, np.full(count, ends[1]))
        if timed.size == self.sends.size:  # what is left over has the same products
            idle = max(0.0, 1.0 - float(self.width[self.chosen & (choices.nats > 0.0)].sum()))
            model.idle = pyo.Var(bounds=(0.0, 1.0), initialize=idle)
            model.scaled_idle = pyo.Var(bounds=(0.0, ends[1]), initialize=idle * now)
            model.sums.add(pyo.quicksum(model.width.values()) + model.idle == 1.0)
            model.sums.add(pyo.quicksum(model.scaled_width.values()) + model.scaled_idle == model.scale)
            model.products.add(model.scaled_idle == model.idle * model.scale)

        area = self._area_ranges()
        energy = choices.energy_j * choices.over_noise / (self.band * self.unit_s)
        if inverse:  # as much energy as there is: it costs nothing
            typical = np.where(choices.nats > 0.0, np.minimum(self.power, energy * scale[1]), 1.0)
            spent = np.minimum(self.power * area.slot, energy) / typical
        else:
            typical = np.array([_received(float(self.payload[j]), float(area.now[j])) for j in range(count)])
            spent = np.ones(count)
        power, energy = self.power / typical, energy / typical
        most = np.minimum(power * (1.0 if inverse else self.slot), energy * scale[1])
        if not inverse:
            affordable = self._left_j(self._affordable_j()) / (self.band * self.unit_s)
            most = np.minimum(most, affordable * choices.over_noise / typical)
        model.area = self._variables(area.low * scale[0], area.high * scale[1], area.now)
        self._ranges(model, "area", model.area, area.low * scale[0], area.high * scale[1])
        model.received = self._variables(np.zeros(count), most, spent)
        self._ranges(model, "received", model.received, np.zeros(count), most)
        for j in map(int, self.usable):
            if j not in model.area:
                if overhead[j] > 0.0:  # without bits an option ends when its overhead does
                    model.sums.add(float(overhead[j]) * bits[j] <= time[j])
                continue
            q, a, w = model.received[j], model.area[j], model.width[j]
            if j in model.scaled_width:
                model.products.add(model.scaled_width[j] == w * model.scale)
                long, short = (w, model.scaled_width[j]) if inverse else (model.scaled_width[j], w)
                model.sums.add(a <= long - float(overhead[j]) * short)
                if late[j]:
                    model.sums.add(a <= float(deadline[j]) * short)
            else:
                model.sums.add(a <= w)
            model.sums.add(q <= float(power[j]) * (time[j] - float(overhead[j]) * bits[j]))
            if late[j]:
                model.sums.add(q <= float(power[j] * deadline[j]) * bits[j])
            if math.isfinite(float(energy[j])):
                model.sums.add(q <= float(energy[j]) * bits[j])
            if math.isfinite(float(choices.efficiency[j])):
                capped = choices.nats[j] / choices.efficiency[j] / (self.band * self.unit_s)
                model.sums.add(a / float(capped) >= bits[j])
            payload = float(self.payload[j])
            model.tangents.add(float(typical[j]) / payload * q >= bits[j])
            for at in self._points(float(area.now[j]), float(area.low[j]), float(area.high[j])):
                slope, level = _tangent(_received(payload, at) / at)
                row = slope * a + level * float(typical[j]) * q
                model.tangents.add(row / payload >= bits[j])
        for m in model.clients:
            own = [j for j in self.of_client[m] if j in model.area]
            if own:
                received = sum(float(typical[j]) * model.received[j] for j in own)
                largest = max(float((typical * most)[j]) for j in own)
                self._exact_rate(
                    *(model, m, "energy", sum(model.area[j] for j in own), area.low * scale[0]),
                    *(received, largest, largest if inverse else float(np.median(typical[own]))),
                    sum(float(self.payload[j]) * bits[j] for j in own),
                    max(float(self.payload[j]) for j in own),
                )
        senders = [j for j in map(int, self.usable) if choices.row[j] >= 0]
        if inverse and len(senders) < self.usable.size:
            model.somebody = pyo.Constraint(expr=sum(model.option[j] for j in senders) >= 1)
        self.joules = (
            typical * self.band * self.unit_s / np.where(choices.nats > 0.0, choices.over_noise, 1.0)
        )

    def _area_ranges(self) -> _Areas:
        """Width times time of every option: least, now or about so, and most."""
        choices, box = self.choices, self.box
        need = needs_hz(choices, np.maximum(box.slot_high_s, 0.0)) / self.band
        low = np.where(np.isfinite(need), need * self.slot * (1.0 - SLACK), self.low * self.slot_low)
        slot_s = np.clip(slots_s(choices, self.known.score.round_s), box.slot_low_s, self.slot * self.unit_s)
        now = np.clip(self.width * slot_s / self.unit_s, low, self.slot)
        sends = choices.nats > 0.0
        columns = low, now, self.slot, slot_s / self.unit_s
        return _Areas(*(np.where(sends, column, 1.0) for column in columns))


def _received(payload: float, area: float) -> float:
    """Least energy over noise of a payload on an area."""
    return area * math.expm1(min(payload / area, MOST_NATS)) if payload > 0.0 else 1.0


def _tangent(snr: float) -> tuple[float, float]:
    """Coefficients of width and received power of the tangent of w ln(1 + c / w) at c / w = snr."""
    slope = math.log1p(snr) - snr / (1.0 + snr) if snr > 1e-4 else snr**2 * (0.5 - 2.0 * snr / 3.0)
    return slope, 1.0 / (1.0 + snr)
