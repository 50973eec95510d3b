"""Run a foreign engine in a process of its own, under a wall clock that holds."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

from ..problem import Problem

WORKER: Final = "stsflora.solver.minlp.worker"

JOB: Final = "job.json"
PROBLEM: Final = "problem.npz"
"""Names of the files that the worker finds in its folder."""

LAST_CHARACTERS: Final = 500
"""How many characters of a crashed worker's standard error are kept."""


class Message(NamedTuple):
    """One report of the worker.

    Attributes:
        seconds: `time.perf_counter` when it came.
        content: see `minlp_worker`.
    """

    seconds: float
    content: Mapping[str, Any]


class Outcome(NamedTuple):
    """How the worker fared.

    Attributes:
        messages: in the order they came.
        killed: whether it was ended at the time limit.
        stderr_tail: of a worker that crashed; else empty.
    """

    messages: tuple[Message, ...]
    killed: bool
    stderr_tail: str


def run_worker(problem: Problem, job: Mapping[str, Any], time_limit_s: float) -> Outcome:
    """Run an engine on a problem; everything slow happens in the other process.

    The worker reports progress as it goes, so that nothing is lost when it is killed at the limit, with
    all processes that it started. Its logs go nowhere, so that no full pipe can block it.

    Args:
        problem: the instance.
        job: what the worker should do, JSON-compatible; see `minlp_worker`.
        time_limit_s: wall time, s; inf for none.
    """
    deadline = time.time() + time_limit_s if math.isfinite(time_limit_s) else None
    messages: list[Message] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problem.save(folder / PROBLEM)
        (folder / JOB).write_text(json.dumps({**job, "deadline": deadline}), encoding="utf-8")
        with (folder / "errors.txt").open("w+b") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own module, by this interpreter
                [sys.executable, "-m", WORKER],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            reader = Thread(target=_read, args=(process, messages), daemon=True)
            reader.start()
            try:
                reader.join(None if deadline is None else max(0.0, deadline - time.time()))
                killed = reader.is_alive()
            finally:
                _kill(process)
                reader.join()
            stderr_tail = ""
            if not killed and process.returncode != 0:
                errors.seek(0)
                heard = errors.read()[-LAST_CHARACTERS:].decode("utf-8", "replace").strip()
                stderr_tail = (
                    f"the engine's process ended with code {process.returncode}: {heard or 'no words'}"
                )
    return Outcome(tuple(messages), killed, stderr_tail)


def _read(process: subprocess.Popen[bytes], messages: list[Message]) -> None:
    """Collect the messages, one JSON object per line, until the worker is gone."""
    if process.stdout is not None:
        with process.stdout as lines:
            for line in lines:  # one by one: the caller takes what came when it kills the worker
                if line.endswith(b"\n"):  # a killed worker may leave half a line
                    messages.append(Message(time.perf_counter(), json.loads(line)))  # noqa: PERF401
    process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the worker, if it still runs, and whatever it started: its session is its own."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
