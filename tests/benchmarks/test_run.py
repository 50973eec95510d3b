"""The benchmark keeps every outcome as a row, survives kills, and its metrics are the hand-computed ones."""

import json
import math
import os
import signal
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from stsflora.benchmarks.report import metrics
from stsflora.benchmarks.report.metrics import (
    Known,
    best_known,
    correct,
    shortfall,
    success,
    summarise,
    within_gap,
)
from stsflora.benchmarks.rows import Row, RowWriter, read_rows
from stsflora.benchmarks.run import TRACE_POINTS, fingerprint, parse_solver, plan, run, run_cell
from stsflora.benchmarks.suites import Suite, suite, suites
from stsflora.benchmarks.versions import digest_of, versions_for
from stsflora.solver import (
    Allocation,
    Answer,
    FileFormatError,
    MissingDependencyError,
    OptionError,
    TracePoint,
    UnknownNameError,
    register,
    solvers,
)
from stsflora.solver.registry import lookup, unregister

SMALL = Suite(
    name="small",
    summary="For tests",
    solvers=("equal", "full"),
    families=("paper", "infeasible"),
    clients=(2,),
    seeds=2,
    overrides={"tokens": 8},
)


def row(**changes) -> Row:
    values = {
        "key": "k",
        "instance": "paper-2x8-s0",
        "fingerprint": "f",
        "family": "paper",
        "clients": 2,
        "tokens": 8,
        "seed": 0,
        "solver": "exact",
        "options": {},
        "asked_gap": 1e-2,
        "time_limit_s": 10.0,
        "versions": {"numpy": "2"},
        "build_s": 0.5,
        "solve_s": 1.0,
        "repeats": 1,
        "ste": 100.0,
        "bound": math.inf,
        "gap": math.inf,
        "violation": 0.0,
        "claimed_ste": math.nan,
        "claimed_bound": changes.get("bound", math.inf),
        "stop": "converged",
        "quality": "feasible",
        "message": "",
    }
    return Row(**(values | changes))


FAILED = {"ste": -math.inf, "violation": math.inf, "quality": "none", "stop": "error", "message": "broken"}


@pytest.fixture(autouse=True)
def _fixed_sources(monkeypatch):
    """Keys stay the same while sources are being edited."""
    monkeypatch.setattr("stsflora.benchmarks.versions.source_digest", lambda: "00000000")


@pytest.fixture
def temporary_solver():
    """Registers solvers for one test."""
    names = []

    def add(name, method, **capabilities):
        register(name, **capabilities)(method)
        names.append(name)

    yield add
    for name in names:
        unregister(name)


# Rows and files


def test_rows_survive_the_file_with_undefined_figures(tmp_path):
    rows = [
        row(key="a", trace=((0.1, 5.0, math.inf), (0.2, 6.0, 7.0)), options={"engine": "highs", "n": 3}),
        row(key="b", **FAILED, solve_s=math.nan, time_limit_s=math.inf),
    ]
    with RowWriter(tmp_path / "rows.jsonl") as writer:
        for entry in rows:
            writer.append(entry)
    assert read_rows(tmp_path / "rows.jsonl") == rows
    for line in (tmp_path / "rows.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_torn_last_line_is_left_out_and_repaired(tmp_path):
    path = tmp_path / "rows.jsonl"
    with RowWriter(path) as writer:
        writer.append(row(key="a"))
        writer.append(row(key="b"))
    path.write_bytes(path.read_bytes()[:-40])
    assert [entry.key for entry in read_rows(path)] == ["a"]
    with RowWriter(path) as writer:
        writer.append(row(key="c"))
    assert [entry.key for entry in read_rows(path)] == ["a", "c"]


@pytest.mark.parametrize(
    "line", ["not json", "[]", '{"key": "a"}', json.dumps(row().as_dict() | {"ste": "many"}), "[" * 10_000]
)
def test_a_broken_line_inside_is_an_error_that_names_it(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    good = json.dumps(row().as_dict())
    path.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(FileFormatError, match=r"line 2 with .*--fresh"):
        read_rows(path)


# Plans


def test_a_plan_covers_the_suite_and_has_no_key_twice():
    cells = plan(replace(SMALL, clients=(3, 2)))
    assert len(cells) == len({cell.key for cell in cells}) == 2 * 2 * 2 * 2
    assert [cell.clients for cell in cells] == [2] * 8 + [3] * 8
    assert plan(replace(SMALL, solvers=("full", "equal", "full"))) == plan(
        replace(SMALL, solvers=("full", "equal"))
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"solvers": ("fixed:tokens=3",)},
        {"gap": 1e-3},
        {"time_limit_s": 5.0},
        {"repeats": 2},
        {"overrides": {"tokens": 9}},
    ],
)
def test_changed_options_and_limits_are_new_cells(changes):
    base = replace(SMALL, solvers=("fixed",), families=("paper",))
    assert not {cell.key for cell in plan(base)} & {cell.key for cell in plan(replace(base, **changes))}


