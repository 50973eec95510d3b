"""The core that plans a round: who is dropped and why, what happens when a solver breaks limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stsflora.benchmarks.families import family
from stsflora.solver import (
    Allocation,
    Allocator,
    Answer,
    Client,
    OptionError,
    Plan,
    Problem,
    Quality,
    Request,
    SolverFailedError,
    Stop,
    UnknownNameError,
    evaluate,
    register,
    solve,
)
from stsflora.solver.allocator.plan_problem import plan_problem
from stsflora.solver.registry import unregister


@pytest.fixture
def three() -> Problem:
    """Three clients without deadlines."""
    return family("paper", 3, seed=0, deadline_s=np.inf)


@pytest.fixture
def careless() -> Iterator[dict[str, Any]]:
    """A solver of that name, and what it multiplies bandwidth, power and tokens of its allocation with."""
    factors: dict[str, Any] = {"bandwidth_hz": 1.0, "power_w": 1.0, "tokens": 1}

    @register("careless", always_feasible=False)
    def careless(problem: Problem, request: Request) -> Answer:
        """Sends the fewest tokens at full power over equal shares, whatever the budget."""
        share = np.full(problem.clients, problem.bandwidth_hz / problem.clients)
        return Answer(
            Allocation(
                problem.min_tokens * factors["tokens"],
                share * factors["bandwidth_hz"],
                problem.max_power_w * factors["power_w"],
            )
        )

    yield factors
    unregister("careless")


def with_a_tight_budget(problem: Problem, share: float) -> Problem:
    """What full power over equal shares takes, of which client 1 has only a share."""
    full_power = solve(problem, "careless").evaluation
    assert full_power is not None
    return replace(problem, max_energy_j=full_power.energy_j * [2.0, share, 2.0])


# What both ways have in common


@pytest.mark.parametrize("on_violation", ["fallback", "drop"])
@pytest.mark.parametrize("solver", ["exact", "alternating", "shi"])
def test_a_plan_is_the_result_of_solve_client_by_client(
    three: Problem, solver: str, on_violation: Any
) -> None:
    result = solve(three, solver)
    plan = plan_problem(three, ["a", 7, "c"], solver=solver, on_violation=on_violation)
    evaluation, allocation = result.evaluation, result.allocation
    assert evaluation is not None
    assert allocation is not None
    assert list(plan.grants) == ["a", 7, "c"]
    assert not plan.dropped
    assert (plan.ste, plan.bound, plan.quality) == (result.ste, result.bound, result.quality)
    assert (plan.stop, plan.solver, plan.round_s) == (result.stop, solver, evaluation.round_s)
    for m, grant in enumerate(plan.grants.values()):
        assert grant[:3] == (allocation.tokens[m], allocation.bandwidth_hz[m], allocation.power_w[m])
        assert (grant.uplink_s, grant.energy_j) == (evaluation.uplink_s[m], evaluation.energy_j[m])
        assert (grant.retained, grant.finish_s) == (
            evaluation.retained[m],
            three.overhead_s[m] + grant.uplink_s,
        )
    assert plan.energy_j == evaluation.energy_j.sum()
    assert plan.retained == evaluation.retained.sum()


@pytest.mark.parametrize("on_violation", ["fallback", "drop"])
def test_clients_that_no_allocation_serves_are_named_and_the_rest_is_optimal(
    three: Problem, on_violation: Any
) -> None:
    problem = replace(three, gain=three.gain * [1.0, 1e-12, 1.0])
    plan = plan_problem(problem, [4, 5, 9], on_violation=on_violation)
    (dropped,) = plan.dropped
    assert dropped[:3] == (1, 5, "energy")
    assert dropped.reason.startswith("client 5: sending min_tokens takes more than ")
    rest = solve(three.subset([0, 2]))
    assert (list(plan.grants), plan.ste, plan.bound) == ([4, 9], rest.ste, rest.bound)
    nobody = plan_problem(replace(problem, gain=1e-20), [4, 5, 9], on_violation=on_violation)
    assert nobody.grants == {}
    assert (nobody.ste, nobody.bound, nobody.gap, nobody.quality) == (0, 0, 0, Quality.OPTIMAL)
    assert [dropped.position for dropped in nobody.dropped] == [0, 1, 2]


def test_padding_is_not_granted(three: Problem) -> None:
    plan = plan_problem(three, [0, 1, 2], solver="full", available_tokens=np.array([70, 196, 80]))
    assert [grant.tokens for grant in plan.grants.values()] == [70, 196, 80]


def test_the_allocator_plans_by_it(three: Problem) -> None:
    clients = [
        Client(
            m, *(getattr(three, name)[m] for name in ("gain", "importance", "bits_per_token", "max_power_w"))
        )
        for m in range(3)
    ]
    allocator = Allocator(bandwidth_hz=three.bandwidth_hz, noise_w_per_hz=three.noise_w_per_hz)
    without_limits = replace(three, max_energy_j=math.inf, overhead_s=0.0, min_tokens=1)
    plan = plan_problem(without_limits, [0, 1, 2])
    assert allocator.plan(clients).grants == plan.grants
    assert allocator.plan(clients, start=plan).quality is Quality.OPTIMAL


@pytest.mark.parametrize(
    ("ids", "settings", "error", "words"),
    [
        ([1, 2], {}, OptionError, "2 different ids; allowed: 3, one per client"),
        ([1, 2, 2], {}, OptionError, "2 different ids; allowed: 3, one per client"),
        (
            [1, 2, 3],
            {"on_violation": "ignore"},
            OptionError,
            "on_violation='ignore'; allowed: fallback or drop",
        ),
        ([1, 2, 3], {"solver": "best"}, UnknownNameError, "'best'"),
        ([1, 2, 3], {"options": {"speed": 9}}, OptionError, "option 'speed'"),
        ([1, 2, 3], {"time_limit_s": -1.0, "gap": -1}, OptionError, "gap=-1"),
    ],
)
def test_wrong_calls_are_named(
    three: Problem, ids: list[int], settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        plan_problem(three, ids, **settings)


# A solver that breaks limits


@pytest.mark.usefixtures("careless")
def test_to_drop_is_to_go_on_without_whose_limit_is_broken(three: Problem) -> None:
    problem = with_a_tight_budget(three, 0.9)
    full_power = evaluate(problem, solve(three, "careless").allocation)  # type: ignore[arg-type]
    plan = plan_problem(problem, [4, 5, 9], solver="careless", on_violation="drop")
    (dropped,) = plan.dropped
    assert dropped[:3] == (1, 5, "energy")
    assert dropped.reason == (
        f"client 5: solver 'careless' lets its upload take {full_power.energy_j[1]:.4g} J, "
        f"its energy budget is {problem.max_energy_j[1]:.4g} J."
    )
    assert list(plan.grants) == [4, 9]
    assert plan.energy_j == full_power.energy_j[[0, 2]].sum()
    assert plan.round_s == full_power.uplink_s[[0, 2]].max()
    assert plan.ste == pytest.approx(full_power.retained[[0, 2]].sum() / plan.round_s)
    assert (plan.bound, plan.gap, plan.quality) == (math.inf, math.inf, Quality.FEASIBLE)
    late = replace(problem, max_energy_j=math.inf, deadline_s=full_power.uplink_s * [2.0, 2.0, 0.9])
    plan = plan_problem(late, [4, 5, 9], solver="careless", on_violation="drop")
    assert [client[:3] for client in plan.dropped] == [(2, 9, "deadline")]
    assert plan.dropped[0].reason.endswith(f" s, its deadline is {late.deadline_s[2]:.4g} s.")


@pytest.mark.usefixtures("careless")
def test_when_all_limits_are_broken_nobody_is_granted_anything(three: Problem) -> None:
    problem = with_a_tight_budget(three, 0.9)
    problem = replace(problem, max_energy_j=problem.max_energy_j * [0.4, 1.0, 0.4])
    plan = plan_problem(problem, [4, 5, 9], solver="careless", on_violation="drop")
    assert plan.grants == {}
    assert [client.cause for client in plan.dropped] == ["energy"] * 3
    assert (plan.ste, plan.gap, plan.quality) == (0, math.inf, Quality.NONE)


@pytest.mark.usefixtures("careless")
def test_to_fall_back_is_to_grant_the_fallbacks_allocation(three: Problem) -> None:
    problem = with_a_tight_budget(three, 0.9)
    plan = plan_problem(problem, [4, 5, 9], solver="careless")
    assert plan.grants == plan_problem(problem, [4, 5, 9], solver="shi").grants
    assert (plan.solver, plan.stop, plan.quality) == ("shi", Stop.CONVERGED, Quality.FEASIBLE)
    assert "the rule 'shi' stood in, this is its allocation" in plan.message


@pytest.mark.parametrize(
    ("name", "factor", "words"),
    [
        ("bandwidth_hz", 2.0, "breaks bandwidth"),
        ("power_w", 3.0, "breaks power"),
        ("tokens", 999, "max_tokens"),
    ],
)
def test_what_single_clients_cannot_answer_for_is_an_error(
    three: Problem, careless: dict[str, Any], name: str, factor: float, words: str
) -> None:
    careless[name] = factor
    problem = replace(three, max_energy_j=math.inf)
    with pytest.raises(SolverFailedError, match=f"solver 'careless': got an allocation that .*{words}"):
        plan_problem(problem, [4, 5, 9], solver="careless", on_violation="drop")
    assert plan_problem(problem, [4, 5, 9], solver="careless").solver == "shi"


# Uploads that are lost


def test_what_is_left_of_a_plan_counts_what_arrives(three: Problem) -> None:
    plan = plan_problem(three, ["a", "b", "c"])
    rest = plan.without({"b", "stranger"})
    kept = [plan.grants["a"], plan.grants["c"]]
    assert list(rest.grants.values()) == kept
    assert rest.round_s == max(grant.finish_s for grant in kept)
    assert rest.ste == pytest.approx(sum(grant.retained for grant in kept) / rest.round_s)
    assert rest.energy_j == pytest.approx(sum(grant.energy_j for grant in kept))
    assert (rest.bound, rest.quality) == (math.inf, Quality.FEASIBLE)
    assert plan.without({"stranger"}) is plan
    none: Plan = plan.without(plan.grants)
    assert (none.grants, none.ste, none.round_s) == ({}, 0, 0)
