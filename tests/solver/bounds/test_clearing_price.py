"""The clearing price balances need and budget, whatever the first guess."""

from __future__ import annotations

import numpy as np
from helpers.instances import feasible_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import Request
from stsflora.solver.bounds.clearing_price import clear, replies_around_budget, usable_price
from stsflora.solver.bounds.goal import STE, new_goal, offer
from stsflora.solver.physics import loops
from stsflora.solver.physics.demand import Demand
from stsflora.solver.tolerances import BOUND_SHARE

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=100)
@given(SEEDS)
def test_the_clearing_price_is_just_within_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 8)), int(rng.integers(1, 30)))
    demand = Demand(problem.with_raised_limits(BOUND_SHARE))
    goal = new_goal(problem, Request())
    instance = goal.relaxed
    round_s = demand.least_round_s(problem.min_tokens) * (1 + 10 ** rng.uniform(-3, 1))
    within, beyond = replies_around_budget(
        goal, round_s, float(10 ** rng.uniform(-9, 3)), problem.min_tokens.copy(), 1e-9
    )
    assert within.need_hz <= instance.bandwidth_hz * (1 + 1e-12)
    useful = np.maximum(np.count_nonzero(problem.importance, axis=1), problem.min_tokens)
    if demand.bandwidth_hz(useful, round_s).sum() <= instance.bandwidth_hz:
        np.testing.assert_array_equal(within.tokens, useful)
    else:
        # One token more of the client that pays best would not fit.
        assert beyond.need_hz > instance.bandwidth_hz or beyond is within
        again = loops.best_replies(instance, round_s, within.price * 0.99, within.tokens)
        idle = within.price * (round_s - instance.origin_s) * (instance.bandwidth_hz - within.need_hz)
        assert again.need_hz >= within.need_hz
        assert idle >= 0


@settings(max_examples=100)
@given(SEEDS)
def test_clearing_offers_tokens_that_fit(seed: int) -> None:
    """The Lagrangian there bounds the attention of all of them, and what is best is kept."""
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 6)), int(rng.integers(1, 12)))
    demand = Demand(problem.with_raised_limits(BOUND_SHARE))
    goal = new_goal(problem, Request())
    first = offer(goal, problem.min_tokens.copy(), np.inf)
    round_s = demand.least_round_s(problem.min_tokens) * (1 + 10 ** rng.uniform(-3, 1))
    price = float(rng.choice([0.0, np.inf, 10 ** rng.uniform(-9, 3)]))
    replies = clear(goal, round_s, price)
    assert replies.round_s == round_s
    assert goal.best[STE] >= first.ste
    known = demand.utility(goal.tokens).sum()
    if demand.bandwidth_hz(goal.tokens, round_s).sum() <= goal.relaxed.bandwidth_hz:
        magnitude = replies.lagrangian + 2 * price_of_costs(replies)
        assert replies.lagrangian >= known - goal.relaxed.unit * magnitude
    assert usable_price(goal, price) == (price if 0.0 < price < np.inf else usable_price(goal, 0.0))
    assert 0.0 < usable_price(goal, price) < np.inf


def price_of_costs(replies: loops.BestReplies) -> float:
    return float(replies.price * replies.cost.sum() + np.abs(replies.value).sum())
