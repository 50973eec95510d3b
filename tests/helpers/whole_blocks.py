"""Bandwidth in whole blocks by brute force: all options, all ways to share out the blocks."""

from __future__ import annotations

import itertools
import math
from typing import Any, Final

import numpy as np

from stsflora.solver import Problem, Retained, RoundTime, Ste
from stsflora.solver.problem import FloatArray

HALVINGS: Final = 200

Sendable = tuple[int, int, float, FloatArray]
"""Row (-1 for nothing), tokens, utility, and (N + 1,) the least round time on 0..N blocks, s."""


def least_upload_s(problem: Problem, row: int, bits: float, blocks: int) -> float:
    """Least upload time on some blocks, s: as much power as the limits and the energy allow, by bisection."""
    left_j = float(problem.max_energy_j[row] - problem.before_j[row])
    if left_j <= 0.0:
        return math.inf
    if bits == 0.0:
        return 0.0
    if blocks == 0:
        return math.inf
    width_hz = blocks * float(problem.block_hz or 0.0)
    snr_per_w = float(problem.gain[row]) / (problem.noise_w_per_hz * width_hz)

    def seconds(power_w: float) -> float:
        efficiency = min(math.log1p(power_w * snr_per_w) / math.log(2.0), problem.max_bps_per_hz[row])
        return bits / (width_hz * efficiency) if efficiency > 0.0 else math.inf

    low, high = 0.0, min(float(problem.max_power_w[row]), float(problem.max_psd_w_per_hz[row]) * width_hz)
    if high * seconds(high) > left_j:
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if middle * seconds(middle) <= left_j else (low, middle)
        high = low
    least_s = seconds(high) if high > 0.0 else math.inf
    return least_s if least_s <= problem.deadline_s[row] else math.inf


def sendables(problem: Problem) -> list[list[Sendable]]:
    """What each client may send."""
    most = int(problem.bandwidth_hz / (problem.block_hz or 0.0) * (1.0 + 1e-12))
    lists: list[list[Sendable]] = [[] for _ in range(problem.clients)]
    for m in np.flatnonzero(problem.may_skip):
        lists[m].append((-1, 0, 0.0, np.zeros(most + 1)))
    for row in range(problem.row_count):
        for tokens in range(int(problem.min_tokens[row]), int(problem.max_tokens[row]) + 1):
            one, count = np.array([row]), np.array([tokens])
            bits, worth = float(problem.bits_of(one, count)[0]), float(problem.worth_of(one, count)[0])
            uploads = np.array([least_upload_s(problem, row, bits, n) for n in range(most + 1)])
            lists[problem.client[row]].append((row, tokens, worth, problem.overhead_s[row] + uploads))
    return lists


def brute_force_blocks(problem: Problem) -> float:
    """The best value over all options and all ways to share out the blocks; nan if there is none."""
    objective, lists = problem.objective, sendables(problem)
    most = int(problem.bandwidth_hz / (problem.block_hz or 0.0) * (1.0 + 1e-12))
    shares = [s for s in itertools.product(range(most + 1), repeat=problem.clients) if sum(s) <= most]
    parts, best = np.array(shares), math.nan
    for choice in itertools.product(*lists):
        if isinstance(objective, Ste) and all(row < 0 for row, *_ in choice):
            continue
        rounds = np.max([rounds[parts[:, m]] for m, (*_, rounds) in enumerate(choice)], axis=0)
        round_s, worth = float(rounds.min()), sum(option[2] for option in choice)
        if not round_s < math.inf or round_s > objective.longest_round_s:
            continue
        if worth < objective.least_retained * (1.0 - 1e-12):
            continue
        value = round_s if isinstance(objective, RoundTime) else worth
        if isinstance(objective, Ste):
            value = worth / round_s if round_s > 0.0 else math.nan
        if math.isnan(best) or objective.better(value, best):
            best = value
    return best


def random_blocks(rng: np.random.Generator, objective: str) -> Problem:
    """A problem of up to three clients and eight blocks, with any of the features. May raise ProblemError."""
    clients, most = int(rng.integers(1, 4)), 8
    rows, tokens = clients + int(rng.integers(0, 3)), int(rng.integers(0, 4))
    blocks = int(rng.integers(clients, most if clients < 3 else most - 2))
    client = np.concatenate([np.arange(clients), rng.integers(0, clients, rows - clients)])
    caps, skip, table, deadline, overhead, before = rng.random(6) < 0.5
    fields: dict[str, Any] = {"client": rng.permutation(client)}
    if tokens == 0 or rng.random() < 0.5:  # of any shape, with ties
        fields["utility"] = rng.integers(0, 8, (rows, tokens + 1)) / 8.0
    else:
        fields["importance"] = rng.random((rows, tokens))
    if table:
        fields["payload_bits"] = np.cumsum(rng.choice([0.2, 1.0], (rows, tokens + 1)), axis=1) * 1e5
        if rng.random() < 0.5:  # nothing to send for no tokens
            fields["payload_bits"] -= fields["payload_bits"][:, :1]
    else:
        fields |= {
            "bits_per_token": 1e5 * rng.uniform(0.5, 2.0, rows),
            "extra_tokens": int(rng.integers(0, 3)),
        }
    if caps:
        fields["max_psd_w_per_hz"] = 1e-6 * 10.0 ** rng.uniform(-1.0, 1.0, rows)
        fields["max_bps_per_hz"] = rng.uniform(1.0, 6.0, rows)
    if rng.random() < 0.5:
        fields["min_tokens"] = 0
    if skip:
        fields["may_skip"] = rng.random(clients) < 0.7
    if deadline:
        fields["deadline_s"] = 10.0 ** rng.uniform(-1.0, 0.6, rows)
    if overhead:
        fields["overhead_s"] = rng.uniform(0.0, 0.5, rows)
    budget = 0.1 * 10.0 ** rng.uniform(-1.5, 1.0, rows)
    if before:
        fields["before_j"] = budget * rng.uniform(0.0, 1.0, rows)
    required = 0.0 if not skip and rng.random() < 0.3 else float(rng.uniform(0.05, 0.75) * clients)
    wanted = {
        "ste": Ste(),
        "retained": Retained(10.0 ** rng.uniform(-0.7, 1.0)),
        "round_time": RoundTime(required),
    }
    return Problem(
        gain=10.0 ** rng.uniform(-12.0, -10.0, rows),
        bandwidth_hz=1e5 * blocks * (1.0 if rng.random() < 0.5 else rng.uniform(1.0, 1.1)),
        max_power_w=0.1 * rng.uniform(0.5, 2.0, rows),
        max_energy_j=budget,
        block_hz=1e5,
        noise_w_per_hz=4e-18,
        objective=wanted[objective],
        **fields,
    )
