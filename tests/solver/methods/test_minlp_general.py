"""`minlp` on problems beyond the token problem, against plain enumeration that shares no code with it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.general import brute_force_general, feasible_general, value_of_choice

from stsflora.benchmarks.families import family
from stsflora.solver import (
    Allocation,
    AllocationError,
    Energy,
    Problem,
    Quality,
    Result,
    Retained,
    RoundTime,
    Stop,
    TotalTime,
    Weighted,
    evaluate,
    solve,
)

pyo = pytest.importorskip("pyomo.environ")
pytest.importorskip("pyscipopt")

from stsflora.solver.method import Request
from stsflora.solver.minlp.choices import choices_of
from stsflora.solver.minlp.model import minlp_model, write_minlp
from stsflora.solver.minlp.option_search import OptionSearch, known_of
from stsflora.solver.minlp.serving import serve

OBJECTIVES = ("ste", "retained", "round_time", "weighted", "energy", "total_time")
FEATURES = ("alternatives", "utility", "token_limits", "skip", "before_j", "caps", "requirement")


def check(problem: Problem, best: float, result: Result, proved: bool = True) -> None:
    """The value is the best one, the bound does not contradict it, and is near."""
    objective = problem.objective
    assert result.stop not in {Stop.ERROR, Stop.INFEASIBLE}, result.message
    assert result.value == pytest.approx(best, rel=1e-6, abs=1e-9)
    assert not objective.better(best - 1e-9 * abs(best) if objective.maximises else best, result.bound)
    if proved and best != 0.0:
        assert result.quality is Quality.OPTIMAL, (result, result.bound)


def drawn(objective: str, seed: int, features: tuple[str, ...], tokens: int = 2) -> tuple[Problem, float]:
    rng = np.random.default_rng([seed, OBJECTIVES.index(objective)])
    return feasible_general(rng, objective, int(rng.integers(1, 4)), tokens, features)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_with_all_features_at_once(objective: str) -> None:
    problem, best = drawn(objective, 1, FEATURES)
    check(problem, best, solve(problem, "minlp", time_limit_s=40))


@pytest.mark.slow
@pytest.mark.parametrize("feature", ["", *FEATURES])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_with_every_feature(objective: str, feature: str) -> None:
    for seed in range(3):
        problem, best = drawn(objective, seed, (feature,), tokens=3)
        check(problem, best, solve(problem, "minlp", time_limit_s=60))


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_many_mixtures(objective: str) -> None:
    for seed in range(10, 20):
        rng = np.random.default_rng(seed)
        features = tuple(name for name in FEATURES if rng.random() < 0.5)
        problem, best = drawn(objective, seed, features)
        check(problem, best, solve(problem, "minlp", time_limit_s=60))


def priced(seed: int) -> Problem:
    """With a price of energy about as high as that of time."""
    problem, _ = drawn("weighted", seed, ("alternatives", "utility", "caps", "before_j"))
    search = OptionSearch(problem)
    search.begin(Request())
    assert search.best is not None
    totals, objective = search.best.score.totals, problem.objective
    assert isinstance(objective, Weighted)
    price = objective.per_second * totals.round_s / totals.energy_j if totals.energy_j > 0.0 else 1.0
    return replace(problem, objective=Weighted(objective.per_second, price))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_energy_at_a_price(seed: int) -> None:
    problem = priced(seed)
    best, _ = brute_force_general(problem)
    check(problem, best, solve(problem, "minlp", time_limit_s=60))


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_engine_finds_the_optimum_from_a_bad_start(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without choices of our own the model alone has to lead there, and to prove it."""
    problem, best = drawn(objective, 3, ("alternatives", "utility"))

    def worst(search: OptionSearch, request: Request) -> None:
        own = [search.choices.of_client(m) for m in range(problem.clients)]
        choices = [np.array(choice) for choice in itertools.product(*own)]
        limits, options = search._permitted, search._permitted_choices
        found = [known_of(problem, limits, options, choice) for choice in choices]
        served = [known for known in found if known is not None]
        sign = 1.0 if problem.objective.maximises else -1.0
        search.best = min(served, key=lambda known: sign * known.score.value)

    monkeypatch.setattr(OptionSearch, "begin", worst)
    check(problem, best, solve(problem, "minlp", time_limit_s=60), proved=False)


