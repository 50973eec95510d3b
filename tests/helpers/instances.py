"""Instances and slow, plain reimplementations that the tests compare with."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from stsflora.solver import Allocation, Problem
from stsflora.solver.feasibility import diagnose
from stsflora.solver.physics.demand import Demand


def small_problem(**changes: Any) -> Problem:
    """Three clients in plain units, feasible, all limits slack but the band."""
    arguments: dict[str, Any] = {
        "gain": [1e-9, 4e-10, 2e-11],
        "importance": [[4.0, 3.0, 2.0, 1.0], [5.0, 5.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]],
        "bits_per_token": 1e5,
        "bandwidth_hz": 1e6,
        "max_power_w": 0.2,
        "max_energy_j": 1.0,
    }
    return Problem(**(arguments | changes))


def random_problem(
    rng: np.random.Generator, clients: int | None = None, tokens: int | None = None
) -> Problem:
    """Any instance: limits that bind or not, twelve orders of magnitude of gain, ties and zeros."""
    clients = int(rng.integers(1, 6)) if clients is None else clients
    tokens = int(rng.integers(1, 9)) if tokens is None else tokens
    importance = rng.random((clients, tokens)) * (rng.random((clients, tokens)) < 0.8)
    importance[0, 0] = 1.0
    if rng.random() < 0.2:
        importance[:] = 1.0
    widest = (-16.0, -4.0) if rng.random() < 0.3 else (-12.0, -6.0)
    return Problem(
        gain=10 ** rng.uniform(*widest, clients),
        importance=importance,
        bits_per_token=10 ** rng.uniform(2, 7, clients),
        bandwidth_hz=10 ** rng.uniform(4, 8),
        max_power_w=10 ** rng.uniform(-2, 1, clients),
        max_energy_j=10 ** rng.uniform(-4, 2, clients) if rng.random() < 0.7 else np.inf,
        deadline_s=10 ** rng.uniform(-3, 2, clients) if rng.random() < 0.5 else np.inf,
        overhead_s=rng.uniform(0, 3, clients) * 10 ** rng.uniform(-4, 2) if rng.random() < 0.5 else 0.0,
        min_tokens=rng.integers(1, tokens + 1, clients),
        extra_tokens=int(rng.integers(0, 3)),
    )


def feasible_problem(
    rng: np.random.Generator, clients: int | None = None, tokens: int | None = None
) -> Problem:
    """The first feasible draw of `random_problem`."""
    while diagnose(problem := random_problem(rng, clients, tokens)) is not None:
        pass
    return problem


def with_payload_table(problem: Problem, rng: np.random.Generator) -> Problem:
    """The same round with payloads that no line fits: headers, coarse tokens, convex and concave pieces."""
    counts = np.arange(problem.tokens + 1)
    kind = rng.integers(4, size=problem.clients)[:, None]
    headers = 1.0 + counts + rng.uniform(0, 8, (problem.clients, 1)) * np.ceil(counts / rng.integers(2, 5))
    rates = 1.0 + counts * np.where(
        counts < 0.5 * problem.tokens, 0.25, 1.0
    )  # the first half at 8 of 32 bits
    erratic = np.cumsum(10 ** rng.uniform(-3, 1, (problem.clients, counts.size)), axis=1)
    bent = (1.0 + counts) ** rng.uniform(0.2, 3.0, (problem.clients, 1))
    shape = np.select([kind == 0, kind == 1, kind == 2], [headers, np.sort(rates + 0 * kind), erratic], bent)
    return replace(problem, payload_bits=problem.bits_per_token[:, None] * shape)


def feasible_table_problem(
    rng: np.random.Generator, clients: int | None = None, tokens: int | None = None
) -> Problem:
    """The first feasible draw of `random_problem` with a payload table."""
    while diagnose(problem := with_payload_table(random_problem(rng, clients, tokens), rng)) is not None:
        pass
    return problem


@st.composite
def feasible_problems(draw: st.DrawFn, clients: int = 3, tokens: int = 5) -> Problem:
    """Feasible instances of up to the given size; hypothesis shrinks the seed only."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return feasible_problem(rng, draw(st.integers(1, clients)), draw(st.integers(1, tokens)))


