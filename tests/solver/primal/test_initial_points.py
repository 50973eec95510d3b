"""Starting points are feasible and what their names say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.instances import feasible_problem, small_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import evaluate
from stsflora.solver.primal.initial_points import STARTS, repair, start


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.sampled_from(STARTS))
def test_every_start_is_feasible(seed: int, name: str) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    point, _ = start(problem, name, (seed,))
    assert evaluate(problem, point).violation <= 1e-9


def test_names_mean_what_they_say() -> None:
    problem = small_problem(min_tokens=[1, 2, 3])
    few, replaced = start(problem, "min_tokens")
    assert not replaced
    np.testing.assert_array_equal(few.tokens, [1, 2, 3])
    np.testing.assert_allclose(few.bandwidth_hz, 1e6 / 3)
    np.testing.assert_array_equal(few.power_w, problem.max_power_w)
    full, _ = start(problem, "full")
    np.testing.assert_array_equal(full.tokens, [4, 4, 4])


def test_random_follows_its_seed() -> None:
    problem = small_problem()
    one, same, other = (start(problem, "random", seed)[0] for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(one.bandwidth_hz, same.bandwidth_hz)
    np.testing.assert_array_equal(one.tokens, same.tokens)
    assert (one.bandwidth_hz != other.bandwidth_hz).all()


def test_bandwidths_that_cannot_serve_everyone_give_way() -> None:
    problem = small_problem(deadline_s=0.2, gain=[1e-9, 1e-9, 1e-13])
    point, replaced = start(problem, "full")
    assert replaced
    assert evaluate(problem, point).feasible
    assert point.bandwidth_hz[2] > point.bandwidth_hz[0]


def test_tokens_are_cut_to_what_energy_and_deadline_allow() -> None:
    problem = small_problem(deadline_s=[np.inf, 0.1, np.inf])
    point, replaced = start(problem, "full")
    assert not replaced
    assert point.tokens[0] == point.tokens[2] == 4
    assert point.tokens[1] == 3
    assert evaluate(problem, replace(point, tokens=np.array([4, 4, 4]))).violations["deadline"] > 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_wanted_point_is_settled(scale: float) -> None:
    problem = small_problem()
    point, replaced = repair(
        problem, np.array([0, 9, 2]), np.array([1.0, 2.0, 3.0]) * 1e5 * scale, np.full(3, 0.1 * scale)
    )
    assert not replaced
    assert evaluate(problem, point).feasible
    np.testing.assert_array_equal(point.tokens, [1, 4, 2])
    np.testing.assert_allclose(point.bandwidth_hz / point.bandwidth_hz[0], [1.0, 2.0, 3.0])


def test_silence_is_no_start() -> None:
    problem = small_problem()
    point, replaced = repair(problem, problem.min_tokens, np.zeros(3), np.zeros(3))
    assert replaced
    assert evaluate(problem, point).feasible
