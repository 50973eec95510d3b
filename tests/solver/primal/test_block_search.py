"""The search in whole blocks: brute force for each objective, tolerance, interruption, medium cells."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.whole_blocks import brute_force_blocks, random_blocks

from stsflora.benchmarks.families import family
from stsflora.solver import Answer, Problem, ProblemError, Request, Retained, RoundTime, Ste, Stop, evaluate
from stsflora.solver.feasibility import diagnose
from stsflora.solver.methods.exact import MAX_NODES
from stsflora.solver.primal import block_search
from stsflora.solver.primal.block_search import search_blocks
from stsflora.solver.registry import lookup
from stsflora.solver.tolerances import FEASIBILITY

OBJECTIVES = ("ste", "retained", "round_time")


def search(problem: Problem, gap: float = 1e-4, time_limit_s: float = math.inf) -> Answer:
    return search_blocks(problem, Request(gap=gap, time_limit_s=time_limit_s), MAX_NODES)


def cell(clients: int, blocks: int, seed: int = 0) -> Problem:
    """A cell of the paper in so many blocks."""
    problem = family("paper", clients=clients, seed=seed)
    return replace(problem, block_hz=problem.bandwidth_hz / blocks)


def menus(clients: int, blocks: int) -> Problem:
    """Three rows per client with utilities of any shape, skipping allowed: relaxations are far off."""
    rng, rows, tokens = np.random.default_rng(5), 3 * clients, 12
    return Problem(
        gain=10.0 ** rng.uniform(-12.0, -10.0, rows),
        bandwidth_hz=1e6,
        max_power_w=0.1,
        max_energy_j=10.0 ** rng.uniform(-1.5, 0.0, rows),
        utility=rng.random((rows, tokens + 1)),
        payload_bits=np.cumsum(rng.random((rows, tokens + 1)), axis=1) * 1e5,
        min_tokens=0,
        client=np.arange(rows) % clients,
        may_skip=True,
        noise_w_per_hz=4e-18,
        block_hz=1e6 / blocks,
        overhead_s=rng.uniform(0.0, 0.1, rows),
    )


def check(problem: Problem, answer: Answer, gap: float) -> float:
    """The value of an answer that is feasible, in whole blocks, and proved to the gap."""
    assert answer.allocation is not None
    assert answer.bound is not None
    score, objective = evaluate(problem, answer.allocation), problem.objective
    assert score.feasible
    if answer.stats["tolerance_used"] == 0.0:
        assert score.violation <= 1e-14
    assert not objective.contradicts(score.value, answer.bound)
    assert objective.gap(score.totals, answer.bound) <= gap
    assert answer.claimed_value == pytest.approx(score.value, rel=1e-9)
    assert answer.stop is Stop.CONVERGED
    return score.value


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("gap", "patience"), [(1e-4, 0), (1e-4, 150), (1e-9, 0)])
def test_answers_and_bounds_are_those_of_brute_force(
    objective: str, gap: float, patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bound of a band that is shared at will from the first step on, and later."""
    monkeypatch.setattr(block_search, "PATIENCE", patience)
    solved = impossible = 0
    for seed in range(90):
        try:
            problem = random_blocks(np.random.default_rng([seed, len(objective)]), objective)
        except ProblemError:
            continue
        best, answer = brute_force_blocks(problem), search(problem, gap)
        if math.isnan(best):
            impossible += 1
            if answer.allocation is None:
                assert answer.stop is Stop.INFEASIBLE
                assert answer.bound == -problem.objective.unproved
            else:  # an STE in no time
                assert math.isnan(evaluate(problem, answer.allocation).value)
            continue
        value = check(problem, answer, gap)
        if problem.objective.better(best, value):
            assert value == pytest.approx(best, rel=gap)
        else:  # next to the wideband limit the tolerance is worth more than itself
            assert value == pytest.approx(best, rel=1e-6)
        assert answer.bound is not None
        assert not problem.objective.contradicts(best, answer.bound)
        solved += 1
    assert solved > 25
    assert impossible > 5


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_bounds_hold_where_the_limits_are_what_an_answer_uses(objective: str) -> None:
    """Also where they are less by what `evaluate` accepts, and the band is an exact number of blocks."""
    accepted = 0
    for seed in range(40):
        try:
            problem = random_blocks(np.random.default_rng([seed, 17]), objective)
        except ProblemError:
            continue
        allocation = search(problem).allocation
        if allocation is None or not allocation.bandwidth_hz.sum() > 0.0:
            continue
        score, row = evaluate(problem, allocation), allocation.rows_of(problem)
        for less in (0.0, -1e-13, 1e-12, 0.9e-9, 0.9999e-9):
            sends = (row >= 0) & (allocation.power_w > 0.0)
            limits = {name: getattr(problem, name).copy() for name in ("deadline_s", "max_energy_j")}
            limits["deadline_s"][row[sends]] = score.uplink_s[sends] * (1.0 - less)
            limits["max_energy_j"][row[sends]] = score.energy_j[sends] * (1.0 - less)
            wanted = problem.objective
            if isinstance(wanted, Retained):
                wanted = Retained(score.round_s * (1.0 - less))
            elif wanted.least_retained > 0.0:
                wanted = RoundTime(score.totals.retained / (1.0 - less))
            band = float(allocation.bandwidth_hz.sum()) * (1.0 - less)
            for changed in (limits, {"bandwidth_hz": band}, {"objective": wanted}):
                tight = replace(problem, **changed)
                value = evaluate(tight, allocation)
                if not value.feasible:
                    continue
                answer = search(tight)
                assert answer.stop is not Stop.INFEASIBLE
                assert answer.bound is not None
                assert not tight.objective.contradicts(value.value, answer.bound)
                if less <= 0.9e-9 and "deadline_s" not in changed:
                    assert answer.allocation is not None
                accepted += 1
    assert accepted > 150


