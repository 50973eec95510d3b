"""`solve_many`: one certified optimum after the other, the search compiled as a whole, on several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .allocation import Allocation
from .bounds import clearing_price, dominance, goal, interval_search, intervals, round_time
from .bounds.goal import STE, goal_of
from .bounds.interval_search import proved_bound
from .checks import whole_number
from .errors import ProblemError
from .evaluation import evaluate
from .feasibility import diagnose
from .method import Answer, Request
from .methods.exact import MAX_NODES, STOPS, stats_of
from .physics import bracket, instance, loops
from .physics.instance import Instance, instance_of
from .physics.jit import compiled_search
from .primal import delivery, dinkelbach, optimum
from .problem import FloatArray, IntArray, Problem
from .result import Result
from .solve import infeasible_result, judge, request_of

PARTS: Final = (
    *(instance, loops, bracket, goal, intervals, clearing_price, round_time, dominance, interval_search),
    *(dinkelbach, delivery, optimum),
)
"""Modules whose functions are compiled into the search."""

WATCH_S: Final = 0.001
"""How often a running search is looked at for its time limit."""


class Found(NamedTuple):
    """What a compiled search hands back: an allocation, its proof, and how it came about."""

    tokens: IntArray
    bandwidth_hz: FloatArray
    power_w: FloatArray
    share: float
    ste: float
    bound: float
    stop: int
    counts: IntArray


def solve_many(
    problems: Iterable[Problem], *, gap: float = 1e-4, jobs: int = 1, time_limit_s: float | None = None
) -> list[Result]:
    """The certified optima of many problems, as `solve(problem, "exact")` gives them, several times faster.

    The search of `exact` is compiled as a whole, which takes half a minute once per installation; it
    runs without Python's lock, so that `jobs` threads use as many processors. Results agree with those of
    `solve` within the gap.

    Args:
        problems: of any sizes.
        gap: relative optimality gap asked for, see `solve`.
        jobs: threads, >= 1.
        time_limit_s: wall time of each problem, s, > 0; None for none.

    Returns:
        Results in the order of the problems. One that is infeasible is a result with its diagnosis.

    Raises:
        ProblemError: a member is no `Problem`; nothing is solved then.
        OptionError: an argument is out of range.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import solve_many
        >>> results = solve_many([family("paper", clients=3, seed=seed) for seed in range(2)])
        >>> [str(result.quality) for result in results]
        ['optimal', 'optimal']
    """
    members = list(problems)
    for place, problem in enumerate(members):
        if not isinstance(problem, Problem):
            raise ProblemError(
                "solve_many",
                f"{type(problem).__name__} at place {place}",
                "stsflora.solver.Problem",
                "Build one, or use Problem.load",
            )
    jobs = whole_number("solve_many", "jobs", jobs, 1)
    if not members:
        return []
    request_of(members[0], time_limit_s, gap, 0, None)  # raises before the first solve
    search = _search()

    def solved(problem: Problem) -> Result:
        request = request_of(problem, time_limit_s, gap, 0, None)
        diagnosis = diagnose(problem)
        if diagnosis is not None:
            return infeasible_result(problem, "exact", request, diagnosis)
        with watch.over(request) as halted:
            found = search(instance_of(problem), request.gap, MAX_NODES, halted)
        seconds = request.elapsed_s()
        allocation = Allocation(found.tokens, found.bandwidth_hz, found.power_w)
        answer = Answer(
            allocation=allocation,
            stop=STOPS[found.stop],
            bound=found.bound,
            claimed_ste=found.ste,
            stationary=True,
            stats=stats_of(found.counts, found.share) | {"reoptimised": False},
        )
        return judge(problem, "exact", request, answer, evaluate(problem, allocation), seconds)

    with _Watch(time_limit_s is not None) as watch:
        if jobs == 1:
            return [solved(problem) for problem in members]
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(solved, members))


@cache
def _search() -> Callable[..., Found]:
    """The compiled search, made once per process."""
    return compiled_search(search_from, PARTS, {goal.expired: _is_halted, goal.record: _record_nothing})


def search_from(given: Instance, gap: float, max_nodes: int, monitor: Any) -> Found:
    """The optimum of an instance with its proof; compiled whole, `monitor` is a flag that halts it."""
    aim = goal_of(given, gap, monitor)
    search, stop = optimum.search_optimum(aim, max_nodes)
    bound = max(proved_bound(search), aim.best[STE])
    bandwidth_hz, power_w, share = delivery.deliver(aim, bound)
    return Found(aim.tokens, bandwidth_hz, power_w, share, aim.best[STE], bound, stop, search.counts)


def _is_halted(monitor: NDArray[np.bool_]) -> bool:
    """`goal.expired` in a compiled search."""
    return bool(monitor[0])


def _record_nothing(monitor: NDArray[np.bool_], ste: float, bound: float) -> None:
    """`goal.record` in a compiled search."""


class _Watch:
    """Halts searches whose time is up; a compiled one has no clock of its own."""

    def __init__(self, needed: bool) -> None:
        self._running: dict[int, tuple[Request, NDArray[np.bool_]]] = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True) if needed else None

    def __enter__(self) -> _Watch:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def over(self, request: Request) -> Iterator[NDArray[np.bool_]]:
        """A flag that is set when the time of a request is up."""
        halted = np.zeros(1, np.bool_)
        if self._thread is None:
            yield halted
            return
        with self._lock:
            self._running[id(halted)] = request, halted
        try:
            yield halted
        finally:
            with self._lock:
                del self._running[id(halted)]

    def _look(self) -> None:
        while not self._ended.wait(WATCH_S):
            with self._lock:
                for request, halted in self._running.values():
                    halted[0] = request.expired()
