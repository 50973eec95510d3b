"""`exact` on general problems: value and bound against every choice, by four objectives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.choices import Choices, all_choices, best_value, draw_problem, needs

from stsflora.solver import (
    Objective,
    Problem,
    Quality,
    Retained,
    RoundTime,
    Ste,
    Stop,
    Weighted,
    solve,
)
from stsflora.solver.errors import ProblemError

GAP = 1e-4


def objectives(rng: np.random.Generator, choices: Choices) -> list[Objective]:
    """Four kinds, with requirements at sums and rounds that some choice just reaches, and between."""
    wanted: list[Objective] = [Ste(), RoundTime()]
    if choices.round_s.size:
        some = int(rng.integers(choices.round_s.size))
        round_s, retained = float(choices.round_s[some]), float(choices.retained[some])
        wanted.append(RoundTime(retained))
        if round_s > 0.0:
            wanted.append(Retained(round_s * (1.0 if rng.random() < 0.5 else rng.uniform(0.9, 1.3))))
        middle_s = float(np.median(choices.round_s))
        if middle_s > 0.0:
            per_second = float(choices.retained.max()) / middle_s * 10 ** rng.uniform(-1.5, 1)
            wanted.append(Weighted(per_second))
    return wanted


def check(seed: int) -> int:
    """Both directions for one random problem: the value within the gap, no bound crossed. How many solves."""
    rng = np.random.default_rng((5, seed))
    try:
        drawn = draw_problem(rng)
    except ProblemError:
        return 0
    choices, solved = all_choices(drawn), 0
    for objective in objectives(rng, choices):
        try:
            problem = replace(drawn, objective=objective)
        except ProblemError:
            continue
        truth = best_value(problem, choices, objective)
        result = solve(problem, gap=GAP)
        solved += 1
        if math.isnan(truth):
            assert result.stop is Stop.INFEASIBLE, (seed, objective)
            continue
        assert result.quality is Quality.OPTIMAL, (seed, objective, result.message)
        sign = 1.0 if objective.maximises else -1.0
        scale = abs(truth)
        if isinstance(objective, Weighted):
            scale += 1e-3 * float(choices.retained.max() + objective.per_second * choices.round_s.min())
        assert sign * (result.bound - truth) >= -1e-10 * scale, (seed, objective)
        assert sign * (truth - result.value) <= 1.001 * GAP * scale + 1e-10 * scale, (seed, objective)
        spent = 1e-6 if result.stats.get("tolerance_used", 0.0) > 0.0 else 1e-10
        assert sign * (result.value - truth) <= spent * scale, (seed, objective)
    return solved


def test_against_every_choice() -> None:
    assert sum(check(seed) for seed in range(50)) > 150


@pytest.mark.slow
def test_against_every_choice_at_length() -> None:
    assert sum(check(seed) for seed in range(50, 1500)) > 4000


def all_or_nothing(clients: int = 20, **changes: object) -> Problem:
    """Equal clients that send one payload or nothing."""
    arguments = {
        "gain": np.full(clients, 1e-10),
        "importance": np.full((clients, 1), 0.7),
        "bits_per_token": 1e6,
        "extra_tokens": 0,
        "bandwidth_hz": 5e6,
        "max_power_w": 0.2,
        "max_energy_j": 1.0,
        "may_skip": True,
    }
    return Problem(**(arguments | changes))


@pytest.mark.parametrize("overhead_s", [0.0, 0.3])
def test_equal_clients_all_or_nothing_are_proved(overhead_s: float) -> None:
    problem = all_or_nothing(overhead_s=overhead_s)
    result = solve(problem)
    assert result.quality is Quality.OPTIMAL
    best = 0.0
    for senders in range(1, 21):
        alone = all_or_nothing(senders, overhead_s=overhead_s, may_skip=False, objective=RoundTime())
        best = max(best, 0.7 * senders / solve(alone).value)
    assert result.value == pytest.approx(best, rel=2e-4)
    assert result.stats["nodes"] < 200


def test_alternatives_of_twenty_clients_are_proved() -> None:
    rng = np.random.default_rng(3)
    clients, cuts, depths, counts = 20, 4, (8, 16, 32), 12
    rows = clients * cuts * len(depths)
    client = np.repeat(np.arange(clients), cuts * len(depths))
    cut = np.tile(np.repeat(np.arange(cuts), len(depths)), clients)
    bits = np.tile(depths, clients * cuts)
    worth = np.sort(rng.dirichlet(np.full(counts, 0.3), clients), axis=1)[:, ::-1].cumsum(axis=1)[client]
    worth = worth * (1 - 0.05 * (cuts - 1 - cut) - 0.3 / bits)[:, None]
    problem = Problem(
        gain=10 ** rng.uniform(-11.5, -9.5, clients)[client],
        client=client,
        utility=np.concatenate((np.zeros((rows, 1)), worth), axis=1),
        bits_per_token=64 * 768 * 16 * bits,
        overhead_s=(0.05 * (cut + 1)) / rng.uniform(0.5, 2, clients)[client],
        before_j=0.05 * (cut + 1),
        bandwidth_hz=20e6,
        max_power_w=0.2,
        max_energy_j=2.0,
    )
    best = solve(problem)
    round_s, retained = best.evaluation.round_s, float(best.evaluation.retained.sum())
    for objective in (Ste(), Retained(1.2 * round_s), Weighted(best.value), RoundTime(0.9 * retained)):
        result = solve(replace(problem, objective=objective))
        assert result.quality is Quality.OPTIMAL
        assert result.stats["options"] + result.stats["options_dominated"] == rows * counts


@pytest.mark.parametrize("clients", [20, 1000])
def test_the_shortest_round_of_fixed_payloads_is_that_of_bisection(clients: int) -> None:
    rng = np.random.default_rng(1)
    problem = Problem(
        gain=10 ** rng.uniform(-11.5, -9.5, clients),
        importance=np.zeros((clients, 0)),
        bits_per_token=10 ** rng.uniform(5.5, 6.5, clients),
        extra_tokens=1,
        overhead_s=rng.uniform(0, 0.05, clients),
        bandwidth_hz=1e6 * clients,
        max_power_w=0.2,
        max_energy_j=2.0,
        objective=RoundTime(),
    )
    rows = np.arange(clients)
    low, high = 0.05, 10.0
    while high - low > 1e-14 * high:
        middle = 0.5 * (low + high)
        with np.errstate(all="ignore"):
            fits = (
                needs(problem, rows, problem.bits_per_token, np.full(clients, middle)).sum() <= 1e6 * clients
            )
        if middle in (low, high):
            break
        low, high = (low, middle) if fits else (middle, high)
    result = solve(problem)
    assert result.value == pytest.approx(high, rel=1e-12)
    assert result.gap <= 1e-8


def test_an_interrupted_search_has_a_bound_that_holds() -> None:
    """From the first moment on: with hardly any time, the bound is finite and above the optimum."""
    problem = all_or_nothing(gain=10 ** np.linspace(-12, -9, 20), importance=np.linspace(0.1, 1, 20)[:, None])
    best = solve(problem, gap=1e-7)
    hurried = solve(problem, time_limit_s=1e-9, gap=1e-7)
    assert math.isfinite(hurried.bound)
    assert hurried.bound >= best.value
    few = solve(problem, gap=1e-7, max_nodes=1)
    assert best.value <= few.bound < math.inf


def test_what_cannot_be_required_is_infeasible() -> None:
    """Two clients whose deadlines leave room for one: all utility is there, but not together."""
    problem = Problem(
        gain=1e-10,
        importance=[[0.0], [0.0]],
        utility=[[0.0, 1.0], [0.0, 1.0]],
        bits_per_token=1e6,
        extra_tokens=0,
        min_tokens=0,
        bandwidth_hz=1.0,
        max_power_w=0.2,
        max_energy_j=10.0,
        deadline_s=1.0,
        objective=RoundTime(2.0),
    )
    alone = solve(replace(problem.subset([0]), bandwidth_hz=1e9, objective=RoundTime(1.0)))
    hertz = alone.allocation.bandwidth_hz[0]
    assert hertz > 0.0
    one_fits = solve(replace(problem, bandwidth_hz=1.5 * needed_hz(problem), objective=RoundTime(1.0)))
    assert one_fits.quality is Quality.OPTIMAL
    both = solve(replace(problem, bandwidth_hz=1.5 * needed_hz(problem)))
    assert both.stop is Stop.INFEASIBLE
    assert both.allocation is None


def needed_hz(problem: Problem) -> float:
    """What the first client needs to send its token by its deadline."""
    return float(needs(problem, np.array([0]), problem.bits_per_token[:1], np.array([1.0]))[0])