def test_an_exact_number_of_blocks_is_all_used() -> None:
    """Three clients, three blocks, a round in which each needs exactly one."""
    problem = Problem(
        gain=1e-11 * np.ones(3),
        utility=np.ones((3, 1)),
        payload_bits=1e5 * np.ones((3, 1)),
        bandwidth_hz=0.3,  # 0.3 / 0.1 is less than 3 in float64
        block_hz=0.1,
        max_power_w=1e-6,
        max_energy_j=np.inf,
        noise_w_per_hz=4e-18,
        objective=RoundTime(),
    )
    assert 0.3 / 0.1 < 3.0
    answer = search(problem, gap=1e-6)
    check(problem, answer, 1e-6)
    assert answer.allocation is not None
    assert answer.allocation.bandwidth_hz == pytest.approx([0.1, 0.1, 0.1], rel=1e-15)
    assert answer.stats["blocks"] == 3
    round_s = evaluate(problem, answer.allocation).round_s
    within = replace(problem, objective=Retained(round_s))
    assert check(within, search(within, 1e-6), 1e-6) == 3.0
    # A hair less time than the tolerance, and a block per client is not enough.
    short = search(replace(problem, objective=Retained(round_s * (1.0 - 1e-8))))
    assert short.stop is Stop.INFEASIBLE
    assert short.allocation is None
    assert short.bound == -math.inf


def test_a_requirement_may_not_be_missed_by_a_hair() -> None:
    """Two sixths and a third against five sixths of what all are worth: only all three reach it."""
    worth = np.array([[0.5], [0.3], [0.2]])
    problem = Problem(
        gain=np.array([1e-11, 1e-11, 1e-13]),
        utility=worth,
        payload_bits=1e5 * np.ones((3, 1)),
        bandwidth_hz=1e6,
        block_hz=1e5,
        max_power_w=0.1,
        max_energy_j=np.inf,
        noise_w_per_hz=4e-18,
        may_skip=True,
        objective=RoundTime(0.8),
    )
    two = check(problem, search(problem), 1e-4)
    for more in (0.8 * (1.0 + 0.5 * FEASIBILITY), 0.8 * (1.0 + 2.0 * FEASIBILITY)):
        tight = replace(problem, objective=RoundTime(more))
        value = check(tight, search(tight), 1e-4)
        assert (
            value == pytest.approx(two, rel=1e-6) if more < 0.8 * (1.0 + FEASIBILITY) else value > 2.0 * two
        )
    beyond = search(replace(problem, objective=RoundTime(1.0 + 1e-8)))
    assert beyond.stop is Stop.INFEASIBLE
    assert beyond.allocation is None
    assert beyond.bound == math.inf


