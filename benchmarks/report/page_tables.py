"""Tables and lists of the benchmark page, from rows of the solvers that are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ...solver import Stop
from ..rows import Row
from .metrics import Known, by_label
from .standings import Standing, competes, is_close, is_limited, standings
from .text_table import TextTable, gap_text, seconds_text, share_text

MOST_PLACES: Final = 4
"""A list of families and sizes names this many."""

NOT_RUN: Final = "not run"


def summary_table(rows: Sequence[Row], known: Mapping[str, Known], labels: Sequence[str]) -> TextTable:
    """One line per solver, over all feasible instances that it ran on."""
    found = standings(rows, known, lambda row: row.label)
    return TextTable(
        title="Solvers",
        columns=(
            "solver",
            "runs",
            "feasible",
            "within 1e-4",
            "proved",
            "median below",
            "worst below",
            "limit reached",
            "median time",
            "slowest",
        ),
        lines=tuple(
            (
                f"`{label}`",
                f"{entry.runs:,}",
                share_text(entry.feasible, entry.runs),
                share_text(entry.close, entry.runs),
                share_text(entry.proved, entry.runs) if entry.proved else "–",
                gap_text(entry.median_below),
                gap_text(entry.worst_below),
                str(entry.limited),
                seconds_text(entry.median_s),
                seconds_text(entry.worst_s),
            )
            for label in labels
            for entry in (found[label],)
        ),
    )


def family_table(rows: Sequence[Row], known: Mapping[str, Known], labels: Sequence[str]) -> TextTable:
    """Median and worst distance below the best known STE, families by solvers."""
    found = standings(rows, known, lambda row: (row.label, row.family))
    names = list(dict.fromkeys(name for _, name in found))
    return TextTable(
        title="Median (worst) distance below the optimum, by family",
        columns=("family", *(f"`{label}`" for label in labels)),
        lines=tuple((name, *(_below(found.get((label, name))) for label in labels)) for name in names),
    )


def close_table(rows: Sequence[Row], known: Mapping[str, Known], labels: Sequence[str]) -> TextTable:
    """Share within 1e-4, solvers by sizes."""
    return _size_table("Within 1e-4 of the optimum, by number of clients", rows, known, labels, close_share)


def time_table(rows: Sequence[Row], known: Mapping[str, Known], labels: Sequence[str]) -> TextTable:
    """Median and longest time, solvers by sizes."""
    return _size_table("Median (longest) time of a solve, by number of clients", rows, known, labels, _times)


def failures(rows: Sequence[Row], known: Mapping[str, Known], labels: Sequence[str]) -> list[str]:
    """What went wrong, how often and where, one sentence per solver and kind."""
    kinds: dict[str, Callable[[Row], bool]] = {
        "ended in an error": lambda row: row.stop == Stop.ERROR,
        "found no feasible allocation": lambda row: not row.feasible,
        "reached the limit": is_limited,
        "missed 1e-4": lambda row: not is_close(row, known),
    }
    competing = by_label(row for row in rows if competes(row, known))
    return [
        f"`{label}` {kind} in {len(failed):,} of {len(competing[label]):,} runs: "
        f"{_places(failed, competing[label])}."
        for label in labels
        for kind, holds in kinds.items()
        if (failed := [row for row in competing[label] if holds(row)])
    ]


def close_share(entry: Standing | None) -> str:
    """Share of the runs within 1e-4 of the best known STE."""
    return NOT_RUN if entry is None else share_text(entry.close, entry.runs)


def _size_table(
    title: str,
    rows: Sequence[Row],
    known: Mapping[str, Known],
    labels: Sequence[str],
    text: Callable[[Standing | None], str],
) -> TextTable:
    found = standings(rows, known, lambda row: (row.label, row.clients))
    sizes = sorted({clients for _, clients in found})
    return TextTable(
        title=title,
        columns=("solver", *(f"{size:,} clients" for size in sizes)),
        lines=tuple((f"`{label}`", *(text(found.get((label, size))) for size in sizes)) for label in labels),
    )


def _times(entry: Standing | None) -> str:
    return NOT_RUN if entry is None else f"{seconds_text(entry.median_s)} ({seconds_text(entry.worst_s)})"


def _below(entry: Standing | None) -> str:
    return NOT_RUN if entry is None else f"{gap_text(entry.median_below)} ({gap_text(entry.worst_below)})"


def _places(failed: Sequence[Row], among: Sequence[Row]) -> str:
    """Families and sizes of failed runs, or those without any where these are fewer."""
    total = Counter((row.family, row.clients) for row in among)
    counts = Counter((row.family, row.clients) for row in failed)
    spared = [place for place in total if place not in counts]
    if not spared:
        return "in every family and at every size"
    if len(spared) < len(counts):
        return f"in every family and at every size but {_some([_place(*place) for place in spared])}"
    texts = [f"{_place(*place)} ({count} of {total[place]})" for place, count in counts.most_common()]
    return _some(texts)


def _place(family: str, clients: int) -> str:
    return f"{family} at {clients:,}"


def _some(texts: Sequence[str]) -> str:
    rest = len(texts) - MOST_PLACES
    return ", ".join([*texts[:MOST_PLACES], *([f"and {rest} more"] if rest > 0 else [])])
