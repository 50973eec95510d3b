r"""The relaxed program of one round time, for any objective and one row per client, behind cvxpy.

At a fixed :math:`\tau` everything is convex, whatever the overheads, deadlines and caps. Client m may send
any payload between its least and its largest, worth the concave envelope :math:`\hat f_m` of its utilities
over payloads; a client that may be skipped has (0, 0) as a corner. With payloads :math:`s`, time-bandwidth
products :math:`A` and energies over noise :math:`g`

.. math:: \max\ a \sum_m \hat f_m(s_m) - c \sum_m g_m N_0 / h_m \quad \text{s.t.} \quad
          s_m \le A_m \ln(1 + g_m / A_m), \quad s_m \le \eta_m A_m, \quad g_m \le g^{\max}_m, \quad
          \sum_m A_m / t_m \le W, \quad \sum_m \hat f_m(s_m) \ge F .

Where energy costs nothing (c = 0) all of it is spent, and the linear form has chords of the least area
between the corners of the envelope: the knapsack relaxation. Else g is a variable, and the linear form has
tangents of the rate. As in `conic.program` all is in units of a centre, pieces are kept around it, and moving
it to the answer makes the program exact there.

The multipliers of the band and of the requirement are prices per hertz and per utility; `conic.round_bounds`
turns them into bounds without trusting the engine.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..problem import FloatArray
from .data import PIECES, TANGENTS
from .engines import ConicEngine
from .program import cvxpy, engine_error
from .round_data import Hulls, RoundCentre, round_coefficients


class RoundSolution(NamedTuple):
    """What an engine says; nothing of it is trusted.

    Attributes:
        nats: (M,) payloads.
        area: (M,) time-bandwidth products, Hz s.
        price: of a hertz.
        utility_price: of required utility; 0 without a requirement.
        status: cvxpy's word for the outcome.
    """

    nats: FloatArray
    area: FloatArray
    price: float
    utility_price: float
    status: str


class RoundProgram:
    """The program for M clients, compiled once and solved for any data of that size (DPP).

    Args:
        clients: M.
        engine: who solves it.
        form: "cone" or "cuts".
        priced: whether energy has a price.
        required: whether a sum of utilities is required.

    Attributes:
        key: what it was made for.
        problem: the cvxpy problem, for inspection.
    """

    def __init__(self, clients: int, engine: ConicEngine, form: str, priced: bool, required: bool) -> None:
        cp = cvxpy()
        self.key = clients, engine.name, form, priced, required
        self.engine = engine
        self._data: dict[str, Any] = {}

        def data(name: str, size: int = clients) -> Any:
            return self._data.setdefault(name, cp.Parameter(size, name=name))

        def times(name: str, vector: Any) -> Any:
            return cp.multiply(data(name), vector)

        r, w, v = cp.Variable(clients), cp.Variable(clients), cp.Variable(clients)
        q: Any = cp.Variable(clients) if priced else np.ones(clients)
        limits = [r >= data("fewest"), r <= data("most"), r <= times("cap", w), v >= 0.0]
        limits += [v <= times(f"piece_slope_{j}", r) + data(f"piece_start_{j}") for j in range(PIECES.size)]
        if form == "cone":
            signal = times("noise_share", w) + times("signal_share", q)
            limits.append(cp.ExpCone(times("load", r) - times("log_snr", w), w, signal))
        elif priced:
            limits += [
                r <= times(f"tangent_area_{j}", w) + times(f"tangent_energy_{j}", q)
                for j in range(TANGENTS.size)
            ]
        else:
            limits += [
                r <= times(f"chord_area_{j}", w) + data(f"chord_start_{j}") for j in range(PIECES.size)
            ]
        loss: Any = -cp.multiply(data("utility_weight", 1), cp.sum(v) / clients)
        if priced:
            limits += [q >= 0.0, q <= data("energy_limit")]
            loss = loss + data("joule_share") @ q
        self._budget = data("share") @ w <= 1.0
        limits.append(self._budget)
        self._requirement = cp.sum(v) / clients >= data("required", 1) if required else None
        if self._requirement is not None:
            limits.append(self._requirement)
        self._r, self._w = r, w
        self.problem = cp.Problem(cp.Minimize(cp.sum(loss)), limits)

    def solve(
        self,
        hulls: Hulls,
        centre: RoundCentre,
        bandwidth_hz: float,
        per_joule: float,
        required: float,
        counts_utility: bool,
        time_limit_s: float,
    ) -> RoundSolution | str:
        """Solve around a centre; the reason in words when the engine gives no finite answer.

        Args: those of `round_coefficients`, and what is left of the time limit, s.
        """
        data, scale = round_coefficients(hulls, centre, bandwidth_hz, per_joule, required, counts_utility)
        if not all(np.isfinite(data[name]).all() for name in self._data):
            return "data beyond the floats"
        for name, parameter in self._data.items():
            parameter.value = data[name]
        failure = engine_error(self.problem, self.engine, time_limit_s)
        if failure:
            return failure
        r, w, multiplier = self._r.value, self._w.value, self._budget.dual_value
        if r is None or w is None or multiplier is None:
            return f"no point, {self.problem.status}"
        price = scale.objective / bandwidth_hz * max(0.0, float(np.sum(multiplier)))
        utility_price = 0.0
        if self._requirement is not None:
            worth = float(np.sum(self._requirement.dual_value))
            utility_price = scale.objective / scale.utility * max(0.0, worth)
        nats, area = r * scale.nats, w * scale.area
        if not (math.isfinite(price) and math.isfinite(utility_price) and np.isfinite(nats + area).all()):
            return f"no finite point, {self.problem.status}"
        clients = np.arange(hulls.last.size)
        return RoundSolution(
            nats=np.clip(nats, hulls.nats[:, 0], hulls.nats[clients, hulls.last]),
            area=np.maximum(area, 0.0),
            price=price,
            utility_price=utility_price,
            status=str(self.problem.status),
        )
