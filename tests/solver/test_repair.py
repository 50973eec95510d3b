"""`repair` makes any tokens that fit feasible again, and refuses the others by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.instances import feasible_problem, feasible_table_problem

from stsflora.solver import Allocation, AllocationError, InfeasibleError, evaluate, repair, solve


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
