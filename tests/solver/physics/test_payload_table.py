"""Payloads that are no line: every promise of the affine case, with nothing concave to lean on."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.conformance import (
    check_against_brute_force,
    check_against_highs,
    check_answer,
    check_same_answer,
    check_time_limit,
    run,
)
from helpers.instances import feasible_table_problem, knapsack, score, small_problem, with_payload_table
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.benchmarks.families import families, family
from stsflora.solver import (
    Allocation,
    Problem,
    ProblemError,
    Quality,
    SolverInfo,
    Stop,
    evaluate,
    solve,
    solvers,
)
from stsflora.solver.bounds.goal import fastest_point, shadow_price
from stsflora.solver.feasibility import diagnose
from stsflora.solver.physics import loops
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.instance import instance_of
from stsflora.solver.physics.uplink import rate_bps
from stsflora.solver.primal.blocks import largest_tokens, token_block
from stsflora.solver.primal.initial_points import start
from stsflora.solver.tolerances import BOUND_CONTRADICTION, BOUND_SHARE, FEASIBILITY, OPTIMALITY

SEEDS = st.integers(0, 2**32 - 1)
ABLE = [info for info in solvers() if "payload_tables" in info.takes.get("ste", ())]
UNABLE = [info for info in solvers() if "payload_tables" not in info.takes.get("ste", ())]
able_cases = pytest.mark.parametrize("info", ABLE, ids=lambda info: info.name)


def as_table(problem: Problem) -> Problem:
    """The same payloads, spelled out."""
    counts = np.arange(problem.tokens + 1)
    return replace(problem, payload_bits=problem.bits_per_token[:, None] * (counts + problem.extra_tokens))


@cache
def table_family(name: str, clients: int, seed: int, tokens: int = 10) -> Problem:
    """A benchmark family whose payloads are tables, its deadlines and budgets loosened until all fit."""
    rng = np.random.default_rng([seed, clients])
    problem = with_payload_table(family(name, clients, seed, tokens=tokens), rng)
    while diagnose(problem) is not None:
        problem = replace(
            problem, deadline_s=1.5 * problem.deadline_s, max_energy_j=1.5 * problem.max_energy_j
        )
    return problem


@cache
def proved_bound(problem_of: tuple[str, int, int]) -> float:
    return solve(table_family(*problem_of)).bound


# The problem


def small_table(**changes: Any) -> Problem:
    return small_problem(
        payload_bits=1e5 * np.array([[0, 1, 2, 5, 6], [1, 2, 3, 4, 9], [0, 4, 5, 6, 7]]), **changes
    )


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (np.ones((3, 4)), "got shape (3, 4); allowed: (3, 5): a row per client, K = 0..N"),
        (np.ones(5), "got shape (5,); allowed: (3, 5)"),
        ([["a"] * 5] * 3, "got type <U1; allowed: real numbers"),
        (np.full((3, 5), np.nan), "got nan at index (0, 0); allowed: finite and >= 0"),
        (np.arange(-1.0, 14.0).reshape(3, 5), "got -1 at index (0, 0); allowed: finite and >= 0"),
        ([[1, 2, 3, 3, 4]] * 3, "got 3 at index (0, 3); allowed: strictly increasing along the tokens"),
        ([[0, 1e-50, 1, 2, 3]] * 3, "got 1e-50 at index (0, 0); allowed: magnitudes from"),
        ([[0, 1, 1e60, 1e61, 1e62]] * 3, "got 1e+60 at index (0, 2); allowed: up to"),
    ],
)
def test_other_tables_are_refused_in_words(table: Any, text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        small_problem(payload_bits=table)
    assert str(caught.value).startswith(f"Problem.payload_bits: {text}")


def test_a_table_is_kept_read_only_cut_with_its_clients_and_compared() -> None:
    problem = small_table()
    assert problem.payload_bits is not None
    assert not problem.payload_bits.flags.writeable
    cut = problem.subset([2, 0]).payload_bits
    assert cut is not None
    np.testing.assert_array_equal(cut, problem.payload_bits[[2, 0]])
    assert problem == small_table()
    assert problem != small_problem()
    assert small_problem() != problem
    assert problem != replace(problem, payload_bits=2 * problem.payload_bits)
    assert "payload_bits" not in small_problem().as_dict()


@pytest.mark.parametrize("ending", [".npz", ".json"])
def test_a_table_survives_its_file(ending: str, tmp_path: Path) -> None:
    for number, problem in enumerate((small_table(), feasible_table_problem(np.random.default_rng(0)))):
        path = tmp_path / f"{number}{ending}"
        problem.save(path)
        assert Problem.load(path) == problem


@given(SEEDS)
@settings(max_examples=40)
def test_the_evaluator_reads_the_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_table_problem(rng)
    shares = rng.dirichlet(np.ones(problem.clients)) * problem.bandwidth_hz
    tokens = rng.integers(0, problem.tokens + 3, problem.clients)
    allocation = Allocation(tokens, shares, problem.max_power_w * rng.random(problem.clients))
    ste, uplink, energy = score(problem, allocation)
    evaluation = evaluate(problem, allocation)
    assert evaluation.ste == pytest.approx(ste, rel=1e-12)
    np.testing.assert_allclose(evaluation.uplink_s, uplink, rtol=1e-12)
    np.testing.assert_allclose(evaluation.energy_j, energy, rtol=1e-12)


# Optimality


def check_block(entropy: list[int], count: int) -> None:
    rng = np.random.default_rng(entropy)
    for number in range(count):
        clients = int(rng.integers(1, 4))
        problem = feasible_table_problem(rng, clients, int(rng.integers(1, (40, 10, 6)[clients - 1])))
        check_against_brute_force(problem, (0.0, 1e-4, 1e-2)[number % 3])


@pytest.mark.parametrize("block", range(3))
def test_brute_force_agrees_on_hostile_tables(block: int) -> None:
    check_block([3, block], 30)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_brute_force_agrees_on_two_thousand_hostile_tables(block: int) -> None:
    check_block([4, block], 100)


FEASIBLE = [name for name in families() if diagnose(family(name, 3, 0, tokens=10)) is None]


@pytest.mark.parametrize("name", FEASIBLE)
def test_an_affine_table_has_the_affine_optimum(name: str) -> None:
    for clients, tokens in ((2, 12), (12, 60)):
        problem = family(name, clients, seed=2, tokens=tokens)
        plain, table = solve(problem), solve(as_table(problem))
        assert plain.quality is table.quality is Quality.OPTIMAL
        assert table.ste <= plain.bound * (1 + FEASIBILITY)
        assert plain.ste <= table.bound * (1 + FEASIBILITY)


@pytest.mark.parametrize("name", FEASIBLE)
def test_bound_and_optimum_against_highs_at_fixed_round_times(name: str) -> None:
    check_against_highs(table_family(name, 4, seed=1, tokens=24))


@pytest.mark.parametrize("name", ["paper", "round_time", "deadline_tight", "energy_tight", "ties"])
def test_a_full_round_is_proved(name: str) -> None:
    result = solve(table_family(name, 20, seed=0, tokens=196), time_limit_s=60)
    assert result.quality is Quality.OPTIMAL, result


def test_a_time_limit_leaves_a_valid_bound() -> None:
    problem = table_family("round_time", 12, seed=5, tokens=60)
    best = solve(problem, gap=1e-6)
    for limit_s in (1e-9, 1e-3, 1e-2):
        result = solve(problem, gap=0, time_limit_s=limit_s)
        assert result.quality in {Quality.STATIONARY, Quality.OPTIMAL}
        assert result.bound >= best.ste * (1 - 1e-9)
        assert np.isfinite(result.bound)


# The certificate's parts


def choose(
    demand: Demand, price: np.ndarray, slot_s: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(M,) best counts at prices per area, and their areas."""
    energy = demand.energy_over_noise(slot_s)
    found = [
        loops.best_count(demand.instance, m, float(price[m]), float(energy[m]), int(guess[m]))
        for m in range(price.size)
    ]
    return np.array([count for count, _, _ in found]), np.array([area for _, area, _ in found])


