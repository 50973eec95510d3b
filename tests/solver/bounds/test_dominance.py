"""No token vector that beats a target is excluded, unless another one that is kept is at least as good."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.instances import feasible_problem, feasible_table_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import Problem, Request
from stsflora.solver.bounds import dominance
from stsflora.solver.bounds.dominance import MOST_VECTORS, contenders, exclude, undominated
from stsflora.solver.bounds.goal import ROUND_S, STE, new_goal, target
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.instance import Instance, instance_of
from stsflora.solver.tolerances import BOUND_SHARE, FEASIBILITY

Scored = list[tuple[float, float, np.ndarray]]
SEEDS = st.integers(0, 2**32 - 1)


def scored(problem: Problem) -> Scored:
    """Round time, attention and tokens of every vector that ever fits."""
    demand = Demand(problem)
    ranges = [range(int(fewest), problem.tokens + 1) for fewest in problem.min_tokens]
    vectors = [np.array(counts) for counts in itertools.product(*ranges)]
    all_of_them = [(demand.least_round_s(k), float(demand.utility(k).sum()), k) for k in vectors]
    return [(t, f, k) for t, f, k in all_of_them if math.isfinite(t)]


def drawn(seed: int) -> tuple[np.random.Generator, Problem, Scored, float, float]:
    """An instance with or without a table, its vectors, and an interval, at times with deadlines inside."""
    rng = np.random.default_rng(seed)
    clients, tokens = ((1, 12), (2, 7), (3, 4))[int(rng.integers(3))]
    draw = feasible_table_problem if rng.random() < 0.5 else feasible_problem
    problem = draw(rng, clients, tokens)
    least_s = Demand(problem).least_round_s(problem.min_tokens)
    if not math.isfinite(least_s):
        return drawn(seed + 1)
    low_s = least_s * (1 + 10 ** rng.uniform(-6, 0))
    high_s = low_s * (1 + 10 ** rng.uniform(-4, 1))
    if rng.random() < 0.4:
        problem = replace(problem, deadline_s=rng.uniform(low_s, high_s, clients) - problem.overhead_s)
    return rng, problem, scored(problem), low_s, high_s


@settings(max_examples=300)
@given(SEEDS)
def test_no_winner_is_missing_from_the_contenders(seed: int) -> None:
    rng, problem, vectors, low_s, high_s = drawn(seed)
    if not vectors:
        return
    demand, instance = Demand(problem), instance_of(problem)
    aim = float(np.quantile([f / t for t, f, _ in vectors], rng.uniform(0.3, 1.0)))
    aim *= 1.0 - 10 ** rng.uniform(-12, -3)
    hidden = float(rng.choice([0.0, 1e-9, 1e-3]))
    contact_s = high_s if rng.random() < 0.5 else math.sqrt(low_s) * math.sqrt(high_s)
    allowed = np.arange(problem.tokens + 1) >= problem.min_tokens[:, None]
    complete, found = contenders(instance, low_s, high_s, aim, hidden, contact_s, allowed)
    assert complete
    assert found.shape[1] == problem.clients
    assert len(found) <= MOST_VECTORS
    winners = [(t, f, k) for t, f, k in vectors if low_s <= t <= high_s and f / t > aim * (1 + 1e-13)]
    for _, _, tokens in winners:
        assert allowed[np.arange(problem.clients), tokens].all()
    if winners:
        assert len(found)
    assert ((problem.min_tokens <= found) & (found <= problem.tokens)).all()
    if contact_s == high_s and len(found) < MOST_VECTORS:
        # Levels are true needs: a winner is there, or one of no less attention and no more need.
        need = [demand.bandwidth_hz(row, high_s).sum() for row in found]
        kept = [demand.utility(row).sum() for row in found]
        for _, attention, tokens in winners:
            own = demand.bandwidth_hz(tokens, high_s).sum()
            assert any(
                f >= attention * (1 - 1e-12) - hidden * aim * low_s and n <= own * (1 + 1e-12)
                for f, n in zip(kept, need, strict=True)
            )


@settings(max_examples=200)
@given(SEEDS)
def test_what_is_excluded_holds_nothing_better(seed: int) -> None:
    """For limits that use the whole tolerance; what is found on the way is real."""
    rng, problem, exact, low_s, high_s = drawn(seed)
    if not exact:
        return
    goal = new_goal(problem, Request(gap=float(rng.choice([1e-9, 1e-4, 1e-2]))))
    known = float(np.quantile([f / t for t, f, _ in exact], rng.uniform(0.3, 1.0)))
    goal.best[STE] = known * (1 - 10 ** rng.uniform(-12, -3))
    excluded, tried = exclude(goal, low_s, high_s)
    raised = scored(problem.with_raised_limits(FEASIBILITY))
    assert goal.best[STE] <= max(f / t for t, f, _ in raised) * (1 + 1e-12)
    assert tried >= 0
    if excluded:
        inside = [f / t for t, f, _ in raised if low_s <= t <= high_s]
        assert max(inside, default=0.0) <= target(goal) * (1 + 1e-13)
    if goal.best[ROUND_S] < math.inf:
        attention = Demand(problem).utility(goal.tokens).sum()
        np.testing.assert_allclose(attention / goal.best[ROUND_S], goal.best[STE], rtol=1e-12)


@settings(max_examples=100)
@given(SEEDS)
def test_an_interval_without_a_winner_is_excluded_where_it_is_narrow(seed: int) -> None:
    """At one round time the two conditions are those of the knapsack itself."""
    rng, problem, _, low_s, _ = drawn(seed)
    raised = scored(problem.with_raised_limits(BOUND_SHARE))
    if not raised:
        return
    goal = new_goal(problem, Request(gap=1e-4))
    goal.best[STE] = max(f / t for t, f, _ in raised) * (1 + 1e-6)
    round_s = low_s * 10 ** rng.uniform(0, 0.5)
    excluded, tried = exclude(goal, round_s, round_s * (1 + 1e-7))
    assert excluded
    assert tried == 0


def test_time_that_is_up_excludes_nothing() -> None:
    problem = feasible_problem(np.random.default_rng(0), 2, 5)
    goal = new_goal(problem, Request(time_limit_s=1e-12))
    goal.best[STE] = 1e9
    least_s = Demand(problem).least_round_s(problem.min_tokens)
    assert exclude(goal, least_s, 2 * least_s) == (False, 0)


def test_a_search_that_needs_more_time_than_is_left_claims_nothing() -> None:
    """It gives up; it never calls an interval empty that it has not searched."""
    problem = Problem(
        gain=np.full(8, 1e-11),
        importance=np.full((8, 20), 1.0),
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=1.0,
    )
    instance, fewest = instance_of(problem), problem.min_tokens
    allowed = np.arange(problem.tokens + 1) >= fewest[:, None]
    low_s = Demand(problem).least_round_s(fewest)
    search = (instance, low_s, 2.0 * low_s, 1e-9, 0.0, 2.0 * low_s)
    assert contenders(*search, allowed.copy(), most_pairs=10.0)[0] is False
    complete, found = contenders(*search, allowed.copy())
    assert complete
    assert len(found)


def test_excluding_asks_at_the_end_and_in_the_middle_of_all_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing better turns up: no counts below the fewest, and at most half of the gap hidden."""
    problem = replace(feasible_problem(np.random.default_rng(5), 3, 7), min_tokens=[1, 2, 3])
    goal = new_goal(problem, Request(gap=1e-2))
    goal.best[STE] = 1e300
    asked: list[tuple[float, ...]] = []

    def always_the_same(
        instance: Instance,
        low_s: float,
        high_s: float,
        target: float,
        hidden: float,
        contact_s: float,
        allowed: np.ndarray,
        most_pairs: float,
    ) -> tuple[bool, np.ndarray]:
        asked.append((low_s, high_s, target, contact_s))
        assert instance is goal.relaxed
        assert most_pairs == math.inf
        assert 0.0 < hidden <= 0.5 * goal.gap
        expected = np.arange(problem.tokens + 1) >= problem.min_tokens[:, None]
        np.testing.assert_array_equal(allowed, expected)
        return True, problem.min_tokens[None].copy()

    monkeypatch.setattr(dominance, "contenders", always_the_same)
    assert exclude(goal, 4.0, 9.0) == (False, 2)
    assert asked == [(4.0, 9.0, target(goal), 9.0), (4.0, 9.0, target(goal), 6.0)]


@pytest.mark.parametrize("complete", [True, False])
def test_only_a_complete_search_that_finds_nobody_excludes(
    complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = np.empty((0, 3), np.int64)
    monkeypatch.setattr(dominance, "contenders", lambda *_: (complete, nobody))
    goal = new_goal(feasible_problem(np.random.default_rng(5), 3, 7), Request())
    goal.best[STE] = 1.0
    assert exclude(goal, 4.0, 9.0) == (complete, 0)


@pytest.mark.parametrize(
    ("none_left", "attention", "aim", "band"),
    [(True, 1.0, 5.0, 8.0), (False, 1.0, 100.0, 8.0), (False, 1e9, 5.0, 1.5)],
)
def test_a_search_with_nobody_left_is_complete(
    none_left: bool, attention: float, aim: float, band: float
) -> None:
    """A client without a count, more asked than any price allows, or bands too narrow for the fewest."""
    level = np.cumsum(np.ones((2, 6)), axis=1)
    allowed = np.ones((2, 6), np.bool_)
    allowed[1] = not none_left
    complete, found = undominated.function(
        level, 0.0 * level, attention * level, allowed, 1.0, 1.1, 1.1, aim, 0.0, band, 1e-14
    )
    assert complete
    assert found.shape == (0, 2)
