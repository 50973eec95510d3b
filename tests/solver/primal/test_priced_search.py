"""Energy, sums of times and prices of joules in `exact`: brute force, Clarabel, tolerance, interruption."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.priced import choices, draw, truth, worth

from stsflora.solver import Energy, Problem, Quality, Stop, TotalTime, Weighted, evaluate, solve
from stsflora.solver.feasibility import diagnose
from stsflora.solver.tolerances import FEASIBILITY

GAP = 1e-6


def fixed_payloads(clients: int, objective: Energy | TotalTime, seed: int = 0) -> Problem:
    """One row of one payload each, power and energy to spare."""
    rng = np.random.default_rng((3, seed, clients))
    return Problem(
        gain=10 ** rng.uniform(-11, -8, clients),
        utility=np.ones((clients, 1)),
        payload_bits=10 ** rng.uniform(5, 6, (clients, 1)),
        bandwidth_hz=1e6 * clients,
        max_power_w=0.3,
        max_energy_j=5.0,
        overhead_s=rng.uniform(0, 0.2, clients),
        objective=objective,
    )


@pytest.mark.parametrize("wanted", ["energy", "energy_of_utility", "total_time"])
@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 60))]
)
def test_brute_force(wanted: str, seed: int) -> None:
    """Caps, alternatives, skipping, sums of utilities required exactly as they can be reached."""
    rng = np.random.default_rng((seed, len(wanted)))
    problem = draw(rng, int(rng.integers(1, 4)), 1 if wanted == "total_time" else 2, wanted)
    if diagnose(problem) is not None:
        return
    result, best = solve(problem, gap=GAP), truth(problem)
    if best == math.inf:
        assert result.stop is Stop.INFEASIBLE
        return
    assert result.quality is Quality.OPTIMAL, result.message
    assert result.value == pytest.approx(best, rel=3 * GAP)
    assert result.bound <= best * (1 + 1e-9)


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 50))]
)
def test_brute_force_over_round_times(seed: int) -> None:
    rng = np.random.default_rng((seed, 77))
    problem = draw(rng, int(rng.integers(1, 3)), 1, "weighted")
    if diagnose(problem) is not None:
        return
    result, best = solve(problem), truth(problem)
    scale = max(abs(best), 1e-3 * (2 * result.evaluation.totals.retained - best))
    assert result.quality is Quality.OPTIMAL, result.message
    assert best <= result.bound + 1e-6 * scale
    assert result.value >= best - 2e-4 * scale


def test_a_requirement_is_met_to_the_last_digit() -> None:
    """All sums that can be reached, required exactly: none is missed by rounding, none is bounded away."""
    rng = np.random.default_rng(5)
    problem = draw(rng, 2, 2, "energy")
    for choice in list(choices(problem))[:12]:
        required = worth(problem, choice)
        if required > 0.0:
            asked = replace(problem, objective=Energy(problem.objective.longest_round_s, required))
            if diagnose(asked) is None:
                result = solve(asked, gap=GAP)
                assert result.quality is Quality.OPTIMAL
                assert result.evaluation.violations["retained"] == 0.0


@pytest.mark.parametrize("clients", [1, 8, 30])
def test_clarabel_agrees_on_energy(clients: int) -> None:
    cp = pytest.importorskip("cvxpy")
    problem = fixed_payloads(clients, Energy(1.0))
    slot_s = 1.0 - problem.overhead_s
    share_hz = problem.bandwidth_hz / clients
    noise_w = share_hz * problem.noise_w_per_hz / problem.gain
    shares, over_noise = cp.Variable(clients), cp.Variable(clients)
    rate = problem.payload_bits[:, 0] * math.log(2) / (slot_s * share_hz)
    joules = slot_s * noise_w
    limits = [
        -cp.rel_entr(shares, shares + over_noise) >= rate,
        cp.sum(shares) <= clients,
        cp.multiply(noise_w / problem.max_power_w, over_noise) <= 1,
        cp.multiply(joules / problem.max_energy_j, over_noise) <= 1,
    ]
    convex = cp.Problem(cp.Minimize((joules / joules.sum()) @ over_noise), limits)
    convex.solve(solver="CLARABEL")
    result = solve(problem, gap=1e-8)
    assert result.quality is Quality.OPTIMAL
    assert result.value == pytest.approx(convex.value * joules.sum(), rel=1e-6)


@pytest.mark.parametrize("clients", [1, 8, 30])
def test_clarabel_agrees_on_the_sum_of_times(clients: int) -> None:
    cp = pytest.importorskip("cvxpy")
    problem = fixed_payloads(clients, TotalTime())
    share_hz = problem.bandwidth_hz / clients
    over_noise = problem.max_power_w * problem.gain / (problem.noise_w_per_hz * share_hz)
    shares, rate = cp.Variable(clients), cp.Variable(clients)
    limits = [rate <= -cp.rel_entr(shares, shares + over_noise), cp.sum(shares) <= clients]
    upload_s = problem.payload_bits[:, 0] * math.log(2) / share_hz
    convex = cp.Problem(cp.Minimize(upload_s @ cp.inv_pos(rate)), limits)
    convex.solve(solver="CLARABEL")
    result = solve(problem, gap=1e-8)
    assert result.quality is Quality.OPTIMAL
    assert result.value == pytest.approx(convex.value + problem.overhead_s.sum(), rel=1e-6)


@pytest.mark.parametrize("wanted", ["energy", "energy_of_utility", "total_time", "weighted"])
def test_what_the_tolerance_permits_is_not_bounded_away(wanted: str) -> None:
    """An optimum for limits raised by nearly the tolerance is accepted, so the bound must hold for it."""
    rng = np.random.default_rng((9, len(wanted)))
    tried = 0
    while tried < 6:
        problem = draw(rng, 2, 2, wanted)
        if diagnose(problem) is not None:
            continue
        raised = solve(problem.with_raised_limits(0.999 * FEASIBILITY), gap=1e-7)
        if raised.allocation is None or raised.stats["tolerance_used"] > 0.0:
            continue  # or else the tolerance would count twice
        accepted = evaluate(problem, raised.allocation)
        assert accepted.feasible
        bound = solve(problem, gap=1e-5).bound
        scale = 1e-12 * abs(accepted.value)
        if problem.objective.maximises:
            assert accepted.value <= bound + scale
        else:
            assert accepted.value >= bound - scale
        tried += 1


@pytest.mark.parametrize("wanted", ["energy_of_utility", "weighted"])
def test_an_interrupted_search_has_a_true_bound(wanted: str) -> None:
    rng = np.random.default_rng((4, len(wanted)))
    tried = 0
    while tried < 8:
        problem = draw(rng, 3, 4, wanted)
        if diagnose(problem) is not None:
            continue
        best = solve(problem, gap=GAP)
        if best.allocation is None:
            continue
        for stopped in (solve(problem, gap=0, max_nodes=1), solve(problem, gap=0, time_limit_s=1e-9)):
            assert "withdrawn" not in stopped.message
            if problem.objective.maximises:
                assert stopped.bound >= best.value - 1e-12 * abs(best.value)
            else:
                assert stopped.bound <= best.value * (1 + 1e-12)
        tried += 1


def test_nobody_sends_where_joules_are_dear() -> None:
    problem = Problem(
        gain=1e-10 * np.ones(3),
        importance=np.ones((3, 4)),
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=1.0,
        may_skip=True,
        objective=Weighted(per_second=1.0, per_joule=1e12),
    )
    result = solve(problem)
    assert (result.allocation.rows_of(problem) == -1).all()
    assert result.value == result.bound == 0.0
    assert result.quality is Quality.OPTIMAL


def test_nothing_to_send_costs_nothing_on_the_air() -> None:
    """A payload of 0 bits takes no bandwidth; what was spent before it and its overhead count."""
    problem = Problem(
        gain=[1e-9, 1e-9],
        utility=np.ones((2, 1)),
        payload_bits=[[0.0], [1e6]],
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=1.0,
        before_j=0.25,
        overhead_s=[0.5, 0.25],
        objective=Energy(2.0),
    )
    energy = solve(problem)
    assert energy.allocation.bandwidth_hz[0] == energy.allocation.power_w[0] == 0.0
    assert energy.evaluation.energy_j[0] == 0.25
    assert energy.quality is Quality.OPTIMAL
    timed = solve(replace(problem, objective=TotalTime([3.0, 1.0])))
    assert timed.value == pytest.approx(1.5 + 0.25 + timed.evaluation.uplink_s[1])
    assert timed.quality is Quality.OPTIMAL


def test_many_clients_with_alternatives_are_proved() -> None:
    """Where a price decides nearly all, few nodes are left."""
    rng = np.random.default_rng(1)
    client = np.repeat(np.arange(30), 4)
    bits = np.repeat(10 ** rng.uniform(5, 5.6, 30), 4) * np.exp(
        -np.tile(np.arange(4), 30) * rng.uniform(0.3, 0.6, 120)
    )
    problem = Problem(
        client=client,
        gain=np.repeat(10 ** rng.uniform(-11, -9, 30), 4),
        utility=np.log(bits / 1e4)[:, None] * rng.uniform(0.8, 1.2, (120, 1)),
        payload_bits=bits[:, None],
        bandwidth_hz=3e6,
        max_power_w=0.3,
        max_energy_j=2.0,
        overhead_s=0.05 * np.tile(np.arange(1, 5), 30),
        objective=Energy(1.2, retained=70.0),
    )
    result = solve(problem)
    assert result.quality is Quality.OPTIMAL
    assert result.stats["options"] <= 120


@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_equal_clients_of_a_required_sum_are_proved(noise: float) -> None:
    """Where prices of bandwidth and utility alone leave 10^13 choices, the required sum is kept exactly."""
    rng = np.random.default_rng(6)
    utility = np.tile([1.0, 2.7], 40) * (1 + noise * rng.uniform(-1, 1, 80))
    problem = Problem(
        client=np.repeat(np.arange(40), 2),
        gain=1e-10,
        utility=utility[:, None],
        payload_bits=1e5 * np.tile([1.0, 4.0], 40)[:, None],
        bandwidth_hz=2e6,
        max_power_w=0.3,
        max_energy_j=1.0,
        objective=Energy(1.5, retained=70.1),
    )
    result = solve(problem)
    assert result.quality is Quality.OPTIMAL
    assert result.stats["nodes"] <= 9


@pytest.mark.parametrize("wanted", ["energy", "energy_of_utility", "total_time", "weighted"])
def test_small_rounds_are_proved(wanted: str) -> None:
    """None is left open, none called infeasible where needs fit, and claims are what `evaluate` finds."""
    rng = np.random.default_rng((12, len(wanted)))
    for _ in range(60):
        problem = draw(rng, int(rng.integers(1, 5)), 4 if wanted == "energy" else 2, wanted)
        if diagnose(problem) is None:
            result = solve(problem, gap=GAP)
            if result.stop is Stop.INFEASIBLE:
                assert problem.objective.least_retained > 0.0
                continue
            assert result.quality is Quality.OPTIMAL
            assert result.claimed_value == pytest.approx(result.value, rel=1e-9, abs=1e-12)
