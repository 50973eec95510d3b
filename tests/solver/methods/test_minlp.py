"""The mixed-integer model and its engines: what they prove, what they write, how they are stopped."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.instances import brute_force, feasible_problem, knapsack

from stsflora.benchmarks.families import families, family
from stsflora.solver import (
    Allocation,
    AllocationError,
    FileFormatError,
    InfeasibleError,
    MissingDependencyError,
    OptionError,
    Problem,
    Quality,
    Stop,
    solve,
)
from stsflora.solver.minlp.pieces import pieces
from stsflora.solver.physics.demand import Demand
from stsflora.solver.problem import IntArray

pyo = pytest.importorskip("pyomo.environ")
pytest.importorskip("pyscipopt")

from stsflora.solver.minlp.engines import ENGINES, find_engine
from stsflora.solver.minlp.model import minlp_model, write_minlp


@pytest.mark.parametrize("name", ["paper", "round_time", "deadline_tight", "energy_tight"])
def test_scip_proves_what_the_exact_solver_proves(name: str) -> None:
    problem = family(name, 3, seed=0, tokens=16)
    certified = solve(problem, gap=0)
    result = solve(problem, "minlp", time_limit_s=40)
    assert result.quality is Quality.OPTIMAL, result
    assert result.bound >= certified.ste * (1 - 1e-9)
    assert result.ste <= certified.bound * (1 + 1e-9)
    assert result.ste >= certified.ste * (1 - result.asked_gap)
    assert result.stats["nodes"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize(("clients", "tokens"), [(4, 196), (6, 32), (8, 32)])
@pytest.mark.parametrize("name", ["paper", "round_time", "flat"])
def test_scip_proves_larger_instances_within_a_minute(name: str, clients: int, tokens: int) -> None:
    problem = family(name, clients, seed=0, tokens=tokens)
    certified = solve(problem, gap=0)
    result = solve(problem, "minlp", time_limit_s=60)
    assert result.quality is Quality.OPTIMAL, result
    assert result.bound >= certified.ste * (1 - 1e-9)


def test_bounds_hold_on_hostile_instances() -> None:
    rng = np.random.default_rng(7)
    for _ in range(6):
        problem = feasible_problem(rng, 2, 4)
        best, _ = brute_force(problem)
        result = solve(problem, "minlp", time_limit_s=10)
        assert result.stop is not Stop.ERROR, result.message
        assert result.bound >= best * (1 - 1e-9)
        assert result.ste <= best * (1 + 4e-6)


@pytest.mark.parametrize("name", ["paper", "round_time"])
def test_the_discretised_program_agrees(name: str) -> None:
    """At the optimal round time it gives the same attention, at others nothing above the bound."""
    problem = family(name, 4, seed=0, tokens=196)
    result = solve(problem, "minlp", time_limit_s=40)
    assert result.quality is Quality.OPTIMAL
    assert result.evaluation is not None
    round_s = result.evaluation.round_s * (1 + 1e-9)
    assert knapsack(problem, round_s) / round_s >= result.ste * (1 - 1e-8)
    for other_s in np.append(round_s, round_s * np.geomspace(0.9, 1.2, 8)):
        assert knapsack(problem, other_s) / other_s <= result.bound * (1 + 1e-9)


def place(model: Any, problem: Problem, centre: IntArray, tokens: IntArray) -> None:
    """Set the variables of an entropy form centred on some tokens to what other tokens mean in it."""
    demand = Demand(problem)
    unit_s, round_s = demand.least_round_s(centre), demand.least_round_s(tokens)
    t = unit_s / round_s
    unit_slot, slot = demand.slot_s(unit_s), demand.slot_s(round_s)
    unit_need = demand.bandwidth_hz(centre, unit_s)
    need = demand.bandwidth_hz(tokens, round_s)
    spent, unit_spent = demand.energy_over_noise(slot), demand.energy_over_noise(unit_slot)
    sent = (tokens + problem.extra_tokens) / (centre + problem.extra_tokens)
    share = (need / need.sum()) / (unit_need / unit_need.sum())
    model.inverse_round.value = t
    for m in model.clients:
        model.tokens[m].value = int(tokens[m])
        model.payload[m].value = t * sent[m]
        model.attention[m].value = t * demand.utility(tokens)[m] / demand.utility(centre).sum()
        model.area[m].value = t * (need * slot)[m] / (unit_need * unit_slot)[m]
        if m in model.energy:
            model.energy[m].value = t * (spent / unit_spent)[m]
        if hasattr(model, "share"):
            model.share[m].value, model.share_rate[m].value = share[m], t * share[m]


def excess(model: Any) -> float:
    """By how much the variables' values break the worst row or bound."""
    worst = 0.0
    for row in model.component_data_objects(pyo.Constraint):
        body = pyo.value(row.body)
        if row.lower is not None:
            worst = max(worst, pyo.value(row.lower) - body)
        if row.upper is not None:
            worst = max(worst, body - pyo.value(row.upper))
    for variable in model.component_data_objects(pyo.Var):
        worst = max(worst, variable.lb - variable.value, variable.value - variable.ub)
    return worst


