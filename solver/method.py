"""The contract of a solution method: what `solve` asks of it and what it answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .allocation import Allocation
from .result import Result, Stop, TracePoint


@dataclass(frozen=True)
class Request:
    """What the caller of `solve` asks of a method.

    Attributes:
        gap: relative optimality gap at which a method with a bound may stop.
        seed: for methods that draw random numbers.
        start: an allocation to start from, or None.
        start_result: the whole earlier result when the caller gave one, for methods that keep more.
        time_limit_s: wall time allowed; inf for none.

    Examples:
        >>> from stsflora.solver import Request
        >>> request = Request(gap=1e-3, time_limit_s=60.0)
        >>> request.expired(), 0 < request.remaining_s() <= 60.0
        (False, True)
    """

    gap: float = 1e-4
    seed: int = 0
    start: Allocation | None = None
    start_result: Result | None = None
    time_limit_s: float = math.inf
    started: float = field(default_factory=time.perf_counter)

    def elapsed_s(self) -> float:
        """Seconds since `solve` was called."""
        return time.perf_counter() - self.started

    def remaining_s(self) -> float:
        """Seconds left, 0 at least; inf without a limit."""
        return max(0.0, self.time_limit_s - self.elapsed_s())

    def expired(self) -> bool:
        """Whether the time limit has passed."""
        return self.elapsed_s() >= self.time_limit_s


@dataclass(frozen=True)
class Answer:
    """What a method hands back to `solve`; only `allocation` and `bound` matter, the rest explains.

    `bound` is None where nothing is proved. `stop` is `Stop.INFEASIBLE` where a method has proved that what
    the objective requires cannot be had.

    Examples:
        >>> from stsflora.solver import Allocation, Answer
        >>> answer = Answer(Allocation([3], [1e6], [0.1]), bound=12.0, stats={"iterations": 4})
        >>> answer.stop
        <Stop.CONVERGED: 'converged'>
    """

    allocation: Allocation | None
    stop: Stop = Stop.CONVERGED
    bound: float | None = None
    stationary: bool = False
    claimed_value: float = math.nan
    trace: tuple[TracePoint, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


Method = Callable[..., Answer]
