"""`greedy` beyond the token problem: near the optimum, honest where it misses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.general import FEATURES_AT_RANDOM, feasible_general
from helpers.instances import small_problem

from stsflora.benchmarks.families import family
from stsflora.solver import Problem, Quality, Retained, RoundTime, Stop, Weighted, solve

OBJECTIVES = ("ste", "retained", "round_time", "weighted")


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_fills_are_near_the_optimum(objective: str, blocks: bool) -> None:
    """Most fills of small instances are the optimum."""
    if blocks and objective == "weighted":
        pytest.skip("refused")
    rng = np.random.default_rng(8)
    optimal = 0
    for index in range(6):
        features = tuple(name for name in FEATURES_AT_RANDOM if rng.random() < 0.4)
        features += ("blocks",) * blocks + ("requirement",) * (objective == "round_time" and index % 2)
        problem, best = feasible_general(rng, objective, 2, 3, features)
        result = solve(problem, "greedy")
        assert result.quality is Quality.FEASIBLE
        optimal += result.value == pytest.approx(best, rel=1e-6)
    assert optimal >= 4


@pytest.mark.parametrize("name", ["paper", "round_time", "heterogeneous"])
def test_large_instances_are_within_a_percent(name: str) -> None:
    problem = family(name, 20, 0)
    best = solve(problem)
    assert best.evaluation is not None
    round_s, most = best.evaluation.round_s, float(best.evaluation.retained.sum())
    for objective in (Retained(1.5 * round_s), RoundTime(0.9 * most), Weighted(0.5 * most / round_s, 1e-3)):
        wanted = replace(problem, objective=objective)
        result, proved = solve(wanted, "greedy"), solve(wanted, gap=1e-3, time_limit_s=10.0)
        assert result.evaluation is not None
        assert objective.gap(result.evaluation.totals, proved.bound) <= 0.01


def test_a_start_is_a_candidate() -> None:
    problem = replace(family("paper", 5, 0, tokens=20), objective=Retained(0.2))
    best = solve(problem)
    again = solve(problem, "greedy", start=best)
    assert again.value >= best.value * (1 - 1e-9)


def test_the_round_time_is_searched_only_where_it_is_free() -> None:
    fixed = solve(small_problem(objective=Retained(0.5)), "greedy")
    free = solve(small_problem(objective=Weighted(10.0)), "greedy")
    assert fixed.stats["round_times"] == 1
    assert free.stats["round_times"] > 8


def test_a_requirement_that_fills_miss_is_said_so() -> None:
    """1 bit/s/Hz on 4 Hz for 1 s: 1 + 2 of 4 bits are worth most per hertz, 3 + 1 are worth enough."""
    problem = Problem(
        gain=[1.0, 1.0],
        utility=[[0.0, 1.0, 2.5], [0.0, 1.0, 1.9]],
        payload_bits=[[0.0, 1.0, 3.0], [0.0, 1.0, 2.0]],
        min_tokens=1,
        bandwidth_hz=4.0,
        max_power_w=100.0,
        max_energy_j=np.inf,
        max_psd_w_per_hz=1.0,
        noise_w_per_hz=1.0,
        deadline_s=1.0,
        objective=RoundTime(retained=3.4),
    )
    result = solve(problem, "greedy")
    assert result.allocation is None
    assert result.stop is Stop.ITERATION_LIMIT
    assert result.message == (
        "No fill by gain per hertz reaches what is required; solver='exact' tells whether any does."
    )
    assert solve(problem).value == pytest.approx(1.0, rel=1e-6)
