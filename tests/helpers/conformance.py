"""What every registered solver owes its caller; a new one is held to it without a line of test code."""

from __future__ import annotations

import itertools
import math
import pickle
from typing import Any, Final

import numpy as np
import pytest
from helpers.instances import brute_force, knapsack

from stsflora.solver import Problem, ProblemError, Quality, Result, SolverInfo, Stop, evaluate, solve
from stsflora.solver.physics.demand import Demand
from stsflora.solver.registry import features_of
from stsflora.solver.tolerances import BOUND_CONTRADICTION, CLAIM, FEASIBILITY

ENGINE_LIMIT_S: Final = 5.0
"""Wall time per solve for solvers on foreign engines; the others get none."""

START_UP_S: Final = 15.0
"""How far a foreign engine may overshoot its time limit when it is imported meanwhile."""


def takes(info: SolverInfo, problem: Problem) -> bool:
    """Whether the solver says that it takes the problem."""
    taken = info.takes.get(problem.objective.name)
    return taken is not None and features_of(problem) <= taken


def beyond(problem: Problem, value: float, limit: float, slack: float = 0.0) -> bool:
    """Whether a value is better than a limit by more than a share of it."""
    room = slack * abs(limit) if math.isfinite(limit) else 0.0
    return value > limit + room if problem.objective.maximises else value < limit - room


def run(info: SolverInfo, problem: Problem, **arguments: Any) -> Result:
    """Solve within the budget that the solver's capabilities suggest."""
    limit = ENGINE_LIMIT_S if info.needs else None
    return solve(problem, info.name, **({"time_limit_s": limit, "seed": 7} | arguments))


def check_answer(info: SolverInfo, problem: Problem, **arguments: Any) -> Result:
    """A feasible instance: an answer that is what it says; returns it for further comparison."""
    before = pickle.dumps(problem)
    result = run(info, problem, **arguments)
    assert pickle.dumps(problem) == before
    assert result.problem is problem
    assert result.solver == info.name
    assert result.stop not in {Stop.ERROR, Stop.INFEASIBLE}, result.message
    assert result.diagnosis is None
    assert result.seconds >= 0
    if info.always_feasible:
        assert result.quality not in {Quality.NONE, Quality.INFEASIBLE}, result.evaluation
    check_allocation(result)
    check_bound(info, result)
    check_trace(result)
    return result


def check_refusal(info: SolverInfo, problem: Problem) -> None:
    """A problem that the solver does not take: an error of ours that says what is too much for it."""
    with pytest.raises(ProblemError) as caught:
        run(info, problem)
    sentence = str(caught.value)
    assert sentence.startswith(f"solver '{info.name}': got a problem with ")
    assert "; allowed: " in sentence


def check_allocation(result: Result) -> None:
    """Re-scored equal, feasible where it says so, tokens whole and in range."""
    problem, allocation = result.problem, result.allocation
    if allocation is None:
        assert result.quality is Quality.NONE
        assert result.value == -problem.objective.unproved
        return
    evaluation = evaluate(problem, allocation)
    assert evaluation.value == result.value or (math.isnan(evaluation.value) and math.isnan(result.value))
    assert evaluation.feasible == (result.quality is not Quality.INFEASIBLE)
    assert allocation.tokens.dtype == np.int64
    if evaluation.feasible:
        row = allocation.rows_of(problem)
        sends = row >= 0
        assert problem.may_skip[~sends].all()
        assert (problem.client[row[sends]] == np.flatnonzero(sends)).all()
        assert (allocation.tokens[sends] >= problem.min_tokens[row[sends]]).all()
        assert (allocation.tokens[sends] <= problem.max_tokens[row[sends]]).all()
        if problem.objective.name == "ste":
            assert result.ste > 0 or not evaluation.retained.any()
    if not math.isnan(result.claimed_value):
        assert result.claimed_value == pytest.approx(result.value, rel=CLAIM, abs=CLAIM * scale(result))


def scale(result: Result) -> float:
    """What differences of values are small or large against."""
    assert result.evaluation is not None
    objective, totals = result.problem.objective, result.evaluation.totals
    if objective.name != "weighted":
        return abs(result.value)
    settings = objective.settings()
    charged = settings["per_second"] * totals.round_s if settings["per_second"] > 0.0 else 0.0
    return float(totals.retained + charged + settings["per_joule"] * totals.energy_j)


