"""Tables of how solvers stand: one line per solver, or two traits of the rows against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from .standing import Judged, Standing, by_label, growth_exponent, label_of, standings
from .text_table import TextTable, cross_table, gap_text, seconds_text, share_text

Text = Callable[[Standing], str]

NOT_RUN: Final = "not run"


class Column(NamedTuple):
    """A figure of a group: a column of a report's first table, and an entry of `bench --json`."""

    header: str
    key: str
    number: Callable[[Standing], float]
    text: Callable[[float], str]


REPORT_COLUMNS: Final = (
    Column("runs", "runs", lambda group: group.runs, str),
    Column("success", "success", lambda group: _share(group.success, group.runs), share_text),
    Column("correct", "correct", lambda group: _share(group.correct, group.runs), share_text),
    Column("within gap", "within_gap", lambda group: _share(group.within_gap, group.solvable), share_text),
    Column("median below", "median_shortfall", lambda group: group.accepted_below.median, gap_text),
    Column("worst below", "worst_shortfall", lambda group: group.accepted_below.worst, gap_text),
    Column("median proof", "median_proved_gap", lambda group: group.median_proved_gap, gap_text),
    Column("mean time", "mean_s", lambda group: group.mean_s, seconds_text),
)
"""The columns of a report's first table, over all runs."""

PAGE_COLUMNS: Final[Mapping[str, Text]] = {
    "runs": lambda group: f"{group.runs:,}",
    "feasible": lambda group: share_text(group.feasible, group.runs),
    "within 1e-4": lambda group: share_text(group.close, group.runs),
    "proved": lambda group: share_text(group.proved, group.runs) if group.proved else "–",
    "median below": lambda group: gap_text(group.below.median),
    "worst below": lambda group: gap_text(group.below.worst),
    "limit reached": lambda group: str(group.limited),
    "median time": lambda group: seconds_text(group.seconds.median),
    "slowest": lambda group: seconds_text(group.seconds.worst),
}
"""Columns of the page's first table, over the runs on feasible instances."""


def summaries(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """One record of figures per solver; shares are of the rows that ran."""
    return [
        {"label": label, "skipped": group.skipped, "errors": group.errors}
        | {column.key: column.number(group) for column in REPORT_COLUMNS}
        for label, group in standings(judged, label_of).items()
    ]


def close_share(group: Standing) -> str:
    """Share of the runs within 1e-4 of the best known STE."""
    return share_text(group.close, group.runs)


def report_tables(judged: Sequence[Judged]) -> list[TextTable]:
    """The tables that these rows have something to say in, for the terminal and the report."""
    solvers = standings(judged, label_of)
    lines = (
        (label, *(column.text(column.number(group)) for column in REPORT_COLUMNS))
        for label, group in solvers.items()
    )
    tables = [TextTable("Solvers", ("solver", *(column.header for column in REPORT_COLUMNS)), tuple(lines))]
    competing = [entry for entry in judged if entry.competes]
    found = standings(competing, lambda entry: (entry.row.family, entry.row.label))
    if len({name for name, _ in found}) > 1:
        title = "How far below the best known STE (median)"
        tables.append(cross_table(title, "family", found, lambda group: gap_text(group.below.median)))
    bounded = {key: group for key, group in found.items() if not math.isnan(group.median_above)}
    if len({label for _, label in bounded}) > 1:
        title = "How far bounds are above the best known STE (median)"
        tables.append(cross_table(title, "family", bounded, lambda group: gap_text(group.median_above)))
    if len({entry.row.clients for entry in judged}) > 1:
        tables.append(_speed_table([entry for entry in judged if entry.row.feasible]))
    return tables


def page_tables(judged: Sequence[Judged]) -> dict[str, TextTable]:
    """The tables of the page, by name, from the runs on feasible instances, best solver first."""

    def by_size(entry: Judged) -> tuple[str, str]:
        return f"`{entry.row.label}`", f"{entry.row.clients:,} clients"

    families = standings(judged, lambda entry: (entry.row.family, f"`{entry.row.label}`"))
    sizes = standings(judged, by_size)
    lines = (
        (f"`{label}`", *(text(group) for text in PAGE_COLUMNS.values()))
        for label, group in standings(judged, label_of).items()
    )
    return {
        "solvers": TextTable("Solvers", ("solver", *PAGE_COLUMNS), tuple(lines)),
        "families": cross_table(
            "Median (worst) distance below the optimum, by family",
            "family",
            families,
            lambda group: f"{gap_text(group.below.median)} ({gap_text(group.below.worst)})",
            NOT_RUN,
        ),
        "close": cross_table(
            "Within 1e-4 of the optimum, by number of clients", "solver", sizes, close_share, NOT_RUN
        ),
        "times": cross_table(
            "Median (longest) time of a solve, by number of clients",
            "solver",
            sizes,
            lambda group: f"{seconds_text(group.seconds.median)} ({seconds_text(group.seconds.worst)})",
            NOT_RUN,
        ),
    }


def _speed_table(accepted: Sequence[Judged]) -> TextTable:
    """Median seconds, sizes by solvers, and the exponent of growth from 100 clients on."""
    found = standings(accepted, lambda entry: (f"{entry.row.clients:,} clients", entry.row.label))
    table = cross_table(
        "Median time of one solve", "size", found, lambda group: seconds_text(group.seconds.median)
    )
    exponents = []
    for entries in by_label(accepted).values():
        large = (entry for entry in entries if entry.row.clients >= 100)
        sizes = standings(large, lambda entry: entry.row.clients)
        exponents.append(growth_exponent({size: group.seconds.median for size, group in sizes.items()}))
    if all(math.isnan(exponent) for exponent in exponents):
        return table
    texts = ("–" if math.isnan(exponent) else f"{exponent:.2f}" for exponent in exponents)
    return replace(table, lines=(*table.lines, ("growth exponent from 100", *texts)))


def _share(count: int, total: int) -> float:
    """A share as a number; nan of none."""
    return count / total if total else math.nan
