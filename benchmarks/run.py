"""Runs solvers on instances in parallel; every outcome, failures and skips included, becomes a row."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import joblib  # type: ignore[import-untyped]
import numpy as np

from ..solver import (
    FileFormatError,
    MissingDependencyError,
    OptionError,
    Problem,
    Quality,
    Result,
    Stop,
    UnknownNameError,
    solve,
    solvers,
)
from ..solver.files.json_files import plain
from ..solver.registry import lookup
from .families import families, family
from .rows import SKIPPED, Row, RowWriter, read_rows
from .suites import Suite
from .versions import versions_for

TRACE_POINTS: Final = 50
"""A row keeps at most this many points of a trace."""

REPEAT_BUDGET_S: Final = 10.0
"""No further repetition starts when the timed solves of a run have taken this long."""


@dataclass(frozen=True)
class Cell:
    """One run to make: a solver on an instance under limits; fields as in `Row` and `Suite`."""

    family: str
    clients: int
    seed: int
    overrides: Mapping[str, Any]
    solver: str
    options: Mapping[str, Any]
    asked_gap: float
    time_limit_s: float
    repeats: int
    versions: Mapping[str, str]

    @property
    def key(self) -> str:
        """Digest of everything that can change the row."""
        return _digest(json.dumps(asdict(self), sort_keys=True, default=repr).encode())


def parse_solver(text: str) -> tuple[str, dict[str, Any]]:
    """Split "minlp:engine=highs:threads=2" into name and options; values are JSON or plain text.

    Raises:
        UnknownNameError: no such solver.
        OptionError: it has no such option, or the text is malformed.
    """
    name, *parts = text.strip().split(":")
    info = lookup(name)
    options = parse_options(parts)
    info.check_options(options)
    return name, options


def parse_options(parts: Iterable[str]) -> dict[str, Any]:
    """Read "name=value" texts; values are JSON or plain text. Raises OptionError."""
    options: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not (name and equals):
            raise OptionError("options", f"{part!r}", "name=value", "Write for example engine=highs")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def plan(suite: Suite) -> list[Cell]:
    """All cells of a suite, each once, smallest instances first, the solvers of one instance side by side.

    Raises:
        UnknownNameError, OptionError: a solver, option, family or limit is wrong.
    """
    chosen = [parse_solver(text) for text in suite.solvers or [info.name for info in solvers()]]
    names = suite.families or families()
    for name in names:
        if name not in families():
            raise UnknownNameError("bench", f"family {name!r}", ", ".join(families()), "Choose one of them")
    limits = {
        "clients": min(suite.clients, default=0) >= 1,
        "seeds": suite.seeds >= 1,
        "repeats": suite.repeats >= 1,
        "gap": 0 <= suite.gap < math.inf,
        "time_limit_s": suite.time_limit_s > 0,
    }
    for limit, holds in limits.items():
        if not holds:
            raise OptionError("bench", f"{limit} = {getattr(suite, limit)}", "positive numbers", "Correct it")
    versions = {name: versions_for(lookup(name)) for name, _ in chosen}
    cells = [
        Cell(
            family=family_name,
            clients=clients,
            seed=seed,
            overrides=suite.overrides,
            solver=solver,
            options=options,
            asked_gap=suite.gap,
            time_limit_s=suite.time_limit_s,
            repeats=suite.repeats,
            versions=versions[solver],
        )
        for clients in sorted(suite.clients)
        for family_name in names
        for seed in range(suite.seeds)
        for solver, options in chosen
        if clients <= suite.largest.get(solver, clients)
    ]
    return list({cell.key: cell for cell in cells}.values())


def plan_reference(suite: Suite) -> list[Cell]:
    """The runs of `exact` at the suite's reference gap; none without one. Raises as `plan`."""
    if suite.reference_gap is None:
        return []
    return plan(replace(suite, solvers=("exact",), gap=suite.reference_gap, repeats=1, largest={}))


