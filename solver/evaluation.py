"""Evaluate an allocation: STE, times, energies, constraint violations. The only code that scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from .allocation import Allocation
from .objective import Totals
from .physics.instance import NO_TABLE
from .physics.jit import compiled
from .problem import STE, FloatArray, IntArray, Problem
from .tolerances import FEASIBILITY

NO_LIMIT: Final = np.empty(0)
"""In place of one value per client where there is none."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Score and constraint residuals of one allocation.

    Attributes:
        value: of the problem's objective; nan where that is undefined (an STE in no time).
        ste: Semantic Transmission Efficiency, sum of utilities over `round_s`, 1/s; nan where that is 0.
        round_s: time of the slowest sender, overhead included, s.
        uplink_s: (M,) upload times, s.
        energy_j: (M,) energies, J, with what is spent before the upload.
        retained: (M,) utilities, by default retained attention f_m(K_m).
        violations: largest relative excess per constraint, 0 where it is met.
        totals: what the objective is made of.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import Allocation, evaluate
        >>> problem = family("paper", clients=2, seed=0)
        >>> wide = evaluate(problem, Allocation([5, 5], [40e6, 40e6], [0.1, 0.1]))
        >>> wide.feasible, round(wide.violations["bandwidth"], 6)
        (False, 0.6)
    """

    value: float
    ste: float
    round_s: float
    uplink_s: FloatArray
    energy_j: FloatArray
    retained: FloatArray
    violations: Mapping[str, float]
    totals: Totals

    @property
    def violation(self) -> float:
        """The largest entry of `violations`."""
        return max(self.violations.values())

    @property
    def feasible(self) -> bool:
        """Whether every constraint holds within `tolerances.FEASIBILITY`."""
        return self.violation <= FEASIBILITY


def evaluate(problem: Problem, allocation: Allocation) -> Evaluation:
    """Score an allocation on a problem, feasible or not (design sections 1 and 3).

    Constraints are named bandwidth, power, energy, deadline, min_tokens, max_tokens and rate (a client
    whose rate is 0 never ends its upload; the violation is then inf and the STE 0). Where the problem has
    them there are psd, blocks (bandwidth that is no whole number of blocks), round and retained (of the
    objective), and skip (who must send does not, or nobody does and the objective is the STE).

    Raises:
        AllocationError: the number of clients differs, or a row is not the client's.

    Cost: O(sum of K_m), one logarithm per client; three arrays of M.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import Allocation, evaluate
        >>> problem = family("paper", clients=2, seed=0)
        >>> score = evaluate(problem, Allocation([5, 5], [20e6, 30e6], [0.1, 0.1]))
        >>> score.feasible, score.round_s == max(score.uplink_s.tolist())
        (True, True)
    """
    objective = problem.objective
    if problem.is_plain and allocation.row is None and allocation.clients == problem.clients:
        found = _scored(
            *(allocation.tokens, allocation.bandwidth_hz, allocation.power_w),
            *(problem.gain, problem.importance, problem.bits_per_token),
            NO_TABLE if problem.payload_bits is None else problem.payload_bits,
            *(problem.max_power_w, problem.max_energy_j, problem.deadline_s, problem.overhead_s),
            problem.min_tokens,
            float(problem.extra_tokens),
            problem.noise_w_per_hz,
            *(NO_LIMIT, NO_LIMIT),
        )
        most_share = found.most_tokens / problem.tokens
        others: dict[str, float] = {}
    else:
        found, most_share, others = _general(problem, allocation, allocation.rows_of(problem))
    violations = {
        "bandwidth": max(0.0, found.bandwidth_hz / problem.bandwidth_hz - 1.0),
        "power": max(0.0, found.power_share - 1.0),
        "energy": max(0.0, found.energy_share - 1.0),
        "deadline": max(0.0, found.deadline_share - 1.0),
        "min_tokens": max(0.0, 1.0 - found.fewest_share),
        "max_tokens": max(0.0, most_share - 1.0),
        "rate": 0.0 if found.round_s < math.inf else math.inf,
        **others,
    }
    total = float(found.retained.sum())
    totals = Totals(total, found.round_s, found.total_j, found.finish_s)
    if objective.longest_round_s < math.inf:
        violations["round"] = max(0.0, found.round_s / objective.longest_round_s - 1.0)
    if objective.least_retained > 0.0:
        violations["retained"] = max(0.0, 1.0 - total / objective.least_retained)
    return Evaluation(
        value=objective.value(totals),
        ste=total / found.round_s if found.round_s > 0.0 else math.nan,
        round_s=found.round_s,
        uplink_s=found.uplink_s,
        energy_j=found.energy_j,
        retained=found.retained,
        violations=violations,
        totals=totals,
    )


def _general(
    problem: Problem, allocation: Allocation, row: IntArray
) -> tuple[_Scored, float, dict[str, float]]:
    """The scores of chosen rows, the largest share of `max_tokens`, and violations that only they have."""
    sends = row >= 0
    senders = np.flatnonzero(sends)
    chosen, tokens = row[senders], allocation.tokens[senders]
    bandwidth_hz, power_w = allocation.bandwidth_hz[senders], allocation.power_w[senders]
    most, fewest = problem.max_tokens[chosen], problem.min_tokens[chosen]
    found = _scored(
        *(tokens, bandwidth_hz, power_w),
        *(problem.gain[chosen], NO_TABLE, problem.bits_per_token[chosen]),
        problem.bits_of(chosen, tokens)[:, None],
        *(problem.max_power_w[chosen], problem.max_energy_j[chosen]),
        *(problem.deadline_s[chosen], problem.overhead_s[chosen]),
        fewest,
        float(problem.extra_tokens),
        problem.noise_w_per_hz,
        *(problem.max_bps_per_hz[chosen], problem.before_j[chosen]),
    )
    uplink_s, energy_j, retained, finish_s = np.zeros((4, problem.clients))
    uplink_s[senders], energy_j[senders], finish_s[senders] = found.uplink_s, found.energy_j, found.finish_s
    retained[senders] = problem.worth_of(chosen, tokens)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        density = power_w / (problem.max_psd_w_per_hz[chosen] * bandwidth_hz)
    psd = float(np.max(density, where=power_w > 0.0, initial=0.0))
    may_not = bool((~sends & ~problem.may_skip).any()) or (problem.objective == STE and not sends.any())
    violations = {"psd": max(0.0, psd - 1.0), "skip": 1.0 if may_not else 0.0}
    if problem.block_hz is not None:
        blocks = bandwidth_hz / problem.block_hz
        whole = np.where(bandwidth_hz > 0.0, np.maximum(np.round(blocks), 1.0), 0.0)
        off = np.abs(blocks - whole) / np.maximum(whole, 1.0)
        violations["blocks"] = float(np.max(off, initial=0.0))
    most_share = float(np.max(1.0 + (tokens - most) / np.maximum(most, 1), initial=0.0))
    found = found._replace(uplink_s=uplink_s, energy_j=energy_j, retained=retained, finish_s=finish_s)
    return found, most_share, violations


class _Scored(NamedTuple):
    """What the loop over the clients finds.

    Attributes:
        uplink_s: (M,) s.
        energy_j: (M,) J.
        retained: (M,).
        finish_s: (M,) s.
        round_s: time of the slowest client, s.
        total_j: sum, J.
        bandwidth_hz: sum, Hz.
        power_share: largest share of a limit that is used, as are the next two; infinite limits do not count.
        energy_share: of the energy budgets.
        deadline_share: of the deadlines.
        fewest_share: least ratio of tokens to `min_tokens`.
        most_tokens: largest count.
    """

    uplink_s: FloatArray
    energy_j: FloatArray
    retained: FloatArray
    finish_s: FloatArray
    round_s: float
    total_j: float
    bandwidth_hz: float
    power_share: float
    energy_share: float
    deadline_share: float
    fewest_share: float
    most_tokens: int


@compiled
def _scored(
    tokens: IntArray,
    bandwidth_hz: FloatArray,
    power_w: FloatArray,
    gain: FloatArray,
    importance: FloatArray,
    bits_per_token: FloatArray,
    payload_bits: FloatArray,
    max_power_w: FloatArray,
    max_energy_j: FloatArray,
    deadline_s: FloatArray,
    overhead_s: FloatArray,
    min_tokens: IntArray,
    extra_tokens: float,
    noise_w_per_hz: float,
    max_bps_per_hz: FloatArray,
    before_j: FloatArray,
) -> _Scored:
    """One pass over the clients, by the definitions of the problem: it shares no formula with solvers.

    It calls nothing of another file, since numba's cache does not see changes there. The sum of bandwidths is
    Kahan's: a million err by a few units of rounding, far below `tolerances.ROUNDING`. Arrays are as in
    `Problem` and `Allocation`, one row per client; `payload_bits` is (0, 0) where there is no table and
    (M, 1) where the payload is known, `importance` is (0, 0) where utilities are counted elsewhere, and
    `max_bps_per_hz` and `before_j` are (0,) for none.
    """
    clients, most = tokens.shape[0], importance.shape[1]
    uplink_s, energy_j, retained = np.empty(clients), np.empty(clients), np.zeros(clients)
    finish_s = np.empty(clients)
    total_hz = hz_carry = total_j = round_s = 0.0
    power_share = energy_share = deadline_share = 0.0
    fewest_share, most_tokens = math.inf, 0
    for m in range(clients):
        # Python's floats, so that overflow is inf without a warning where this is not compiled.
        count, bandwidth, power = int(tokens[m]), float(bandwidth_hz[m]), float(power_w[m])
        sent = min(count, most)
        if payload_bits.shape[0] == 0:
            bits = float(bits_per_token[m]) * (float(count) + extra_tokens)
        else:
            bits = float(payload_bits[m, min(count, payload_bits.shape[1] - 1)])
        received = power * float(gain[m]) / noise_w_per_hz
        seconds = energy = math.inf
        if bits == 0.0:
            seconds = 0.0
        elif bandwidth > 0.0 and received > 0.0:
            snr = received / bandwidth
            # A bandwidth near the least float: the ratio leaves the floats, its logarithm does not.
            nats_per_hz = math.log1p(snr) if snr < math.inf else math.log(received) - math.log(bandwidth)
            rate = bandwidth * nats_per_hz / math.log(2.0)
            if max_bps_per_hz.shape[0] > 0:
                rate = min(rate, bandwidth * float(max_bps_per_hz[m]))
            if rate > 0.0:
                seconds = bits / rate
        if seconds < math.inf:
            energy = power * seconds
            if before_j.shape[0] > 0:
                energy += float(before_j[m])
        # Four running sums, which a processor adds side by side.
        one = two = three = four = 0.0
        n = 0
        while n + 3 < sent:
            one += float(importance[m, n])
            two += float(importance[m, n + 1])
            three += float(importance[m, n + 2])
            four += float(importance[m, n + 3])
            n += 4
        while n < sent:
            one += float(importance[m, n])
            n += 1
        uplink_s[m], energy_j[m], retained[m] = seconds, energy, (one + two) + (three + four)
        total_j += energy
        term = bandwidth - hz_carry
        raised = total_hz + term
        hz_carry = (raised - total_hz) - term if raised < math.inf else 0.0  # or else inf - inf is next
        total_hz = raised
        finish_s[m] = float(overhead_s[m]) + seconds
        round_s = max(round_s, float(overhead_s[m]) + seconds)
        # inf / inf is no number, and not larger than anything.
        power_share = max(power_share, power / float(max_power_w[m]))
        energy_share = max(energy_share, energy / float(max_energy_j[m]))
        deadline_share = max(deadline_share, seconds / float(deadline_s[m]))
        fewest = int(min_tokens[m])
        fewest_share = min(fewest_share, 1.0 + (count - fewest) / max(fewest, 1))
        most_tokens = max(most_tokens, count)
    return _Scored(
        uplink_s,
        energy_j,
        retained,
        finish_s,
        round_s,
        total_j,
        total_hz,
        power_share,
        energy_share,
        deadline_share,
        fewest_share,
        most_tokens,
    )