@pytest.mark.parametrize("blocks", [100, 1000])
def test_twenty_clients_are_proved(blocks: int) -> None:
    problem = cell(20, blocks)
    shared = lookup("exact").method(replace(problem, block_hz=None), Request())
    assert shared.bound is not None
    value = check(problem, search(problem), 1e-4)
    assert 0.9 * shared.bound < value <= shared.bound
    score = evaluate(problem, search(problem).allocation)
    within = replace(problem, objective=Retained(1.2 * score.round_s))
    assert check(within, search(within), 1e-4) > score.totals.retained
    soonest = replace(problem, objective=RoundTime(score.totals.retained))
    assert check(soonest, search(soonest), 1e-4) <= score.round_s * (1.0 + 1e-4)


@pytest.mark.parametrize("wanted", [Ste(), Retained(0.3), RoundTime(7.0)], ids=OBJECTIVES)
def test_menus_that_no_relaxation_decides_are_proved(wanted: Ste | Retained | RoundTime) -> None:
    problem = replace(menus(10, 100), objective=wanted)
    answer = search(problem, 1e-9)
    check(problem, answer, 1e-9)
    assert answer.stats["knapsacks"] > 0


def test_a_ratio_that_is_the_same_at_all_round_times_is_proved() -> None:
    """Utility by payload at the highest modulation: whole blocks alone take steps as short as the gap."""
    bits = np.tile(1e4 * np.arange(101.0), (20, 1))
    problem = Problem(
        gain=1e-9 * np.ones(20),
        bandwidth_hz=1e6,
        max_power_w=1.0,
        max_energy_j=1e3,
        utility=bits / 1e4,
        payload_bits=bits,
        min_tokens=0,
        max_bps_per_hz=2.0,
        may_skip=True,
        noise_w_per_hz=4e-18,
        block_hz=1e4,
    )
    answer = search(problem)
    assert check(problem, answer, 1e-4) == pytest.approx(200.0)
    assert answer.stats["steps"] < 400


