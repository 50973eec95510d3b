"""Calls that nothing can interrupt: their answers and failures in time, and nothing of them later."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from threading import Event

import pytest

from stsflora.solver.conic.waiting import answer_within

SLEEPING_ENGINE = """
import time
from stsflora.benchmarks.families import family
from stsflora.solver import solve
from stsflora.solver.conic.program import ConvexProgram

def sleep(*_):
    print("solving", flush=True)
    time.sleep(60)

ConvexProgram.solve = sleep
solve(family("paper", 4, 0), "relaxed")
"""


@pytest.mark.parametrize("limit_s", [60.0, math.inf])
def test_an_answer_in_time_is_handed_on(limit_s: float) -> None:
    assert answer_within(lambda: 7, limit_s) == 7


def test_what_the_call_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        answer_within(lambda: 1 // 0, math.inf)


def test_a_call_that_takes_too_long_is_left_behind() -> None:
    released = Event()
    assert answer_within(lambda: released.wait(60.0), 0.01) is None
    released.set()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to another process")
def test_ctrl_c_ends_a_solve_while_the_engine_is_at_work() -> None:
    pytest.importorskip("cvxpy")
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPING_ENGINE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "solving\n"
        sent = time.perf_counter()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert time.perf_counter() - sent < 5.0
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