def best_in_blocks(problem: Problem) -> float:
    """Over all choices and all ways to give away whole blocks, uploads as fast, or as slow, as may be."""
    blocks = math.floor(problem.bandwidth_hz / float(problem.block_hz or 1.0) * (1.0 + 1e-12))
    options: list[list[tuple[int, int]]] = [[] for _ in range(problem.clients)]
    for row in range(problem.row_count):
        for count in range(int(problem.min_tokens[row]), int(problem.max_tokens[row]) + 1):
            options[problem.client[row]].append((row, count))
    best, objective = math.nan, problem.objective
    splits = [s for s in itertools.product(range(1, blocks + 1), repeat=problem.clients) if sum(s) <= blocks]
    for choice, split in itertools.product(itertools.product(*options), splits):
        rows, counts = (np.array(column) for column in zip(*choice, strict=True))
        width = np.array(split) * float(problem.block_hz or 1.0)
        upload = np.array([shortest_s(problem, *one) for one in zip(rows, counts, width, strict=True)])
        if isinstance(objective, Energy):
            upload = np.minimum(objective.round_s - problem.overhead_s[rows], problem.deadline_s[rows])
            upload = np.where(upload > 0.0, upload, 1e-9)
        power = least_power_w(problem, rows, counts, width, upload)
        score = evaluate(problem, Allocation(counts, width, power, rows))
        if score.feasible and (math.isnan(best) or objective.better(score.value, best)):
            best = score.value
    return best


def shortest_s(problem: Problem, row: int, count: int, width_hz: float) -> float:
    """Shortest upload on a bandwidth, by bisection of the power."""
    bits = float(problem.bits_of(np.array([row]), np.array([count]))[0])
    low, high = 0.0, min(float(problem.max_power_w[row]), float(problem.max_psd_w_per_hz[row]) * width_hz)

    def seconds(power_w: float) -> float:
        spectral = math.log1p(power_w * problem.gain[row] / (problem.noise_w_per_hz * width_hz)) / math.log(
            2.0
        )
        return bits / (width_hz * min(spectral, float(problem.max_bps_per_hz[row])))

    budget = float(problem.max_energy_j[row] - problem.before_j[row])
    if high * seconds(high) > budget:
        for _ in range(100):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if middle * seconds(middle) <= budget else (low, middle)
        high = low
    return seconds(high) if high > 0.0 else 1e30


def least_power_w(problem: Problem, row: Any, counts: Any, width_hz: Any, upload_s: Any) -> Any:
    bits = problem.bits_of(row, counts)
    with np.errstate(over="ignore"):
        snr = np.exp2(np.minimum(bits / (width_hz * upload_s), 1000.0)) - 1.0
    return np.minimum(snr * width_hz * problem.noise_w_per_hz / problem.gain[row], 1e30)


def block_problem(objective: str, seed: int) -> tuple[Problem, float]:
    while True:
        seed += 100
        problem, _ = drawn(objective, seed, ("alternatives", "utility", "caps"))
        if problem.clients == 1:
            continue
        problem = replace(problem, block_hz=problem.bandwidth_hz / 5.0)
        best = best_in_blocks(problem)
        if not math.isnan(best):
            return problem, best


@pytest.mark.parametrize(
    "objective",
    ["ste", *(pytest.param(name, marks=pytest.mark.slow) for name in OBJECTIVES[1:])],
)
def test_whole_blocks(objective: str) -> None:
    problem, best = block_problem(objective, 0)
    check(problem, best, solve(problem, "minlp", time_limit_s=60))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "round_time", "heterogeneous"])
