"""Rounds of a live cell under a time limit: no feasible round is lost, and what is granted is feasible."""

from __future__ import annotations

import math

import pytest
from helpers.hard_cells import (
    LIVE_CASES,
    check_against_witness,
    check_plan,
    live_rounds,
    patient_allocation,
    recorded,
)

from stsflora.solver import Plan, Problem, Quality, evaluate, plan_problem, solve

SLOW = pytest.mark.slow
LIMIT_S = 0.05
RULES = ("alternating", "shi", "greedy")

live_cases = pytest.mark.parametrize("name", LIVE_CASES)


def check_against_rules(problem: Problem, bound: float) -> None:
    """No allocation of a simple rule exceeds a bound."""
    for rule in RULES:
        found = solve(problem, rule)
        assert found.quality not in {Quality.NONE, Quality.INFEASIBLE}, f"{rule}: {found.evaluation}"
        assert found.ste <= bound * (1 + 1e-12), rule


@live_cases
def test_the_recorded_rounds_are_feasible(name: str) -> None:
    """By an allocation that no solver made, so that what follows asks for nothing impossible."""
    problem = recorded(name)
    assert evaluate(problem, patient_allocation(problem)).feasible


@live_cases
def test_a_recorded_round_is_granted_to_all_its_clients(name: str) -> None:
    problem = recorded(name)
    ids = list(range(problem.clients))
    plan = plan_problem(problem, ids, time_limit_s=LIMIT_S)
    assert check_plan(problem, ids, plan) is not None
    assert list(plan.grants) == ids
    assert plan.solver == "exact", plan.message
    check_against_rules(problem, plan.bound)


@live_cases
@pytest.mark.parametrize("limit_s", [1e-9, 1e-3, LIMIT_S])
def test_a_recorded_round_has_an_answer_and_a_bound_at_any_limit(name: str, limit_s: float) -> None:
    problem = recorded(name)
    result = solve(problem, time_limit_s=limit_s)
    check_against_witness(result, evaluate(problem, patient_allocation(problem)))
    assert math.isfinite(result.bound)
    check_against_rules(problem, result.bound)


@live_cases
@pytest.mark.parametrize("rule", RULES)
def test_simple_rules_are_feasible_on_a_recorded_round(name: str, rule: str) -> None:
    result = solve(recorded(name), rule)
    assert result.evaluation is not None
    assert result.evaluation.feasible, result.evaluation.violations


@live_cases
def test_a_warm_start_loses_no_recorded_round(name: str) -> None:
    problem = recorded(name)
    witness = patient_allocation(problem)
    result = solve(problem, start=witness, time_limit_s=LIMIT_S)
    check_against_witness(result, evaluate(problem, witness))
    check_against_witness(solve(problem, start=result, time_limit_s=LIMIT_S), evaluate(problem, witness))


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=SLOW) for seed in range(2, 30))])
def test_a_live_cell_loses_no_round(seed: int) -> None:
    """Every plan starts from the one before; who is dropped could not have been served."""
    plan: Plan | None = None
    served = 0
    for problem, ids in live_rounds(seed, 25):
        plan = plan_problem(problem, ids, time_limit_s=LIMIT_S, start=plan)
        granted = check_plan(problem, ids, plan)
        if granted is not None:
            served += 1
            check_against_witness(solve(granted, max_nodes=1), evaluate(granted, patient_allocation(granted)))
            check_against_rules(granted, plan.bound)
    assert served == 25


@pytest.mark.parametrize("seed", [100, *(pytest.param(seed, marks=SLOW) for seed in range(101, 110))])
def test_a_live_cell_whose_clients_can_all_be_served_drops_nobody(seed: int) -> None:
    plan: Plan | None = None
    feasible = 0
    for problem, ids in live_rounds(seed, 60, pool=12):
        if not evaluate(problem, patient_allocation(problem)).feasible:
            continue
        feasible += 1
        plan = plan_problem(problem, ids, time_limit_s=LIMIT_S, start=plan)
        check_plan(problem, ids, plan)
        assert list(plan.grants) == ids, plan.message
    assert feasible >= 20
