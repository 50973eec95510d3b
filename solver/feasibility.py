"""Infeasibility diagnosis (P6): which clients break which limit, what there is and what it would take."""

from __future__ import annotations

import numpy as np

from .physics.demand import Demand
from .physics.loops import LONGEST_S, fits_eventually
from .physics.payload import payload_of
from .problem import FloatArray, Problem
from .result import Diagnosis
from .tolerances import PERMITTED_SHARE


def within_tolerance(problem: Problem) -> Problem:
    """The problem itself where K_min fits its limits exactly, else with what `evaluate` permits more.

    For methods that prove nothing: what fits into its limits is feasible.

    Args:
        problem: a feasible instance.

    Cost: one closed form per client.
    """
    for share in (0.0, 0.5 * PERMITTED_SHARE):
        tried = problem.with_raised_limits(share) if share else problem
        if fits_eventually(Demand(tried).instance, problem.min_tokens.copy()):
            return tried
    return problem.with_raised_limits(PERMITTED_SHARE)


def diagnose(problem: Problem) -> Diagnosis | None:
    """Prove that no allocation is feasible, or return None because one is (P6).

    The round time is free, so only two things can fail. A client alone: its least payload needs more
    than S N0 ln2 / h joules, but its budget, or full power until its deadline, is no more. All
    together: the bandwidths that meet the deadlines with the fewest tokens add up to more than there
    is; clients without a deadline need arbitrarily little, but not nothing.

    Limits count as `evaluate` counts them, tolerance included: what it accepts is never called infeasible.
    They are named as given. The largest set that fits takes clients by least bandwidth need.

    Cost: O(M log M) when infeasible, one evaluation of the rate where equal bandwidths prove that all is
    well, one of the closed form otherwise.
    """
    nats = payload_of(problem).nats(problem.min_tokens)
    noise_over_gain = problem.noise_w_per_hz / problem.gain
    until_deadline = problem.max_power_w * problem.deadline_s
    energy = np.minimum(until_deadline, problem.max_energy_j)
    if _equal_shares_suffice(problem, nats, energy / noise_over_gain):
        return None
    permitted = problem.with_raised_limits(PERMITTED_SHARE)
    demand = Demand(permitted)
    if fits_eventually(demand.instance, problem.min_tokens.copy()):
        return None
    slot_s = np.minimum(permitted.deadline_s, LONGEST_S)
    need = demand.area(problem.min_tokens, slot_s)[0] / slot_s
    alone = np.isinf(need)
    budget = permitted.bandwidth_hz
    needed = nats * noise_over_gain
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
