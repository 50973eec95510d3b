"""Evaluate an allocation: STE, times, energies, constraint violations. The only code that scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .allocation import Allocation
from .errors import AllocationError
from .physics import uplink
from .physics.payload import payload_of
from .problem import FloatArray, Problem
from .tolerances import FEASIBILITY


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Score and constraint residuals of one allocation.

    Attributes:
        ste: Semantic Transmission Efficiency, sum of retained attention over `round_s`, 1/s.
        round_s: time of the slowest client, overhead included, s.
        uplink_s: (M,) upload times, s.
        energy_j: (M,) upload energies, J.
        retained: (M,) retained attention f_m(K_m).
        violations: largest relative excess per constraint, 0 where it is met.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import Allocation, evaluate
        >>> problem = family("paper", clients=2, seed=0)
        >>> wide = evaluate(problem, Allocation([5, 5], [40e6, 40e6], [0.1, 0.1]))
        >>> wide.feasible, round(wide.violations["bandwidth"], 6)
        (False, 0.6)
    """

    ste: float
    round_s: float
    uplink_s: FloatArray
    energy_j: FloatArray
    retained: FloatArray
    violations: Mapping[str, float]

    @property
    def violation(self) -> float:
        """The largest entry of `violations`."""
        return max(self.violations.values())

    @property
    def feasible(self) -> bool:
        """Whether every constraint holds within `tolerances.FEASIBILITY`."""
        return self.violation <= FEASIBILITY


def evaluate(problem: Problem, allocation: Allocation) -> Evaluation:
    """Score an allocation on a problem, feasible or not (design section 1).

    Constraints are named bandwidth, power, energy, deadline, min_tokens, max_tokens and rate (a client
    whose rate is 0 never ends its upload; the violation is then inf and the STE 0).

    Raises:
        AllocationError: the number of clients differs.

    Cost: O(M N).

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import Allocation, evaluate
        >>> problem = family("paper", clients=2, seed=0)
        >>> score = evaluate(problem, Allocation([5, 5], [20e6, 30e6], [0.1, 0.1]))
        >>> score.feasible, score.round_s == max(score.uplink_s.tolist())
        (True, True)
    """
    if allocation.clients != problem.clients:
        raise AllocationError(
            "evaluate",
            f"an allocation for {allocation.clients} clients",
            f"{problem.clients}, as in the problem",
            "Pass the problem that it was made for",
        )
    tokens, bandwidth, power = allocation.tokens, allocation.bandwidth_hz, allocation.power_w
    bits = payload_of(problem).bits(tokens)
    rate = uplink.rate_bps(bandwidth, power, problem.gain, problem.noise_w_per_hz)
    seconds = uplink.uplink_s(bits, rate)
    energy = uplink.energy_j(power, seconds)
    kept = uplink.retained(problem.importance, tokens)
    round_s = float((problem.overhead_s + seconds).max())
    violations = {
        "bandwidth": max(0.0, float(bandwidth.sum()) / problem.bandwidth_hz - 1.0),
        "power": _excess(power, problem.max_power_w),
        "energy": _excess(energy, problem.max_energy_j),
        "deadline": _excess(seconds, problem.deadline_s),
        "min_tokens": max(0.0, 1.0 - float((tokens / problem.min_tokens).min())),
        "max_tokens": max(0.0, int(tokens.max()) / problem.tokens - 1.0),
        "rate": 0.0 if math.isfinite(round_s) else math.inf,
    }
    return Evaluation(
        ste=float(kept.sum() / round_s),
        round_s=round_s,
        uplink_s=seconds,
        energy_j=energy,
        retained=kept,
        violations=violations,
    )


def _excess(values: FloatArray, limits: FloatArray) -> float:
    """Largest (value - limit) / limit, at least 0; an infinite limit is never exceeded."""
    with np.errstate(invalid="ignore"):
        ratio = values / limits
    return max(0.0, float(np.fmax.reduce(ratio)) - 1.0)  # passes over inf / inf
