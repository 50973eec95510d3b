r"""The relaxed program (P5), scaled around a centre and parametrised, for any conic engine behind cvxpy.

Let K be fractional and all clients share one slot :math:`\tau - o`. In time-bandwidth products
:math:`A_m`, Hz s, and energies over noise :math:`g_m` the problem is a concave ratio over a convex set:

.. math:: \max \sum_m f_m(K_m) / \tau, \quad \beta_m (K_m + e) \ln 2 \le A_m \ln(1 + g_m / A_m), \quad
          \sum_m A_m \le W (\tau - o), \quad g_m \le \min(P_m (\tau - o), E_m)\, h_m / N_0 .

Charnes and Cooper divide by :math:`\tau`. A centre :math:`(K^0, \tau^0)`, where client m needs the area
:math:`A^0_m` at the signal-to-noise ratio :math:`x_m = g^0_m / A^0_m`, gives the units: with
:math:`t = \tau^0 / \tau` the variables

.. math:: r_m = t \frac{K_m + e}{K^0_m + e}, \quad w_m = t \frac{A_m}{A^0_m}, \quad
          q_m = t \frac{g_m}{g^0_m}, \quad v_m = t \frac{f_m}{\mathrm{mean} f(K^0)}

equal 1 at the centre, v_m on average, and :math:`r_m \ln(1 + x_m) \le w_m \ln(1 + x_m q_m / w_m)` is

.. math:: \Bigl( (r_m - w_m) \ln(1 + x_m),\; w_m,\; \frac{w_m + x_m q_m}{1 + x_m} \Bigr)
          \in \mathrm{cl} \{ (a, b, c) : b\, e^{a / b} \le c,\ b > 0 \},

an exponential cone at its point (0, 1, 1) for every client, whatever the gain. The linear form has tangents
of the rate instead. Of the N pieces of each f_m a few are kept, dense around the centre. Both are outer
approximations: to solve, move the centre to the answer and solve again makes them exact there.

With different overheads, or deadlines that bind, the program is convex only at a fixed :math:`\tau`. It is
the same one with t = q = 1 and a slot per client; its linear form has chords of the area between whole token
counts, which makes it the knapsack relaxation of P3. The budget's multiplier gives the price
:math:`\mu` of :math:`W (\tau - o)` from which `bounds.price_cover` proves a bound without trusting the
engine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np

from ..physics.demand import Demand
from ..problem import FloatArray, IntArray
from .data import MEMORY, PIECES, TANGENTS, Centre, coefficients
from .engines import ConicEngine

ProgramKey = tuple[int, str, str, bool]
"""Clients, the engine's name, form, and whether the round time is a variable."""


ECOS_INTERRUPTED: Final = -4
SCS_INTERRUPTED: Final = -5
"""Their exit codes for Ctrl-C."""


class Solution(NamedTuple):
    """What an engine says; nothing of it is trusted.

    Attributes:
        tokens: (M,) fractional token counts.
        round_s: tau, s.
        price: mu, retained attention per Hz s.
        ste: the program's value, 1/s.
        status: cvxpy's word for the outcome.
    """

    tokens: FloatArray
    round_s: float
    price: float
    ste: float
    status: str


