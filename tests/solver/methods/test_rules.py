"""The simple rules against plain reimplementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.instances import feasible_problem, small_problem
from hypothesis import given
from hypothesis import strategies as st

from stsflora.benchmarks.families import families, family
from stsflora.solver import Allocation, OptionError, Problem, Quality, evaluate, solve
from stsflora.solver.feasibility import diagnose
from stsflora.solver.physics.bandwidth import power_w_for_energy
from stsflora.solver.physics.demand import Demand

SEEDS = st.integers(0, 2**32 - 1)


def equal_by_hand(problem: Problem, count: int) -> Allocation:
    """A common K on equal bandwidths, at the largest power within the energy."""
    share = problem.bandwidth_hz / problem.clients
    tokens = [max(count, int(fewest)) for fewest in problem.min_tokens]
    powers = []
    for m, tokens_m in enumerate(tokens):
        bits = problem.bits_per_token[m] * (tokens_m + problem.extra_tokens)
        power = float(
            power_w_for_energy(bits, share, problem.gain[m], problem.max_energy_j[m], problem.noise_w_per_hz)
        )
        powers.append(min(power, problem.max_power_w[m]) if power > 0 else problem.max_power_w[m])
    return Allocation(tokens, np.full(problem.clients, share), powers)


@given(SEEDS)
def test_equal_takes_the_best_common_count(seed: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    scores = [evaluate(problem, equal_by_hand(problem, k)) for k in range(1, problem.tokens + 1)]
    best = max((score.ste for score in scores if score.violation <= 1e-9), default=-math.inf)
    result = solve(problem, "equal")
    assert result.evaluation is not None
    if best > 0:
        assert result.evaluation.violation <= 1e-9
        assert result.ste == pytest.approx(best, rel=1e-9)
    else:  # nothing common fits: the smallest, with its excess on show
        assert result.evaluation.violation == pytest.approx(scores[0].violation, rel=1e-6)


def test_equal_shows_what_it_breaks() -> None:
    problem = small_problem(deadline_s=0.1, gain=[1e-9, 1e-9, 1e-12])
    assert diagnose(problem) is None
    result = solve(problem, "equal")
    assert result.quality is Quality.INFEASIBLE
    assert result.evaluation is not None
    assert result.evaluation.violations["deadline"] > 0.1
    assert result.evaluation.violations["bandwidth"] <= 1e-12


@given(SEEDS, st.integers(1, 9))
def test_full_and_fixed_end_as_soon_as_possible(seed: int, count: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    for tokens, result in (
        (np.full(problem.clients, problem.tokens), solve(problem, "full")),
        (
            np.clip(count, problem.min_tokens, problem.tokens),
            solve(problem, "fixed", tokens=count),
        ),
    ):
        assert result.allocation is not None
        assert result.evaluation is not None
        np.testing.assert_array_equal(result.allocation.tokens, tokens)
        least = Demand(problem).least_round_s(tokens)
        assert (result.quality is not Quality.INFEASIBLE) == math.isfinite(least)
        if math.isfinite(least):
            assert result.evaluation.round_s == pytest.approx(least, rel=1e-9)
        else:
            assert result.message == "These tokens do not fit; bandwidth is equal."
            assert 1e-6 < result.evaluation.violation < np.inf


def test_full_shows_the_energy_it_overspends() -> None:
    """Six payloads of 1e5 bit take 8.3e-5 J at any bandwidth (P6): sent at full power all the same."""
    problem = small_problem(max_energy_j=[1.0, 1.0, 6e-5])
    result = solve(problem, "full")
    assert result.quality is Quality.INFEASIBLE
    assert result.allocation is not None
    assert result.evaluation is not None
    assert result.allocation.power_w[2] == problem.max_power_w[2]
    assert {name for name, size in result.evaluation.violations.items() if size > 1e-9} == {"energy"}


def test_fixed_cuts_and_raises_the_common_count() -> None:
    problem = small_problem(min_tokens=[1, 2, 3])
    for count, tokens in ((1, [1, 2, 3]), (2, [2, 2, 3]), (128, [4, 4, 4])):
        allocation = solve(problem, "fixed", tokens=count).allocation
        assert allocation is not None
        assert allocation.tokens.tolist() == tokens


@pytest.mark.parametrize("count", [0, 1.5, True, "all"])
def test_fixed_refuses_in_words(count: object) -> None:
    with pytest.raises(OptionError) as caught:
        solve(small_problem(), "fixed", tokens=count)
    assert str(caught.value) == (
        f"solver 'fixed': got tokens={count!r}; allowed: a whole number >= 1. Pass an int."
    )


@given(SEEDS)
def test_random_is_feasible_and_follows_its_seed(seed: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    one, same = solve(problem, "random", seed=seed), solve(problem, "random", seed=seed)
    assert one.quality is Quality.FEASIBLE
    assert one.ste == same.ste


def test_random_depends_on_the_seed() -> None:
    problem = family("round_time", 6, 0)
    assert len({solve(problem, "random", seed=seed).ste for seed in range(20)}) == 20


@given(SEEDS)
def test_shi_ends_all_at_once_at_the_best_common_count(seed: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    demand = Demand(problem)
    best = 0.0
    for count in range(1, problem.tokens + 1):
        tokens = np.maximum(problem.min_tokens, count)
        kept = sum(float(row[:k].sum()) for row, k in zip(problem.importance, tokens, strict=True))
        best = max(best, kept / demand.least_round_s(tokens))
    result = solve(problem, "shi")
    assert result.quality is Quality.FEASIBLE
    assert result.ste == pytest.approx(best, rel=1e-9)
    assert result.evaluation is not None
    ends = problem.overhead_s + result.evaluation.uplink_s
    early = ends < result.evaluation.round_s * (1 - 1e-9)
    at_deadline = np.isclose(result.evaluation.uplink_s, problem.deadline_s, rtol=1e-6)
    assert (at_deadline | ~early).all()


@pytest.mark.parametrize("name", [name for name in families() if name != "infeasible"])
def test_the_order_of_the_rules(name: str) -> None:
    """Sharing by need beats equal shares, and the best common count beats any fixed one."""
    for seed in range(3):
        problem = family(name, 6, seed, tokens=24)
        shi = solve(problem, "shi").ste
        for rule in ("equal", "full"):
            other = solve(problem, rule)
            assert other.quality is Quality.INFEASIBLE or other.ste <= shi * (1 + 1e-9)
        for count in (1, 5, 24):
            other = solve(problem, "fixed", tokens=count)
            assert other.quality is Quality.INFEASIBLE or other.ste <= shi * (1 + 1e-9)
