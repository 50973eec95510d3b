"""`solve_many`: one certified optimum after the other, the search compiled as a whole, on several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from .checks import whole_number
from .errors import ProblemError
from .evaluation import evaluate
from .feasibility import diagnose
from .method import Request
from .methods.exact import MAX_NODES, allocation_of, answer_of
from .objective import Energy, Objective, Retained, RoundTime, Ste, TotalTime, Weighted
from .physics.instance import instance_of
from .primal.whole_search import whole_search
from .problem import IntArray, Problem
from .result import Result
from .solve import infeasible_result, judge, request_of, solve

WATCH_S: Final = 0.001
"""How often a running search is looked at for its time limit."""


def solve_many(
    problems: Iterable[Problem], *, gap: float = 1e-4, jobs: int = 1, time_limit_s: float | None = None
) -> list[Result]:
    """The certified optima of many problems, as `solve(problem, "exact")` gives them, several times faster.

    The search of `exact` is compiled as a whole, which takes half a minute once per installation; it
    runs without Python's lock, so that `jobs` threads use as many processors. Results agree with those of
    `solve` within the gap.

    Args:
        problems: of any sizes and objectives. The whole search takes token problems (`Problem.is_plain`);
            others are solved as `solve` does.
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
    search = whole_search()

    def solved(problem: Problem) -> Result:
        if not problem.is_plain:
            return solve(problem, "exact", gap=gap, time_limit_s=time_limit_s)
        request = request_of(problem, time_limit_s, gap, 0, None)
        diagnosis = diagnose(problem)
        if diagnosis is not None:
            return infeasible_result(problem, "exact", request, diagnosis)
        with watch.over(request) as steps:
            found = search(instance_of(problem), request.gap, MAX_NODES, steps)
        seconds = request.elapsed_s()
        allocation = allocation_of(found)
        answer = answer_of(found, allocation)
        return judge(problem, "exact", request, answer, evaluate(problem, allocation), seconds)

    with _Watch(time_limit_s is not None) as watch:
        if jobs == 1:
            return [solved(problem) for problem in members]
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(solved, members))


def precompile() -> None:
    """Compile everything that `exact` may need, once per installation: one to two minutes.

    From then on `solve` takes about half the time for token problems of up to 256 clients, in this process
    and later ones, `solve_many` starts at once, and so does the first problem of every other kind, which
    takes up to half a minute otherwise. Without numba it does nothing.

    Examples:
        >>> from stsflora.solver import precompile
        >>> precompile()
    """
    tiny: dict[str, Any] = {
        "gain": 1e-9,
        "importance": np.array([[2.0, 1.0]]),
        "bits_per_token": 1e4,
        "bandwidth_hz": 1e6,
        "max_power_w": 0.1,
        "max_energy_j": 1.0,
    }
    solve_many([Problem(**tiny)])
    rows = tiny | {
        "importance": np.ones((3, 2)) * [[2.0, 1.0]],
        "client": [0, 0, 1],
        "overhead_s": [0.0, 0.1, 0.1],
    }
    by_utility: tuple[Objective, ...] = (Ste(), Retained(0.5), RoundTime(4.0), Weighted(1.0))
    by_cost = (Energy(0.5), Energy(0.5, 4.0), TotalTime(), Weighted(1.0, 1.0))
    for objective in by_utility + by_cost:
        solve(Problem(**rows, objective=objective))
    for objective in by_utility[:3]:
        solve(Problem(**rows, objective=objective, block_hz=2e5))


class _Watch:
    """Halts searches whose time is up; a compiled one has no clock of its own."""

    def __init__(self, needed: bool) -> None:
        self._running: dict[int, tuple[Request, IntArray]] = {}
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
    def over(self, request: Request) -> Iterator[IntArray]:
        """The (1,) steps that a search may take: as many as it likes, and none when the time is up."""
        steps = np.full(1, np.iinfo(np.int64).max)
        if self._thread is None:
            yield steps
            return
        with self._lock:
            self._running[id(steps)] = request, steps
        try:
            yield steps
        finally:
            with self._lock:
                del self._running[id(steps)]

    def _look(self) -> None:
        while not self._ended.wait(WATCH_S):
            with self._lock:
                for request, steps in self._running.values():
                    if request.expired():
                        steps[0] = 0
