"""The loops do compiled what they do in plain Python, and find the best reply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
from helpers.instances import feasible_problem, feasible_table_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import Problem
from stsflora.solver.physics import loops
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.instance import Instance, instance_of
from stsflora.solver.physics.jit import Loop
from stsflora.solver.problem import IntArray

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
Bounds = tuple[loops.BestReplies, loops.BestReplies, loops.Tangent, loops.Tangent, float, float]
SEEDS = st.integers(0, 2**32 - 1)
ALL = [value for value in vars(loops).values() if isinstance(value, Loop)]


@contextmanager
def plain_loops() -> Iterator[None]:
    """All loops run as plain Python meanwhile, those called by others too."""
    with pytest.MonkeyPatch.context() as patch:
        for loop in ALL:
            patch.setattr(loop, "_run", loop.function)
        yield


def any_problem(rng: np.random.Generator) -> Problem:
    """With or without a payload table."""
    clients, tokens = int(rng.integers(1, 8)), int(rng.integers(1, 40))
    return (feasible_table_problem if rng.random() < 0.3 else feasible_problem)(rng, clients, tokens)


def check_equal(one: object, other: object) -> None:
    """Whole numbers are the same, others to rounding; compilers may fuse products and sums."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            check_equal(left, right)
    elif isinstance(one, np.ndarray) and one.dtype == np.int64:
        np.testing.assert_array_equal(one, other)
    else:
        np.testing.assert_allclose(one, other, rtol=1e-12)  # type: ignore[call-overload]


@needs_numba
@settings(max_examples=200)
@given(seed=SEEDS)
def test_compiled_and_plain_least_rounds_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = any_problem(rng)
    instance = instance_of(problem)
    tokens = rng.integers(problem.min_tokens, problem.tokens, endpoint=True)
    guess_s = float(rng.choice([np.inf, 10 ** rng.uniform(-4, 4)]))
    compiled = loops.least_round(instance, tokens, guess_s)
    round_s = loops.least_round(instance, problem.min_tokens.copy(), np.inf)[0] * 10 ** rng.uniform(-0.5, 1)
    total = loops.total_and_slope(instance, tokens, round_s)
    with plain_loops():
        check_equal(loops.least_round(instance, tokens, guess_s), compiled)
        check_equal(loops.total_and_slope(instance, tokens, round_s), total)


@needs_numba
@settings(max_examples=200)
@given(seed=SEEDS)
def test_compiled_and_plain_replies_and_bounds_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = any_problem(rng)
    instance = instance_of(problem)
    least_s = Demand(problem).least_round_s(problem.min_tokens)
    low_s = least_s * (1 + 10 ** rng.uniform(-6, 1))
    high_s = low_s * (1 + 10 ** rng.uniform(-4, 1))
    price = float(instance.most_retained / (problem.bandwidth_hz * least_s) * 10 ** rng.uniform(-4, 2))
    guess = rng.integers(-3, problem.tokens + 5, problem.clients)
    found = bounds_of(instance, low_s, high_s, price, guess)
    with plain_loops():
        plain = bounds_of(instance, low_s, high_s, price, guess)
    (low, high, *rest), (plain_low, plain_high, *plain_rest) = found, plain
    check_equal(low.tokens, plain_low.tokens)
    check_equal(high.tokens, plain_high.tokens)
    for one, other in ((low, plain_low), (high, plain_high)):
        for name in ("slot_s", "area", "root", "cost", "need_hz"):
            check_equal(getattr(one, name), getattr(other, name))
        scale = np.abs(one.value) + price * one.cost
        assert (np.abs(one.value - other.value) <= 1e-13 * scale).all()
    for planes, plain_planes, bound, plain_bound in (
        (rest[0], plain_rest[0], rest[2], plain_rest[2]),
        (rest[1], plain_rest[1], rest[3], plain_rest[3]),
    ):
        np.testing.assert_array_equal(np.isinf(planes.value), np.isinf(plain_planes.value))
        scale = price * np.maximum(low.cost, high.cost).sum() + instance.most_retained
        finite = np.isfinite(planes.value)
        np.testing.assert_allclose(
            planes.value[finite], plain_planes.value[finite], rtol=1e-9, atol=1e-10 * scale
        )
        np.testing.assert_allclose(planes.slope, plain_planes.slope, rtol=1e-6)
        assert bound == pytest.approx(plain_bound, rel=1e-8)


