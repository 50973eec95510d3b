"""P1 and P3, and the least round time against plain bisection."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.instances import bisect_bandwidth_hz, feasible_problem, small_problem
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver import Problem, evaluate
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.uplink import rate_bps

SEEDS = st.integers(0, 2**32 - 1)


def plain_needs_hz(problem: Problem, tokens: np.ndarray, round_s: float) -> list[float]:
    """Least bandwidth of every client by bisection, at p = min(P, E / t)."""
    needs = []
    for m, count in enumerate(tokens):
        slot = min(round_s - problem.overhead_s[m], problem.deadline_s[m])
        if slot <= 0:
            return [math.inf] * problem.clients
        power = min(problem.max_power_w[m], problem.max_energy_j[m] / slot)
        bits = problem.bits_per_token[m] * (int(count) + problem.extra_tokens)
        needs.append(bisect_bandwidth_hz(bits, slot, power, problem.gain[m], problem.noise_w_per_hz))
    return needs


@given(SEEDS)
def test_p1_full_power_within_energy_needs_least_bandwidth(seed: int) -> None:
    """No other admissible power gets by with less bandwidth, and the upload ends exactly on time."""
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng)
    demand, tokens = Demand(problem), problem.min_tokens
    round_s = demand.least_round_s(tokens) * 1.5
    slot, need = demand.slot_s(round_s), demand.bandwidth_hz(tokens, round_s)
    limit = np.minimum(problem.max_power_w, problem.max_energy_j / slot)
    bits = problem.bits_per_token * (tokens + problem.extra_tokens)
    rate = rate_bps(need, limit, problem.gain, problem.noise_w_per_hz)
    np.testing.assert_allclose(bits / rate, slot, rtol=1e-9)
    for share in (0.3, 0.9, 1.0, 1.2, 4.0):  # of the power; more of it must end sooner to save energy
        power = limit * share
        allowed_s = np.minimum(slot, problem.max_energy_j / power)
        rate = rate_bps(need * (1 - 1e-6), power, problem.gain, problem.noise_w_per_hz)
        sends = (power <= problem.max_power_w) & (bits / np.maximum(rate, 1e-300) <= allowed_s * (1 - 1e-9))
        assert not sends.any()
    assert (limit * slot <= problem.max_energy_j * (1 + 1e-12)).all()


@given(SEEDS)
def test_p3_need_is_convex_and_increasing_in_tokens(seed: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed), tokens=8)
    demand = Demand(problem)
    round_s = demand.least_round_s(problem.min_tokens) * 2
    table = np.array([demand.bandwidth_hz(np.full(problem.clients, k), round_s) for k in range(1, 9)])
    for needs in table.T:
        finite = needs[np.isfinite(needs)]
        assert np.isinf(needs[finite.size :]).all()  # once out of reach, always out of reach
        assert (np.diff(finite) > 0).all()
        assert (np.diff(finite, 2) >= -1e-9 * finite[2:]).all()


@given(SEEDS)
def test_p3_need_does_not_increase_in_the_round_time(seed: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    demand = Demand(problem)
    least = demand.least_round_s(problem.min_tokens)
    needs = np.array([demand.bandwidth_hz(problem.min_tokens, least * k) for k in np.geomspace(1, 100, 30)])
    assert (np.diff(needs, axis=0) <= 1e-12 * needs[1:]).all()


@given(SEEDS)
def test_slope_is_the_derivative(seed: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    demand, tokens = Demand(problem), problem.min_tokens
    round_s = demand.least_round_s(tokens) * 1.37
    total, slope = demand.total_and_slope(tokens, round_s)
    step = 1e-6 * (round_s - problem.overhead_s.max())
    before, _ = demand.total_and_slope(tokens, round_s - step)
    after, _ = demand.total_and_slope(tokens, round_s + step)
    # Convex: the derivative lies between the two difference quotients, kinks included.
    slack = 1e-6 * abs(slope) + 1e-9 * total / step * 1e-3
    assert (total - before) / step - slack <= slope <= (after - total) / step + slack


@given(SEEDS)
def test_least_round_time_is_the_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng)
    demand = Demand(problem)
    tokens = rng.integers(problem.min_tokens, problem.tokens, endpoint=True)
    round_s = demand.least_round_s(tokens)
    origin = problem.overhead_s.max()
    if math.isinf(round_s):
        assert sum(plain_needs_hz(problem, tokens, 1e12)) > problem.bandwidth_hz * (1 - 1e-6)
        return
    slot = round_s - origin
    assert sum(plain_needs_hz(problem, tokens, origin + slot * (1 + 1e-6))) <= problem.bandwidth_hz * (
        1 + 1e-9
    )
    assert sum(plain_needs_hz(problem, tokens, origin + slot * (1 - 1e-6))) > problem.bandwidth_hz * (
        1 - 1e-9
    )
    evaluation = evaluate(problem, demand.allocation(tokens, round_s))
    assert evaluation.feasible
    assert evaluation.round_s == pytest.approx(round_s, rel=1e-9)


@pytest.mark.parametrize("guess", [1e-6, 0.5, 1.0, 1.1, 1e6])
def test_a_guess_changes_nothing_but_the_way(guess: float) -> None:
    problem = small_problem(overhead_s=[0.3, 0.0, 0.1])
    demand = Demand(problem)
    tokens = np.array([2, 3, 4])
    least = demand.least_round_s(tokens)
    assert demand.least_round_s(tokens, guess * least) == pytest.approx(least, rel=1e-12)


def test_without_energy_limit_and_deadline() -> None:
    problem = small_problem(max_energy_j=np.inf)
    demand = Demand(problem)
    least = demand.least_round_s(problem.min_tokens)
    assert sum(plain_needs_hz(problem, problem.min_tokens, least)) == pytest.approx(
        problem.bandwidth_hz, rel=1e-9
    )


def test_utility_is_the_retained_attention() -> None:
    problem = small_problem()
    demand = Demand(problem)
    np.testing.assert_array_equal(demand.utility(np.array([2, 1, 4])), [7.0, 5.0, 8.0])
    np.testing.assert_array_equal(demand.retained[:, 0], 0.0)


def test_what_a_token_takes_is_what_payloads_grow_by() -> None:
    """Bits of two units: other methods multiply nats per token, this one asks for payloads."""
    problem = small_problem(bits_per_token=[1e5, 2e5, 3e6], extra_tokens=2)
    demand = Demand(problem)
    np.testing.assert_allclose(
        demand.nats_per_token, [math.log(2.0) * b for b in (1e5, 2e5, 3e6)], rtol=1e-15
    )
    np.testing.assert_allclose(
        demand.nats(np.array([1, 4, 2])), demand.nats_per_token * [3, 6, 4], rtol=1e-15
    )


def test_no_time_is_left_before_the_overhead() -> None:
    problem = small_problem(overhead_s=[0.0, 5.0, 0.0])
    demand = Demand(problem)
    assert np.isinf(demand.bandwidth_hz(problem.min_tokens, 5.0)).all()
    assert demand.total_and_slope(problem.min_tokens, 4.0) == (math.inf, -math.inf)
    assert demand.least_round_s(problem.min_tokens) > 5.0


@pytest.mark.parametrize("overhead_s", [1e13, 2.0**51, 3e15])
def test_a_round_next_to_a_huge_overhead_fits(overhead_s: float) -> None:
    """The slot is a few units in the last place of the round time: bisection ends at what fits."""
    problem = replace(small_problem(), overhead_s=overhead_s)
    demand = Demand(problem)
    round_s = demand.least_round_s(problem.min_tokens)
    assert demand.bandwidth_hz(problem.min_tokens, round_s).sum() <= problem.bandwidth_hz
