"""Block updates of the paper's Algorithm 4: power, bandwidth, tokens, each with the other two fixed.

Every block takes a feasible point to one that is feasible and no worse in STE.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..physics.bandwidth import power_w_for_energy
from ..physics.demand import Demand
from ..physics.payload import payload_of
from ..problem import FloatArray, IntArray, Problem
from ..problem_fields import LARGEST, SMALLEST
from ..tolerances import TOKEN_FIT

BINS: Final = 2048
"""Into how many bins ends of tokens are counted before the few that matter are sorted."""


def power_block(problem: Problem, tokens: IntArray, bandwidth_hz: FloatArray) -> FloatArray:
    """Largest power within the budgets, p = min(P, power whose upload spends E) (Algorithm 2, P1).

    Args:
        problem: the instance.
        tokens: (M,) K.
        bandwidth_hz: (M,) W, Hz.

    Returns:
        (M,) W; 0 where no power meets the energy budget (P6). It minimises every upload time at once.
    """
    affordable = power_w_for_energy(
        payload_of(problem).bits(tokens),
        bandwidth_hz,
        problem.gain,
        problem.max_energy_j,
        problem.noise_w_per_hz,
    )
    return np.minimum(affordable, problem.max_power_w)


def bandwidth_block(
    problem: Problem, tokens: IntArray, power_w: FloatArray, guess_s: float = np.inf
) -> FloatArray | None:
    """Bandwidths of least round time (Algorithm 3), all of the band.

    With tokens and power fixed a client has one payload, and its energy budget is a deadline E / p:
    an instance with a single token, whose least round time is known (P2).

    Args:
        problem: the instance.
        tokens: (M,) K.
        power_w: (M,) p > 0, W.
        guess_s: where to look for the round time, s.

    Returns:
        (M,) Hz, or None when these tokens do not fit at these powers, or a power is smaller than any
        that a `Problem` takes. Cost: three to six closed forms.
    """
    if power_w.min() < SMALLEST:
        return None
    deadline_s = np.minimum(problem.deadline_s, problem.max_energy_j / power_w)
    payload = Problem(
        gain=problem.gain,
        importance=np.ones((problem.clients, 1)),
        bits_per_token=payload_of(problem).bits(tokens),
        bandwidth_hz=problem.bandwidth_hz,
        max_power_w=power_w,
        max_energy_j=np.inf,
        deadline_s=np.where(deadline_s < LARGEST, deadline_s, np.inf),
        overhead_s=problem.overhead_s,
        extra_tokens=0,
        noise_w_per_hz=problem.noise_w_per_hz,
    )
    demand = Demand(payload)
    round_s = demand.least_round_s(payload.min_tokens, guess_s)
    return demand.allocation(payload.min_tokens, round_s).bandwidth_hz if np.isfinite(round_s) else None


def largest_tokens(
    problem: Problem, rate_bps: FloatArray, power_w: FloatArray, round_s: float = np.inf
) -> IntArray:
    """Largest K within N, energy, deadline and round time at fixed rates (eq. 41); may be below K_min.

    Args:
        problem: the instance.
        rate_bps: (M,) R > 0, bit/s.
        power_w: (M,) p > 0, W.
        round_s: tau, s.
    """
    limit_s = np.minimum(problem.deadline_s, problem.max_energy_j / power_w)
    limit_s = np.minimum(limit_s, round_s - problem.overhead_s)
    with np.errstate(over="ignore"):
        return payload_of(problem).largest_tokens(limit_s * rate_bps * (1 + TOKEN_FIT))


def token_block(problem: Problem, rate_bps: FloatArray, power_w: FloatArray) -> IntArray:
    """Tokens of largest STE at fixed rates.

    The retained attention only grows where some client ends a token, so the STE is largest at one of
    the M N times o_m + S_m(K) / R_m: sort them, accumulate the importances, divide.

    Args:
        problem: the instance, feasible at K_min with these rates and powers.
        rate_bps: (M,) R > 0, bit/s.
        power_w: (M,) p > 0, W.

    Returns:
        (M,) K. Tokens of zero importance are left out. Cost: O(M N) plus a sort of few.
    """
    fewest = problem.min_tokens
    most = np.maximum(largest_tokens(problem, rate_bps, power_w), fewest)
    counts = np.arange(1, problem.tokens + 1)  # (N,)
    bits = np.ascontiguousarray(payload_of(problem).bits(counts[:, None]).T)
    ends_s = problem.overhead_s[:, None] + bits / rate_bps[:, None]  # (M, N)
    forced = counts <= fewest[:, None]  # (M, N)
    earliest_s = float(ends_s.max(where=forced, initial=0.0))
    allowed = forced | ((counts <= most[:, None]) & (problem.importance > 0))
    later = allowed & (ends_s > earliest_s)
    base = float(problem.importance.sum(where=allowed & ~later))
    round_s = _best_round_s(base, earliest_s, ends_s[later], problem.importance[later])
    return np.asarray(np.count_nonzero(allowed & (ends_s <= round_s), axis=1))


def _best_round_s(base: float, earliest_s: float, ends_s: FloatArray, gains: FloatArray) -> float:
    """The time t >= earliest_s that maximises (base + sum of the gains that end by t) / t."""
    if ends_s.size > 4 * BINS:
        base, earliest_s, keep = _promising(base, earliest_s, ends_s, gains)
        ends_s, gains = ends_s[keep], gains[keep]
    order = np.argsort(ends_s)
    times = np.concatenate(([earliest_s], ends_s[order]))
    totals = base + np.concatenate(([0.0], np.cumsum(gains[order])))
    return float(times[np.argmax(totals / times)])


def _promising(
    base: float, earliest_s: float, ends_s: FloatArray, gains: FloatArray
) -> tuple[float, float, NDArray[np.bool_]]:
    """Drop most ends unsorted: a bin whose last total over its first time is too small has no maximum.

    Returns:
        (total before the first bin left, its first time, which ends are left).
    """
    span = max(float(np.log(ends_s.max() / earliest_s)), 1e-300)
    edges = earliest_s * np.exp(np.arange(BINS + 1) * (span / BINS))
    place = np.minimum((np.log(ends_s / earliest_s) * (BINS / span)).astype(np.int64), BINS - 1)
    totals = base + np.cumsum(np.bincount(place, weights=gains, minlength=BINS))
    reached = max(base / earliest_s, float((totals / edges[1:]).max()))
    left = np.flatnonzero(totals / edges[:-1] >= reached * (1 - 1e-9))  # rounding of the edges
    first, last = int(left[0]), int(left[-1])
    if first > 0:
        base, earliest_s = float(totals[first - 1]), float(edges[first])
    return base, earliest_s, (place >= first) & (place <= last)
