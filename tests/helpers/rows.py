"""Benchmark rows made by hand, and a suite that makes few."""

from __future__ import annotations

import math
from typing import Any

from stsflora.benchmarks.rows import Row
from stsflora.benchmarks.suites.suite import Suite

SMALL = Suite(
    name="small",
    summary="For tests",
    solvers=("equal", "full"),
    families=("paper", "infeasible"),
    clients=(2,),
    seeds=2,
    overrides={"tokens": 8},
)

FAILED: dict[str, Any] = {
    "value": -math.inf,
    "ste": -math.inf,
    "violation": math.inf,
    "quality": "none",
    "stop": "error",
}
"""Changes that make a row of a run without an allocation."""


def benchmark_row(**changes: Any) -> Row:
    """A feasible run of `exact` on one instance, with some fields changed; its value is its `ste`."""
    values: dict[str, Any] = {
        "key": "k",
        "instance": "paper-2x8-s0",
        "fingerprint": "f",
        "family": "paper",
        "clients": 2,
        "tokens": 8,
        "seed": 0,
        "solver": "exact",
        "options": {},
        "asked_gap": 1e-2,
        "time_limit_s": 10.0,
        "versions": {"numpy": "2"},
        "build_s": 0.5,
        "solve_s": 1.0,
        "repeats": 1,
        "value": changes.get("ste", 100.0),
        "ste": 100.0,
        "violation": 0.0,
        "claimed_bound": changes.get("bound", math.inf),
        "stop": "converged",
        "quality": "feasible",
    }
    return Row(**(values | changes))
