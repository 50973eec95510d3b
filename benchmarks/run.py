"""Runs benchmark jobs in parallel; every outcome, failures and skips included, becomes a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]

from ..solver import FileFormatError, OptionError, Stop
from ..solver.checks import whole_number
from ..solver.files.file_access import make_folder
from .job import Job, run_job
from .rows import Row, RowWriter, read_rows


def run(
    jobs: list[Job],
    output: Path,
    *,
    workers: int = 1,
    backend: str = "loky",
    resume: bool = True,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Make the rows of all jobs that the file `rows.jsonl` in `output` does not have yet.

    Args:
        jobs: what to run, from `plan`.
        output: folder, made when missing.
        workers: jobs at a time; with 1 they run in this process, which dies with a solver that crashes.
        backend: any joblib backend: loky, threading, sequential, multiprocessing, dask, ray, ...
        resume: keep the rows that are there; otherwise the file is started anew.
        on_row: called with every row of `jobs`, those kept from earlier first.

    Returns:
        All rows of the file; those of `jobs` have their keys.

    Raises:
        OptionError: the backend is unknown or cannot start here.
        FileFormatError: the folder cannot be made, or its file of rows is not one.
    """
    path = output / "rows.jsonl"
    rows = read_rows(path) if resume else []
    wanted = {job.key: job for job in jobs}
    executor = _executor(workers, backend)
    make_folder(output)
    try:
        if not resume:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FileFormatError(
            f"file {str(path)!r}", str(error), "a file that can be replaced", "Choose another folder"
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


def _executor(workers: int, backend: str) -> Callable[[], joblib.Parallel]:
    """A factory of joblib executors. Raises OptionError when the backend cannot start."""

    def make() -> joblib.Parallel:
        threads = {"inner_max_num_threads": 1} if backend == "loky" else {}
        with joblib.parallel_config(backend=backend, n_jobs=workers, **threads):
            try:
                return joblib.Parallel(return_as="generator_unordered", batch_size=1)
            except ValueError:  # backends that hand back all at once
                return joblib.Parallel(batch_size=1)

    whole_number("bench", "jobs", workers, 1)
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


def _stream(jobs: list[Job], executor: Callable[[], joblib.Parallel]) -> Iterator[Row]:
    """Rows as they finish. A job that kills its process becomes a row, the others run on."""
    waiting = {job.key: job for job in jobs}
    while waiting:
        started: list[Job] = []
        try:
            for row in _parallel(list(waiting.values()), executor, started):
                del waiting[row.key]
                yield row
        except BrokenProcessPool:
            # One of the jobs under way did it: each gets a pool of its own.
            for job in [job for job in started if job.key in waiting]:
                del waiting[job.key]
                try:
                    yield from _parallel([job], executor, [])
                except BrokenProcessPool as error:
                    yield job.row(stop=Stop.ERROR, message=f"The process died: {error}"[:500])


def _parallel(jobs: list[Job], executor: Callable[[], joblib.Parallel], started: list[Job]) -> Iterator[Row]:
    """Rows as they finish; `started` receives the jobs that were handed out."""

    def tasks(part: list[Job]) -> Iterator[Any]:
        for job in part:
            started.append(job)
            yield joblib.delayed(run_job)(job)

    parallel = executor()
    size = len(jobs) if parallel.return_generator else 4 * parallel.n_jobs
    for first in range(0, len(jobs), size):
        yield from parallel(tasks(jobs[first : first + size]))
