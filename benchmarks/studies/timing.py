"""Times of solved rounds and lines of tables, for the studies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from statistics import median
from typing import NamedTuple

from ...solver import Problem, Result

Way = Callable[[Problem, Result | None], Result]
"""Solves a round, given its own result of the round before; None in the first."""


class Timed(NamedTuple):
    """What solving one or more instances took.

    Attributes:
        seconds: all together, s.
        values: of each, of its objective.
        solved: how many count as solved.
        peak_bytes: memory beyond the instances at the peak; 0 where it was not measured.
    """

    seconds: float
    values: Sequence[float]
    solved: int
    peak_bytes: int = 0


def fastest(ways: Sequence[Callable[[], Timed]], repeats: int) -> list[Timed]:
    """The fastest of every way's turns; the ways alternate, so that all meet the same machine."""
    turns = [[way() for way in ways] for _ in range(repeats)]
    return [min(column, key=lambda timed: timed.seconds) for column in zip(*turns, strict=True)]


def table_lines(columns: Sequence[str], lines: Iterable[Sequence[object]], names: int = 1) -> Iterator[str]:
    """Lines of a Markdown table, each as soon as it is computed; the first `names` columns are no figures."""
    for cells in chain((columns, ["---"] * names + ["---:"] * (len(columns) - names)), lines):
        yield f"| {' | '.join(map(str, cells))} |"


def numbers(text: str) -> list[int]:
    """Whole numbers, comma-separated."""
    return [int(part) for part in text.split(",")]


def round_seconds(
    rounds: Iterable[Problem], ways: Sequence[Way], clock: Callable[[], float] = time.perf_counter
) -> tuple[list[float], float]:
    """Median seconds per round of every way, and the largest relative difference of their STE.

    All solve the same rounds, in turn. The first two rounds, in which code is compiled, are not counted:
    there have to be three at least.
    """
    earlier: list[Result | None] = [None] * len(ways)
    seconds: list[list[float]] = []
    difference = 0.0
    for problem in rounds:
        spent, stes = [], []
        for number, way in enumerate(ways):
            started = clock()
            result = earlier[number] = way(problem, earlier[number])
            spent.append(clock() - started)
            stes.append(result.ste)
        seconds.append(spent)
        difference = max(difference, max(stes) / min(stes) - 1.0)
    return [median(column) for column in zip(*seconds[2:], strict=True)], difference
