"""`repair` makes any tokens that fit feasible again, and refuses the others by name."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.general import FEATURES_AT_RANDOM, random_general, value_of_choice
from helpers.instances import feasible_problem, feasible_table_problem

from stsflora.solver import (
    Allocation,
    AllocationError,
    Energy,
    InfeasibleError,
    Problem,
    Retained,
    RoundTime,
    Weighted,
    evaluate,
    repair,
    solve,
)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("draw", [feasible_problem, feasible_table_problem])
def test_a_float32_copy_of_an_optimum_is_as_good_as_before(draw, seed: int) -> None:
    """Its tokens are kept, its limits are met, and its STE is the optimum's."""
    problem = draw(np.random.default_rng(seed))
    best = solve(problem)
    numbers = (np.float32(best.allocation.bandwidth_hz), np.float32(best.allocation.power_w))
    fixed = repair(problem, Allocation(best.allocation.tokens, *numbers))
    np.testing.assert_array_equal(fixed.tokens, best.allocation.tokens)
    score = evaluate(problem, fixed)
    assert score.feasible
    assert score.ste == pytest.approx(best.ste, rel=1e-8)


def test_tokens_that_fit_into_no_round_are_refused() -> None:
    """Fewer would do; which is not for `repair` to say."""
    problem = feasible_problem(np.random.default_rng(0))
    poor = replace(problem, max_energy_j=problem.max_energy_j * 1e-9)
    most = Allocation(np.full(problem.clients, problem.tokens), *np.ones((2, problem.clients)))
    with pytest.raises(InfeasibleError, match="fit into no round"):
        repair(poor, most)


def test_an_allocation_of_another_problem_is_refused() -> None:
    """By its clients, or by the client whose tokens are out of range."""
    problem = feasible_problem(np.random.default_rng(0))
    with pytest.raises(AllocationError, match=f"allowed: {problem.clients}, as in the problem"):
        repair(problem, Allocation(*np.ones((3, problem.clients + 1))))
    with pytest.raises(AllocationError, match=f"{problem.tokens + 1} tokens of client 0"):
        repair(
            problem, Allocation(np.full(problem.clients, problem.tokens + 1), *np.ones((2, problem.clients)))
        )


# Alternatives, skipping, caps, blocks, objectives


FEATURE_SETS = ((), ("alternatives", "utility", "token_limits"), ("skip", "caps"), FEATURES_AT_RANDOM)


def random_choice(rng: np.random.Generator, problem: Problem) -> list[tuple[int, int]]:
    """Row and tokens of every client, (-1, 0) for some of those that may be skipped."""
    choice = []
    for m in range(problem.clients):
        row = int(rng.choice(np.flatnonzero(problem.client == m)))
        fewest, most = int(problem.min_tokens[row]), int(problem.max_tokens[row])
        tokens = int(rng.integers(fewest, most + 1)) if rng.random() < 0.5 else fewest
        choice.append((-1, 0) if problem.may_skip[m] and rng.random() < 0.3 else (row, tokens))
    return choice


@pytest.mark.parametrize("features", FEATURE_SETS, ids="-".join)
@pytest.mark.parametrize(
    ("objective", "blocks"),
    [
        *(("ste", None), ("retained", None), ("round_time", None), ("weighted", None), ("energy", None)),
        *(("total_time", None), ("ste", 12), ("retained", 12), ("round_time", 12)),
    ],
)
def test_any_choice_is_kept_within_the_limits_or_refused(
    objective: str, features: tuple[str, ...], blocks: int | None
) -> None:
    """And has the best value that it can have, but for objectives that count more than the round."""
    rng, repaired = np.random.default_rng(4), 0
    for _ in range(6):
        problem = random_general(rng, objective, 3, 3, features)
        if blocks is not None:
            problem = replace(problem, block_hz=problem.bandwidth_hz / blocks)
        choice = random_choice(rng, problem)
        rows, tokens = np.array(choice).T
        sent = Allocation(tokens, *np.where(rows >= 0, np.ones((2, 1)), 0.0), row=rows)
        best = value_of_choice(problem, tuple(choice))
        if math.isnan(best):
            with pytest.raises((InfeasibleError, AllocationError), match="repair: got "):
                repair(problem, sent)
            continue
        repaired += 1
        fixed = repair(problem, sent)
        assert fixed.tokens.tolist() == tokens.tolist()
        assert fixed.rows_of(problem).tolist() == rows.tolist()
        score = evaluate(problem, fixed)
        assert score.feasible, score.violations
        if objective in {"energy", "total_time"}:
            assert score.value >= best * (1 - 1e-8)
        else:
            assert score.value == pytest.approx(best, rel=1e-8)
    assert repaired > 0


def test_skips_stay_where_they_may() -> None:
    problem = replace(feasible_problem(np.random.default_rng(1)), may_skip=True)
    senders = np.arange(problem.clients) > 0
    parts = (problem.min_tokens * senders, 1e3 * senders, 0.1 * senders)
    rows = np.where(senders, np.arange(problem.clients), -1)
    fixed = repair(problem, Allocation(*parts, row=rows))
    assert evaluate(problem, fixed).feasible
    assert fixed.row.tolist() == rows.tolist()
    assert (fixed.tokens[0], fixed.bandwidth_hz[0], fixed.power_w[0]) == (0, 0, 0)
    with pytest.raises(AllocationError, match="client 0, who must send, skipped"):
        repair(replace(problem, may_skip=False), Allocation(*parts, row=rows))
    nobody = Allocation(*np.zeros((3, problem.clients)), row=np.full(problem.clients, -1))
    with pytest.raises(AllocationError, match="nobody who sends; allowed: a sender, for ste"):
        repair(problem, nobody)
    assert not repair(replace(problem, objective=Weighted(per_second=1.0)), nobody).power_w.any()


def test_what_is_required_cannot_be_repaired() -> None:
    problem = feasible_problem(np.random.default_rng(1))
    few = Allocation(problem.min_tokens, *np.ones((2, problem.clients)))
    worth = float(problem.worth_of(problem.client, few.tokens).sum())
    asking = replace(problem, objective=RoundTime(retained=worth))
    assert evaluate(asking, repair(asking, few)).feasible
    with pytest.raises(InfeasibleError, match=r"tokens worth .* as required"):
        repair(replace(problem, objective=RoundTime(retained=worth * (1 + 1e-8))), few)
    fast = evaluate(problem, repair(problem, few)).round_s
    with pytest.raises(InfeasibleError, match="fit into no round"):
        repair(replace(problem, objective=Retained(fast * (1 - 1e-8))), few)
    assert evaluate(problem, repair(replace(problem, objective=Retained(fast)), few)).feasible


def test_energy_takes_the_time_that_there_is() -> None:
    """The least round is the dearest."""
    problem = feasible_problem(np.random.default_rng(1))
    few = Allocation(problem.min_tokens, *np.ones((2, problem.clients)))
    fast = evaluate(problem, repair(problem, few))
    slow = evaluate(problem, repair(replace(problem, objective=Energy(fast.round_s * 1.5)), few))
    assert slow.feasible
    assert slow.totals.energy_j < fast.totals.energy_j


def test_energy_spent_before_is_gone() -> None:
    problem = feasible_problem(np.random.default_rng(1))
    poor = replace(problem, max_energy_j=1.0, before_j=[1.5] + [0.0] * (problem.clients - 1))
    few = Allocation(problem.min_tokens, *np.ones((2, problem.clients)))
    with pytest.raises(InfeasibleError, match="fit into no round"):
        repair(poor, few)