class ConvexProgram:
    """The program for M clients, compiled once and solved for any data of that size (DPP).

    Args:
        clients: M.
        engine: who solves it.
        form: "cone" or "cuts".
        joint: whether the round time is a variable; needs one common overhead, and ignores deadlines.

    Attributes:
        key: what it was made for: M, the engine's name, form and joint.
        problem: the cvxpy problem, for inspection.
    """

    def __init__(self, clients: int, engine: ConicEngine, form: str, joint: bool) -> None:
        cp = cvxpy()
        self.key = clients, engine.name, form, joint
        self.engine, self.form, self.joint = engine, form, joint
        self._data: dict[str, Any] = {}

        def data(name: str, size: int = clients) -> Any:
            return self._data.setdefault(name, cp.Parameter(size, name=name))

        def times(name: str, vector: Any) -> Any:
            return cp.multiply(data(name), vector)

        one = np.ones(clients)
        r, w, v = cp.Variable(clients), cp.Variable(clients), cp.Variable(clients)
        t: Any = cp.Variable(1) if joint else np.ones(1)
        q: Any = cp.Variable(clients) if joint else one
        t_each = cp.multiply(t, one)

        pieces = PIECES.size + (2 * MEMORY if joint else 0)
        cuts = TANGENTS.size + MEMORY if joint else PIECES.size
        retained = [
            v <= times(f"piece_slope_{j}", r) + times(f"piece_start_{j}", t_each) for j in range(pieces)
        ]
        if form == "cone":
            signal = times("noise_share", w) + times("signal_share", q)
            rate = [cp.ExpCone(times("log_snr", r - w), w, signal)]
        else:
            rate = [r <= times(f"cut_area_{j}", w) + times(f"cut_energy_{j}", q) for j in range(cuts)]
        counts = [r >= times("fewest", t_each), r <= times("most", t_each)]
        if joint:
            slot = data("slot_constant", 1) + cp.multiply(data("slot_slope", 1), t)
            power = q <= data("power_constant") + times("power_slope", t_each)
            energy = q <= times("energy_limit", t_each)
            limits = [power, energy]
        else:
            slot, limits = t, []
        budget = data("share") @ w <= slot

        self._t, self._r, self._budget = t, r, budget
        self.problem = cp.Problem(
            cp.Maximize(cp.sum(v) / clients), [*retained, *rate, *counts, *limits, budget]
        )

    def solve(
        self,
        demand: Demand,
        centre: Centre,
        most: IntArray,
        time_limit_s: float,
        earlier: Sequence[Centre] = (),
    ) -> Solution | str:
        """Solve around a centre; the reason in words when the engine gives no finite answer.

        Args:
            demand: of a problem with this many clients.
            centre: where the program is exact; the fixed form keeps its round time.
            most: (M,) largest token counts, at least the centre's.
            time_limit_s: what the compilation leaves of it is passed to engines that take one.
            earlier: centres of programs solved before on the same problem.
        """
        started = time.perf_counter()
        data, scale = coefficients(demand, centre, most, self.joint, earlier)
        for name, parameter in self._data.items():
            parameter.value = data[name]
        left_s = time_limit_s - (time.perf_counter() - started)
        failure = engine_error(self.problem, self.engine, left_s)
        if failure:
            return failure
        r, multiplier = self._r.value, self._budget.dual_value
        if r is None or multiplier is None:
            return f"no point, {self.problem.status}"
        t = float(self._t.value[0]) if self.joint else 1.0
        price = scale.price * max(0.0, float(multiplier[0]))
        extra = demand.problem.extra_tokens
        with np.errstate(all="ignore"):
            tokens = r / t * (centre.tokens + extra) - extra
        if not (t > 0 and math.isfinite(price) and np.isfinite(tokens).all()):
            return f"no finite point, {self.problem.status}"
        return Solution(
            tokens=np.clip(tokens, demand.problem.min_tokens, most),
            round_s=centre.round_s / t,
            price=price,
            ste=scale.ste * float(self.problem.value),
            status=str(self.problem.status),
        )


def engine_error(problem: Any, engine: ConicEngine, time_limit_s: float) -> str:
    """Solve a cvxpy problem; the reason in words where that fails, empty otherwise.

    These are the steps of `Problem.solve`: the clock can be asked between them. Its warnings of inaccurate
    answers are left out, since every answer is certified anyway, and to silence warnings would do so in all
    threads.
    """
    started = time.perf_counter()
    try:
        compiled, chain, inverse = problem.get_problem_data(
            engine.name.upper(), enforce_dpp=True, solver_opts=engine.options(time_limit_s)
        )
        left_s = time_limit_s - (time.perf_counter() - started)
        if left_s <= 0.0:
            return "not started, the time was up"
        answer = chain.solve_via_data(problem, compiled, warm_start=False, solver_opts=engine.options(left_s))
        if _interrupted(answer):
            raise KeyboardInterrupt
        problem.unpack(chain.invert(answer, inverse))
    except Exception as error:  # engines have exceptions of their own
        return f"{type(error).__name__}: {error}".split(". ")[0]
    return ""


class Programs:
    """Compiled programs, kept from round to round: only the data changes, nothing is compiled twice.

    Pass one to `solve(problem, "relaxed", programs=...)` for every round. Not for use by two threads at once.
    """

    def __init__(self) -> None:
        self._programs: dict[tuple[Any, ...], Any] = {}

    def __len__(self) -> int:
        return len(self._programs)

    def get(self, clients: int, engine: ConicEngine, form: str, joint: bool) -> ConvexProgram:
        """The program of that kind, built on first use."""
        program = self.take(clients, engine, form, joint)
        self.keep(program)
        return program

    def take(self, clients: int, engine: ConicEngine, form: str, joint: bool) -> ConvexProgram:
        """The program of that kind, which is not kept: no other call gets it until it is brought back."""
        key: ProgramKey = clients, engine.name, form, joint
        taken: ConvexProgram = self.take_or_make(key, lambda: ConvexProgram(clients, engine, form, joint))
        return taken

    def take_or_make(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """The program of any key, likewise."""
        kept = self._programs.pop(key, None)
        return make() if kept is None else kept

    def keep(self, program: Any) -> None:
        """Keep a program for later calls."""
        self._programs[program.key] = program


def _interrupted(answer: Any) -> bool:
    """Whether ECOS or SCS, which catch Ctrl-C themselves while at work, ended because of it."""
    report = answer.get("info") if isinstance(answer, dict) else None
    if not isinstance(report, dict):
        return False
    return report.get("exitFlag") == ECOS_INTERRUPTED or report.get("status_val") == SCS_INTERRUPTED


def cvxpy() -> Any:
    """The package, imported on first use; its own types are incomplete."""
    return import_module("cvxpy")
