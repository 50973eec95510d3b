"""How solvers stand on feasible instances, in any grouping. Pure functions; skipped rows never count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeVar

from ...solver import Quality, Stop
from ..rows import Row
from .metrics import Known, shortfall

Key = TypeVar("Key", bound=Hashable)

CLOSE: Final = 1e-4
"""A run is close when its STE is this close to the best known, relatively."""


@dataclass(frozen=True)
class Standing:
    """Runs on feasible instances; a run without an accepted allocation is 100 % below.

    Attributes:
        runs: how many; the counts below are of these.
        feasible: with an accepted allocation.
        close: within `CLOSE` of the best known STE.
        proved: with a proof of the asked gap by the solver itself.
        limited: ended by a limit of time or iterations.
        errors: ended by an error.
        median_below: median distance below the best known STE, relative.
        worst_below: the largest of them.
        median_s: median time, s, whatever the outcome.
        worst_s: the longest time, s.
    """

    runs: int
    feasible: int
    close: int
    proved: int
    limited: int
    errors: int
    median_below: float
    worst_below: float
    median_s: float
    worst_s: float


def standings(
    rows: Iterable[Row], known: Mapping[str, Known], group: Callable[[Row], Key]
) -> dict[Key, Standing]:
    """The standing of every group of rows, in the order of first appearance.

    Args:
        rows: runs; those on instances without any accepted allocation are left out.
        known: what is known of the instances.
        group: the group of a row, such as its label.
    """
    groups: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        if competes(row, known):
            groups[group(row)].append(row)
    return {key: _standing(entries, known) for key, entries in groups.items()}


def competes(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether the row ran on an instance that has a known STE > 0."""
    return bool(row.fingerprint) and not row.skipped and known[row.fingerprint].ste > 0


def is_close(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether the answer is within `CLOSE` of the best known STE."""
    return row.feasible and shortfall(row, known) <= CLOSE


def is_limited(row: Row) -> bool:
    """Whether a limit of time or iterations ended the run."""
    return row.stop in {Stop.TIME_LIMIT, Stop.ITERATION_LIMIT}


def ranked(rows: Iterable[Row], known: Mapping[str, Known]) -> list[str]:
    """Labels, best first: by the share that is close, then the median distance, then the median time."""
    found = standings(rows, known, lambda row: row.label)

    def rank(label: str) -> tuple[float, float, float]:
        entry = found[label]
        return -entry.close / entry.runs, entry.median_below, entry.median_s

    return sorted(found, key=rank)


def _standing(rows: list[Row], known: Mapping[str, Known]) -> Standing:
    below = [shortfall(row, known) for row in rows]
    seconds = [row.solve_s for row in rows if row.solve_s >= 0] or [float("nan")]
    return Standing(
        runs=len(rows),
        feasible=sum(row.feasible for row in rows),
        close=sum(is_close(row, known) for row in rows),
        proved=sum(row.quality == Quality.OPTIMAL for row in rows),
        limited=sum(is_limited(row) for row in rows),
        errors=sum(row.stop == Stop.ERROR for row in rows),
        median_below=median(below),
        worst_below=max(below),
        median_s=median(seconds),
        worst_s=max(seconds),
    )