@pytest.mark.parametrize("wanted", [Ste(), Retained(0.3), RoundTime(7.0)], ids=OBJECTIVES)
def test_without_exact_knapsacks_there_is_a_bound_and_an_honest_gap(
    wanted: Ste | Retained | RoundTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = replace(menus(10, 100), objective=wanted)
    best = check(problem, search(problem, 1e-9), 1e-9)
    monkeypatch.setattr(block_search, "MOST_PAIRS", 0.0)
    answer = search(problem)
    assert answer.allocation is not None
    assert answer.bound is not None
    score = evaluate(problem, answer.allocation)
    assert score.feasible
    assert not wanted.contradicts(best, answer.bound)
    assert score.value == pytest.approx(best, rel=0.1)
    assert wanted.gap(score.totals, answer.bound) < 0.1
    if wanted.gap(score.totals, answer.bound) > 1e-4:
        assert answer.stop is Stop.ITERATION_LIMIT


@pytest.mark.parametrize("wanted", [Ste(), Retained(0.3), RoundTime(150.0)], ids=OBJECTIVES)
def test_many_blocks_are_bounded_by_a_band_that_is_shared_at_will(wanted: Ste | Retained | RoundTime) -> None:
    """The more blocks, the closer to it; every bound holds for coarser ones that divide it."""
    values, bounds = [], []
    for blocks in (50, 500, 20_000):
        problem = replace(cell(10, blocks), objective=wanted)
        answer = search(problem)
        assert answer.bound is not None
        values.append(check(problem, answer, 1e-4))
        bounds.append(answer.bound)
    for value, finer in zip(values[:-1], bounds[1:], strict=True):
        assert not wanted.contradicts(value, finer)


@pytest.mark.parametrize("wanted", [Ste(), Retained(0.3), RoundTime(7.0)], ids=OBJECTIVES)
def test_an_interrupted_search_has_a_bound(
    wanted: Ste | Retained | RoundTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever step the time ends."""
    problem = replace(menus(10, 100), objective=wanted)
    best = check(problem, search(problem, 1e-9), 1e-9)
    for steps in (0, 1, 2, 5, 12, 25, 40):
        calls = iter(range(10_000))
        monkeypatch.setattr(Request, "expired", lambda self, calls=calls, steps=steps: next(calls) >= steps)
        answer = search(problem)
        assert answer.stop in {Stop.TIME_LIMIT, Stop.CONVERGED}
        if answer.bound is not None:
            assert not wanted.contradicts(best, answer.bound)
        if answer.allocation is not None:
            assert evaluate(problem, answer.allocation).feasible


def test_a_time_limit_is_kept() -> None:
    answer = search(cell(20, 1000), gap=1e-9, time_limit_s=1e-3)
    assert answer.stop is Stop.TIME_LIMIT
    assert answer.bound is not None
    assert answer.bound > 0.0


def test_a_start_is_kept_where_there_is_no_time_for_more() -> None:
    problem = menus(10, 100)
    best = search(problem)
    assert best.allocation is not None
    again = search_blocks(problem, Request(start=best.allocation, time_limit_s=1e-9), MAX_NODES)
    assert again.allocation is not None
    assert again.stop is Stop.TIME_LIMIT
    value = evaluate(problem, again.allocation).value
    assert value == pytest.approx(evaluate(problem, best.allocation).value, rel=1e-9)
    # Tokens that another option beats are no start, and do no harm.
    beaten = replace(problem, may_skip=np.zeros(10, np.bool_))
    other = replace(best.allocation, tokens=np.full(10, 12), row=np.arange(10))
    assert search_blocks(beaten, Request(start=other), MAX_NODES).allocation is not None


def test_somebody_sends_even_where_nothing_is_worth_anything() -> None:
    """Only what cannot be sent is worth anything: the STE is 0, and skipped by all it is none."""
    problem = Problem(
        gain=[1e-11],
        bandwidth_hz=3e5,
        block_hz=1e5,
        max_power_w=0.1,
        max_energy_j=0.1,
        importance=[[0.7]],
        payload_bits=[[1e5, 1e9]],
        min_tokens=0,
        deadline_s=1.0,
        may_skip=True,
        noise_w_per_hz=4e-18,
    )
    assert diagnose(problem) is None
    answer = search(problem)
    assert check(problem, answer, 0.0) == 0.0
    assert answer.bound == 0.0


def test_the_best_known_choice_uses_the_tolerance_only_where_it_has_to() -> None:
    """A deadline of what a block takes, less half of the tolerance."""
    problem = Problem(
        gain=[1e-11],
        bandwidth_hz=1e5,
        block_hz=1e5,
        max_power_w=0.1,
        max_energy_j=np.inf,
        utility=[[1.0]],
        payload_bits=[[1e5]],
        noise_w_per_hz=4e-18,
    )
    answer = search(problem)
    assert answer.stats["tolerance_used"] == 0.0
    assert answer.allocation is not None
    uplink_s = float(evaluate(problem, answer.allocation).uplink_s[0])
    hurried = replace(problem, deadline_s=np.array([uplink_s * (1.0 - 0.4e-9)]))
    answer = search(hurried)
    check(hurried, answer, 1e-4)
    assert 0.0 < answer.stats["tolerance_used"] <= FEASIBILITY