def test_changed_versions_are_new_cells():
    cell = plan(SMALL)[0]
    assert cell.key != replace(cell, versions={**cell.versions, "numpy": "0"}).key


def test_versions_name_what_a_solver_depends_on():
    info = replace(lookup("equal"), needs=("joblib",), extra="convex")
    assert {"python", "stsflora", "numpy", "scipy"} <= set(versions_for(lookup("equal")))
    assert versions_for(info)["numpy"] == np.__version__
    assert ("cvxpy" in versions_for(info)) == (find_spec("cvxpy") is not None)
    assert "cvxpy" not in versions_for(lookup("equal"))


def test_edited_sources_have_another_digest(tmp_path):
    source = tmp_path / "a.py"
    source.write_text("x = 1")
    before = digest_of([source])
    source.write_text("x = 2")
    assert before != digest_of([source]) != digest_of([])


def test_named_suites_name_known_families_and_no_name_twice():
    from stsflora.benchmarks.families import families

    assert len({entry.name for entry in suites()}) == len(suites())
    for entry in suites():
        assert set(entry.families) <= set(families())
        assert entry.summary.endswith((".", "?"))


def test_an_empty_choice_means_all():
    cells = plan(replace(SMALL, solvers=(), families=(), seeds=1))
    assert {cell.solver for cell in cells} == {info.name for info in solvers()}
    assert {cell.family for cell in cells} >= {"paper", "infeasible", "ties"}


def test_solver_specifications_are_parsed_and_checked():
    assert parse_solver("fixed:tokens=3") == ("fixed", {"tokens": 3})
    for text, error, words in [
        ("exakt", UnknownNameError, "exakt"),
        ("equal:speed=1", OptionError, "option 'speed'"),
        ("fixed:tokens", OptionError, "name=value"),
    ]:
        with pytest.raises(error, match=words):
            parse_solver(text)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"families": ("papper",)}, UnknownNameError),
        ({"clients": (0,)}, OptionError),
        ({"clients": ()}, OptionError),
        ({"seeds": 0}, OptionError),
        ({"gap": -1.0}, OptionError),
        ({"gap": math.nan}, OptionError),
        ({"time_limit_s": 0.0}, OptionError),
        ({"repeats": 0}, OptionError),
    ],
)
def test_wrong_suites_are_refused_before_anything_runs(changes, error):
    with pytest.raises(error):
        plan(replace(SMALL, **changes))


def test_an_unknown_suite_lists_the_known():
    with pytest.raises(UnknownNameError, match="demo, starts, speed"):
        suite("dmeo")


# Running


def test_rows_hold_what_was_found(tmp_path):
    cells = plan(SMALL)
    rows = run(cells, tmp_path / "new" / "folder")
    assert {entry.key for entry in rows} == {cell.key for cell in cells}
    assert read_rows(tmp_path / "new" / "folder" / "rows.jsonl") == rows
    for entry in rows:
        assert entry.tokens == 8
        assert entry.solve_s > 0
        assert entry.build_s > 0
        if entry.family == "infeasible":
            assert (entry.stop, entry.quality, entry.ste) == ("infeasible", "none", -math.inf)
            assert "clients concerned" in entry.message
        else:
            assert entry.feasible
            assert entry.ste > 0
    assert len({entry.fingerprint for entry in rows}) == 4


def test_a_finished_cell_is_not_run_again(tmp_path):
    first = run(plan(SMALL), tmp_path)
    seen = []
    second = run(plan(SMALL), tmp_path, on_row=seen.append)
    assert second == first == seen
    wider = run(plan(replace(SMALL, seeds=3)), tmp_path)
    assert wider[: len(first)] == first
    assert len(wider) == len(first) + 4


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    complete = run(plan(SMALL), tmp_path)
    path = tmp_path / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    resumed = run(plan(SMALL), tmp_path)
    assert resumed[:3] == complete[:3]
    assert sorted(entry.key for entry in resumed) == sorted(entry.key for entry in complete)
    assert read_rows(path) == resumed


