"""The cover's bound holds for any price, and good prices close it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.instances import brute_force, feasible_problem
from hypothesis import given
from hypothesis import strategies as st

from stsflora.benchmarks.families import family
from stsflora.solver import Problem, Request, solve
from stsflora.solver.bounds.bound_tightening import tighten
from stsflora.solver.bounds.goal import (
    ROUND_S,
    STE,
    Goal,
    Point,
    fastest_point,
    new_goal,
    offer,
    shadow_price,
    target,
)
from stsflora.solver.bounds.price_cover import MOST_SPLITS, PriceCover
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.instance import instance_of
from stsflora.solver.tolerances import BOUND_SHARE, FEASIBILITY


def goal_from(problem: Problem, ste: float, point: Point, **asked: float) -> Goal:
    """A goal whose best known STE is what it is said to be, at a point's tokens and round time."""
    goal = new_goal(problem, Request(**asked))  # type: ignore[arg-type]
    goal.best[STE], goal.best[ROUND_S], goal.tokens[:] = ste, point.round_s, point.tokens
    return goal


@given(st.integers(0, 2**32 - 1))
def test_no_price_gives_a_bound_below_the_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 4)), int(rng.integers(1, 6)))
    relaxed = problem.with_raised_limits(BOUND_SHARE)
    best, counts = brute_force(problem.with_raised_limits(FEASIBILITY))
    known = rng.uniform(0.3, 1.0) * best
    box = tighten(Demand(relaxed), known)
    instance = instance_of(box.problem)
    cover = PriceCover(instance, box.low_s, box.high_s, box.low_s)
    point = fastest_point(instance_of(relaxed), np.array(counts))
    own = shadow_price(instance, point)
    own = own if math.isfinite(own) else best / problem.bandwidth_hz
    goal = goal_from(problem, known, Point(problem.min_tokens, point.round_s, known, 0.0))
    for price in own * 10.0 ** rng.uniform(-2, 2, 3):
        cover.tighten(goal, float(price))
        assert cover.bound >= best * (1 - 1e-12)
    cover.exclude(goal, own)
    assert cover.bound >= best * (1 - 1e-12)
    assert known <= goal.best[STE] <= best * (1 + 1e-12)


def test_the_optimum_and_its_price_close_the_cover() -> None:
    problem = family("paper", 3, 0, tokens=8)
    demand = Demand(problem)
    best, counts = brute_force(problem)
    point = fastest_point(demand.instance, np.array(counts))
    box = tighten(demand, best)
    cover = PriceCover(demand.instance, box.low_s, box.high_s, point.round_s)
    assert cover.bound == demand.most_retained / box.low_s
    assert cover.worst.peak_s == point.round_s
    assert cover.contains(point.round_s)
    assert not cover.contains(2 * box.high_s)
    goal = goal_from(problem, best, point, gap=0.05)
    cover.tighten(goal, shadow_price(demand.instance, point))
    assert not cover.open
    assert not cover.contains(point.round_s)
    assert best <= cover.bound <= target(goal) <= 1.05 * best


def test_exclusion_closes_what_no_price_does() -> None:
    problem = family("deadline_tight", 2, 0)
    goal = new_goal(problem, Request())
    start = offer(goal, problem.min_tokens.copy(), math.inf)
    box = tighten(Demand(problem.with_raised_limits(BOUND_SHARE)), start.ste)
    instance = instance_of(box.problem)
    cover = PriceCover(instance, box.low_s, box.high_s, start.round_s)
    goal.tokens[:] = start.tokens
    price = shadow_price(instance, start)
    cover.tighten(goal, price)
    assert cover.open
    cover.exclude(goal, price)
    assert not cover.open
    assert goal.best[STE] > start.ste
    assert goal.best[STE] <= cover.bound <= target(goal) * (1 + 1e-12)
    # What was offered is what the goal knows.
    assert fastest_point(goal.permitted, goal.tokens.copy()).ste == pytest.approx(goal.best[STE], rel=1e-12)


@pytest.mark.parametrize(("seed", "wide"), [(0, 1.001), (0, 1.01), (1, 1.1), (2, 1.01), (3, 1.1)])
def test_exclusion_closes_narrow_intervals_around_the_optimum(seed: int, wide: float) -> None:
    problem = family("deadline_tight", 2, seed)
    best = solve(problem)
    assert best.allocation is not None
    goal = new_goal(problem, Request())
    start = offer(goal, best.allocation.tokens.copy(), math.inf)
    least_s = Demand(problem).least_round_s(problem.min_tokens)
    low_s = max(start.round_s / wide, least_s)
    cover = PriceCover(goal.relaxed, low_s, start.round_s * wide, start.round_s)
    price = shadow_price(goal.relaxed, start)
    cover.tighten(goal, price)
    assert cover.open
    cover.exclude(goal, price)
    assert not cover.open
    assert best.ste <= goal.best[STE] <= cover.bound <= target(goal)


def test_expiry_and_a_useless_price_leave_intervals_open() -> None:
    problem = family("paper", 3, 0)
    demand = Demand(problem)
    start = fastest_point(demand.instance, problem.min_tokens.copy())
    box = tighten(demand, start.ste)
    cover = PriceCover(demand.instance, box.low_s, box.high_s, start.round_s)
    late = goal_from(problem, start.ste, start, time_limit_s=1e-9)
    cover.tighten(late, 1e-9)
    cover.exclude(late, 1e-9)
    assert 1 <= len(cover.open) <= 2
    assert cover.bound < math.inf
    cover.tighten(goal_from(problem, start.ste, start), 1e-9)
    assert cover.open
    assert cover.evaluations <= 2 * MOST_SPLITS