def check_bound(info: SolverInfo, result: Result) -> None:
    """No bound from a solver that proves nothing, none beyond its own point, none withdrawn."""
    assert "withdrawn" not in result.message
    if info.proves == "nothing":
        assert result.bound == result.problem.objective.unproved
    if result.evaluation is not None and result.evaluation.feasible:
        assert not beyond(result.problem, result.value, result.bound, BOUND_CONTRADICTION)
    assert (result.quality is Quality.OPTIMAL) == (result.gap <= result.asked_gap)
    if info.proves == "optimum" and result.stop is Stop.CONVERGED:
        assert result.quality is Quality.OPTIMAL


def check_trace(result: Result) -> None:
    """Time runs forward, the value never gets worse, and the last line is no better than the answer."""
    points, objective = result.trace, result.problem.objective
    for earlier, later in itertools.pairwise(points):
        assert earlier.seconds <= later.seconds
        assert not objective.better(earlier.value, later.value)
    if points and result.evaluation is not None:
        slack = CLAIM * scale(result) / max(abs(result.value), 1e-300)
        assert not beyond(result.problem, points[-1].value, result.value, slack)


def check_same_answer(one: Result, other: Result) -> None:
    """The same call gives the same answer, unless the clock ended it."""
    if Stop.TIME_LIMIT in {one.stop, other.stop}:
        return
    assert one.stop is other.stop
    assert (one.allocation is None) == (other.allocation is None)
    if one.allocation is not None and other.allocation is not None:
        np.testing.assert_array_equal(one.allocation.tokens, other.allocation.tokens)
        row, other_row = one.allocation.rows_of(one.problem), other.allocation.rows_of(other.problem)
        np.testing.assert_array_equal(row, other_row)
        np.testing.assert_array_equal(one.allocation.bandwidth_hz, other.allocation.bandwidth_hz)
        np.testing.assert_array_equal(one.allocation.power_w, other.allocation.power_w)


def check_infeasible(info: SolverInfo, problem: Problem) -> None:
    """An infeasible instance: no allocation, no error, a reason."""
    result = run(info, problem)
    assert result.stop is Stop.INFEASIBLE
    assert result.quality is Quality.NONE
    assert result.allocation is None
    assert result.evaluation is None
    assert result.diagnosis is not None
    assert str(result.diagnosis) in str(result)
    assert result.value == result.bound == -problem.objective.unproved
    assert result.gap == math.inf


def check_time_limit(info: SolverInfo, problem: Problem, limit_s: float) -> None:
    """The limit holds, generously, and whatever was found by then is returned."""
    result = run(info, problem, time_limit_s=limit_s)
    assert result.seconds <= limit_s + (START_UP_S if info.needs else 2.0)
    assert result.stop is not Stop.ERROR, result.message
    if info.always_feasible:
        assert result.quality not in {Quality.NONE, Quality.INFEASIBLE}
    check_allocation(result)


def check_against_brute_force(problem: Problem, gap: float) -> None:
    """`exact` has an optimum of all token counts, and a bound that none exceeds, tolerance included."""
    best, tokens = brute_force(problem)
    most, _ = brute_force(problem.with_raised_limits(FEASIBILITY))
    result = solve(problem, gap=gap)
    assert result.quality is Quality.OPTIMAL, (result, tokens)
    assert result.bound >= most * (1 - 1e-12)
    assert result.ste >= best * (1 - max(gap, 1e-9) - 1e-9)
    assert result.ste <= most * (1 + 1e-12)
    if result.stats["tolerance_used"] == 0.0:
        assert result.ste <= best * (1 + 1e-12)


def check_against_highs(problem: Problem) -> None:
    """No knapsack of HiGHS at a fixed round time exceeds the bound of `exact`; at its own, it is met.

    For limits that use the whole tolerance; where the answer uses none of it, it is met without.
    """
    result = solve(problem, gap=0)
    assert result.evaluation is not None
    best_s = result.evaluation.round_s
    raised = problem.with_raised_limits(FEASIBILITY)
    least_s = Demand(raised).least_round_s(problem.min_tokens)
    for round_s in np.concatenate(([best_s * (1 + 1e-9)], np.geomspace(least_s * (1 + 1e-6), 4 * best_s, 7))):
        attention = knapsack(raised, float(round_s))
        assert attention / round_s <= result.bound * (1 + 1e-7)
    used = raised if result.stats["tolerance_used"] else problem
    at_best = knapsack(used, best_s * (1 + 1e-9)) / best_s
    assert at_best == pytest.approx(result.ste, rel=1e-6)
