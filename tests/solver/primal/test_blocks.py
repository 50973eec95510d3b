"""Each block against brute force over the others' fixed values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.instances import feasible_problem, small_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import Allocation, Problem, evaluate
from stsflora.solver.physics.uplink import rate_bps
from stsflora.solver.primal import blocks
from stsflora.solver.primal.blocks import bandwidth_block, largest_tokens, power_block, token_block
from stsflora.solver.primal.initial_points import start

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, clients: int | None = None, tokens: int | None = None) -> tuple[Problem, Allocation]:
    problem = feasible_problem(np.random.default_rng(seed), clients, tokens)
    return problem, start(problem, "random", (seed,))[0]


def rates(problem: Problem, point: Allocation) -> np.ndarray:
    return rate_bps(point.bandwidth_hz, point.power_w, problem.gain, problem.noise_w_per_hz)


@given(SEEDS)
def test_no_admissible_power_is_faster(seed: int) -> None:
    problem, point = drawn(seed)
    power = power_block(problem, point.tokens, point.bandwidth_hz)
    best = evaluate(problem, Allocation(point.tokens, point.bandwidth_hz, power))
    assert best.violation <= 1e-9
    # A little more breaks a limit, for every client; less is slower.
    more = evaluate(problem, Allocation(point.tokens, point.bandwidth_hz, power * (1 + 1e-6)))
    over = (power * (1 + 1e-6) > problem.max_power_w) | (more.energy_j > problem.max_energy_j)
    assert over.all()
    less = evaluate(problem, Allocation(point.tokens, point.bandwidth_hz, power * 0.99))
    assert (less.uplink_s > best.uplink_s).all()


def test_power_is_zero_beyond_the_energy_limit() -> None:
    problem = small_problem(max_energy_j=[1.0, 1e-12, 1.0])
    power = power_block(problem, problem.min_tokens, np.full(3, 1e5))
    np.testing.assert_array_equal(power, [0.2, 0.0, 0.2])


@given(SEEDS)
def test_no_bandwidths_are_faster(seed: int) -> None:
    """All of the band is used, and moving any of it from one client to another slows the round."""
    problem, point = drawn(seed)
    bandwidth = bandwidth_block(problem, point.tokens, point.power_w)
    before = evaluate(problem, point)
    if bandwidth is None:  # every client must keep what it has, to within rounding
        return
    assert bandwidth.sum() == pytest.approx(problem.bandwidth_hz, rel=1e-12)
    best = evaluate(problem, Allocation(point.tokens, bandwidth, point.power_w))
    assert best.violation <= 1e-9
    assert best.round_s <= before.round_s * (1 + 1e-9)
    for giver, taker in itertools.permutations(range(problem.clients), 2):
        moved = bandwidth.copy()
        moved[giver] *= 1 - 1e-3
        moved[taker] += bandwidth[giver] * 1e-3
        other = evaluate(problem, Allocation(point.tokens, moved, point.power_w))
        assert other.violation > 0 or other.round_s >= best.round_s * (1 - 1e-12)


def test_no_bandwidths_fit_payloads_that_are_too_large() -> None:
    problem = small_problem(deadline_s=0.1)
    assert bandwidth_block(problem, np.full(3, 4), problem.max_power_w) is None
    assert bandwidth_block(problem, np.full(3, 1), np.array([0.2, 0.2, 1e-50])) is None


@settings(max_examples=200)
@given(SEEDS, st.integers(1, 3), st.integers(1, 6))
def test_no_tokens_are_better_at_fixed_rates(seed: int, clients: int, tokens: int) -> None:
    problem, point = drawn(seed, clients, tokens)
    chosen = token_block(problem, rates(problem, point), point.power_w)
    found = evaluate(problem, Allocation(chosen, point.bandwidth_hz, point.power_w))
    assert found.violation <= 1e-9
    ranges = [range(int(fewest), tokens + 1) for fewest in problem.min_tokens]
    for counts in itertools.product(*ranges):
        other = evaluate(problem, Allocation(counts, point.bandwidth_hz, point.power_w))
        assert other.violation > 1e-9 or other.ste <= found.ste * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_token_block_sorts_only_what_matters(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping ends by bins changes nothing, on instances with very many of them."""
    rng = np.random.default_rng(seed)
    problem = Problem(
        gain=10 ** rng.uniform(-13, -5, 300),
        importance=rng.dirichlet(np.full(40, 0.3), 300) if seed else np.ones((300, 40)),
        bits_per_token=1e6,
        bandwidth_hz=5e7,
        max_power_w=0.2,
        max_energy_j=np.inf,
        overhead_s=rng.uniform(0, 10.0**seed, 300),
    )
    point, _ = start(problem, "full")
    quick = token_block(problem, rates(problem, point), point.power_w)
    monkeypatch.setattr(blocks, "BINS", 10**9)  # never few enough: all are sorted
    slow = token_block(problem, rates(problem, point), point.power_w)
    one, other = (
        evaluate(problem, Allocation(tokens, point.bandwidth_hz, point.power_w)) for tokens in (quick, slow)
    )
    assert one.ste == pytest.approx(other.ste, rel=1e-12)


def test_worthless_tokens_are_left_out() -> None:
    problem = small_problem(importance=[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], overhead_s=1e3)
    chosen = token_block(problem, np.full(3, 1e6), problem.max_power_w)
    np.testing.assert_array_equal(chosen, [1, 2, 1])


@given(SEEDS)
def test_largest_tokens_is_the_papers_rule(seed: int) -> None:
    """K = floor(min(N, E R / (p beta) - e, D R / beta - e, (tau - o) R / beta - e)), eq. 41."""
    problem, point = drawn(seed)
    rate = rates(problem, point)
    round_s = evaluate(problem, point).round_s
    chosen = largest_tokens(problem, rate, point.power_w, round_s)
    assert (chosen >= point.tokens).all()  # what is sent in that time fits
    more = Allocation(chosen + 1, point.bandwidth_hz, point.power_w)
    over = evaluate(problem, more)
    assert (
        (chosen + 1 > problem.tokens)
        | (over.energy_j > problem.max_energy_j)
        | (over.uplink_s > problem.deadline_s)
        | (problem.overhead_s + over.uplink_s > round_s)
    ).all()
