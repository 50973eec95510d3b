"""The conic engines behind `relaxed`, by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from ..errors import MissingDependencyError

FORMS: Final = ("cone", "cuts")
"""The rate by exponential cones, or by their tangents, which leaves a linear program."""


@dataclass(frozen=True)
class ConicEngine:
    """A conic engine that cvxpy can call.

    Attributes:
        name: our name, and in capitals cvxpy's.
        package: its importable package.
        form: the one of `FORMS` that suits it.
        conic: whether it knows exponential cones.
        time_option: its option for a time limit in s; empty where it has none.
        settings: options passed on every call.
    """

    name: str
    package: str
    form: str
    conic: bool
    time_option: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def available(self) -> bool:
        """Whether its package is installed."""
        return find_spec(self.package) is not None

    def require(self) -> None:
        """Raise MissingDependencyError unless available."""
        if not self.available:
            raise MissingDependencyError(
                f"engine {self.name!r}",
                f"no package {self.package}",
                "an installed engine",
                f"Run pip install {self.package}, or choose another engine",
            )

    def options(self, time_limit_s: float) -> dict[str, Any]:
        """Options of one call in cvxpy's terms."""
        options = dict(self.settings)
        if self.time_option and math.isfinite(time_limit_s):
            limit = {self.time_option: max(time_limit_s, 1e-3)}
            options |= {"mosek_params": limit} if self.name == "mosek" else limit
        return options


CLARABEL_SETTINGS: Final = (
    ("equilibrate_enable", False),
    ("max_step_fraction", 0.8),
    ("tol_gap_abs", 1e-7),
    ("tol_gap_rel", 1e-7),
    ("tol_feas", 1e-7),
)
"""The program comes scaled; equilibrated once more, or with the default step, Clarabel fails on some."""

SCS_SETTINGS: Final = (("eps_abs", 1e-6), ("eps_rel", 1e-6), ("max_iters", 10_000))
"""A first-order method: more digits would take minutes, and the bound does not need them."""

ENGINES: Final = {
    engine.name: engine
    for engine in (
        ConicEngine("clarabel", "clarabel", "cone", True, "time_limit", CLARABEL_SETTINGS),
        ConicEngine("ecos", "ecos", "cuts", True, ""),
        ConicEngine("scs", "scs", "cuts", True, "time_limit_secs", SCS_SETTINGS),
        ConicEngine("mosek", "mosek", "cone", True, "MSK_DPAR_OPTIMIZER_MAX_TIME"),
        ConicEngine("highs", "highspy", "cuts", False, "time_limit"),
    )
}