def brute_force(problem: Problem) -> tuple[float, tuple[int, ...]]:
    """The optimum over every K, each with its least round time (P1 to P3): (STE, K)."""
    demand = Demand(problem)
    ranges = [range(int(fewest), problem.tokens + 1) for fewest in problem.min_tokens]
    best: tuple[float, tuple[int, ...]] = (-math.inf, ())
    for counts in itertools.product(*ranges):
        round_s = demand.least_round_s(np.array(counts, dtype=np.int64))
        kept = sum(float(row[:count].sum()) for row, count in zip(problem.importance, counts, strict=True))
        best = max(best, (kept / round_s, counts))
    return best


def knapsack(problem: Problem, round_s: float) -> float:
    """F(tau): most attention within a round time, as a multiple-choice knapsack by HiGHS."""
    demand = Demand(problem)
    counts = range(problem.tokens + 1)
    need = np.stack([demand.bandwidth_hz(np.full(problem.clients, k), round_s) for k in counts], axis=1)
    allowed = np.isfinite(need) & (np.arange(problem.tokens + 1) >= problem.min_tokens[:, None])
    rows, columns = np.nonzero(allowed)
    pick_one = (rows == np.arange(problem.clients)[:, None]).astype(float)
    result = milp(
        -demand.retained[rows, columns],
        integrality=np.ones(rows.size),
        bounds=(0, 1),
        constraints=[
            LinearConstraint(pick_one, 1, 1),
            LinearConstraint(need[rows, columns][None] / problem.bandwidth_hz, ub=1.0),
        ],
        options={"mip_rel_gap": 1e-10},
    )
    assert result.success, result.message
    return -float(result.fun)


def bisect_bandwidth_hz(
    bits: float, seconds: float, power_w: float, gain: float, noise_w_per_hz: float
) -> float:
    """Least bandwidth that sends `bits` within `seconds`, by plain bisection on the rate equation."""
    received = power_w * gain / noise_w_per_hz
    if bits * math.log(2.0) >= received * seconds:
        return math.inf
    low, high = 1e-300, 1e300
    while high / low > 1 + 1e-15:
        middle = math.sqrt(low) * math.sqrt(high)
        if middle in {low, high}:
            break
        if middle * math.log1p(received / middle) / math.log(2.0) * seconds >= bits:
            high = middle
        else:
            low = middle
    return high


def score(problem: Problem, allocation: Allocation) -> tuple[float, list[float], list[float]]:
    """STE, upload times and energies in plain Python, client by client."""
    uplink, energy, kept = [], [], 0.0
    for m in range(problem.clients):
        tokens, bandwidth, power = (
            int(allocation.tokens[m]),
            float(allocation.bandwidth_hz[m]),
            float(allocation.power_w[m]),
        )
        bits = float(problem.bits_per_token[m]) * (tokens + problem.extra_tokens)
        if problem.payload_bits is not None:
            bits = float(problem.payload_bits[m, min(tokens, problem.tokens)])
        if bandwidth > 0 and power > 0:
            snr = power * float(problem.gain[m]) / (problem.noise_w_per_hz * bandwidth)
            seconds = bits / (bandwidth * math.log1p(snr) / math.log(2.0))
        else:
            seconds = math.inf
        uplink.append(seconds)
        energy.append(power * seconds if seconds < math.inf else math.inf)
        kept += sum(sorted(problem.importance[m].tolist(), reverse=True)[:tokens])
    round_s = max(o + t for o, t in zip(problem.overhead_s.tolist(), uplink, strict=True))
    return kept / round_s, uplink, energy
