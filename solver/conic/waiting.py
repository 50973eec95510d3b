"""Wait for a call that nothing can interrupt, and leave it behind when it takes too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Final, TypeVar

T = TypeVar("T")

LOOK_S: Final = 0.1
"""Between two looks at the call; Ctrl-C is answered at each."""


def answer_within(call: Callable[[], T], limit_s: float) -> T | None:
    """What a call returns; None where it takes longer than the limit.

    It runs in a thread that does not keep the process alive. A call left behind, at the limit or by Ctrl-C,
    goes on unheard until it ends by itself: nothing that it changes may be used again.

    Args:
        call: returns something but None. What it raises is raised here.
        limit_s: wall time, s; inf for none.
    """
    answers: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as failure:  # raised again in the thread that waits
            failures.append(failure)

    ends = time.perf_counter() + limit_s
    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive() and (left_s := ends - time.perf_counter()) > 0.0:
        thread.join(min(left_s, LOOK_S))
    if failures:
        raise failures[0]
    return answers[0] if answers else None
