"""Speed of `exact` beyond the token problem, beside independent peers where there are some.

All five tables, or some of them (`--part makespan,energy,menus,skip,plain`); on one thread:

    OMP_NUM_THREADS=1 python -m stsflora.benchmarks.studies.general

`plain` is the first table of `speed`, for the token problem; `--other` is as there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import numpy as np
import typer

from ...solver import Problem, Result, solve
from ...solver.checks import choices
from ...solver.problem import FloatArray
from ..families import family
from .general_peers import Attempt, conic_energy, lambert_bisection
from .speed import GAP, HERE, solve_lines, solver_of
from .timing import Timed, fastest, numbers, table_lines

ENERGY_GAP: Final = 1e-6
"""What has to be proved of energies."""

MENU_FAMILY: Final = "tokens_x_bits_x_cut"
MENU_TOKENS: Final = (12, 196)
MENU_CLIENTS: Final = 20
SKIP_CLIENTS: Final = 20
PLAIN_FAMILIES: Final = ("paper", "round_time")

PARTS: Final = ("makespan", "energy", "menus", "skip", "plain")

ENERGY_COLUMNS: Final = (
    *("clients", "proved", "ms", "Clarabel ms", "Clarabel / this", "built anew ms", "built anew / this"),
    *("Clarabel solved", "differs by"),
)


def makespan_lines(sizes: Iterable[int], seeds: int, repeats: int) -> Iterator[tuple[str, ...]]:
    """Least round time of fixed payloads, by `exact` and by bisection with scipy's Lambert W."""
    for clients in sizes:
        turns = []
        for seed in range(seeds):
            problem = family("makespan", clients, seed)
            ways = [partial(_exact, problem, GAP), partial(_timed, lambert_bisection(problem))]
            turns.append(fastest(ways, repeats))
        ours, theirs = zip(*turns, strict=True)
        yield f"{clients:,}", _solved(ours), *_ms_beside(ours, theirs), _difference(ours, theirs)


def energy_lines(sizes: Iterable[int], seeds: int, repeats: int) -> Iterator[tuple[str, ...]]:
    """Least energy of fixed payloads within a round time, by `exact` and by Clarabel through CVXPY."""
    if not all(map(find_spec, ("cvxpy", "clarabel"))):
        yield "cvxpy or clarabel is not installed", *["–"] * (len(ENERGY_COLUMNS) - 1)
        return
    for clients in sizes:
        turns = []
        for seed in range(seeds):
            problem = family("energy", clients, seed)
            near_hz = _optimal_bandwidth_hz(problem)
            ways = [
                partial(_exact, problem, ENERGY_GAP),
                partial(_timed, conic_energy(problem, near_hz)),
                partial(_timed, partial(_built_anew, problem, near_hz)),
            ]
            turns.append(fastest(ways, repeats))
        ours, compiled, anew = zip(*turns, strict=True)
        yield (
            *(f"{clients:,}", _solved(ours), *_ms_beside(ours, compiled), *_ms_beside(ours, anew)[1:]),
            *(_solved(compiled), _difference(ours, compiled)),
        )


def menu_lines(seeds: int, repeats: int) -> Iterator[tuple[str, ...]]:
    """STE with bits per element and cut to choose beside the tokens."""
    for tokens in MENU_TOKENS:
        problems = [family(MENU_FAMILY, MENU_CLIENTS, seed, tokens=tokens) for seed in range(seeds)]
        yield f"{tokens} x 3 x 4", str(MENU_CLIENTS), *_alone(problems, repeats)


def skip_lines(seeds: int, repeats: int) -> Iterator[tuple[str, ...]]:
    """STE of equal clients that may all send nothing: the first of `round_time`, again and again."""
    problems = []
    for seed in range(seeds):
        equal = family("round_time", SKIP_CLIENTS, seed).subset([0] * SKIP_CLIENTS)
        problems.append(replace(equal, may_skip=np.ones(SKIP_CLIENTS, np.bool_)))
    yield str(SKIP_CLIENTS), *_alone(problems, repeats)


