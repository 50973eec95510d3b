"""Interval bounds hold at every round time, for any price, and by an independent solver of the knapsack."""

from __future__ import annotations

import itertools
import math
from importlib.util import find_spec

import numpy as np
import pytest
from helpers.conformance import check_against_highs
from helpers.instances import brute_force, feasible_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.benchmarks.families import families, family
from stsflora.solver import Problem
from stsflora.solver.bounds.affine_bound import AffineBound, bound_everywhere
from stsflora.solver.bounds.certificate import Certificate
from stsflora.solver.bounds.clearing_price import replies_around_budget
from stsflora.solver.bounds.knapsack import surviving_tokens, winners
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.kernel_choice import select_kernel

FEASIBLE = [name for name in families() if name != "infeasible"]
KERNELS = ["numpy", *(["numba"] if find_spec("numba") else [])]


@pytest.mark.parametrize("name", FEASIBLE)
def test_bound_and_optimum_against_highs_at_fixed_round_times(name: str) -> None:
    check_against_highs(family(name, 4, seed=1, tokens=24))


@settings(max_examples=250)
@given(seed=st.integers(0, 2**32 - 1))
def test_interval_bounds_cover_the_lagrangian_between(seed: int) -> None:
    """Majorants lie above the Lagrangian of every round time between, whatever the price."""
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 6)), int(rng.integers(1, 12)))
    demand = Demand(problem)
    certificate = Certificate(demand)
    least_s = demand.least_round_s(problem.min_tokens)
    typical = demand.utility(problem.min_tokens).sum() / (problem.bandwidth_hz * least_s)
    price = float(typical * 10 ** rng.uniform(-3, 2))
    low_s = least_s * (1 + 10 ** rng.uniform(-6, 1))
    high_s = low_s * (1 + 10 ** rng.uniform(-4, 1))
    low = certificate.best_replies(low_s, price, problem.min_tokens)
    high = certificate.best_replies(high_s, price, problem.min_tokens)
    bounds = [certificate.bound(low, high, anchor, certificate.tangent(anchor)) for anchor in (low, high)]
    if high_s <= certificate.concave_until_s:
        bounds.append(certificate.affine_bound(low, certificate.tangent(low)).bound(high_s))
        bounds.append(certificate.affine_bound(high, certificate.tangent(high)).bound(low_s))
    between = [
        certificate.best_replies(float(t), price, low.choice.tokens) for t in np.linspace(low_s, high_s, 25)
    ]
    highest = max(certificate.lagrangian(reading) / reading.round_s for reading in between)
    assert min(bounds) >= highest * (1 - 1e-12)


def touchable(seed: int, kernel: str) -> tuple[Certificate, np.random.Generator, float]:
    """A certificate, its random numbers and the least round time of an instance that has planes."""
    rng = np.random.default_rng(seed)
    while True:
        problem = feasible_problem(rng, int(rng.integers(1, 5)), int(rng.integers(1, 12)))
        certificate = Certificate(Demand(problem, select_kernel(kernel, problem.clients)))
        least_s = certificate.demand.least_round_s(problem.min_tokens)
        if least_s * 2.1 <= certificate.concave_until_s:
            return certificate, rng, least_s


