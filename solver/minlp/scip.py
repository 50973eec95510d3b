"""SCIP on a Pyomo model; imported by the worker only, for pyscipopt's classes are subclassed here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyscipopt import Branchrule, Eventhdlr, Model, Variable
from pyscipopt.scip import PY_SCIP_EVENTTYPE as SCIP_EVENTTYPE
from pyscipopt.scip import PY_SCIP_PARAMSETTING as SCIP_PARAMSETTING
from pyscipopt.scip import PY_SCIP_RESULT as SCIP_RESULT

from ..gap_budget import BRANCHING, ENGINE
from ..result import Stop
from .engines import RefusedSettingError
from .model import bound_margin, sense_of, value_unit, write_minlp

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel  # type: ignore[import-untyped]

Report = Callable[..., None]

SETTINGS: Final = {
    "display/verblevel": 0,
    "misc/catchctrlc": False,
    "timing/clocktype": 2,
    "lp/threads": 1,
    "numerics/dualfeastol": 1e-9,
    "nodeselection/bfs/stdpriority": 1_000_000,
}
"""Silent, on the wall clock, single thread, accurate dual values, and always the node of the worst bound."""

STOPS: Final = {
    "optimal": Stop.CONVERGED,
    "gaplimit": Stop.CONVERGED,
    "duallimit": Stop.CONVERGED,
    "timelimit": Stop.TIME_LIMIT,
    "nodelimit": Stop.ITERATION_LIMIT,
    "totalnodelimit": Stop.ITERATION_LIMIT,
    "stallnodelimit": Stop.ITERATION_LIMIT,
    "sollimit": Stop.ITERATION_LIMIT,
    "bestsollimit": Stop.ITERATION_LIMIT,
    "memlimit": Stop.ITERATION_LIMIT,
}
"""SCIP's words for how it ended; the others are errors here."""

LEAST_SIDE: Final = 0.25
"""A branch on the inverse round time leaves this share of the interval on either side at least."""

LEAST_NEWS: Final = 1e-7
"""How much better a bound on the objective, which is near 1, must be to be reported."""

FIRST: Final = 1_000_000
"""A priority above those of SCIP's own branching rules."""