def bounds_of(instance: Instance, low_s: float, high_s: float, price: float, guess: IntArray) -> Bounds:
    """Replies at two round times, their planes, and both bounds on the round times between."""
    low = loops.best_replies(instance, low_s, price, guess)
    high = loops.best_replies(instance, high_s, price, guess)
    planes = loops.tangent(instance, low), loops.tangent(instance, high)
    return (
        *(low, high, *planes),
        loops.interval_bound(instance, low, high, planes[0], False),
        loops.interval_bound(instance, low, high, planes[1], True),
    )


@pytest.mark.parametrize("plain", [True, pytest.param(False, marks=needs_numba)])
@settings(max_examples=200)
@given(seed=SEEDS)
def test_the_choice_beats_every_other_count(plain: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, clients=3, tokens=int(rng.integers(1, 30)))
    instance, demand = instance_of(problem), Demand(problem)
    slot = 10 ** rng.uniform(-3, 3, problem.clients)
    price = 10 ** rng.uniform(-12, 3, problem.clients) * (rng.random(problem.clients) < 0.9)
    energy, guess = demand.energy_over_noise(slot), rng.integers(-3, problem.tokens + 5, problem.clients)
    run = [(instance, m, float(price[m]), float(energy[m]), int(guess[m])) for m in range(3)]
    if plain:
        with plain_loops():
            found = [loops.best_count(*arguments) for arguments in run]
    else:
        found = [loops.best_count(*arguments) for arguments in run]
    chosen = np.array([count for count, _, _ in found])
    area = np.array([area for _, area, _ in found])
    np.testing.assert_allclose(area, demand.area(chosen, slot)[0], rtol=1e-12)
    sent = np.where(np.isfinite(area), area, 0.0)
    value = np.where(np.isfinite(area), demand.utility(chosen) - price * sent, -np.inf)
    for count in range(1, problem.tokens + 1):
        tokens = np.maximum(problem.min_tokens, count)
        other_area = demand.area(tokens, slot)[0]
        sendable = np.isfinite(other_area)
        other = np.where(
            sendable, demand.utility(tokens) - price * np.where(sendable, other_area, 0), -np.inf
        )
        scale = demand.utility(tokens) + np.where(sendable, price * sent, 0.0)
        assert (other <= value + 1e-12 * scale).all()


@settings(max_examples=100)
@given(seed=SEEDS)
def test_filled_tokens_fit_and_the_next_one_does_not(seed: int) -> None:
    """Between replies just within and just beyond the budget."""
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 6)), int(rng.integers(1, 12)))
    instance, demand = instance_of(problem), Demand(problem)
    round_s = demand.least_round_s(problem.min_tokens) * (1 + 10 ** rng.uniform(-3, 1))
    price = instance.most_retained / (problem.bandwidth_hz * round_s) * 10 ** rng.uniform(-3, 3)
    dear = loops.best_replies(instance, round_s, price, problem.min_tokens.copy())
    cheap = loops.best_replies(instance, round_s, price * 10 ** rng.uniform(-6, 0), dear.tokens)
    if not dear.need_hz <= problem.bandwidth_hz < cheap.need_hz:
        return
    tokens = loops.filled(instance, dear, cheap)
    assert (dear.tokens <= tokens).all()
    assert (tokens <= np.maximum(cheap.tokens, dear.tokens)).all()
    total = demand.bandwidth_hz(tokens, round_s).sum()
    assert total <= problem.bandwidth_hz * (1 + 1e-12)
    left = [m for m in range(problem.clients) if tokens[m] < cheap.tokens[m]]
    one_more = [demand.bandwidth_hz(tokens + (np.arange(tokens.size) == m), round_s).sum() for m in left]
    assert max(one_more) > problem.bandwidth_hz * (1 - 1e-12)
