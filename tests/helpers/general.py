"""Slow, plain reimplementations of the general problem, and random instances of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from helpers.instances import bisect_bandwidth_hz, random_problem

from stsflora.solver import Energy, Problem, Retained, RoundTime, Ste, TotalTime, Weighted
from stsflora.solver.feasibility import diagnose

Choice = tuple[tuple[int, int], ...]
"""Row, or -1 for nothing sent, and tokens of every client."""

HALVINGS: Final = 200
GOLDEN: Final = (math.sqrt(5.0) - 1.0) / 2.0


def brute_force_general(problem: Problem) -> tuple[float, Choice]:
    """The best value over all rows and tokens, with the best shares of the band; nan if there is none."""
    best, objective = (math.nan, ()), problem.objective
    options: list[list[tuple[int, int]]] = [[] for _ in range(problem.clients)]
    for m in np.flatnonzero(problem.may_skip):
        options[m].append((-1, 0))
    for row in range(problem.row_count):
        counts = range(int(problem.min_tokens[row]), int(problem.max_tokens[row]) + 1)
        options[problem.client[row]] += [(row, tokens) for tokens in counts]
    for choice in itertools.product(*options):
        value = value_of_choice(problem, choice)
        if not math.isnan(value) and (math.isnan(best[0]) or objective.better(value, best[0])):
            best = (value, choice)
    return best


def value_of_choice(problem: Problem, choice: Choice) -> float:
    """The best value with given rows and tokens; nan where they cannot be sent."""
    objective = problem.objective
    sent = [(m, row, tokens) for m, (row, tokens) in enumerate(choice) if row >= 0]
    worth = sum(_worth(problem, row, tokens) for _, row, tokens in sent)
    if worth < objective.least_retained * (1 - 1e-12):
        return math.nan
    if not sent:
        return math.nan if isinstance(objective, Ste) else 0.0
    uploads = [(row, _bits(problem, row, tokens)) for _, row, tokens in sent]
    round_s = _least_round(problem, uploads)
    if round_s == math.inf or round_s > objective.longest_round_s * (1 + 1e-12):
        return math.nan
    if isinstance(objective, Ste):
        return worth / round_s if round_s > 0.0 else math.nan
    if isinstance(objective, Retained):
        return worth
    if isinstance(objective, RoundTime):
        return round_s
    if isinstance(objective, Energy):
        return _least_energy(problem, uploads, objective.round_s)
    if isinstance(objective, TotalTime):
        weights = objective.weights(problem.clients)
        return _least_total_time(problem, uploads, [float(weights[m]) for m, _, _ in sent])
    assert isinstance(objective, Weighted)
    if objective.per_joule == 0.0:
        return worth - objective.per_second * round_s

    def cost(seconds: float) -> float:
        joules = _least_energy(problem, uploads, seconds)
        return objective.per_second * seconds + objective.per_joule * joules

    return worth - _least(cost, round_s, 1e3 * round_s)


def _worth(problem: Problem, row: int, tokens: int) -> float:
    if problem.utility is not None:
        return float(problem.utility[row, tokens])
    return sum(sorted(problem.importance[row].tolist(), reverse=True)[:tokens])


def _bits(problem: Problem, row: int, tokens: int) -> float:
    if problem.payload_bits is not None:
        return float(problem.payload_bits[row, tokens])
    return float(problem.bits_per_token[row]) * (tokens + problem.extra_tokens)


def _efficiency(problem: Problem, row: int) -> float:
    """Most bit/s per hertz."""
    density = float(problem.max_psd_w_per_hz[row] * problem.gain[row] / problem.noise_w_per_hz)
    return min(float(problem.max_bps_per_hz[row]), math.log2(1.0 + density))


def _need(problem: Problem, row: int, bits: float, slot_s: float) -> float:
    """Least bandwidth for an upload of `slot_s`, Hz."""
    if bits == 0.0:
        return 0.0 if slot_s >= 0.0 else math.inf
    left_j = float(problem.max_energy_j[row] - problem.before_j[row])
    if slot_s <= 0.0 or left_j <= 0.0:
        return math.inf
    power = min(float(problem.max_power_w[row]), left_j / slot_s)
    gain, noise = float(problem.gain[row]), problem.noise_w_per_hz
    need = bisect_bandwidth_hz(bits, slot_s, power, gain, noise)
    return max(need, bits / slot_s / _efficiency(problem, row))


def _slot(problem: Problem, row: int, round_s: float) -> float:
    return min(round_s - float(problem.overhead_s[row]), float(problem.deadline_s[row]))


def _fits(problem: Problem, uploads: list[tuple[int, float]], round_s: float) -> bool:
    needs = [_need(problem, row, bits, _slot(problem, row, round_s)) for row, bits in uploads]
    if problem.block_hz is None or math.inf in needs:
        return sum(needs) <= problem.bandwidth_hz * (1 + 1e-13)
    blocks = [max(math.ceil(need / problem.block_hz * (1 - 1e-12)), need > 0) for need in needs]
    return sum(blocks) <= math.floor(problem.bandwidth_hz / problem.block_hz * (1 + 1e-12))


def _least_round(problem: Problem, uploads: list[tuple[int, float]]) -> float:
    low = max(float(problem.overhead_s[row]) for row, _ in uploads)
    if _fits(problem, uploads, low):
        return low
    high = max(low, 1e-12)
    while not _fits(problem, uploads, high):
        high *= 2.0
        if high > 1e15:
            return math.inf
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if _fits(problem, uploads, middle):
            high = middle
        else:
            low = middle
    return high


def _least_energy(problem: Problem, uploads: list[tuple[int, float]], round_s: float) -> float:
    """Least joules of all within a round."""
    before = sum(float(problem.before_j[row]) for row, _ in uploads)

    def energy(row: int, bits: float) -> Callable[[float], float]:
        slot_s, gain = _slot(problem, row, round_s), float(problem.gain[row])

        def at(bandwidth_hz: float) -> float:
            exponent = min(bits / bandwidth_hz / slot_s * math.log(2.0), 700.0)
            return slot_s * bandwidth_hz * problem.noise_w_per_hz / gain * math.expm1(exponent)

        return at

    sending = [(row, bits) for row, bits in uploads if bits > 0.0]
    needs = [_need(problem, row, bits, _slot(problem, row, round_s)) for row, bits in sending]
    return before + _least_sum(problem.bandwidth_hz, [energy(*upload) for upload in sending], needs)


def _least_total_time(problem: Problem, uploads: list[tuple[int, float]], weights: list[float]) -> float:
    """Least weighted sum of the times in which all end."""

    def time(row: int, bits: float, weight: float) -> Callable[[float], float]:
        gain, noise = float(problem.gain[row]), problem.noise_w_per_hz
        left_j = float(problem.max_energy_j[row] - problem.before_j[row])

        def allowed(rate: float, bandwidth_hz: float) -> bool:
            power = noise * bandwidth_hz / gain * math.expm1(rate / bandwidth_hz * math.log(2.0))
            return bool(power <= problem.max_power_w[row] and power * bits / rate <= left_j)

        def at(bandwidth_hz: float) -> float:
            rate = bandwidth_hz * min(_efficiency(problem, row), 1000.0)
            if not allowed(rate, bandwidth_hz):
                while not allowed(0.5 * rate, bandwidth_hz):
                    rate *= 0.5
                low, high = 0.5 * rate, rate
                for _ in range(60):
                    rate = 0.5 * (low + high)
                    low, high = (rate, high) if allowed(rate, bandwidth_hz) else (low, rate)
            return weight * bits / rate

        return at

    sending = [
        (row, bits, weight) for (row, bits), weight in zip(uploads, weights, strict=True) if bits > 0.0
    ]
    needs = [_need(problem, row, bits, min(float(problem.deadline_s[row]), 1e12)) for row, bits, _ in sending]
    fixed = sum(
        weight * float(problem.overhead_s[row]) for (row, _), weight in zip(uploads, weights, strict=True)
    )
    return fixed + _least_sum(problem.bandwidth_hz, [time(*upload) for upload in sending], needs)


def _least_sum(bandwidth_hz: float, costs: list[Callable[[float], float]], needs: list[float]) -> float:
    """The least sum of falling convex costs of bandwidths that share the band, each at least its need.

    One client after the other against the rest: nested golden sections, for two or three clients.
    """
    if len(costs) < 2:
        return sum(cost(max(bandwidth_hz, need)) for cost, need in zip(costs, needs, strict=True))

    def all_of_them(width_hz: float) -> float:
        return costs[0](width_hz) + _least_sum(bandwidth_hz - width_hz, costs[1:], needs[1:])

    return _least(all_of_them, needs[0], max(bandwidth_hz - sum(needs[1:]), needs[0]))


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """The least value of a convex function, by golden section."""
    ends = min(function(low), function(high))
    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    values = [function(x) for x in inner]
    for _ in range(60):
        if values[0] <= values[1]:
            high = inner[1]
            inner = [high - GOLDEN * (high - low), inner[0]]
            values = [function(inner[0]), values[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + GOLDEN * (high - low)]
            values = [values[1], function(inner[1])]
    return min(ends, *values)


FEATURES_AT_RANDOM: Final = ("utility", "token_limits", "alternatives", "skip", "before_j", "caps")


def random_general(
    rng: np.random.Generator, objective: str, clients: int, tokens: int, features: tuple[str, ...]
) -> Problem:
    """An instance of an objective with some of `FEATURES_AT_RANDOM`, its limits near what is possible.

    It may be infeasible.
    """
    rows = clients if "alternatives" not in features else clients + int(rng.integers(1, clients + 2))
    base = random_problem(rng, rows, tokens)
    changes: dict[str, Any] = {"may_skip": False}
    if rows > clients:
        owner = np.concatenate((np.arange(clients), rng.integers(0, clients, rows - clients)))
        changes["client"] = rng.permutation(owner)
    if "utility" in features:
        worth = rng.random((rows, tokens + 1)) * (rng.random((rows, tokens + 1)) < 0.8) + 0.01
        changes["utility"] = np.where((np.arange(tokens + 1) == 0) & (base.extra_tokens == 0), 0.0, worth)
    if "token_limits" in features:
        most = rng.integers(0, tokens + 1, rows)
        most[0] = tokens
        changes |= {"max_tokens": most, "min_tokens": np.minimum(rng.integers(0, 2, rows), most)}
    if "skip" in features:
        changes["may_skip"] = rng.random(clients) < 0.5
    if "before_j" in features:
        changes["before_j"] = np.where(np.isfinite(base.max_energy_j), base.max_energy_j, 1.0) * rng.choice(
            [0.0, 0.3, 0.9], rows
        )
    if "caps" in features:
        snr = base.max_power_w * base.gain / base.noise_w_per_hz / base.bandwidth_hz
        changes["max_psd_w_per_hz"] = np.where(
            rng.random(rows) < 0.5,
            np.inf,
            base.max_power_w / base.bandwidth_hz * 10 ** rng.uniform(-1, 1, rows),
        )
        changes["max_bps_per_hz"] = np.where(
            rng.random(rows) < 0.5, np.inf, np.log2(1 + snr * 10 ** rng.uniform(-1, 1, rows))
        )
    if "blocks" in features:
        changes["block_hz"] = base.bandwidth_hz / float(rng.uniform(clients, 12.0))
    plain = replace(base, **(changes | {"objective": Weighted(per_second=1.0)}))
    round_s, worth = _middle(plain)
    share = float(rng.uniform(0.0, 0.9))
    objectives = {
        "ste": Ste,
        "retained": lambda: Retained(round_s * float(rng.uniform(0.5, 2.0))),
        "round_time": lambda: RoundTime(share * worth if "requirement" in features else 0.0),
        "weighted": lambda: Weighted(worth / round_s * 10 ** float(rng.uniform(-1, 0.5))),
        "energy": lambda: Energy(
            round_s * float(rng.uniform(1.0, 3.0)), share * worth if "requirement" in features else 0.0
        ),
        "total_time": lambda: TotalTime(rng.uniform(0.5, 2.0, clients)),
    }
    wanted = objectives[objective]()
    if not (wanted.maximises or wanted.least_retained > 0.0):
        plain = replace(plain, may_skip=False)
    return replace(plain, objective=wanted)


def feasible_general(
    rng: np.random.Generator, objective: str, clients: int, tokens: int, features: tuple[str, ...]
) -> tuple[Problem, float]:
    """The first draw of `random_general` that has an optimum, and that."""
    while True:
        problem = random_general(rng, objective, clients, tokens, features)
        if diagnose(problem) is None:
            value, _ = brute_force_general(problem)
            if not math.isnan(value):
                return problem, value


def _middle(problem: Problem) -> tuple[float, float]:
    """A round time of the order of what the least takes on equal shares, s, and half of all utility."""
    rows = np.arange(problem.row_count)
    share = problem.bandwidth_hz / problem.clients
    power = problem.max_power_w
    rate = share * np.log2(1 + power * problem.gain / problem.noise_w_per_hz / share)
    uplink = problem.bits_of(rows, np.maximum(problem.min_tokens, 1)) / rate
    worth = problem.worth_of(rows, problem.max_tokens)
    most = sum(float(worth[problem.client == m].max()) for m in range(problem.clients))
    return float(np.median(uplink + problem.overhead_s)) + 1e-12, most
