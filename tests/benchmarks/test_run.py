"""The benchmark keeps every outcome as a row and goes on after a kill."""

import math
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers.rows import SMALL

from stsflora.benchmarks.job import TRACE_POINTS, fingerprint, run_job
from stsflora.benchmarks.rows import read_rows
from stsflora.benchmarks.run import run
from stsflora.benchmarks.suites.plan import plan
from stsflora.solver import (
    Allocation,
    Answer,
    MissingDependencyError,
    OptionError,
    RoundTime,
    TracePoint,
    register,
)
from stsflora.solver.registry import EVERYTHING, unregister


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


def test_rows_hold_what_was_found(tmp_path):
    jobs = plan(SMALL)
    rows = run(jobs, tmp_path / "new" / "folder")
    assert {entry.key for entry in rows} == {job.key for job in jobs}
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


def test_a_finished_job_is_not_run_again(tmp_path):
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
    jobs = plan(replace(SMALL, solvers=("fragile", "equal"), families=("paper",)))
    rows = run(jobs, tmp_path, workers=2, backend=backend)
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


def test_what_a_solver_does_not_take_is_not_run(tmp_path, temporary_solver):
    def narrow(problem, request):
        """Takes round times only."""
        if problem.objective.name != "round_time":
            raise AssertionError
        return Answer(None, bound=math.nan)

    temporary_solver("narrow", narrow, takes={"round_time": EVERYTHING})
    suite = replace(SMALL, solvers=("narrow",), families=("paper", "makespan"), seeds=1, overrides={})
    refused, taken = run(plan(suite), tmp_path)
    assert (refused.stop, refused.objective, refused.ran) == ("not taken", "ste", False)
    assert "'narrow': got a problem with objective ste" in refused.message
    assert (refused.value, refused.bound) == (-math.inf, math.inf)
    assert (taken.objective, taken.ran, taken.value, taken.bound) == ("round_time", True, math.inf, -math.inf)
    assert taken.claimed_bound == sys.float_info.max, "no number contradicts every round time"
    assert read_rows(tmp_path / "rows.jsonl") == [refused, taken]


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
    (job,) = plan(replace(SMALL, solvers=("counting",), families=("paper",), seeds=1, repeats=5))
    assert run_job(job).repeats == 5
    assert calls == [1, 2, 2, 2, 2, 2], "one client to warm up, then the instance"


def test_traces_are_thinned_to_their_ends(temporary_solver):
    def traced(problem, request):
        """Leaves a long trace."""
        allocation = Allocation(
            problem.min_tokens, np.full(problem.clients, problem.bandwidth_hz / 4), problem.max_power_w
        )
        points = tuple(TracePoint(seconds=i / 1000, iteration=i, value=float(i)) for i in range(1000))
        return Answer(allocation, trace=points)

    temporary_solver("traced", traced)
    (job,) = plan(replace(SMALL, solvers=("traced",), families=("paper",), seeds=1))
    trace = run_job(job).trace
    assert len(trace) == TRACE_POINTS
    assert trace[0] == (0.0, 0.0, math.inf)
    assert trace[-1] == (0.999, 999.0, math.inf)


def test_a_dying_process_is_a_row_and_the_others_run_on(tmp_path, monkeypatch):
    monkeypatch.setattr("stsflora.benchmarks.run.run_job", _die_on_full)
    jobs = plan(replace(SMALL, families=("paper",), seeds=1))
    rows = run(jobs, tmp_path, workers=2)
    assert sorted(entry.key for entry in rows) == sorted(job.key for job in jobs)
    for entry in rows:
        assert (entry.stop == "error") == (entry.solver == "full")
        assert ("The process died" in entry.message) == (entry.solver == "full")


def _die_on_full(job):
    if job.solver == "full":
        os.kill(os.getpid(), signal.SIGKILL)
    return run_job(job)


def test_every_process_backend_gives_the_same_rows(tmp_path):
    found = [
        {entry.key: entry.ste for entry in run(plan(SMALL), tmp_path / backend, workers=2, backend=backend)}
        for backend in ("loky", "threading", "multiprocessing")
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(plan(SMALL))


@pytest.mark.parametrize(("workers", "backend"), [(0, "loky"), (2, "no_such_backend")])
def test_wrong_backends_and_workers_write_nothing(tmp_path, workers, backend):
    with pytest.raises(OptionError, match="bench"):
        run(plan(SMALL), tmp_path / "out", workers=workers, backend=backend)
    assert not (tmp_path / "out").exists()


def test_fingerprints_tell_problems_apart():
    from stsflora.benchmarks.families import family

    problem = family("paper", 2, 0, tokens=8)
    assert fingerprint(problem) == fingerprint(family("paper", 2, 0, tokens=8))
    assert fingerprint(problem) != fingerprint(family("paper", 2, 1, tokens=8))
    assert fingerprint(problem) != fingerprint(replace(problem, extra_tokens=3))
    timed = replace(problem, objective=RoundTime(1.0))
    assert fingerprint(timed) == fingerprint(replace(problem, objective=RoundTime(1.0)))
    assert len({fingerprint(p) for p in (problem, timed, replace(problem, objective=RoundTime(2.0)))}) == 3
