"""Whole tokens from fractional ones: feasible wherever the instance is, never worse for an exchange."""

from __future__ import annotations

import numpy as np
from helpers.instances import brute_force, feasible_problem, feasible_problems
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver import Problem
from stsflora.solver.bounds.goal import fastest_point
from stsflora.solver.feasibility import within_tolerance
from stsflora.solver.physics.demand import Demand
from stsflora.solver.primal.rounding import best_common_tokens, improve, round_and_improve


def never() -> bool:
    return False


def all_tokens(problem: Problem) -> np.ndarray:
    return np.full(problem.clients, problem.tokens)


@given(feasible_problems(clients=5, tokens=20))
def test_common_tokens_are_feasible(problem: Problem) -> None:
    point = best_common_tokens(Demand(problem))
    assert np.isfinite(point.round_s)
    assert (point.tokens >= problem.min_tokens).all()
    raised = point.tokens > problem.min_tokens
    assert np.unique(point.tokens[raised]).size <= 1


@given(st.integers(0, 2**32 - 1))
def test_any_fractional_point_becomes_feasible(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng)
    fractional = rng.uniform(problem.min_tokens, problem.tokens)
    demand = Demand(within_tolerance(problem))
    point = round_and_improve(demand, fractional, all_tokens(problem), 1.0, never)
    assert point.ste > 0
    assert (point.tokens >= problem.min_tokens).all()
    assert (point.tokens <= problem.tokens).all()
    ste = demand.utility(point.tokens).sum() / demand.least_round_s(point.tokens)
    np.testing.assert_allclose(point.ste, ste, rtol=1e-12)


@given(feasible_problems(clients=3, tokens=6))
def test_no_single_exchange_is_left_to_gain(problem: Problem) -> None:
    demand = Demand(problem)
    start = fastest_point(demand.instance, problem.min_tokens.copy())
    assert start.ste > 0
    point = improve(demand, start, all_tokens(problem), never)
    assert start.ste <= point.ste <= brute_force(problem)[0] * (1 + 1e-12)
    for client in range(problem.clients):
        for step in (-1, 1):
            tokens = point.tokens.copy()
            tokens[client] += step
            if problem.min_tokens[client] <= tokens[client] <= problem.tokens:
                neighbour = fastest_point(demand.instance, tokens)
                assert neighbour.ste <= point.ste * (1 + 1e-12)


@given(feasible_problems(clients=3, tokens=6))
def test_nothing_is_tried_once_the_time_is_up(problem: Problem) -> None:
    demand = Demand(problem)
    start = fastest_point(demand.instance, problem.min_tokens.copy())
    assert improve(demand, start, all_tokens(problem), lambda: True) is start
    point = round_and_improve(
        demand, problem.min_tokens.astype(float), all_tokens(problem), 1.0, lambda: True
    )
    np.testing.assert_allclose(point.ste, start.ste, rtol=1e-9)
