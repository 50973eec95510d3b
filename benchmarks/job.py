"""One benchmark job: a solver on an instance under limits, run and described as a row."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Final

import numpy as np

from ..solver import MissingDependencyError, Objective, Problem, ProblemError, Result, Stop, solve
from ..solver.files.json_files import plain
from ..solver.registry import lookup
from .families import family
from .rows import NOT_TAKEN, SKIPPED, Row

TRACE_POINTS: Final = 50
"""A row keeps at most this many points of a trace."""

REPEAT_BUDGET_S: Final = 10.0
"""No further repetition starts when the timed solves of a job have taken this long."""


@dataclass(frozen=True)
class Job:
    """A solver on an instance under limits; fields as in `Row`, and two more.

    Attributes:
        overrides: keyword arguments for `family`.
        repeats: timed solves asked for.
    """

    family: str
    clients: int
    seed: int
    overrides: Mapping[str, Any]
    solver: str
    options: Mapping[str, Any]
    asked_gap: float
    time_limit_s: float
    repeats: int
    versions: Mapping[str, str]

    @property
    def key(self) -> str:
        """Digest of everything that can change the row."""
        return _digest(json.dumps(asdict(self), sort_keys=True, default=repr).encode())

    def row(self, **outcome: Any) -> Row:
        """The row of this job with what came out of it; undefined where nothing did."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        name = f"{self.family}-{self.clients}-s{self.seed}"
        known = own | {"key": self.key, "instance": name, "repeats": 0} | outcome
        del known["overrides"]
        return Row(**known)


def run_job(job: Job) -> Row:
    """Build the instance, solve it (only `solve` is timed) and describe the outcome; never raises.

    A solver that does not take such problems is not run.
    """
    found: dict[str, Any] = {"stop": Stop.ERROR}
    started = time.perf_counter()
    try:
        problem = family(job.family, job.clients, job.seed, **job.overrides)
        found |= {
            "fingerprint": fingerprint(problem),
            "tokens": problem.tokens,
            "build_s": time.perf_counter() - started,
            "instance": f"{job.family}-{job.clients}x{problem.tokens}-s{job.seed}",
            **_undefined(problem.objective),
        }
        reason = _refusal(job.solver, problem)
        found |= {"stop": NOT_TAKEN, "message": reason} if reason else _solved(job, problem)
    except MissingDependencyError as error:
        found |= {"stop": SKIPPED, "message": str(error)}
    except Exception as error:  # whatever it is, the other jobs shall run on
        found["message"] = f"{type(error).__name__}: {error}"
    return job.row(**found)


def fingerprint(problem: Problem) -> str:
    """Digest of a problem's data; equal for equal problems."""
    values = problem.as_dict() | {"objective": repr(problem.objective)}
    return _digest(b"".join(name.encode() + np.asarray(values[name]).tobytes() for name in sorted(values)))


def _undefined(objective: Objective) -> dict[str, Any]:
    """Fields of a row without an allocation and a bound, by the sense of what is wanted."""
    unproved = objective.unproved
    figures = {"value": -unproved, "bound": unproved, "claimed_bound": unproved}
    return {"objective": objective.name, **figures}


def _refusal(solver: str, problem: Problem) -> str:
    """Why a solver does not take a problem; empty where it does."""
    try:
        lookup(solver).check_problem(problem)
    except ProblemError as error:
        return str(error)
    return ""


def _solved(job: Job, problem: Problem) -> dict[str, Any]:
    """Fields of the row that the solver's results give."""
    arguments: dict[str, Any] = {"gap": job.asked_gap, "seed": job.seed, **job.options}
    _warm_up(job.family, job.solver, json.dumps(plain(job.options)))
    seconds: list[float] = []
    while len(seconds) < job.repeats and sum(seconds) < REPEAT_BUDGET_S:
        started = time.perf_counter()
        result = solve(problem, job.solver, time_limit_s=job.time_limit_s, **arguments)
        seconds.append(time.perf_counter() - started)
    unproved = problem.objective.unproved
    return {
        "solve_s": statistics.median(seconds),
        "repeats": len(seconds),
        "value": result.value,
        "ste": result.ste,
        "bound": result.bound if math.isfinite(result.bound) else unproved,
        "gap": result.gap,
        "violation": math.inf if result.evaluation is None else result.evaluation.violation,
        "claimed_value": result.claimed_value,
        "claimed_bound": _claimed_bound(result.claimed_bound, unproved),
        "stop": str(result.stop),
        "quality": str(result.quality),
        "message": str(result.diagnosis) if result.diagnosis is not None else result.message,
        "trace": _thinned(result),
    }


def _claimed_bound(bound: float | None, unproved: float) -> float:
    """As rows hold it: what is no number contradicts every value."""
    if bound is None or math.isinf(bound):
        return unproved
    return math.copysign(sys.float_info.max, -unproved) if math.isnan(bound) else bound


@cache
def _warm_up(family_name: str, solver: str, options: str) -> None:
    """One solve in every process and kind of instance: imports and compilation belong to no instance."""
    solve(family(family_name, 1, seed=0), solver, time_limit_s=1.0, **json.loads(options))


def _thinned(result: Result) -> tuple[tuple[float, float, float], ...]:
    """(seconds, value, bound) of at most `TRACE_POINTS` points, the first and the last among them."""
    count = len(result.trace)
    chosen = np.unique(np.linspace(0, count - 1, min(count, TRACE_POINTS)).astype(int))
    return tuple((result.trace[i].seconds, result.trace[i].value, result.trace[i].bound) for i in chosen)


def _digest(data: bytes) -> str:
    """Sixteen hexadecimal digits of a SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]