@pytest.mark.parametrize("name", [name for name in families() if name != "infeasible"])
def test_no_better_allocation_is_cut_off(name: str) -> None:
    """Whatever beats the incumbent satisfies every row, tangent, piece and bound of the entropy form."""
    rng = np.random.default_rng(3)
    for seed in range(3):
        problem = family(name, 3, seed=seed, tokens=8)
        unit_s = Demand(problem).least_round_s(problem.min_tokens)
        if seed == 1:
            problem = replace(problem, overhead_s=0.5 * unit_s)
        if seed == 2:
            problem = replace(problem, overhead_s=rng.uniform(0.0, 2.0, 3) * unit_s)
        demand = Demand(problem)
        vectors = [np.array(v) for v in itertools.product(range(1, 9), repeat=3)]
        vectors = [v for v in vectors if (v >= problem.min_tokens).all()]
        stes = [float(demand.utility(v).sum()) / demand.least_round_s(v) for v in vectors]
        feasible = [k for k in np.argsort(stes) if stes[k] > 0]
        centre = vectors[feasible[len(feasible) // 2]]
        known = demand.allocation(centre, demand.least_round_s(centre))
        model = minlp_model(problem, "entropy", known=known)
        better = [k for k in feasible if stes[k] >= stes[feasible[len(feasible) // 2]]]
        for k in rng.permutation(better)[:40]:
            place(model, problem, centre, vectors[k])
            assert excess(model) <= 1e-8
            assert pyo.value(model.ste) * model.ste_unit_per_s.value == pytest.approx(stes[k], rel=1e-9)


def test_all_reported_bounds_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the engine is killed, the bound heard last holds."""
    from stsflora.solver.minlp.scip import solve_with_scip

    monkeypatch.chdir(tmp_path)
    for name in ("round_time", "deadline_tight"):
        problem = family(name, 5, seed=1, tokens=24)
        best = solve(problem, gap=0)
        bounds: list[float] = []

        def hear(bounds: list[float] = bounds, **content: Any) -> None:
            bounds += [] if content["bound"] is None else [content["bound"]]

        solve_with_scip(minlp_model(problem, "entropy"), hear, gap=1e-4)
        assert len(bounds) > 3
        assert min(bounds) >= best.ste
        assert all(later <= earlier for earlier, later in itertools.pairwise(bounds))


@pytest.mark.parametrize("form", ["faithful", "entropy"])
def test_the_incumbent_is_a_point_of_the_model(form: str) -> None:
    """The values that a model starts from satisfy all its rows, and its objective is 1 in its unit."""
    problem = family("round_time", 3, seed=1, tokens=12)
    greedy = solve(problem, "greedy")
    model = minlp_model(problem, form, known=greedy.allocation)
    assert model.ste_unit_per_s.value == pytest.approx(greedy.ste, rel=1e-9)
    objective = next(model.component_data_objects(pyo.Objective))
    assert pyo.value(objective) == pytest.approx(1.0, rel=1e-6)
    for row in model.component_data_objects(pyo.Constraint):
        body = pyo.value(row.body)
        assert row.lower is None or body >= pyo.value(row.lower) - 1e-6, row.name
        assert row.upper is None or body <= pyo.value(row.upper) + 1e-6, row.name


@pytest.mark.parametrize("form", ["faithful", "entropy"])
def test_every_variable_is_bounded(form: str) -> None:
    model = minlp_model(family("extreme", 4, seed=0, tokens=9), form)
    for variable in model.component_data_objects(pyo.Var):
        assert variable.lb is not None
        assert variable.ub is not None
        assert -math.inf < variable.lb <= variable.ub < math.inf


def test_fewer_pieces_stay_above_and_within_the_error() -> None:
    """Between whole counts too: there a line more keeps the linear relaxation tight."""
    rng = np.random.default_rng(0)
    values = np.concatenate(([0.0], np.cumsum(np.sort(rng.random(40))[::-1])))
    counts = np.linspace(3, 40, 3701)
    truth = np.interp(counts, np.arange(41), values)
    sizes = []
    for error in (0.0, 0.01, 0.1):
        lines = pieces(values, 3, 40, error)
        upper = np.min([slope * counts + level for slope, level in lines], axis=0)
        assert (upper >= truth - 1e-12).all()
        assert (upper <= truth + error + 1e-12).all()
        sizes.append(len(lines))
    assert sizes[0] > sizes[1] > sizes[2]
    assert len(pieces(np.append(0.0, np.cumsum([3.0, 3.0, 3.0, 1.0, 1.0])), 0, 5, 0.0)) == 2


@pytest.mark.parametrize("ending", [".nl", ".gms"])
def test_models_are_written(tmp_path: Path, ending: str) -> None:
    problem = family("paper", 2, seed=0, tokens=6)
    file = write_minlp(minlp_model(problem), tmp_path / f"model{ending}")
    assert file.stat().st_size > 100
    solve(problem, "minlp", model_file=tmp_path / f"again{ending}", time_limit_s=20)
    assert (tmp_path / f"again{ending}").exists()


def test_the_time_limit_really_holds() -> None:
    problem = family("round_time", 30, seed=0)
    begun = time.perf_counter()
    result = solve(problem, "minlp", time_limit_s=3.0, gap=0)
    assert time.perf_counter() - begun < 10.0
    assert result.stop is Stop.TIME_LIMIT
    assert result.quality is not Quality.NONE


def test_a_start_is_a_candidate() -> None:
    problem = family("paper", 3, seed=0, tokens=12)
    best = solve(problem, gap=0)
    result = solve(problem, "minlp", start=best, time_limit_s=20)
    assert result.stats["incumbent_value"] >= best.ste * (1 - 1e-6)


def impostor(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """Put a worker of our own in the place of the real one."""
    (folder / "impostor.py").write_text("\n".join(("import json, time", *lines)), encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("stsflora.solver.minlp.process.WORKER", "impostor")


def say(**content: Any) -> str:
    return f"print(json.dumps({content!r}), flush=True)"


def test_a_hanging_engine_is_killed_and_what_it_said_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = family("paper", 3, seed=0, tokens=12)
    best = solve(problem, gap=0)
    assert best.allocation is not None
    impostor(
        monkeypatch,
        tmp_path,
        say(tokens=(best.allocation.tokens + 0.3).tolist(), bound=2 * best.ste, nodes=5),
        "time.sleep(60)",
    )
    result = solve(problem, "minlp", start=solve(problem, "equal"), time_limit_s=1.5)
    assert result.seconds < 2.5
    assert result.stop is Stop.TIME_LIMIT
    assert result.stats["status"] == "killed"
    assert result.stats["nodes"] == 5
    assert result.bound == 2 * best.ste
    assert result.stats["found_value"] == pytest.approx(best.ste, rel=1e-9)
    assert result.quality is Quality.FEASIBLE


def test_an_engine_that_contradicts_the_incumbent_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: dict[str, Any] = {"tokens": None, "bound": None}
    impostor(
        monkeypatch,
        tmp_path,
        say(tokens=None, bound=1e-3),
        say(**nothing, stop="error", status="infeasible"),
    )
    result = solve(family("paper", 3, seed=0, tokens=12), "minlp")
    assert result.stop is Stop.ERROR
    assert result.bound == math.inf
    assert "scip ended with 'infeasible'" in result.message
    assert result.quality is Quality.FEASIBLE


def test_a_gap_below_the_tolerances_is_not_claimed() -> None:
    result = solve(family("paper", 3, seed=0, tokens=12), "minlp", gap=0, time_limit_s=40)
    assert result.stop is Stop.ITERATION_LIMIT
    assert "cannot prove a smaller gap" in result.message
    assert 1e-9 < result.gap < 1e-5


def test_engine_options_reach_the_engine() -> None:
    problem = family("round_time", 5, seed=1, tokens=24)
    result = solve(problem, "minlp", engine_options={"limits/totalnodes": 1})
    assert result.stats["status"] == "totalnodelimit"
    assert result.stop is Stop.ITERATION_LIMIT
    assert math.isfinite(result.bound)


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "scip"])
def test_other_engines_find_the_same_optimum(name: str) -> None:
    if ENGINES[name].missing():
        pytest.skip(f"{name}: {ENGINES[name].missing()}")
    problem = family("paper", 3, seed=0, tokens=8)
    best = solve(problem, gap=0)
    result = solve(problem, "minlp", engine=name, time_limit_s=30)
    assert result.stop is Stop.CONVERGED, result.message
    assert result.stats["found_value"] == pytest.approx(best.ste, rel=1e-3)
    assert (result.bound < math.inf) == ENGINES[name].global_bound
    assert result.bound >= best.ste


def test_a_crashed_engine_leaves_the_incumbent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stsflora.solver.minlp.process.WORKER", "stsflora.solver.no_such_module")
    result = solve(family("paper", 3, seed=0, tokens=12), "minlp")
    assert result.stop is Stop.ERROR
    assert "engine's process ended" in result.message
    assert result.quality is Quality.FEASIBLE
    assert result.bound == math.inf


def test_bad_input_in_one_sentence(tmp_path: Path) -> None:
    problem = family("paper", 2, seed=0, tokens=6)
    with pytest.raises(OptionError, match="engine='cplexx'; allowed: scip, couenne"):
        solve(problem, "minlp", engine="cplexx")
    with pytest.raises(OptionError, match="form='pretty'; allowed: entropy or faithful"):
        solve(problem, "minlp", form="pretty")
    with pytest.raises(OptionError, match="engine_options of type list"):
        solve(problem, "minlp", engine_options=[1])
    with pytest.raises(OptionError, match="engine option limits/nods=3"):
        solve(problem, "minlp", engine_options={"limits/nods": 3})
    with pytest.raises(OptionError, match=r"a name ending in .nl or .gms"):
        solve(problem, "minlp", model_file=tmp_path / "model.lp")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileFormatError):
        solve(problem, "minlp", model_file=tmp_path / "file" / "model.nl")
    with pytest.raises(AllocationError, match="an allocation for 3 clients; allowed: 2"):
        minlp_model(problem, known=Allocation([1] * 3, [1.0] * 3, [1.0] * 3))
    with pytest.raises(InfeasibleError, match="energy budget"):
        minlp_model(family("infeasible", 3, seed=0))


def test_a_missing_engine_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stsflora.solver.minlp.engines._pyomo_finds", lambda name: False)
    for name in ("baron", "maingo", "mindtpy"):
        with pytest.raises(MissingDependencyError, match=f"engine '{name}': got no .*(Run|Get) "):
            find_engine(name)
