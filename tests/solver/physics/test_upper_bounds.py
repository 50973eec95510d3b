"""Planes, chords and their sums lie above the Lagrangian at every round time they speak of, for any price."""

from __future__ import annotations

import itertools

import numpy as np
from helpers.instances import brute_force, feasible_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import Problem
from stsflora.solver.physics import loops
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.instance import instance_of
from stsflora.solver.physics.loops import AffineBound

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=250)
@given(SEEDS)
def test_interval_bounds_cover_the_lagrangian_between(seed: int) -> None:
    """Majorants lie above the Lagrangian of every round time between, whatever the price."""
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 6)), int(rng.integers(1, 12)))
    demand, instance, fewest = Demand(problem), instance_of(problem), problem.min_tokens.copy()
    least_s = demand.least_round_s(problem.min_tokens)
    typical = demand.utility(problem.min_tokens).sum() / (problem.bandwidth_hz * least_s)
    price = float(typical * 10 ** rng.uniform(-3, 2))
    low_s = least_s * (1 + 10 ** rng.uniform(-6, 1))
    high_s = low_s * (1 + 10 ** rng.uniform(-4, 1))
    low = loops.best_replies(instance, low_s, price, fewest)
    high = loops.best_replies(instance, high_s, price, fewest)
    at_low, at_high = loops.tangent(instance, low), loops.tangent(instance, high)
    bounds = [
        loops.interval_bound(instance, low, high, at_low, False),
        loops.interval_bound(instance, low, high, at_high, True),
    ]
    if high_s <= instance.concave_until_s:
        bounds.append(loops.affine_bound(at_low.affine, high_s))
        bounds.append(loops.affine_bound(at_high.affine, low_s))
    between = [
        loops.best_replies(instance, float(t), price, low.tokens) for t in np.linspace(low_s, high_s, 25)
    ]
    highest = max(reading.lagrangian / reading.round_s for reading in between)
    assert min(bounds) >= highest * (1 - 1e-12)


def touchable(seed: int) -> tuple[Problem, np.random.Generator, float]:
    """An instance that has planes, its random numbers and its least round time."""
    rng = np.random.default_rng(seed)
    while True:
        problem = feasible_problem(rng, int(rng.integers(1, 5)), int(rng.integers(1, 12)))
        least_s = Demand(problem).least_round_s(problem.min_tokens)
        if least_s * 2.1 <= instance_of(problem).concave_until_s:
            return problem, rng, least_s


def random_planes(problem: Problem, rng: np.random.Generator, least_s: float) -> AffineBound:
    """Of a reading at up to twice the least round time, at a price up to a hundred times too low or high."""
    instance = instance_of(problem)
    typical = Demand(problem).utility(problem.min_tokens).sum() / (problem.bandwidth_hz * least_s)
    price = float(typical * 10 ** rng.uniform(-2, 2))
    guess = rng.integers(-3, problem.tokens + 5, problem.clients)
    round_s = least_s * (1 + 10 ** rng.uniform(-6, 0))
    return loops.tangent(instance, loops.best_replies(instance, round_s, price, guess)).affine


@settings(max_examples=150)
@given(SEEDS)
def test_planes_hold_at_all_round_times_and_beyond_deadlines(seed: int) -> None:
    problem, rng, least_s = touchable(seed)
    demand, instance = Demand(problem), instance_of(problem)
    one, other = (random_planes(problem, rng, least_s) for _ in range(2))
    everywhere = loops.bound_everywhere(one, other)
    for other_s in least_s * (1 + 10 ** rng.uniform(-3, 2, 10)):
        price = float(10 ** rng.uniform(-3, 3) * one.slope / problem.bandwidth_hz)
        there = loops.best_replies(instance, float(other_s), price, problem.min_tokens.copy())
        assert everywhere >= demand.utility(problem.min_tokens).sum() / other_s
        if there.need_hz <= problem.bandwidth_hz:
            attention = float(demand.utility(there.tokens).sum())
            assert min(loops.bound_at(one, other_s), loops.bound_at(other, other_s)) >= attention
            assert everywhere >= attention / other_s


@settings(max_examples=100)
@given(SEEDS)
def test_two_planes_bound_the_optimum(seed: int) -> None:
    problem, rng, least_s = touchable(seed)
    optimum, _ = brute_force(problem) if problem.clients < 3 else (0.0, ())
    planes = [random_planes(problem, rng, least_s) for _ in range(3)]
    for one, other in itertools.product(planes, planes):
        assert loops.bound_everywhere(one, other) >= optimum
        assert loops.bound_everywhere(one, other) == loops.bound_everywhere(other, one)
