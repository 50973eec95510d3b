"""Infeasibility diagnosis (P6): which clients break which limit, what there is and what it would take."""

from __future__ import annotations

from typing import Final

import numpy as np

from .physics.bandwidth import least_area
from .physics.payload import payload_of
from .problem import FloatArray, Problem
from .result import Diagnosis

LONGEST_S: Final = 1e100
"""Stands for no deadline: a slot in which the wideband limit is reached in float64."""


def diagnose(problem: Problem) -> Diagnosis | None:
    """Prove that no allocation is feasible, or return None because one is (P6).

    The round time is free, so only two things can fail. A client alone: its least payload needs more
    than S N0 ln2 / h joules, but its budget, or full power until its deadline, is no more. All
    together: the bandwidths that meet the deadlines with the fewest tokens add up to more than there
    is; clients without a deadline need arbitrarily little, but not nothing.

    The largest set that fits takes clients by least bandwidth need. Cost: O(M log M) when infeasible, one
    evaluation of the rate where equal bandwidths prove that all is well, one of the closed form otherwise.
    """
    nats = payload_of(problem).bits(problem.min_tokens) * np.log(2.0)
    noise_over_gain = problem.noise_w_per_hz / problem.gain
    until_deadline = problem.max_power_w * problem.deadline_s
    energy = np.minimum(until_deadline, problem.max_energy_j)
    if _equal_shares_suffice(problem, nats, energy / noise_over_gain):
        return None
    needed = nats * noise_over_gain
    alone = needed >= energy * (1 - 1e-12)
    timed = np.isfinite(problem.deadline_s)
    if not alone.any() and not timed.any():
        return None
    need = np.zeros(problem.clients)
    need[alone] = np.inf
    rows = timed & ~alone
    need[rows] = least_area(nats[rows], (energy / noise_over_gain)[rows])[0] / problem.deadline_s[rows]
    budget = problem.bandwidth_hz * (1 - 1e-12)
    if need.sum() <= budget:
        return None
    order = np.argsort(need, kind="stable")
    # Sums in another order may differ by rounding: somebody is left out all the same.
    fits = order[np.cumsum(need[order]) <= budget][: problem.clients - 1]
    clients_that_fit = tuple(sorted(int(m) for m in fits))
    if alone.any():
        broken = np.flatnonzero(alone)
        limit = "energy" if (problem.max_energy_j <= until_deadline)[broken[0]] else "deadline"
        return Diagnosis(
            limit=limit,
            clients=tuple(int(m) for m in broken),
            available=tuple(float(v) for v in energy[broken]),
            needed=tuple(float(v) for v in needed[broken]),
            unit="J",
            clients_that_fit=clients_that_fit,
        )
    left_out = tuple(sorted(int(m) for m in order[len(fits) :]))
    return Diagnosis(
        limit="bandwidth",
        clients=left_out,
        available=(problem.bandwidth_hz,),
        needed=(float(need.sum()),),
        unit="Hz",
        clients_that_fit=clients_that_fit,
    )


def _equal_shares_suffice(problem: Problem, nats: FloatArray, energy_over_noise: FloatArray) -> bool:
    """Whether every payload arrives by its deadline, with room to spare, on the bandwidth W / M."""
    area = np.minimum(problem.deadline_s, LONGEST_S) * (problem.bandwidth_hz / problem.clients)
    return bool((area * np.log1p(energy_over_noise / area) > nats * (1 + 1e-9)).all())