def _alone(problems: Sequence[Problem], repeats: int) -> tuple[str, ...]:
    """How many `exact` proved, and its median and longest time, ms."""
    found = [fastest([partial(_exact, problem, GAP)], repeats)[0] for problem in problems]
    seconds = [timed.seconds for timed in found]
    return _solved(found), f"{median(seconds) * 1e3:.2f}", f"{max(seconds) * 1e3:.2f}"


def _exact(problem: Problem, gap: float) -> Timed:
    """The second of two solves, of a copy of the instance: what a solver keeps about one is part of it."""
    solve(problem, gap=gap)
    copy = replace(problem)
    started = time.perf_counter()
    result = solve(copy, gap=gap)
    return Timed(time.perf_counter() - started, (result.value,), int(result.gap <= gap))


def _timed(attempt: Attempt) -> Timed:
    """The second of two attempts: the first warms up."""
    attempt()
    started = time.perf_counter()
    value = attempt()
    return Timed(time.perf_counter() - started, (value,), int(math.isfinite(value)))


def _built_anew(problem: Problem, near_hz: FloatArray) -> float:
    return conic_energy(problem, near_hz)()


def _optimal_bandwidth_hz(problem: Problem) -> FloatArray:
    result: Result = solve(problem, gap=ENERGY_GAP)
    if result.allocation is None:
        raise ValueError("the family `energy` is feasible")
    return result.allocation.bandwidth_hz


def _solved(found: Sequence[Timed]) -> str:
    return f"{sum(timed.solved for timed in found)} of {len(found)}"


def _ms_beside(ours: Sequence[Timed], theirs: Sequence[Timed]) -> tuple[str, str, str]:
    """Median times, ms, and the ratio of the medians."""
    our_s, their_s = (median(timed.seconds for timed in column) for column in (ours, theirs))
    return f"{our_s * 1e3:.2f}", f"{their_s * 1e3:.2f}", f"{their_s / our_s:.1f}"


def _difference(ours: Sequence[Timed], theirs: Sequence[Timed]) -> str:
    """Largest relative difference of the values that both have."""
    pairs = ((one.values[0], other.values[0]) for one, other in zip(ours, theirs, strict=True))
    found = [abs(one / other - 1.0) for one, other in pairs if math.isfinite(other)]
    return f"{max(found, default=math.nan):.1e}"


def main(
    part: Annotated[str, typer.Option(help="Tables, comma-separated.")] = ",".join(PARTS),
    other: Annotated[Path | None, typer.Option(help="A checkout of another commit, for `plain`.")] = None,
    clients: Annotated[str, typer.Option(help="Of makespan, energy and plain.")] = "20,1000",
    seeds: Annotated[int, typer.Option(help="Instances per line.", min=1)] = 10,
    repeats: Annotated[int, typer.Option(help="Turns on each instance; the best counts.", min=1)] = 3,
) -> None:
    """Time `exact` on fixed payloads, menus of alternatives, skipping, and the token problem.

    Medians over the instances of the best turn; peers in turn with ours.
    """
    chosen = choices("general", "part", part.split(","), PARTS)
    sizes = numbers(clients)
    with ExitStack() as stack:
        checkouts = [HERE] if other is None else [HERE, other]
        solvers = [stack.enter_context(solver_of(path)) for path in checkouts if "plain" in chosen]
        beside = () if other is None else ("other ms", "other / this", "STE differs by")
        tables = {
            "makespan": (
                ("clients", "proved", "ms", "bisection ms", "bisection / this", "differs by"),
                makespan_lines(sizes, seeds, repeats),
            ),
            "energy": (ENERGY_COLUMNS, energy_lines(sizes, seeds, repeats)),
            "menus": (
                ("tokens x bits x cuts", "clients", "proved", "ms", "slowest ms"),
                menu_lines(seeds, repeats),
            ),
            "skip": (("equal clients", "proved", "ms", "slowest ms"), skip_lines(seeds, repeats)),
            "plain": (
                ("family", "clients", "proved", "ms", *beside),
                solve_lines(solvers, PLAIN_FAMILIES, sizes, seeds, repeats),
            ),
        }
        for name in chosen:
            for line in table_lines(*tables[name]):
                print(line, flush=True)
            print()


if __name__ == "__main__":
    typer.run(main)