@given(SEEDS)
@settings(max_examples=200)
def test_replies_are_the_best_of_all_counts(seed: int) -> None:
    """By plain evaluation of each, whatever the guess; of equal ones the largest is taken."""
    rng = np.random.default_rng(seed)
    problem = feasible_table_problem(rng, 3, int(rng.integers(1, 20)))
    demand = Demand(problem.with_raised_limits(BOUND_SHARE))
    slot = demand.slot_s(demand.least_round_s(problem.min_tokens) * (1 + 10 ** rng.uniform(-3, 1)))
    price = demand.retained[:, -1] / demand.area(problem.min_tokens, slot)[0] * 10 ** rng.uniform(-3, 1, 3)
    chosen, chosen_area = choose(demand, price, slot, rng.integers(-3, problem.tokens + 5, 3))
    values = np.full((3, problem.tokens + 1), -np.inf)
    for count in range(1, problem.tokens + 1):
        area = demand.area(np.full(3, count), slot)[0]
        sent = (problem.min_tokens <= count) & np.isfinite(area)
        values[sent, count] = demand.retained[sent, count] - price[sent] * area[sent]
    at = values[np.arange(3), chosen]
    tolerance = 1e-13 * (np.abs(at) + 2 * price * chosen_area)  # what rounding does to it
    assert (at >= values.max(axis=1) - tolerance).all()
    beyond = np.arange(problem.tokens + 1) > chosen[:, None]
    assert (values.max(axis=1, where=beyond, initial=-np.inf) < values.max(axis=1)).all()
    np.testing.assert_allclose(chosen_area, demand.area(chosen, slot)[0], rtol=1e-12)


