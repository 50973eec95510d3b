"""Random general problems, small enough to try every choice, and what every choice is worth.

Shares no formula with the solver: bandwidths come from scipy's Lambert W, round times from bisection.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from scipy.special import lambertw

from stsflora.solver import Objective, Problem, RoundTime

FloatArray = np.ndarray


class Choices(NamedTuple):
    """Every choice of a row and token count per client (row -1: nothing sent), utilities and least rounds."""

    row: np.ndarray
    tokens: np.ndarray
    retained: FloatArray
    round_s: FloatArray


def draw_problem(
    rng: np.random.Generator, objective: Objective | None = None, most_clients: int = 4, most: int = 6
) -> Problem:
    """Alternatives, skipping, tables, both caps, own overheads, deadlines, energies before, no tokens."""
    clients = int(rng.integers(1, most_clients + 1))
    tokens = int(rng.integers(0, 4))
    most_rows = max(1, most // (tokens + 1))
    client = np.concatenate([np.full(rng.integers(1, most_rows + 1), m) for m in range(clients)])
    rows = client.size
    gain = (10 ** rng.uniform(-13, -9, clients))[client]
    bits = 10 ** rng.uniform(4, 7, rows)
    arguments: dict[str, Any] = {
        "gain": gain,
        "client": client,
        "bits_per_token": bits,
        "extra_tokens": int(rng.integers(0, 3)),
        "bandwidth_hz": 10 ** rng.uniform(6, 7.5),
        "max_power_w": 0.2,
        "max_energy_j": rng.uniform(0.2, 2, clients)[client],
        "may_skip": rng.random(clients) < rng.choice([0.0, 0.5, 1.0]),
        "before_j": rng.random(rows) * 0.2 * (rng.random() < 0.5),
        "overhead_s": rng.random(rows) * 10 ** rng.uniform(-3, 0) if rng.random() < 0.7 else 0.0,
        "max_tokens": rng.integers(0, tokens + 1, rows) if rng.random() < 0.3 else None,
    }
    if rng.random() < 0.4:
        arguments["deadline_s"] = np.where(
            rng.random(rows) < 0.5, 10 ** rng.uniform(-0.5, 1.5, rows), math.inf
        )
    if rng.random() < 0.5:
        arguments["max_bps_per_hz"] = rng.uniform(1.0, 8.0, rows)
    if rng.random() < 0.5:
        arguments["max_psd_w_per_hz"] = 10 ** rng.uniform(-8, -6, rows)
    if rng.random() < 0.5 or tokens == 0:
        worth = rng.random((rows, tokens + 1))
        arguments["utility"] = worth if rng.random() < 0.5 else np.round(worth * 5) + 1.0
    else:
        worth = rng.random((rows, tokens))
        arguments["importance"] = worth if rng.random() < 0.5 else np.ceil(worth * 3)
    if rng.random() < 0.4:
        arguments["payload_bits"] = bits[:, None] * np.cumsum(rng.random((rows, tokens + 1)) + 0.01, axis=1)
    if rng.random() < 0.3:
        arguments["min_tokens"] = 0
    if objective is not None:
        arguments["objective"] = objective
    return Problem(**arguments)


def needs(problem: Problem, row: np.ndarray, bits: FloatArray, round_s: FloatArray) -> FloatArray:
    """Least bandwidth of rows that send some bits within a round; inf where none is enough, 0 for row -1."""
    sends, bits, r = row >= 0, np.asarray(bits, float), np.maximum(row, 0)
    left_s = round_s - problem.overhead_s[r]
    slot_s = np.minimum(left_s, problem.deadline_s[r])
    energy_j = problem.max_energy_j[r] - problem.before_j[r]
    good = (slot_s > 0) & (energy_j > 0)
    slot = np.where(good, slot_s, 1.0)
    power_hz = np.minimum(problem.max_power_w[r], np.where(good, energy_j, 1.0) / slot) * (
        problem.gain[r] / problem.noise_w_per_hz
    )
    rate = bits * math.log(2.0) / slot
    rho = rate / power_hz
    good &= rho < 1.0
    inside = np.where(good & (rho > 0), rho, 0.5)
    y = -np.real(lambertw(-inside * np.exp(-inside), -1))
    # Where e^-y leaves the floats: y - ln y = rho - ln rho by iteration.
    tiny = inside < 1e-290
    y = np.where(tiny, -np.log(np.where(tiny, inside, 0.5)) + 6.5, y)
    density = np.log1p(problem.max_psd_w_per_hz[r] * problem.gain[r] / problem.noise_w_per_hz)
    eta = np.minimum(problem.max_bps_per_hz[r] * math.log(2.0), density)
    need = np.where(rho > 0, np.maximum(rate / (y - inside), rate / eta), 0.0)
    need = np.where(good, need, np.where((bits == 0) & (left_s >= 0) & (energy_j > 0), 0.0, np.inf))
    return np.where(sends, need, 0.0)


def needs_by_bisection(problem: Problem, row: int, bits: float, round_s: float) -> float:
    """`needs` of one row from its rate: W min(log2(1 + p h / (N0 W)), cap), p within P, E / t and psd W."""
    slot_s = min(round_s - problem.overhead_s[row], problem.deadline_s[row])
    energy_j = problem.max_energy_j[row] - problem.before_j[row]
    if not (slot_s > 0 and energy_j > 0):
        return math.inf
    power_w = min(problem.max_power_w[row], energy_j / slot_s)

    def seconds(hertz: float) -> float:
        watts = min(power_w, problem.max_psd_w_per_hz[row] * hertz)
        snr = watts * problem.gain[row] / (problem.noise_w_per_hz * hertz)
        return float(bits / (hertz * min(math.log1p(snr) / math.log(2.0), problem.max_bps_per_hz[row])))

    low, high = 1e-12, 1e18
    if seconds(high) > slot_s:
        return math.inf
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if seconds(middle) <= slot_s else (middle, high)
    return high


def all_choices(problem: Problem) -> Choices:
    """Every choice with the least round that it takes, by bisection; those that never fit are left out."""
    lists = []
    for m in range(problem.clients):
        mine = [(-1, 0)] if problem.may_skip[m] else []
        for r in np.flatnonzero(problem.client == m):
            mine += [(int(r), k) for k in range(problem.min_tokens[r], problem.max_tokens[r] + 1)]
        lists.append(mine)
    every = np.array(list(itertools.product(*lists)), dtype=np.int64)  # (C, M, 2)
    row, tokens = every[..., 0], every[..., 1]
    r = np.maximum(row, 0)
    shape = row.shape
    bits = np.where(row >= 0, problem.bits_of(r.ravel(), tokens.ravel()).reshape(shape), 0.0)
    worth = np.where(row >= 0, problem.worth_of(r.ravel(), tokens.ravel()).reshape(shape), 0.0)

    def total(round_s: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(needs(problem, row, bits, round_s[:, None]).sum(axis=1))

    earliest = np.where(row >= 0, problem.overhead_s[r], 0.0).max(axis=1)
    latest = np.where(row >= 0, problem.overhead_s[r] + np.minimum(problem.deadline_s[r], 1e9), 0.0).max(
        axis=1
    )
    low, high = earliest.copy(), latest
    fits = total(high * (1 + 1e-15)) <= problem.bandwidth_hz
    at_once = total(low) <= problem.bandwidth_hz
    for _ in range(75):
        middle = np.where(high > 4 * low + 1e-9, np.sqrt(np.maximum(low, 1e-10) * high), 0.5 * (low + high))
        enough = total(middle) <= problem.bandwidth_hz
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    round_s = np.where(at_once, earliest, high)
    return Choices(row[fits], tokens[fits], worth.sum(axis=1)[fits], round_s[fits])


def best_value(problem: Problem, choices: Choices, objective: Objective) -> float:
    """The best value of any choice by an objective, nan where none is allowed."""
    retained, round_s = choices.retained, choices.round_s
    allowed = (retained >= objective.least_retained) & (round_s <= objective.longest_round_s)
    if objective.name == "ste":
        allowed &= (choices.row >= 0).any(axis=1)
    if not allowed.any():
        return math.nan
    retained, round_s = retained[allowed], round_s[allowed]
    if objective.name == "ste":
        with np.errstate(all="ignore"):
            return float(np.nanmax(retained / round_s, initial=0.0))
    if objective.name == "retained":
        return float(retained.max())
    if isinstance(objective, RoundTime):
        return float(round_s.min())
    return float((retained - objective.settings()["per_second"] * round_s).max())
