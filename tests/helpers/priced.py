"""Slow truths for objectives that are sums over clients: every choice, shares by scipy, costs as defined."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar

from stsflora.solver import Energy, Problem, TotalTime, Weighted

Choice = tuple[tuple[int, int], ...]
"""Row and tokens of each client; row -1 for none."""


def draw(rng: np.random.Generator, clients: int, tokens: int, wanted: str) -> Problem:
    """A small round with alternatives, caps, deadlines, and limits that bind or not."""
    client = np.concatenate((np.arange(clients), rng.integers(0, clients, int(rng.integers(0, clients + 1)))))
    rows = client.size
    problem = Problem(
        client=client,
        gain=10 ** rng.uniform(-12, -7, rows),
        importance=rng.uniform(0, 1, (rows, tokens)),
        bits_per_token=10 ** rng.uniform(4.5, 5.5, rows),
        extra_tokens=int(rng.integers(0, 2)),
        min_tokens=int(rng.integers(0, 2)),
        bandwidth_hz=10 ** rng.uniform(5.8, 7),
        max_power_w=rng.uniform(0.05, 0.5, rows),
        max_energy_j=10 ** rng.uniform(-1.5, 1, rows) if rng.random() < 0.8 else np.inf,
        deadline_s=np.where(rng.random(rows) < 0.5, np.inf, rng.uniform(0.2, 2, rows)),
        overhead_s=rng.uniform(0, 0.5, rows) if rng.random() < 0.7 else 0.0,
        before_j=rng.uniform(0, 0.02, rows) if rng.random() < 0.5 else 0.0,
        max_bps_per_hz=rng.uniform(1, 8, rows) if rng.random() < 0.5 else np.inf,
        max_psd_w_per_hz=10 ** rng.uniform(-8, -6, rows) if rng.random() < 0.4 else np.inf,
    )
    may_skip = rng.random(clients) < 0.4
    if wanted == "total_time":
        return replace(problem, objective=TotalTime(rng.uniform(0.5, 2, clients)))
    if wanted == "energy":
        return replace(problem, objective=Energy(rng.uniform(0.7, 3)))
    if wanted == "weighted":
        objective = Weighted(10 ** rng.uniform(-1.5, 1), 10 ** rng.uniform(-1, 3))
        return replace(problem, objective=objective, may_skip=may_skip)
    round_s = rng.uniform(0.7, 3)
    free = replace(problem, objective=Energy(round_s, retained=1e-9), may_skip=may_skip)
    sums = [worth(free, choice) for choice in choices(free)]
    return replace(free, objective=Energy(round_s, retained=max(float(rng.choice(sums)), 1e-9)))


def choices(problem: Problem) -> Iterator[Choice]:
    """All of them."""
    lists = []
    for m in range(problem.clients):
        mine = [
            (int(r), k)
            for r in np.flatnonzero(problem.client == m)
            for k in range(problem.min_tokens[r], problem.max_tokens[r] + 1)
        ]
        lists.append([*mine, (-1, 0)] if problem.may_skip[m] else mine)
    return itertools.product(*lists)


def worth(problem: Problem, choice: Choice) -> float:
    """Sum of utilities, as `evaluate` adds them up."""
    each = [float(problem.worth_of(np.array([r]), np.array([k]))[0]) if r >= 0 else 0.0 for r, k in choice]
    return float(np.array(each).sum())


def least_power(problem: Problem, row: int, bits: float, slot_s: float, bandwidth_hz: float) -> float:
    """Power that ends an upload just in time within all limits, W; inf where none does."""
    efficiency = bits / (bandwidth_hz * slot_s)
    if efficiency > min(problem.max_bps_per_hz[row], 900.0):
        return math.inf
    over_noise = problem.gain[row] / (problem.noise_w_per_hz * bandwidth_hz)
    power = math.expm1(efficiency * math.log(2)) / over_noise
    limit = min(problem.max_power_w[row], problem.max_psd_w_per_hz[row] * bandwidth_hz)
    joules = power * slot_s + problem.before_j[row]
    return power if power <= limit and joules <= problem.max_energy_j[row] else math.inf


def upload_cost(
    problem: Problem, row: int, tokens: int, round_s: float, bandwidth_hz: float, timed: bool
) -> float:
    """Seconds or joules of one upload, without what is before it, on a bandwidth; inf where it fails."""
    bits = float(problem.bits_of(np.array([row]), np.array([tokens]))[0])
    slot_s = min(problem.deadline_s[row], round_s - problem.overhead_s[row])
    if slot_s < 0.0 or problem.before_j[row] >= problem.max_energy_j[row]:
        return math.inf
    if bits == 0.0:
        return 0.0
    slot_s = min(slot_s, 1e6)
    if slot_s == 0.0 or least_power(problem, row, bits, slot_s, bandwidth_hz) == math.inf:
        return math.inf
    if not timed:
        return least_power(problem, row, bits, slot_s, bandwidth_hz) * slot_s

    low, high = 0.0, slot_s
    while high - low > 1e-14 * high:
        middle = 0.5 * (low + high) if low > 0.0 else high / 64.0
        possible = least_power(problem, row, bits, middle, bandwidth_hz) < math.inf
        low, high = (low, middle) if possible else (middle, high)
    return high


def best_shares(costs: list[Callable[[float], float]], bandwidth_hz: float) -> float:
    """Least sum of convex costs over shares of a band: two clients at a time, until nothing changes."""
    lows = []
    for cost in costs:
        if cost(bandwidth_hz) == math.inf:
            return math.inf
        low, high = 1e-9 * bandwidth_hz, bandwidth_hz
        for _ in range(70 if cost(low) == math.inf else 0):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if cost(middle) < math.inf else (middle, high)
        lows.append(high if cost(low) == math.inf else low)
    if sum(lows) > bandwidth_hz:
        return math.inf
    if len(costs) <= 1:
        return sum(cost(bandwidth_hz) for cost in costs)
    spare = (bandwidth_hz - sum(lows)) / len(costs)
    shares = [low + spare for low in lows]
    total = sum(cost(share) for cost, share in zip(costs, shares, strict=True))
    for _ in range(200):
        for i, j in itertools.combinations(range(len(costs)), 2):
            both = shares[i] + shares[j]

            def of_two(share: float, i: int = i, j: int = j, both: float = both) -> float:
                return costs[i](share) + costs[j](both - share)

            if both - lows[j] <= lows[i]:
                continue
            found = minimize_scalar(
                of_two, bounds=(lows[i], both - lows[j]), method="bounded", options={"xatol": 1e-9 * both}
            )
            if found.fun < of_two(shares[i]):
                shares[i], shares[j] = float(found.x), both - float(found.x)
        before = total
        total = sum(cost(share) for cost, share in zip(costs, shares, strict=True))
        if before - total <= 1e-10 * before:
            break
    return total


def cost_of_choice(problem: Problem, choice: Choice, round_s: float) -> float:
    """Weighted seconds or joules of a choice within a round; inf where it does not fit."""
    timed = isinstance(problem.objective, TotalTime)
    weight = problem.objective.weights(problem.clients) if timed else np.ones(problem.clients)
    fixed, costs = 0.0, []
    for m, (r, k) in enumerate(choice):
        if r < 0:
            continue
        fixed += weight[m] * (problem.overhead_s[r] if timed else problem.before_j[r])
        alone = upload_cost(problem, r, k, round_s, problem.bandwidth_hz, timed)
        if alone == math.inf:
            return math.inf
        if alone > 0.0:
            costs.append(
                lambda w, r=r, k=k, m=m: float(weight[m]) * upload_cost(problem, r, k, round_s, w, timed)
            )
    return fixed + best_shares(costs, problem.bandwidth_hz)


def truth(problem: Problem) -> float:
    """The optimum, by trying every choice; for `Weighted` round times on a grid refined once."""
    objective = problem.objective
    if isinstance(objective, Weighted):
        return max(_best_round(problem, objective, choice) for choice in choices(problem))
    least = math.inf
    for choice in choices(problem):
        if worth(problem, choice) >= objective.least_retained:
            least = min(least, cost_of_choice(problem, choice, objective.longest_round_s))
    return least


def _best_round(problem: Problem, objective: Weighted, choice: Choice) -> float:
    rows = [r for r, _ in choice if r >= 0]
    utility = worth(problem, choice)
    if not rows:
        return utility

    def spent(round_s: float) -> float:
        return objective.per_joule * cost_of_choice(problem, choice, round_s) + objective.per_second * round_s

    ends = problem.overhead_s[rows] + problem.deadline_s[rows]
    low, high = problem.overhead_s[rows].max(), min(ends.max(), 100.0)
    rounds = np.unique(
        np.concatenate((low + np.geomspace(1e-4, max(high - low, 2e-4), 30), ends[ends < 100.0]))
    )
    costs = [spent(round_s) for round_s in rounds]
    i = int(np.argmin(costs))
    if costs[i] == math.inf:
        return -math.inf
    bounds = (rounds[max(i - 1, 0)], rounds[min(i + 1, rounds.size - 1)])
    found = minimize_scalar(spent, bounds=bounds, method="bounded", options={"xatol": 1e-6 * bounds[1]})
    return utility - min(costs[i], float(found.fun))