def solve_with_scip(
    model: ConcreteModel,
    report: Report,
    *,
    gap: float,
    seed: int = 0,
    deadline: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Solve a model of `minlp_model`; report bounds and tokens as they improve, and the stop.

    Where the model has shares, SCIP branches on the inverse round time first, down to intervals of
    sqrt(gap) / 2: what the products with it are off by is of second order in their length.

    Args:
        model: as built, its values a feasible start; its file goes into the current folder.
        report: called with keywords, see `minlp_worker`.
        gap: relative gap at which to stop; the incumbent that the model is centred on counts.
        seed: for SCIP's tie-breaking.
        deadline: `time.time()` at which to stop; None for never.
        options: SCIP parameters by name, over ours.

    Raises:
        RefusedSettingError: SCIP refuses one of the options.
    """
    path = write_minlp(model, Path("model.nl"))
    scip = Model()
    scip.hideOutput()
    scip.readProblem(str(path))
    unit, sense = value_unit(model), sense_of(model)
    margin = sense * bound_margin(model)
    target = max(0.0, ENGINE * gap - abs(margin))
    general = hasattr(model, "option")
    known = float(model.known_value.value) if general else 1.0
    scip.setParams(SETTINGS)
    scip.setParams(
        {
            "randomization/randomseedshift": seed % 2**31,
            "limits/gap": target,
            "limits/dual": known + sense * target,
        }
    )
    variables = {variable.name: variable for variable in scip.getVars()}
    if general:
        # Its local NLP solver corrupts memory on some models (SCIP 10 in pyscipopt 6.3), and options are
        # served in closed form anyway.
        scip.setParam("nlp/disable", True)
    elif hasattr(model, "cutoff"):
        # The incumbent is there already, and usually the best: the time is better spent on the bound.
        scip.setHeuristics(SCIP_PARAMSETTING.OFF)
    if hasattr(model, "share") or hasattr(model, "scale"):
        time_like = "scale" if hasattr(model, "scale") else "inverse_round"
        rule = TimeFirst(variables[time_like], BRANCHING * math.sqrt(gap))
        scip.includeBranchrule(
            rule, "time_first", "inverse round time first", FIRST, maxdepth=-1, maxbounddist=1.0
        )
    for name, value in (options or {}).items():
        try:
            scip.setParam(name, value)
        except (LookupError, TypeError, ValueError) as error:
            raise RefusedSettingError(f"{name}={value!r}") from error
    decided = list((model.option if general else model.tokens).values())
    decisions = [variables.get(variable.name) for variable in decided]  # None: left out, and 0

    def value_in(solution: Any, variable: Variable | None) -> float:
        return 0.0 if variable is None else float(scip.getSolVal(solution, variable))

    def progress(**more: Any) -> None:
        best, bound = scip.getBestSol() if scip.getNSols() else None, scip.getDualbound()
        report(
            bound=(bound + margin) * unit if abs(bound) < scip.infinity() else None,
            nodes=scip.getNTotalNodes(),
            tokens=None
            if best is None
            else [0.0 if v is None else scip.getSolVal(best, v) for v in decisions],
            **more,
        )

    scip.includeEventhdlr(Progress(progress, sense), "progress", "reports bounds and tokens")
    if deadline is not None:
        scip.setParam("limits/time", max(0.0, deadline - time.time()))
    scip.optimize()
    status = scip.getStatus()
    if status == "infeasible":
        # It cut off the incumbent itself: nothing that it says can be trusted.
        report(stop=Stop.ERROR, status=status, bound=None, tokens=None)
    else:
        progress(stop=STOPS.get(status, Stop.ERROR), status=status)


class TimeFirst(Branchrule):
    """Branch on the inverse round time while its interval is longer than a share of it."""

    def __init__(self, variable: Variable, length: float) -> None:
        self.variable, self.length = variable, length

    def branchexeclp(self, allowaddcons: bool) -> dict[str, Any]:
        """For a node with fractional tokens."""
        return self._branch()

    def branchexecext(self, allowaddcons: bool) -> dict[str, Any]:
        """For a node with whole tokens that breaks a nonlinear row."""
        return self._branch()

    def _branch(self) -> dict[str, Any]:
        t = self.model.getTransformedVar(self.variable)
        low, high = t.getLbLocal(), t.getUbLocal()
        if high - low <= self.length * high:
            return {"result": SCIP_RESULT.DIDNOTRUN}
        margin = LEAST_SIDE * (high - low)
        at = min(max(self.model.getSolVal(None, t), low + margin), high - margin)
        self.model.branchVarVal(t, at)
        return {"result": SCIP_RESULT.BRANCHED}


class Progress(Eventhdlr):
    """Call back when the bound or the best solution has improved.

    SCIP's own event for a better bound comes while its tree is being rebuilt, with a bound that is none;
    nodes in focus and linear programs solved see it whole.
    """

    def __init__(self, callback: Callable[[], None], sense: int) -> None:
        self.callback, self.sense = callback, sense
        self.bound, self.solutions = math.inf, 0

    def eventinit(self) -> None:
        """Subscribe."""
        self.model.catchEvent(SCIP_EVENTTYPE.NODEFOCUSED, self)
        self.model.catchEvent(SCIP_EVENTTYPE.LPSOLVED, self)

    def eventexec(self, event: Any) -> dict[str, Any]:
        """Report what is new."""
        bound, solutions = self.sense * self.model.getDualbound(), self.model.getNBestSolsFound()
        if bound < self.bound - LEAST_NEWS or solutions > self.solutions:
            self.bound, self.solutions = bound, solutions
            self.callback()
        return {}