def random_planes(certificate: Certificate, rng: np.random.Generator, least_s: float) -> AffineBound:
    """Of a reading at up to twice the least round time, at a price up to a hundred times too low or high."""
    problem = certificate.problem
    typical = certificate.demand.utility(problem.min_tokens).sum() / (problem.bandwidth_hz * least_s)
    price = float(typical * 10 ** rng.uniform(-2, 2))
    guess = rng.integers(-3, problem.tokens + 5, problem.clients)
    return certificate.tangent_bound(least_s * (1 + 10 ** rng.uniform(-6, 0)), price, guess)[1]


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=150)
@given(seed=st.integers(0, 2**32 - 1))
def test_planes_hold_at_all_round_times_and_beyond_deadlines(kernel: str, seed: int) -> None:
    certificate, rng, least_s = touchable(seed, kernel)
    problem = certificate.problem
    one, other = (random_planes(certificate, rng, least_s) for _ in range(2))
    everywhere = bound_everywhere(one, other)
    for other_s in least_s * (1 + 10 ** rng.uniform(-3, 2, 10)):
        price = float(10 ** rng.uniform(-3, 3) * one.slope / problem.bandwidth_hz)
        there = certificate.best_replies(float(other_s), price, problem.min_tokens)
        assert everywhere >= certificate.demand.utility(problem.min_tokens).sum() / other_s
        if there.need_hz <= problem.bandwidth_hz:
            attention = float(certificate.demand.utility(there.choice.tokens).sum())
            assert min(one.at(other_s), other.at(other_s)) >= attention
            assert everywhere >= attention / other_s


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1))
def test_two_planes_bound_the_optimum(kernel: str, seed: int) -> None:
    certificate, rng, least_s = touchable(seed, kernel)
    optimum, _ = brute_force(certificate.problem) if certificate.problem.clients < 3 else (0.0, ())
    planes = [random_planes(certificate, rng, least_s) for _ in range(3)]
    for one, other in itertools.product(planes, planes):
        assert bound_everywhere(one, other) >= optimum
        assert bound_everywhere(one, other) == bound_everywhere(other, one)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_clearing_price_is_just_within_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 8)), int(rng.integers(1, 30)))
    demand = Demand(problem)
    certificate = Certificate(demand)
    round_s = demand.least_round_s(problem.min_tokens) * (1 + 10 ** rng.uniform(-3, 1))
    within, beyond = replies_around_budget(
        certificate, round_s, 10 ** rng.uniform(-9, 3), problem.min_tokens, 1e-9
    )
    assert within.need_hz <= problem.bandwidth_hz * (1 + 1e-12)
    slot = demand.slot_s(round_s)
    useful = np.maximum(np.count_nonzero(problem.importance, axis=1), problem.min_tokens)
    if demand.bandwidth_hz(useful, round_s).sum() <= problem.bandwidth_hz:
        np.testing.assert_array_equal(within.choice.tokens, useful)
    else:
        # One token more of the client that pays best would not fit.
        assert beyond.need_hz > problem.bandwidth_hz or beyond is within
        charge = within.price * (round_s - certificate.origin_s) / slot
        again = demand.choose(charge * 0.99, slot, within.choice.tokens)
        idle = within.price * (round_s - certificate.origin_s) * (problem.bandwidth_hz - within.need_hz)
        assert (again.area / slot).sum() >= within.need_hz
        assert idle >= 0


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_winner_is_missing_from_the_list(seed: int) -> None:
    """Every vector that beats a target inside the interval survives the enumeration."""
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, 2, 6)
    demand = Demand(problem)
    certificate = Certificate(demand)
    vectors = [
        np.array([i, j]) for i in range(problem.min_tokens[0], 7) for j in range(problem.min_tokens[1], 7)
    ]
    scored = [(demand.least_round_s(k), float(demand.utility(k).sum()), k) for k in vectors]
    scored = [(t, f, k) for t, f, k in scored if math.isfinite(t)]
    target = float(np.quantile([f / t for t, f, _ in scored], 0.7))
    low_s = min(t for t, _, _ in scored) * (1 + 1e-9)
    high_s = low_s * (1 + 10 ** rng.uniform(-2, 1))
    price = target / problem.bandwidth_hz * float(10 ** rng.uniform(-1, 1))
    low = certificate.best_replies(low_s, price, problem.min_tokens)
    high = certificate.best_replies(high_s, price, problem.min_tokens)
    bound = certificate.bound(low, high, low, certificate.tangent(low))
    listed = surviving_tokens(certificate, low, high, max(bound - target, 0.0) * high_s, 10_000)
    assert listed is not None
    names = {tuple(row) for row in listed.tolist()}
    for round_s, attention, tokens in scored:
        ordered = tuple(sorted(tokens.tolist(), reverse=True)) if _twins(problem) else tuple(tokens.tolist())
        if low_s <= round_s <= high_s and attention / round_s > target * (1 + 1e-9):
            assert ordered in names
    won = {tuple(row) for row in listed[winners(demand, listed, target)].tolist()}
    beaten = {tuple(k.tolist()) for t, f, k in scored if f / t > target * (1 + 1e-9)}
    assert won >= beaten & names


def _twins(problem: Problem) -> bool:
    fields = (value for value in problem.as_dict().values() if isinstance(value, np.ndarray))
    return all(np.array_equal(value[0], value[1]) for value in fields)