def test_exact_agrees_on_tokens_with_other_objectives(name: str) -> None:
    problem = family(name, 4, seed=0, tokens=12)
    best = solve(problem)
    assert best.evaluation is not None
    round_s, kept = best.evaluation.round_s, best.evaluation.totals.retained
    for objective in (Retained(1.2 * round_s), RoundTime(kept), Weighted(0.7 * best.ste)):
        wanted = replace(problem, objective=objective)
        result, certified = solve(wanted, "minlp", time_limit_s=60), solve(wanted)
        check(wanted, certified.value, result)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_choice_is_served_as_well_as_can_be(objective: str) -> None:
    """The closed forms and bisections of `serving` against golden sections in plain Python."""
    for seed in range(6):
        problem, _ = drawn(objective, seed, ("alternatives", "utility", "caps", "before_j", "token_limits"))
        choices = choices_of(problem)
        rng = np.random.default_rng(seed)
        for _ in range(6):
            choice = np.array([rng.choice(choices.of_client(m)) for m in range(problem.clients)])
            chosen = choices.take(choice)
            served = serve(problem, chosen)
            named = tuple(zip(chosen.row.tolist(), chosen.tokens.tolist(), strict=True))
            value = value_of_choice(replace(problem, objective=without_requirement(problem)), named)
            if served is None:
                assert math.isnan(value)
                continue
            score = evaluate(problem, served)
            assert max(score.violations[name] for name in score.violations if name != "retained") <= 1e-12
            if not math.isnan(value):
                assert score.value == pytest.approx(value, rel=1e-7)


def without_requirement(problem: Problem) -> Any:
    objective: Any = problem.objective
    return replace(objective, retained=0.0) if objective.least_retained > 0.0 else objective


def test_a_requirement_that_cannot_be_had_is_infeasible() -> None:
    """All utilities together are enough, and the bandwidth by the deadlines is not."""
    problem = family("deadline_tight", 3, seed=0, tokens=8)
    most = float(problem.importance.sum())
    wanted = replace(problem, objective=RoundTime(0.999 * most))
    result = solve(wanted, "minlp", time_limit_s=20)
    assert solve(wanted).stop is Stop.INFEASIBLE
    assert result.stop is Stop.INFEASIBLE
    assert result.bound == math.inf


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_known_allocation_is_a_point_of_the_model(objective: str) -> None:
    """It satisfies all rows and bounds, which are finite; and the objective is its value in its unit."""
    for seed in (1, 2):
        problem, _ = drawn(objective, seed, ("alternatives", "utility", "skip", "caps", "requirement"))
        search = OptionSearch(problem)
        search.begin(Request())
        assert search.best is not None
        exact = solve(problem, "minlp", start=search.best.allocation, time_limit_s=0.01)
        assert exact.allocation is not None
        model = minlp_model(problem, known=exact.allocation)
        goal = next(model.component_data_objects(pyo.Objective))
        assert pyo.value(goal) * model.value_unit.value == pytest.approx(exact.value, rel=1e-6, abs=1e-9)
        for row in model.component_data_objects(pyo.Constraint):
            body = pyo.value(row.body)
            assert row.lower is None or body >= pyo.value(row.lower) - 1e-6, row.name
            assert row.upper is None or body <= pyo.value(row.upper) + 1e-6, row.name
        for variable in model.component_data_objects(pyo.Var):
            assert -math.inf < variable.lb <= variable.ub < math.inf
            if variable.value is not None:
                assert variable.lb - 1e-6 <= variable.value <= variable.ub + 1e-6, variable.name


@pytest.mark.parametrize("ending", [".nl", ".gms"])
def test_general_models_are_written(tmp_path: Path, ending: str) -> None:
    problem = replace(family("paper", 2, seed=0, tokens=4), objective=TotalTime())
    file = write_minlp(minlp_model(problem), tmp_path / f"model{ending}")
    assert file.stat().st_size > 100
    with pytest.raises(AllocationError, match="no feasible allocation to centre on"):
        minlp_model(problem, known=Allocation([1, 1], [1.0, 1.0], [1e-9, 1e-9]))