def run(
    cells: list[Cell],
    output: Path,
    *,
    jobs: int = 1,
    backend: str = "loky",
    resume: bool = True,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Make the rows of all cells that the file `rows.jsonl` in `output` does not have yet.

    Args:
        cells: what to run, from `plan`.
        output: folder, made when missing.
        jobs: cells at a time; with 1 they run in this process, which dies with a solver that crashes.
        backend: any joblib backend: loky, threading, sequential, multiprocessing, dask, ray, ...
        resume: keep the rows that are there; otherwise the file is started anew.
        on_row: called with every row of `cells`, those kept from earlier first.

    Returns:
        All rows of the file; those of `cells` have their keys.

    Raises:
        OptionError: the backend is unknown or cannot start here.
        FileFormatError: the folder cannot be made, or its file of rows is not one.
    """
    path = output / "rows.jsonl"
    rows = read_rows(path) if resume else []
    wanted = {cell.key: cell for cell in cells}
    executor = _executor(jobs, backend)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not resume:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FileFormatError(
            f"folder {str(output)!r}", str(error), "a folder that can be made", "Choose another with --output"
        ) from error
    for row in rows:
        if wanted.pop(row.key, None) is not None:
            on_row(row)
    with RowWriter(path) as writer:
        for row in _stream(list(wanted.values()), executor):
            writer.append(row)
            rows.append(row)
            on_row(row)
    return rows


def run_cell(cell: Cell) -> Row:
    """Build the instance, solve it (only `solve` is timed) and describe the outcome; never raises."""
    started = time.perf_counter()
    try:
        problem = family(cell.family, cell.clients, cell.seed, **cell.overrides)
    except Exception as error:  # whatever it is, the other cells shall run on
        return _row(cell, stop=Stop.ERROR, message=f"{type(error).__name__}: {error}")
    built = replace(
        _row(cell, stop=Stop.ERROR),
        fingerprint=fingerprint(problem),
        tokens=problem.tokens,
        build_s=time.perf_counter() - started,
        instance=f"{cell.family}-{cell.clients}x{problem.tokens}-s{cell.seed}",
    )
    arguments: dict[str, Any] = {"gap": cell.asked_gap, "seed": cell.seed, **cell.options}
    try:
        _warm_up(cell.family, cell.solver, json.dumps(plain(cell.options)))
        seconds: list[float] = []
        while len(seconds) < cell.repeats and sum(seconds) < REPEAT_BUDGET_S:
            started = time.perf_counter()
            result = solve(problem, cell.solver, time_limit_s=cell.time_limit_s, **arguments)
            seconds.append(time.perf_counter() - started)
    except MissingDependencyError as error:
        return replace(built, stop=SKIPPED, message=str(error))
    except Exception as error:
        return replace(built, message=f"{type(error).__name__}: {error}")
    return replace(
        built,
        solve_s=statistics.median(seconds),
        repeats=len(seconds),
        ste=result.ste,
        bound=result.bound if math.isfinite(result.bound) else math.inf,
        gap=result.gap,
        violation=math.inf if result.evaluation is None else result.evaluation.violation,
        claimed_ste=result.claimed_ste,
        claimed_bound=0.0 if math.isnan(result.claimed_bound) else result.claimed_bound,
        stop=str(result.stop),
        quality=str(result.quality),
        message=str(result.diagnosis) if result.diagnosis is not None else result.message,
        trace=_thinned(result),
    )


@cache
def _warm_up(family_name: str, solver: str, options: str) -> None:
    """One solve in every process and kind of instance: imports and compilation belong to no instance."""
    solve(family(family_name, 1, seed=0), solver, time_limit_s=1.0, **json.loads(options))


def fingerprint(problem: Problem) -> str:
    """Digest of a problem's data; equal for equal problems."""
    values = problem.as_dict()
    return _digest(b"".join(name.encode() + np.asarray(values[name]).tobytes() for name in sorted(values)))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _row(cell: Cell, *, stop: str, message: str = "") -> Row:
    return Row(
        key=cell.key,
        instance=f"{cell.family}-{cell.clients}-s{cell.seed}",
        fingerprint="",
        family=cell.family,
        clients=cell.clients,
        tokens=0,
        seed=cell.seed,
        solver=cell.solver,
        options=cell.options,
        asked_gap=cell.asked_gap,
        time_limit_s=cell.time_limit_s,
        versions=cell.versions,
        build_s=math.nan,
        solve_s=math.nan,
        repeats=0,
        ste=-math.inf,
        bound=math.inf,
        gap=math.inf,
        violation=math.inf,
        claimed_ste=math.nan,
        claimed_bound=math.inf,
        stop=stop,
        quality=Quality.NONE,
        message=message,
    )


def _thinned(result: Result) -> tuple[tuple[float, float, float], ...]:
    count = len(result.trace)
    chosen = np.unique(np.linspace(0, count - 1, min(count, TRACE_POINTS)).astype(int))
    return tuple((result.trace[i].seconds, result.trace[i].ste, result.trace[i].bound) for i in chosen)


def _executor(jobs: int, backend: str) -> Callable[[], joblib.Parallel]:
    """A factory of joblib executors. Raises OptionError when the backend cannot start."""

    def make() -> joblib.Parallel:
        threads = {"inner_max_num_threads": 1} if backend == "loky" else {}
        with joblib.parallel_config(backend=backend, n_jobs=jobs, **threads):
            try:
                return joblib.Parallel(return_as="generator_unordered", batch_size=1)
            except ValueError:  # backends that hand back all at once
                return joblib.Parallel(batch_size=1)

    if jobs < 1:
        raise OptionError("bench", f"jobs = {jobs}", "whole numbers >= 1", "Use 1 for one at a time")
    try:
        _connect(backend)
        make()
    except (ImportError, KeyError, ValueError) as error:
        raise OptionError(
            "bench",
            f"backend {backend!r} ({type(error).__name__}: {error})"[:200],
            "loky, threading, sequential, multiprocessing, or another joblib backend",
            "Install or start it first",
        ) from error
    return make


def _connect(backend: str) -> None:
    """Make the cluster backends known to joblib: of a running cluster, or one on this machine."""
    if backend == "ray":
        from ray.util.joblib import register_ray  # type: ignore[import-not-found,unused-ignore]

        register_ray()
    elif backend == "dask":
        from distributed import Client, get_client  # type: ignore[import-not-found,unused-ignore]

        try:
            get_client()
        except ValueError:
            Client(set_as_default=True)  # at DASK_SCHEDULER_ADDRESS, if that is set


def _stream(cells: list[Cell], executor: Callable[[], joblib.Parallel]) -> Iterator[Row]:
    """Rows as they finish. A cell that kills its process becomes a row, the others run on."""
    waiting = {cell.key: cell for cell in cells}
    while waiting:
        started: list[Cell] = []
        try:
            for row in _parallel(list(waiting.values()), executor, started):
                del waiting[row.key]
                yield row
        except BrokenProcessPool:
            # One of the cells under way did it: each gets a pool of its own.
            for cell in [cell for cell in started if cell.key in waiting]:
                del waiting[cell.key]
                try:
                    yield from _parallel([cell], executor, [])
                except BrokenProcessPool as error:
                    yield _row(cell, stop=Stop.ERROR, message=f"The process died: {error}"[:500])


def _parallel(
    cells: list[Cell], executor: Callable[[], joblib.Parallel], started: list[Cell]
) -> Iterator[Row]:
    """Rows as they finish; `started` receives the cells that were handed out."""

    def tasks(part: list[Cell]) -> Iterator[Any]:
        for cell in part:
            started.append(cell)
            yield joblib.delayed(run_cell)(cell)

    parallel = executor()
    size = len(cells) if parallel.return_generator else 4 * parallel.n_jobs
    for first in range(0, len(cells), size):
        yield from parallel(tasks(cells[first : first + size]))