@given(SEEDS)
@settings(max_examples=100)
def test_at_no_price_all_attention_that_can_be_sent_is_taken(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_table_problem(rng, 3, int(rng.integers(1, 20)))
    demand = Demand(problem.with_raised_limits(BOUND_SHARE))
    slot = demand.slot_s(demand.least_round_s(problem.min_tokens) * (1 + 10 ** rng.uniform(-3, 1)))
    chosen, _ = choose(demand, np.zeros(3), slot, rng.integers(-3, problem.tokens + 5, 3))
    sendable = np.array(
        [np.isfinite(demand.area(np.full(3, k), slot)[0]) for k in range(1, problem.tokens + 1)]
    )
    last = sendable.shape[0] - np.argmax(sendable[::-1], axis=0)
    kept = demand.retained[np.arange(3), last]
    np.testing.assert_allclose(demand.retained[np.arange(3), chosen], kept, rtol=1e-13)
    assert (chosen <= last).all()


def test_of_equal_replies_the_largest_is_taken_and_unsendable_ones_are_none() -> None:
    problem = small_table(max_energy_j=[1.0, 1.0, 1e-12])
    demand = Demand(problem)
    for guess in (problem.min_tokens, np.full(3, 4), np.full(3, 2)):
        tokens, area = choose(demand, np.zeros(3), np.full(3, 10.0), guess)
        assert tokens.tolist() == [4, 4, 1]  # two tokens of client 1 are worth nothing, and cost nothing
        assert np.isfinite(area).tolist() == [True, True, False]


@given(SEEDS)
@settings(max_examples=200)
def test_interval_bounds_cover_the_lagrangian_between(seed: int) -> None:
    """Around the round time where the price is worth its bandwidth, and the ratio has its peak."""
    rng = np.random.default_rng(seed)
    problem = feasible_table_problem(rng, int(rng.integers(1, 6)), int(rng.integers(1, 12)))
    instance, fewest = instance_of(problem), problem.min_tokens.copy()
    tokens = rng.integers(problem.min_tokens, problem.tokens, endpoint=True)
    point = fastest_point(instance, tokens)
    if point.ste == 0 or point.slope_hz_per_s == 0:
        return
    price, low_s = shadow_price(instance, point), point.round_s / (1 + 10 ** rng.uniform(-3, 0.3))
    low_s = max(low_s, float(problem.overhead_s.max()) * (1 + 1e-9))
    high_s = point.round_s * (1 + 10 ** rng.uniform(-3, 0.3))
    low = loops.best_replies(instance, low_s, price, fewest)
    high = loops.best_replies(instance, high_s, price, fewest)
    bounds = [
        loops.interval_bound(instance, low, high, loops.tangent(instance, low), False),
        loops.interval_bound(instance, low, high, loops.tangent(instance, high), True),
    ]
    between = [
        loops.best_replies(instance, float(t), price, low.tokens) for t in np.linspace(low_s, high_s, 40)
    ]
    highest = max(reading.lagrangian / reading.round_s for reading in between)
    assert min(bounds) >= highest * (1 - 1e-12)


@given(SEEDS)
@settings(max_examples=60)
def test_a_lagrangian_bounds_what_highs_finds(seed: int) -> None:
    """Weak duality at any price and round time, for the integer knapsack."""
    rng = np.random.default_rng(seed)
    problem = feasible_table_problem(rng, 3, 8).with_raised_limits(BOUND_SHARE)
    instance = instance_of(problem)
    round_s = Demand(problem).least_round_s(problem.min_tokens) * (1 + 10 ** rng.uniform(-3, 1))
    attention = knapsack(problem, round_s)
    for price in attention / (problem.bandwidth_hz * round_s) * 10 ** rng.uniform(-2, 2, 5):
        reading = loops.best_replies(instance, round_s, float(price), problem.min_tokens.copy())
        assert reading.lagrangian >= attention * (1 - 1e-8)


@given(SEEDS)
@settings(max_examples=100)
def test_no_tokens_are_better_at_fixed_rates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_table_problem(rng, 2, 6)
    point, _ = start(problem, "random", (seed,))
    rates = rate_bps(point.bandwidth_hz, point.power_w, problem.gain, problem.noise_w_per_hz)
    chosen = token_block(problem, rates, point.power_w)
    found = evaluate(problem, Allocation(chosen, point.bandwidth_hz, point.power_w))
    assert found.violation <= 1e-9
    for counts in itertools.product(*(range(int(fewest), 7) for fewest in problem.min_tokens)):
        other = evaluate(problem, Allocation(counts, point.bandwidth_hz, point.power_w))
        assert other.violation > 1e-9 or other.ste <= found.ste * (1 + 1e-12)


def test_the_largest_tokens_fit_and_one_more_does_not() -> None:
    problem = small_table()
    rates, power = np.full(3, 1e5), np.full(3, 0.1)
    np.testing.assert_array_equal(largest_tokens(problem, rates, power, 5.0), [3, 3, 2])
    np.testing.assert_array_equal(largest_tokens(problem, rates, power, 0.5), [0, 0, 0])
    np.testing.assert_array_equal(largest_tokens(problem, rates, power, 4.999999), [2, 3, 1])


# All solvers


@pytest.mark.parametrize("name", FEASIBLE)
@able_cases
def test_answers_are_what_they_say(info: SolverInfo, name: str) -> None:
    for clients, seed in ((3, 1),) if info.needs else ((1, 0), (3, 1), (6, 2)):
        problem = table_family(name, clients, seed)
        result = check_answer(info, problem)
        check_same_answer(result, run(info, problem))
        bound = proved_bound((name, clients, seed))
        if result.quality is not Quality.INFEASIBLE:
            assert result.ste <= bound * (1 + 4 * FEASIBILITY)
            assert result.bound >= bound * (1 - 1e-4) * (1 - BOUND_CONTRADICTION)


@able_cases
def test_the_time_limit_holds(info: SolverInfo) -> None:
    check_time_limit(info, table_family("paper", 30, 0, tokens=60), 0.05)


@able_cases
def test_an_affine_table_changes_nothing_for_simple_rules(info: SolverInfo) -> None:
    """Solvers without a certificate take the same decisions, spelled out or not."""
    problem = family("paper", 5, seed=3, tokens=20)
    plain, table = run(info, problem), run(info, as_table(problem))
    assert table.ste == pytest.approx(plain.ste, rel=1e-4 if info.proves != "nothing" else 1e-9)


@pytest.mark.parametrize("info", UNABLE, ids=lambda info: info.name)
def test_solvers_that_take_no_tables_say_who_does(info: SolverInfo) -> None:
    with pytest.raises(ProblemError) as caught:
        solve(small_table(), info.name)
    text = str(caught.value)
    assert text.startswith(
        f"solver {info.name!r}: got a problem with payload_bits; allowed: ste without. Take "
    )
    assert "exact" in text


def test_infeasible_tables_are_diagnosed() -> None:
    bits = small_table().payload_bits
    assert bits is not None
    problem = small_table(max_energy_j=1e-6)
    least_j = bits[:, 1] * problem.noise_w_per_hz * math.log(2.0) / problem.gain
    result = solve(problem)
    assert result.stop is Stop.INFEASIBLE
    assert result.diagnosis is not None
    assert result.diagnosis.needed == pytest.approx(least_j[list(result.diagnosis.clients)])
    assert set(result.diagnosis.clients) == set(np.flatnonzero(least_j >= 1e-6))


def test_the_order_of_the_clients_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        problem = feasible_table_problem(rng, 4, 6)
        one, other = solve(problem, gap=0), solve(problem.subset(rng.permutation(4)), gap=0)
        assert one.quality is other.quality is Quality.OPTIMAL
        assert one.ste == pytest.approx(other.ste, rel=4 * FEASIBILITY + OPTIMALITY)
