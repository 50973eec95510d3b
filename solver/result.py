"""Result of a solve: allocation, proved bound, gap, stop reason, quality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from .allocation import Allocation
from .evaluation import Evaluation
from .files.json_files import plain
from .problem import Problem


class Stop(StrEnum):
    """Why a solver ended; `remedy` says what to do about it.

    Examples:
        >>> from stsflora.solver import Stop
        >>> Stop("time_limit").remedy
        'Raise time_limit_s for a smaller gap.'
    """

    CONVERGED = "converged"
    TIME_LIMIT = "time_limit"
    ITERATION_LIMIT = "iteration_limit"
    INFEASIBLE = "infeasible"
    ERROR = "error"

    @property
    def remedy(self) -> str:
        """One sentence for the user."""
        return {
            Stop.CONVERGED: "Nothing to do.",
            Stop.TIME_LIMIT: "Raise time_limit_s for a smaller gap.",
            Stop.ITERATION_LIMIT: "Raise the solver's iteration limit, or start it elsewhere.",
            Stop.INFEASIBLE: "Read result.diagnosis: it names the clients and the limit.",
            Stop.ERROR: "Read result.message; try solver='exact', which needs no engine.",
        }[self]


class Quality(StrEnum):
    """What the allocation is worth, derived by `solve` from evidence.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import Quality, solve
        >>> solve(family("paper", clients=3, seed=0)).quality is Quality.OPTIMAL
        True
    """

    NONE = "none"
    INFEASIBLE = "infeasible"
    FEASIBLE = "feasible"
    STATIONARY = "stationary"
    OPTIMAL = "optimal"


@dataclass(frozen=True)
class Diagnosis:
    """Proof that an instance has no feasible point (P6).

    Attributes:
        limit: "energy", "deadline" (full power until the deadline is too little energy), "bandwidth", "round"
            (too little time within the objective's round time) or "retained" (all utilities are too little).
        clients: indices of the clients that break it; for a joint limit, those left out of the largest
            set that fits.
        available: what there is, in `unit`; one value per entry of `clients`, or one for a joint limit.
        needed: what it would take, likewise. Energies are strict lower limits.
        unit: "J", "Hz", "s", or "" for utilities.
        clients_that_fit: the largest set of clients that can be served together, ascending indices.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import solve
        >>> diagnosis = solve(family("infeasible", clients=3, seed=0)).diagnosis
        >>> diagnosis.limit, diagnosis.clients, diagnosis.clients_that_fit
        ('energy', (0,), (1, 2))
    """

    limit: str
    clients: tuple[int, ...]
    available: tuple[float, ...]
    needed: tuple[float, ...]
    unit: str
    clients_that_fit: tuple[int, ...]

    def __str__(self) -> str:
        names = ", ".join(map(str, self.clients[:5])) + (", ..." if len(self.clients) > 5 else "")
        joint = self.limit in {"bandwidth", "retained"}
        scope = "all clients together need" if joint else f"client {self.clients[0]} needs"
        reason = {
            "energy": "energy budget",
            "deadline": "full power until the deadline",
            "bandwidth": "bandwidth within the deadlines",
            "round": "round time",
            "retained": "required utility",
        }[self.limit]
        return (
            f"{reason}: {scope} {self.needed[0]:.4g} {self.unit}, {self.available[0]:.4g} {self.unit} "
            f"available (clients concerned: {names}; {len(self.clients_that_fit)} clients fit)"
        )


@dataclass(frozen=True)
class TracePoint:
    """One line of a solver's progress.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import solve
        >>> trace = solve(family("paper", clients=3, seed=0)).trace
        >>> trace[0].bound, trace[-1].bound >= trace[-1].value >= trace[0].value
        (inf, True)
    """

    seconds: float
    iteration: int
    value: float
    bound: float = math.inf


@dataclass(frozen=True, eq=False)
class Result:
    """Outcome of one `solve`; every figure is recomputed by `evaluate`, not claimed by the method.

    Attributes:
        problem: the instance.
        solver: the method's name.
        allocation: the best allocation found, or None.
        evaluation: its score, or None.
        bound: proved limit of the value of every feasible allocation: an upper bound when the objective
            maximises (inf when none was proved, -inf when nothing is feasible), else a lower one (-inf, inf).
        asked_gap: the `gap` that `solve` was asked for.
        stop: why the method ended.
        quality: what the allocation is worth.
        seconds: wall time of the method.
        trace: value and bound over time.
        stats: counters and settings of the method (engine, evaluations, fallbacks, ...).
        diagnosis: why the instance is infeasible, when it is.
        claimed_value: the method's own figure for the value, nan when it makes none.
        claimed_bound: the method's own bound, kept where `bound` had to be withdrawn; None if it makes none.
        message: what went wrong, empty otherwise.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import solve
        >>> result = solve(family("paper", clients=3, seed=0))
        >>> result.allocation.tokens
        array([3, 7, 3])
        >>> result.value <= result.bound <= (1 + 1e-4) * result.value
        True
        >>> result.as_dict()["quality"]
        'optimal'
    """

    problem: Problem
    solver: str
    allocation: Allocation | None
    evaluation: Evaluation | None
    bound: float
    asked_gap: float
    stop: Stop
    quality: Quality
    seconds: float
    trace: tuple[TracePoint, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)
    diagnosis: Diagnosis | None = None
    claimed_value: float = math.nan
    claimed_bound: float | None = None
    message: str = ""

    @property
    def value(self) -> float:
        """Of the problem's objective; the worst there is without an allocation, -inf when maximising.

        Of an infeasible allocation too: look at `quality`.
        """
        return -self.problem.objective.unproved if self.evaluation is None else self.evaluation.value

    @property
    def ste(self) -> float:
        """STE of the allocation, 1/s; -inf without one. Of an infeasible one too: look at `quality`."""
        return -math.inf if self.evaluation is None else self.evaluation.ste

    @property
    def gap(self) -> float:
        """Proved relative distance to the optimum, bound / value - 1 or its inverse; inf when undefined."""
        if self.evaluation is None or not self.evaluation.feasible:
            return math.inf
        return self.problem.objective.gap(self.evaluation.totals, self.bound)

    def as_dict(self) -> dict[str, Any]:
        """Everything a script needs, in plain Python values that `json.dumps(..., allow_nan=False)` accepts.

        Undefined and infinite figures (no allocation, no proved bound) are None. Arrays are lists in client
        order; entries of `stats` that are not plain data are left out. Cost: O(M).
        """
        allocation, evaluation = self.allocation, self.evaluation
        return {
            "solver": self.solver,
            "stop": str(self.stop),
            "quality": str(self.quality),
            "objective": self.problem.objective.name,
            "value": plain(self.value),
            "ste": plain(self.ste),
            "bound": plain(self.bound),
            "gap": plain(self.gap),
            "asked_gap": plain(self.asked_gap),
            "claimed_value": plain(self.claimed_value),
            "seconds": self.seconds,
            "round_s": None if evaluation is None else plain(evaluation.round_s),
            "row": None if allocation is None or allocation.row is None else allocation.row.tolist(),
            "tokens": None if allocation is None else allocation.tokens.tolist(),
            "bandwidth_hz": None if allocation is None else allocation.bandwidth_hz.tolist(),
            "power_w": None if allocation is None else allocation.power_w.tolist(),
            "uplink_s": None if evaluation is None else plain(evaluation.uplink_s),
            "energy_j": None if evaluation is None else plain(evaluation.energy_j),
            "retained": None if evaluation is None else plain(evaluation.retained),
            "violations": None if evaluation is None else plain(evaluation.violations),
            "diagnosis": None if self.diagnosis is None else plain(asdict(self.diagnosis)),
            "stats": plain(self.stats),
            "message": str(self.diagnosis) if self.diagnosis is not None else self.message,
            "trace": [plain(asdict(point)) for point in self.trace],
        }

    def __str__(self) -> str:
        if self.allocation is None:
            reason = str(self.diagnosis) if self.diagnosis else self.message
            return f"{self.solver}: {self.stop} ({reason})"
        proof = f"gap {self.gap:.2e}" if math.isfinite(self.gap) else "no proved gap"
        objective = self.problem.objective
        shown = f"STE {self.ste:.6g}/s" if objective.name == "ste" else f"{objective.name} {self.value:.6g}"
        return f"{self.solver}: {shown}, {proof}, {self.quality}, {self.stop}, {self.seconds * 1e3:.2f} ms"
