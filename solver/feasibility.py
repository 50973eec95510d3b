"""Infeasibility diagnosis (P6): which clients break which limit, what there is and what it would take."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .physics.demand import Demand
from .physics.instance import NO_TABLE
from .physics.jit import compiled
from .physics.loops import LONGEST_S, fits_eventually, least_areas
from .physics.payload import payload_of
from .problem import STE, FloatArray, IntArray, Problem
from .result import Diagnosis
from .tolerances import EPSILON, PERMITTED_SHARE


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

    With alternatives, skipping, blocks or a longest round the same sums count, of each client's least need.
    Of what an objective requires of all only this is decided here: whether all utilities are enough.

    Limits count as `evaluate` counts them, tolerance included: what it accepts is never called infeasible.
    They are named as given. The largest set that fits takes clients by least bandwidth need.

    Cost: O(M log M) when infeasible, one evaluation of the rate where equal bandwidths prove that all is
    well, one of the closed form otherwise.
    """
    if not problem.is_plain:
        required = problem.objective.least_retained > 0.0
        return None if not required and _rows_suffice(problem) else _diagnose_rows(problem)
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


def _diagnose_rows(problem: Problem) -> Diagnosis | None:
    """`diagnose` for any problem: the least need of every row, then of every client, then their sum."""
    permitted = problem.with_raised_limits(PERMITTED_SHARE)
    rows = np.arange(problem.row_count)
    nats = problem.bits_of(rows, problem.min_tokens) * math.log(2.0)
    left_s = permitted.objective.longest_round_s - problem.overhead_s
    slot_s = np.minimum(np.minimum(permitted.deadline_s, LONGEST_S), left_s)
    energy_j = permitted.max_energy_j - problem.before_j
    can = (slot_s > 0.0) & (energy_j > 0.0)
    slot_s, energy_j = np.where(can, slot_s, 1.0), np.where(can, energy_j, 1.0)
    available_j = np.minimum(permitted.max_power_w * slot_s, energy_j)
    some = np.where(nats > 0.0, nats, 1.0)  # 0 bits have no closed form
    area, _ = least_areas(some, available_j * problem.gain / problem.noise_w_per_hz)
    density = permitted.max_psd_w_per_hz * (problem.gain / problem.noise_w_per_hz)
    efficiency = np.minimum(problem.max_bps_per_hz * math.log(2.0), np.log1p(density))
    need = np.where(nats == 0.0, 0.0, np.maximum(area, nats / efficiency) / slot_s)
    unit_hz, budget = 1.0, permitted.bandwidth_hz
    if problem.block_hz is not None:
        # Counts may be as far from a whole number as `evaluate` takes.
        block_hz = problem.block_hz * (1.0 + PERMITTED_SHARE)
        need = np.where(nats == 0.0, 0.0, np.maximum(np.ceil(need / block_hz), 1.0))
        unit_hz, budget = problem.block_hz, math.floor(budget / problem.block_hz)
    need = np.where(can, need, math.inf)
    best = _best_rows(problem, need)
    least = np.where(problem.may_skip, 0.0, need[best])
    if problem.objective == STE and problem.may_skip.all():
        first = int(np.argmin(need[best]))  # somebody has to send
        least[first] = need[best][first]
    order = np.argsort(least, kind="stable")
    fits = order[np.cumsum(least[order]) <= budget]
    clients_that_fit = tuple(sorted(int(m) for m in fits))
    if np.isinf(least).any():
        broken = np.flatnonzero(np.isinf(least))
        row = best[broken]
        no_time = left_s[row] <= 0.0
        limit = "round" if no_time[0] else "energy"
        if limit == "energy" and problem.max_power_w[row[0]] * slot_s[row[0]] < energy_j[row[0]]:
            limit = "round" if left_s[row[0]] < permitted.deadline_s[row[0]] else "deadline"
        if no_time[0]:
            there, takes = problem.objective.longest_round_s + 0.0 * row, problem.overhead_s[row]
        else:
            least_j = nats * problem.noise_w_per_hz / problem.gain
            there = np.where(can[row], available_j[row], problem.max_energy_j[row])
            takes = np.where(can[row], least_j[row], problem.before_j[row] + least_j[row])
        return Diagnosis(
            limit=limit,
            clients=tuple(int(m) for m in broken),
            available=tuple(float(v) for v in there),
            needed=tuple(float(v) for v in takes),
            unit="s" if no_time[0] else "J",
            clients_that_fit=clients_that_fit,
        )
    if least.sum() > budget:
        fits = fits[: problem.clients - 1]  # sums in another order may differ by rounding
        left_out = sorted(set(range(problem.clients)) - {int(m) for m in fits})
        return Diagnosis(
            limit="bandwidth",
            clients=tuple(left_out),
            available=(problem.bandwidth_hz,),
            needed=(float(least.sum()) * unit_hz,),
            unit="Hz",
            clients_that_fit=tuple(sorted(int(m) for m in fits)),
        )
    required = permitted.objective.least_retained
    if required > 0.0:
        rounding = 1.0 + (problem.clients + problem.tokens) * EPSILON
        most = float(most_utility(problem, np.isfinite(need)).sum()) * rounding
        if most < required:
            return Diagnosis(
                limit="retained",
                clients=tuple(range(problem.clients)),
                available=(most,),
                needed=(problem.objective.least_retained,),
                unit="",
                clients_that_fit=tuple(range(problem.clients)),
            )
    return None


