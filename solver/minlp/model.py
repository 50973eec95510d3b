"""The STE problem as a Pyomo model: to hand to an engine, to inspect, to extend, to write to a file."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ..allocation import Allocation
from ..bounds.goal import Point, fastest_point
from ..checks import choice, real_number
from ..errors import AllocationError, InfeasibleError, OptionError
from ..evaluation import evaluate
from ..feasibility import diagnose
from ..files.file_access import write_atomically
from ..method import Request
from ..physics.demand import Demand
from ..primal.rounding import best_common_tokens
from ..problem import Problem
from .choices import choices_of
from .entropy import entropy_model
from .first_choices import UnservableError
from .option_model import Known, option_model
from .option_search import OptionSearch, choice_of
from .pieces import pieces

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel  # type: ignore[import-untyped]

FORMS: Final = ("entropy", "faithful")

ENDINGS: Final = (".nl", ".gms")

DUAL_TOLERANCE: Final = 1e-9
SUM_TOLERANCE: Final = 1e-6
"""How accurately engines are asked to satisfy dual constraints, and how accurately they compare values."""


def minlp_model(
    problem: Problem,
    form: str = "faithful",
    *,
    known: Allocation | None = None,
    accuracy: float = 0.0,
) -> ConcreteModel:
    """The instance as a mixed-integer nonconvex Pyomo model, scaled, with every variable bounded.

    "faithful" is design section 1 as it stands: a ratio to maximise, and bandwidth, power, payload and
    time multiplied. Only the round time's upper bound uses optimality: a longer round cannot beat the
    incumbent. "entropy" is the form that engines can prove (`docs/minlp.md`); it holds all allocations
    better than the incumbent, and only those.

    Problems beyond the STE of one row per client, sums of importances and bits per token have one form,
    whatever is asked: that of `option_model`, with `option[j]` and its unit in `value_unit`.

    Both have `tokens[m]`, one objective to maximise, and its unit in the parameter `ste_unit_per_s`; the
    variables' values are those of the incumbent, a feasible start.

    Args:
        problem: a feasible instance.
        form: one of `FORMS`.
        known: an allocation to centre on and to improve on; only its tokens matter. The best common
            token count if left out.
        accuracy: relative error of the objective that may be spent on fewer pieces of f_m; always upwards.

    Raises:
        OptionError: an unknown form or a negative accuracy.
        AllocationError: known tokens that cannot be served.
        InfeasibleError: the instance is infeasible.

    Cost: O(M N) rows.
    """
    choice("minlp_model", "form", form, FORMS)
    accuracy = real_number("minlp_model", "accuracy", accuracy)
    diagnosis = diagnose(problem)
    if diagnosis is not None:
        raise InfeasibleError(
            "minlp_model", "an infeasible instance", "limits that all clients can meet", f"Cause: {diagnosis}"
        )
    if not is_token_problem(problem):
        return _general_model(problem, known)
    demand = Demand(problem)
    point = _point(demand, known)
    build = entropy_model if form == "entropy" else faithful_model
    return build(demand, point, accuracy)


def is_token_problem(problem: Problem) -> bool:
    """Whether the two forms of the token problem can state it."""
    return problem.is_plain and problem.payload_bits is None


def _general_model(problem: Problem, known: Allocation | None) -> ConcreteModel:
    choices = choices_of(problem)
    if known is None:
        search = OptionSearch(problem)
        with suppress(UnservableError):
            search.begin(Request())
        known = None if search.best is None else search.best.allocation
    choice_known = None if known is None else choice_of(problem, choices, known)
    if known is None or choice_known is None or not (score := evaluate(problem, known)).feasible:
        raise AllocationError(
            "minlp_model", "no feasible allocation to centre on", "one that `evaluate` accepts", "Pass known="
        )
    return option_model(problem, choices, Known(choice_known, known, score))


def bound_margin(model: ConcreteModel) -> float:
    """What to add to an engine's bound on the objective of a `minlp_model` so that it holds exactly.

    An engine that misses a row by its tolerance searches too large a set, which is harmless. What can
    lower its bound: dual values off by `DUAL_TOLERANCE` per unit of a variable's range (weak duality with
    bounded variables), and comparisons at `SUM_TOLERANCE`, the objective being near 1.
    """
    import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

    ranges = [variable.ub - variable.lb for variable in model.component_data_objects(pyo.Var)]
    return float(DUAL_TOLERANCE * sum(ranges) + SUM_TOLERANCE)


def value_unit(model: ConcreteModel) -> float:
    """Value of one unit of a model's objective, as it is reported."""
    unit = model.value_unit if hasattr(model, "value_unit") else model.ste_unit_per_s
    return float(unit.value)


def sense_of(model: ConcreteModel) -> int:
    """1 where a model's objective is maximised, -1 where it is minimised."""
    import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

    objective = next(model.component_data_objects(pyo.Objective))
    return 1 if objective.sense == pyo.maximize else -1


def write_minlp(model: ConcreteModel, path: str | PathLike[str]) -> Path:
    """Write a Pyomo model to `.nl` or `.gms` (by ending), atomically; `.nl` with names in `.row` and `.col`.

    Raises:
        OptionError: another ending.
        FileFormatError: the place cannot be written.
    """
    file = Path(path)
    if file.suffix not in ENDINGS:
        raise OptionError("write_minlp", f"{file.name!r}", "a name ending in .nl or .gms", "Rename it")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / f"model{file.suffix}"
        model.write(str(written), io_options={"symbolic_solver_labels": True})
        for part in sorted(Path(folder).iterdir(), reverse=True):
            write_atomically(file.with_suffix(part.suffix), part.read_bytes())
    return file


