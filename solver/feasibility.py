"""Infeasibility diagnosis (P6): which clients break which limit, what there is and what it would take."""

from __future__ import annotations

import math

import numpy as np

from .physics.demand import Demand
from .physics.instance import NO_TABLE
from .physics.jit import compiled
from .physics.loops import LONGEST_S, fits_eventually
from .physics.payload import payload_of
from .problem import FloatArray, IntArray, Problem
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
    if _equal_shares_suffice(
        problem.gain,
        problem.bits_per_token,
        NO_TABLE if problem.payload_bits is None else problem.payload_bits,
        float(problem.extra_tokens),
        problem.noise_w_per_hz,
        problem.max_power_w,
        problem.max_energy_j,
        problem.deadline_s,
        problem.min_tokens,
        problem.bandwidth_hz / problem.clients,
        LONGEST_S,
    ):
        return None
    permitted = problem.with_raised_limits(PERMITTED_SHARE)
    demand = Demand(permitted)
    if fits_eventually(demand.instance, problem.min_tokens.copy()):
        return None
    slot_s = np.minimum(permitted.deadline_s, LONGEST_S)
    need = demand.area(problem.min_tokens, slot_s)[0] / slot_s
    alone = np.isinf(need)
    budget = permitted.bandwidth_hz
    noise_over_gain = problem.noise_w_per_hz / problem.gain
    needed = payload_of(problem).nats(problem.min_tokens) * noise_over_gain
    until_deadline = problem.max_power_w * problem.deadline_s
    energy = np.minimum(until_deadline, problem.max_energy_j)
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


@compiled
def _equal_shares_suffice(
    gain: FloatArray,
    bits_per_token: FloatArray,
    payload_bits: FloatArray,
    extra_tokens: float,
    noise_w_per_hz: float,
    max_power_w: FloatArray,
    max_energy_j: FloatArray,
    deadline_s: FloatArray,
    min_tokens: IntArray,
    share_hz: float,
    longest_s: float,
) -> bool:
    """Whether every payload arrives by its deadline, with room to spare, on the same bandwidth for all.

    Args: those of `Problem`, the bandwidth, and what stands for no deadline (a constant of another file would
    be kept in the cache when it changes); `payload_bits` is (0, 0) for none.
    """
    for m in range(gain.shape[0]):
        if payload_bits.shape[0] > 0:
            bits = float(payload_bits[m, min_tokens[m]])
        else:
            bits = float(bits_per_token[m]) * (int(min_tokens[m]) + extra_tokens)
        slot_s = float(deadline_s[m])
        joules = min(float(max_power_w[m]) * slot_s, float(max_energy_j[m]))
        area = min(slot_s, longest_s) * share_hz
        nats = area * math.log1p(joules * float(gain[m]) / noise_w_per_hz / area)
        if not nats > bits * math.log(2.0) * (1.0 + 1e-9):
            return False
    return True