def test_a_fresh_run_starts_anew(tmp_path):
    run(plan(SMALL), tmp_path)
    (tmp_path / "rows.jsonl").write_text("damaged\n")
    assert len(run(plan(SMALL), tmp_path, resume=False)) == len(plan(SMALL))


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_a_failing_solver_is_a_row_and_the_others_run_on(tmp_path, temporary_solver, backend):
    def fragile(problem, request):
        """Breaks."""
        raise ZeroDivisionError("something small")

    temporary_solver("fragile", fragile)
    cells = plan(replace(SMALL, solvers=("fragile", "equal"), families=("paper",)))
    rows = run(cells, tmp_path, jobs=2, backend=backend)
    assert sorted((entry.solver, entry.stop) for entry in rows) == [
        ("equal", "converged"),
        ("equal", "converged"),
        ("fragile", "error"),
        ("fragile", "error"),
    ]
    assert {entry.message for entry in rows if entry.solver == "fragile"} == {
        "ZeroDivisionError: something small"
    }


def test_missing_packages_are_skips_with_the_remedy(tmp_path, temporary_solver):
    def absent(problem, request):
        """Needs a package that does not exist."""
        return Answer(None)

    def absent_engine(problem, request, *, engine="nothing"):
        """Finds out late that an engine is missing."""
        raise MissingDependencyError("absent_engine", "no engine", "an engine", "Run pip install engine")

    temporary_solver("absent", absent, needs=("no_such_package_here",), extra="convex")
    temporary_solver("absent_engine", absent_engine)
    rows = run(plan(replace(SMALL, solvers=("absent", "absent_engine"), families=("paper",))), tmp_path)
    assert {entry.stop for entry in rows} == {"skipped"}
    messages = {entry.solver: entry.message for entry in rows}
    assert 'pip install "stsflora[convex]"' in messages["absent"]
    assert "pip install engine" in messages["absent_engine"]
    assert [entry.skipped for entry in summarise(rows, best_known(rows))] == [2, 2]


def test_options_that_a_method_refuses_are_error_rows(tmp_path):
    (entry,) = run(plan(replace(SMALL, solvers=("fixed:tokens=-3",), families=("paper",), seeds=1)), tmp_path)
    assert entry.stop == "error"
    assert "OptionError" in entry.message


def test_only_solve_is_timed_and_repeats_give_the_median(temporary_solver, monkeypatch):
    calls = []

    def counting(problem, request):
        """Counts its calls."""
        calls.append(problem.clients)
        return Answer(None)

    temporary_solver("counting", counting)
    (cell,) = plan(replace(SMALL, solvers=("counting",), families=("paper",), seeds=1, repeats=5))
    assert run_cell(cell).repeats == 5
    assert calls == [1, 2, 2, 2, 2, 2], "one client to warm up, then the instance"


def test_traces_are_thinned_to_their_ends(temporary_solver):
    def traced(problem, request):
        """Leaves a long trace."""
        allocation = Allocation(
            problem.min_tokens, np.full(problem.clients, problem.bandwidth_hz / 4), problem.max_power_w
        )
        points = tuple(TracePoint(seconds=i / 1000, iteration=i, ste=float(i)) for i in range(1000))
        return Answer(allocation, trace=points)

    temporary_solver("traced", traced)
    (cell,) = plan(replace(SMALL, solvers=("traced",), families=("paper",), seeds=1))
    trace = run_cell(cell).trace
    assert len(trace) == TRACE_POINTS
    assert trace[0] == (0.0, 0.0, math.inf)
    assert trace[-1] == (0.999, 999.0, math.inf)


def test_a_dying_process_is_a_row_and_the_others_run_on(tmp_path, monkeypatch):
    monkeypatch.setattr("stsflora.benchmarks.run.run_cell", _die_on_full)
    cells = plan(replace(SMALL, families=("paper",), seeds=1))
    rows = run(cells, tmp_path, jobs=2)
    assert sorted(entry.key for entry in rows) == sorted(cell.key for cell in cells)
    for entry in rows:
        assert (entry.stop == "error") == (entry.solver == "full")
        assert ("The process died" in entry.message) == (entry.solver == "full")