def _rows_suffice(problem: Problem) -> bool:
    """Whether every client can send some row on the same bandwidth, with room to spare."""
    share_hz = problem.bandwidth_hz / problem.clients
    if problem.block_hz is not None:
        share_hz = math.floor(share_hz / problem.block_hz) * problem.block_hz
    return share_hz > 0.0 and _some_row_suffices(
        problem.client,
        problem.gain,
        problem.bits_of(np.arange(problem.row_count), problem.min_tokens),
        problem.noise_w_per_hz,
        problem.max_power_w,
        problem.max_energy_j - problem.before_j,
        np.minimum(problem.deadline_s, problem.objective.longest_round_s - problem.overhead_s),
        np.ascontiguousarray(problem.max_psd_w_per_hz),
        np.ascontiguousarray(problem.max_bps_per_hz),
        problem.clients,
        share_hz,
        LONGEST_S,
    )


@compiled
def _some_row_suffices(
    client: IntArray,
    gain: FloatArray,
    bits: FloatArray,
    noise_w_per_hz: float,
    max_power_w: FloatArray,
    energy_j: FloatArray,
    slot_s: FloatArray,
    max_psd_w_per_hz: FloatArray,
    max_bps_per_hz: FloatArray,
    clients: int,
    share_hz: float,
    longest_s: float,
) -> bool:
    """`_rows_suffice`, arrays (R,): bits of the fewest tokens, energies left for the upload, slots."""
    served = np.zeros(clients, np.bool_)
    for r in range(gain.shape[0]):
        slot, energy = float(slot_s[r]), float(energy_j[r])
        if slot > 0.0 and energy > 0.0:
            power = min(float(max_power_w[r]), float(max_psd_w_per_hz[r]) * share_hz)
            area = min(slot, longest_s) * share_hz
            snr = min(power * slot, energy) * float(gain[r]) / noise_w_per_hz / area
            most = area * min(math.log1p(snr), float(max_bps_per_hz[r]) * math.log(2.0))
            if bits[r] == 0.0 or most > float(bits[r]) * math.log(2.0) * (1.0 + 1e-9):
                served[client[r]] = True
    return bool(served.all())


def _best_rows(problem: Problem, need: FloatArray) -> IntArray:
    """(M,) each client's row of least need."""
    if problem.is_one_row_each:
        return problem.client
    order = np.lexsort((need, problem.client))
    first = np.concatenate(([True], np.diff(problem.client[order]) > 0))
    return np.asarray(order[first])


def most_utility(problem: Problem, can: NDArray[np.bool_] | None = None) -> FloatArray:
    """(M,) the largest utility of each client over its rows and token counts, in reach or not.

    Args:
        problem: the instance.
        can: (R,) which rows count; by default all.
    """
    if problem.utility is None:
        worth = problem.worth_of(np.arange(problem.row_count), problem.max_tokens)
    else:
        counts = np.arange(problem.tokens + 1)
        allowed = (counts >= problem.min_tokens[:, None]) & (counts <= problem.max_tokens[:, None])
        worth = np.max(problem.utility, axis=1, where=allowed, initial=0.0)
    best = np.zeros(problem.clients)
    np.maximum.at(best, problem.client, worth if can is None else np.where(can, worth, 0.0))
    return best


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