def _point(demand: Demand, known: Allocation | None) -> Point:
    if known is None:
        return best_common_tokens(demand)
    problem = demand.problem
    who, allowed, next_step = "minlp_model", "tokens that fit into some round", "Leave known out"
    if known.clients != problem.clients:
        raise AllocationError(
            who, f"an allocation for {known.clients} clients", f"{problem.clients}", next_step
        )
    inside = (known.tokens >= problem.min_tokens) & (known.tokens <= problem.tokens)
    point = fastest_point(demand.instance, known.tokens.copy()) if inside.all() else None
    if point is None or not point.ste > 0.0:
        raise AllocationError(who, "an allocation that cannot be served", allowed, next_step)
    return point


def faithful_model(demand: Demand, point: Point, accuracy: float) -> ConcreteModel:
    r"""Design section 1 in units of the band, P_m, the incumbent's round time and its attention.

    With shares :math:`w, p` of band and power and the SNR :math:`x = P h / (N_0 W)` of full power on the
    whole band, an upload of time T carries the payload K + e if
    :math:`T\, w \ln(1 + x p / w) \ge n (K + e)`, n the nats per token on band and round time.
    """
    import pyomo.environ as pyo  # type: ignore[import-untyped,unused-ignore]

    problem = demand.problem
    unit_s, attention = point.round_s, float(demand.utility(point.tokens).sum())
    longest_s = demand.most_retained / point.ste * (1 + 1e-9)
    shortest_s = demand.least_round_s(problem.min_tokens) * (1 - 1e-9)
    least_share = demand.bandwidth_hz(problem.min_tokens, longest_s) / problem.bandwidth_hz * (1 - 1e-9)
    start = demand.allocation(point.tokens, point.round_s)
    slot = demand.slot_s(point.round_s)
    nats = demand.nats_per_token / (problem.bandwidth_hz * unit_s)
    snr = problem.max_power_w * demand.gain_over_noise / problem.bandwidth_hz
    least_uplink = nats * (problem.min_tokens + problem.extra_tokens) / np.log1p(snr) * (1 - 1e-9)
    longest_uplink = np.minimum(longest_s - problem.overhead_s, problem.deadline_s) / unit_s
    energy = problem.max_energy_j / (problem.max_power_w * unit_s)
    kept = demand.retained / attention

    model = pyo.ConcreteModel(name="STE, faithful")
    model.ste_unit_per_s = pyo.Param(initialize=point.ste)
    model.clients = pyo.RangeSet(0, problem.clients - 1)
    model.tokens = pyo.Var(
        model.clients,
        domain=pyo.Integers,
        bounds=lambda _, m: (int(problem.min_tokens[m]), problem.tokens),
        initialize=lambda _, m: int(point.tokens[m]),
    )
    model.bandwidth_share = pyo.Var(
        model.clients,
        bounds=lambda _, m: (float(least_share[m]), 1.0),
        initialize=lambda _, m: min(float(start.bandwidth_hz[m] / problem.bandwidth_hz), 1.0),
    )
    model.power_share = pyo.Var(
        model.clients,
        bounds=(0.0, 1.0),
        initialize=lambda _, m: float(start.power_w[m] / problem.max_power_w[m]),
    )
    model.uplink = pyo.Var(
        model.clients,
        bounds=lambda _, m: (float(least_uplink[m]), float(longest_uplink[m])),
        initialize=lambda _, m: float(slot[m] / unit_s),
    )
    model.round = pyo.Var(bounds=(shortest_s / unit_s, longest_s / unit_s), initialize=1.0)
    model.retained = pyo.Var(
        model.clients,
        bounds=lambda _, m: (0.0, float(kept[m, -1])),
        initialize=lambda _, m: float(kept[m, point.tokens[m]]),
    )

    model.ste = pyo.Objective(expr=pyo.quicksum(model.retained.values()) / model.round, sense=pyo.maximize)
    model.band = pyo.Constraint(expr=pyo.quicksum(model.bandwidth_share.values()) <= 1.0)

    @model.Constraint(model.clients)  # type: ignore[untyped-decorator]
    def payload(model: ConcreteModel, m: int) -> object:
        share, power = model.bandwidth_share[m], model.power_share[m]
        sent = model.uplink[m] * share * pyo.log(1.0 + float(snr[m]) * power / share)
        return sent >= float(nats[m]) * (model.tokens[m] + problem.extra_tokens)

    @model.Constraint(model.clients)  # type: ignore[untyped-decorator]
    def energy_budget(model: ConcreteModel, m: int) -> object:
        if np.isinf(energy[m]):
            return pyo.Constraint.Skip
        return model.power_share[m] * model.uplink[m] <= float(energy[m])

    @model.Constraint(model.clients)  # type: ignore[untyped-decorator]
    def round_time(model: ConcreteModel, m: int) -> object:
        return float(problem.overhead_s[m]) / unit_s + model.uplink[m] <= model.round

    model.retained_pieces = pyo.ConstraintList()
    for m in model.clients:
        error = accuracy / problem.clients
        for slope, level in pieces(kept[m], int(problem.min_tokens[m]), problem.tokens, error):
            model.retained_pieces.add(model.retained[m] <= slope * model.tokens[m] + level)
    return model