def _die_on_full(cell):
    if cell.solver == "full":
        os.kill(os.getpid(), signal.SIGKILL)
    return run_cell(cell)


def test_every_process_backend_gives_the_same_rows(tmp_path):
    found = [
        {entry.key: entry.ste for entry in run(plan(SMALL), tmp_path / backend, jobs=2, backend=backend)}
        for backend in ("loky", "threading", "multiprocessing")
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(plan(SMALL))


@pytest.mark.parametrize(("jobs", "backend"), [(0, "loky"), (2, "no_such_backend")])
def test_wrong_backends_and_jobs_write_nothing(tmp_path, jobs, backend):
    with pytest.raises(OptionError, match="bench"):
        run(plan(SMALL), tmp_path / "out", jobs=jobs, backend=backend)
    assert not (tmp_path / "out").exists()


def test_fingerprints_tell_problems_apart():
    from stsflora.benchmarks.families import family

    problem = family("paper", 2, 0, tokens=8)
    assert fingerprint(problem) == fingerprint(family("paper", 2, 0, tokens=8))
    assert fingerprint(problem) != fingerprint(family("paper", 2, 1, tokens=8))
    assert fingerprint(problem) != fingerprint(replace(problem, extra_tokens=3))


# Metrics, against values computed by hand


def test_best_known_takes_accepted_points_and_the_least_bound():
    rows = [
        row(ste=100.0, bound=130.0),
        row(ste=120.0, quality="optimal", bound=121.0),
        row(ste=500.0, quality="infeasible", violation=0.3),
        row(fingerprint="g", **(FAILED | {"stop": "infeasible"})),
        row(fingerprint="h", **FAILED),
        row(fingerprint="", **FAILED),
        row(fingerprint="i", **(FAILED | {"stop": "skipped"})),
    ]
    assert best_known(rows) == {
        "f": Known(ste=120.0, bound=121.0, infeasible=False),
        "g": Known(ste=-math.inf, bound=math.inf, infeasible=True),
        "h": Known(ste=-math.inf, bound=math.inf, infeasible=False),
    }


def test_shortfall_is_relative_to_the_best_and_one_without_an_allocation():
    known = {"f": Known(120.0, math.inf, infeasible=False)}
    assert shortfall(row(ste=90.0), known) == pytest.approx(0.25)
    assert shortfall(row(ste=120.0), known) == 0.0
    assert shortfall(row(**FAILED), known) == 1.0
    assert shortfall(row(ste=500.0, quality="infeasible"), known) == 1.0


@pytest.mark.parametrize(
    ("changes", "known", "expected"),
    [
        ({}, Known(100.0, 101.0, infeasible=False), (True, True, True)),
        ({"ste": 98.0}, Known(100.0, 101.0, infeasible=False), (True, True, False)),
        ({"quality": "infeasible"}, Known(100.0, 101.0, infeasible=False), (False, True, False)),
        (FAILED, Known(100.0, 101.0, infeasible=False), (False, True, False)),
        ({"claimed_ste": 100.00001}, Known(100.0, 101.0, infeasible=False), (True, True, True)),
        ({"claimed_ste": 100.01}, Known(100.0, 101.0, infeasible=False), (True, False, True)),
        ({"bound": 99.0, "ste": 98.0}, Known(100.0, 99.0, infeasible=False), (True, False, False)),
        ({"claimed_bound": 99.0}, Known(100.0, math.inf, infeasible=False), (True, False, True)),
        ({"bound": 99.99999}, Known(100.0, 99.99999, infeasible=False), (True, True, True)),
        (FAILED | {"stop": "infeasible"}, Known(100.0, 101.0, infeasible=False), (False, False, False)),
        (FAILED | {"stop": "infeasible"}, Known(-math.inf, math.inf, infeasible=True), (True, True, False)),
        (FAILED, Known(-math.inf, math.inf, infeasible=True), (False, True, False)),
    ],
)
def test_success_correctness_and_quality_are_three_things(changes, known, expected):
    entry = row(**changes)
    table = {"f": known}
    assert (success(entry, table), correct(entry, table), within_gap(entry, table)) == expected


def test_shifted_geometric_mean():
    assert metrics.shifted_geometric_mean([1.0, 7.0], shift=1.0) == pytest.approx(3.0)
    assert metrics.shifted_geometric_mean([2.0, 2.0, 2.0]) == pytest.approx(2.0)
    assert math.isnan(metrics.shifted_geometric_mean([]))


def test_summary_of_handmade_rows():
    rows = [
        row(ste=100.0, gap=0.1, solve_s=0.99),
        row(fingerprint="g", ste=90.0, gap=0.3, solve_s=0.99),
        row(fingerprint="h", **FAILED, solve_s=0.5, time_limit_s=9.99),
        row(fingerprint="i", **(FAILED | {"stop": "skipped"})),
        row(fingerprint="g", solver="other", ste=100.0),
    ]
    first, other = summarise(rows, best_known(rows))
    assert (first.label, first.runs, first.skipped, first.errors) == ("exact", 3, 1, 1)
    assert first.success == pytest.approx(2 / 3)
    assert first.correct == 1.0
    assert first.within_gap == pytest.approx(1 / 3)
    assert first.median_shortfall == pytest.approx(0.05)
    assert first.worst_shortfall == pytest.approx(0.1)
    assert first.median_proved_gap == pytest.approx(0.2)
    assert first.mean_s == pytest.approx(10 ** (1 / 3) - 0.01)
    assert (other.label, other.runs, other.within_gap) == ("other", 1, 1.0)


def test_medians_by_family_leave_infeasible_instances_out():
    rows = [
        row(ste=100.0),
        row(ste=80.0, solver="other"),
        row(fingerprint="g", ste=100.0),
        row(fingerprint="g", solver="other", **FAILED),
        row(fingerprint="h", ste=100.0),
        row(fingerprint="h", ste=100.0, solver="other"),
        row(fingerprint="i", family="infeasible", **(FAILED | {"stop": "infeasible"})),
    ]
    table = metrics.median_by_family(rows, best_known(rows), shortfall)
    assert table == {"paper": {"exact": 0.0, "other": pytest.approx(0.2)}}


def test_bounds_are_measured_from_the_best_known():
    rows = [row(ste=100.0, bound=101.0), row(ste=80.0, bound=110.0, solver="other"), row(solver="simple")]
    known = best_known(rows)
    assert [metrics.bound_excess(entry, known) for entry in rows] == pytest.approx([0.01, 0.1, math.inf])


def test_only_rows_of_one_version_and_instance_are_compared():
    now, before = {"stsflora": "0.1.0+new"}, {"stsflora": "0.1.0+old"}
    rows = [row(versions=now)]
    others = [row(versions=now, key="a"), row(versions=before), row(versions=now, fingerprint="g")]
    assert metrics.comparable(rows, others) == others[:1]


def test_growth_is_the_slope_in_log_log():
    rows = [
        row(clients=size, solve_s=factor * 1e-4 * size**1.5)
        for size in (10, 100, 1000)
        for factor in (0.5, 1.0, 9.0)
    ]
    seconds = metrics.median_seconds([*rows, row(clients=10_000, **FAILED)])
    assert seconds["exact"][100] == pytest.approx(0.1)
    assert set(seconds["exact"]) == {10, 100, 1000}
    assert metrics.growth_exponent(seconds["exact"]) == pytest.approx(1.5)
    assert math.isnan(metrics.growth_exponent({100: 1.0}))


def test_proved_gaps_show_contradictions():
    known = {
        "a": Known(100.0, 110.0, infeasible=False),
        "b": Known(100.0, 99.0, infeasible=False),
        "c": Known(100.0, math.inf, infeasible=False),
        "d": Known(-math.inf, math.inf, infeasible=True),
    }
    assert metrics.proved_gaps(known) == pytest.approx([0.1, -0.01])


def test_performance_profile_of_handmade_rows():
    rows = [
        row(solve_s=1.0),
        row(solve_s=3.0, solver="slow"),
        row(fingerprint="g", solve_s=4.0),
        row(fingerprint="g", solve_s=2.0, solver="slow"),
        row(fingerprint="h", ste=50.0, solve_s=0.1),
        row(fingerprint="h", ste=100.0, solve_s=9.0, solver="slow"),
        row(fingerprint="i", **FAILED),
        row(fingerprint="i", solver="slow", **FAILED),
        row(fingerprint="j", **(FAILED | {"stop": "infeasible"})),
        row(fingerprint="j", solver="slow", **(FAILED | {"stop": "infeasible"})),
    ]
    profile = metrics.performance_profile(rows, best_known(rows), [1.0, 2.0, 3.0])
    assert profile == {"exact": [0.25, 0.5, 0.5], "slow": [0.5, 0.5, 0.75]}
