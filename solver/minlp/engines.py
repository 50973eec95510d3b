"""The engines behind `minlp`, by name."""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from ..errors import MissingDependencyError, OptionError


class RefusedSettingError(ValueError):
    """An engine option that the engine does not have, or a value that it does not take."""


@dataclass(frozen=True)
class MinlpEngine:
    """A solver of nonlinear models that Pyomo, or for SCIP its own package, can call.

    Attributes:
        name: our name.
        pyomo_name: Pyomo's; empty for SCIP, which is called through pyscipopt.
        global_bound: whether its bound holds for nonconvex models. Nobody else's bound is used.
        whole: whether it keeps token counts whole; else they are relaxed, and rounded afterwards.
        gap_option: its option for the relative gap; empty where there is none.
        how_to_get: one sentence for those who lack it.
    """

    name: str
    pyomo_name: str
    global_bound: bool
    whole: bool
    gap_option: str
    how_to_get: str

    def missing(self) -> str:
        """What is not there, in words; empty when nothing is."""
        if self.name == "scip":
            return "" if find_spec("pyscipopt") else "no package pyscipopt"
        if self.name == "mindtpy":
            lacking = [name for name in MINDTPY_PARTS.values() if not _pyomo_finds(name)]
            return f"no {' and no '.join(lacking)} for its parts" if lacking else ""
        return "" if _pyomo_finds(self.pyomo_name) else f"no {self.pyomo_name} that Pyomo can call"

    def require(self) -> None:
        """Raise MissingDependencyError unless it can be called."""
        missing = self.missing()
        if missing:
            raise MissingDependencyError(
                f"engine {self.name!r}", missing, "an installed engine", self.how_to_get
            )


MINDTPY_PARTS: Final = {"mip_solver": "appsi_highs", "nlp_solver": "ipopt"}
"""MindtPy's own options for the engines of its two kinds of subproblems."""

_IDAES: Final = "Run pip install idaes-pse, then idaes get-extensions, and add its bin folder to PATH"

ENGINES: Final = {
    engine.name: engine
    for engine in (
        MinlpEngine("scip", "", True, True, "limits/gap", "Run pip install pyscipopt"),
        MinlpEngine("couenne", "couenne", True, True, "allowable_fraction_gap", _IDAES),
        MinlpEngine(
            "baron", "baron", True, True, "EpsR", "Get BARON and a licence at minlp.com and add it to PATH"
        ),
        MinlpEngine(
            "gurobi",
            "gurobi_direct_minlp",
            True,
            True,
            "MIPGap",
            "Run pip install gurobipy and get a licence",
        ),
        MinlpEngine("maingo", "appsi_maingo", True, True, "epsilonR", "Run pip install maingopy"),
        MinlpEngine("bonmin", "bonmin", False, True, "", _IDAES),
        MinlpEngine(
            "ipopt", "ipopt", False, False, "", f"{_IDAES}, or use conda install -c conda-forge ipopt"
        ),
        MinlpEngine(
            "mindtpy", "mindtpy", False, True, "", f"Run pip install highspy for HiGHS; for ipopt, {_IDAES}"
        ),
    )
}


def find_engine(name: Any) -> MinlpEngine:
    """The engine of that name: one of `ENGINES`, or any other that Pyomo can call.

    Raises:
        OptionError: Pyomo does not know it either.
        MissingDependencyError: it is not installed.
    """
    if isinstance(name, str) and name in ENGINES:
        engine = ENGINES[name]
        engine.require()
        return engine
    if isinstance(name, str) and name and _pyomo_finds(name):
        return MinlpEngine(name, name, False, True, "", "")
    raise OptionError(
        "solver 'minlp'",
        f"engine={name!r}",
        f"{', '.join(ENGINES)}, or another name for which Pyomo's SolverFactory finds a solver",
        "Correct the name or install it",
    )


def _pyomo_finds(name: str) -> bool:
    """Whether Pyomo can call a solver now; its warnings about missing ones are dropped."""
    from pyomo.common.log import LoggingIntercept  # type: ignore[import-untyped]
    from pyomo.environ import SolverFactory  # type: ignore[import-untyped]

    with LoggingIntercept(io.StringIO(), "pyomo"):
        return bool(SolverFactory(name).available(exception_flag=False))
