"""The mixed-integer model and its engines: what they prove, what they write, how they are stopped."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
from instances import brute_force, feasible_problem
from scipy.optimize import LinearConstraint, milp

from stsflora.benchmarks.families import family
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
from stsflora.solver.demand import Demand
from stsflora.solver.minlp_pieces import pieces

pyo = pytest.importorskip("pyomo.environ")
pytest.importorskip("pyscipopt")

from stsflora.solver.minlp_engines import find_engine
from stsflora.solver.minlp_model import minlp_model, write_minlp


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


def multiple_choice(problem: Problem, inverse_unit_s: float) -> float:
    """Most attention at a fixed round time by HiGHS: one binary per client and token count."""
    demand = Demand(problem)
    counts = range(problem.tokens + 1)
    need = np.stack(
        [demand.bandwidth_hz(np.full(problem.clients, count), inverse_unit_s) for count in counts], axis=1
    )
    allowed = np.isfinite(need) & (np.array(counts) >= problem.min_tokens[:, None])
    rows, columns = np.nonzero(allowed)
    result = milp(
        -demand.retained[rows, columns],
        integrality=np.ones(rows.size),
        bounds=(0, 1),
        constraints=[
            LinearConstraint((rows == np.arange(problem.clients)[:, None]).astype(float), 1, 1),
            LinearConstraint(need[rows, columns][None] / problem.bandwidth_hz, ub=1.0),
        ],
        options={"mip_rel_gap": 1e-9},
    )
    return -float(result.fun)


def test_the_discretised_program_agrees_at_the_optimal_round_time() -> None:
    problem = family("paper", 4, seed=0, tokens=196)
    result = solve(problem, "minlp", time_limit_s=40)
    assert result.evaluation is not None
    round_s = result.evaluation.round_s
    attention = multiple_choice(problem, round_s * (1 + 1e-9))
    assert attention / round_s <= result.bound * (1 + 1e-6)
    assert attention / round_s >= result.ste * (1 - 1e-9)


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
    rng = np.random.default_rng(0)
    values = np.concatenate(([0.0], np.cumsum(np.sort(rng.random(40))[::-1])))
    for error in (0.0, 0.01, 0.1):
        lines = pieces(values, 3, 40, error)
        upper = np.min([slope * np.arange(3, 41) + level for slope, level in lines], axis=0)
        assert (upper >= values[3:] - 1e-12).all()
        assert (upper <= values[3:] + error + 1e-12).all()


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
    assert result.stats["incumbent_ste"] >= best.ste * (1 - 1e-6)


def test_a_crashed_engine_leaves_the_incumbent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stsflora.solver.minlp_process.WORKER", "stsflora.solver.no_such_module")
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
    monkeypatch.setattr("stsflora.solver.minlp_engines._pyomo_finds", lambda name: False)
    for name in ("baron", "maingo", "mindtpy"):
        with pytest.raises(MissingDependencyError, match=f"engine '{name}': got no .*(Run|Get) "):
            find_engine(name)
