"""Tables of how solvers stand: one line per solver, or two traits of the rows against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final, NamedTuple

from ..rows import NOT_TAKEN
from .objective_text import Wording, better_text, value_text, wording
from .records import grouped
from .standing import Judged, Standing, by_label, growth_exponent, label_of, standings
from .text_table import TextTable, cross_table, gap_text, seconds_text, share_text

Text = Callable[[Standing], str]

NOT_RUN: Final = "not run"


class Column(NamedTuple):
    """A figure of a group: a column of a report's first table, and an entry of `bench --json`.

    Headers name by `{worse}` the side on which values are worse than the best.
    """

    header: str
    key: str
    number: Callable[[Standing], float]
    text: Callable[[float], str]


REPORT_COLUMNS: Final = (
    Column("runs", "runs", lambda group: group.runs, str),
    Column("success", "success", lambda group: _share(group.success, group.runs), share_text),
    Column("correct", "correct", lambda group: _share(group.correct, group.runs), share_text),
    Column("within gap", "within_gap", lambda group: _share(group.within_gap, group.solvable), share_text),
    Column("median {worse}", "median_shortfall", lambda group: group.accepted_shortfall.median, gap_text),
    Column("worst {worse}", "worst_shortfall", lambda group: group.accepted_shortfall.worst, gap_text),
    Column("median proof", "median_proved_gap", lambda group: group.median_proved_gap, gap_text),
    Column("mean time", "mean_s", lambda group: group.mean_s, seconds_text),
)
"""The columns of a report's first table, over all runs."""

PAGE_COLUMNS: Final[Mapping[str, Text]] = {
    "runs": lambda group: f"{group.runs:,}",
    "feasible": lambda group: share_text(group.feasible, group.runs),
    "within 1e-4": lambda group: share_text(group.close, group.runs),
    "proved": lambda group: share_text(group.proved, group.runs) if group.proved else "–",
    "median {worse}": lambda group: gap_text(group.shortfall.median),
    "worst {worse}": lambda group: gap_text(group.shortfall.worst),
    "limit reached": lambda group: str(group.limited),
    "median time": lambda group: seconds_text(group.seconds.median),
    "slowest": lambda group: seconds_text(group.seconds.worst),
}
"""Columns of the page's first table, over the runs on feasible instances; headers as in `Column`."""


def summaries(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """One record of figures per solver; shares are of the rows that ran."""
    return [
        {"label": label, "skipped": group.skipped, "not_taken": group.not_taken, "errors": group.errors}
        | {column.key: column.number(group) for column in REPORT_COLUMNS}
        for label, group in standings(judged, label_of).items()
    ]


def close_share(group: Standing) -> str:
    """Share of the runs within 1e-4 of the best known value."""
    return share_text(group.close, group.runs)


def report_tables(judged: Sequence[Judged]) -> list[TextTable]:
    """The tables that these rows have something to say in, for the terminal and the report."""
    solvers, words = standings(judged, label_of), _words(judged)
    lines = (
        (label, *(column.text(column.number(group)) for column in REPORT_COLUMNS))
        for label, group in solvers.items()
    )
    headers = _headers([column.header for column in REPORT_COLUMNS], words)
    tables = [TextTable("Solvers", ("solver", *headers), tuple(lines))]
    shown = [entry for entry in judged if entry.competes or entry.row.stop == NOT_TAKEN]
    found = standings(shown, lambda entry: (entry.row.family, entry.row.label))
    if len({name for name, _ in found}) > 1:
        title = f"How far {words.worse} the best known {words.value} (median)"
        text = _unless_not_taken(lambda group: gap_text(group.shortfall.median))
        tables.append(cross_table(title, "family", found, text))
    bounded = {key: group for key, group in found.items() if not math.isnan(group.median_bound_distance)}
    if len({label for _, label in bounded}) > 1:
        title = f"How far bounds are {words.beyond} the best known {words.value} (median)"
        tables.append(
            cross_table(title, "family", bounded, lambda group: gap_text(group.median_bound_distance))
        )
    if any(entry.known.goal.name != "ste" for entry in judged):
        tables.append(_value_table(judged))
    if len({entry.row.clients for entry in judged}) > 1:
        tables.append(_speed_table([entry for entry in judged if entry.row.feasible]))
    return tables


def page_tables(judged: Sequence[Judged]) -> dict[str, TextTable]:
    """The tables of the page, by name, from the runs on feasible instances, best solver first."""

    def by_size(entry: Judged) -> tuple[str, str]:
        return f"`{entry.row.label}`", f"{entry.row.clients:,} clients"

    words = _words(judged)
    families = standings(judged, lambda entry: (entry.row.family, f"`{entry.row.label}`"))
    sizes = standings(judged, by_size)
    lines = (
        (f"`{label}`", *(text(group) for text in PAGE_COLUMNS.values()))
        for label, group in standings(judged, label_of).items()
    )
    return {
        "solvers": TextTable("Solvers", ("solver", *_headers([*PAGE_COLUMNS], words)), tuple(lines)),
        "families": cross_table(
            f"Median (worst) distance {words.worse} the optimum, by family",
            "family",
            families,
            _unless_not_taken(
                lambda group: f"{gap_text(group.shortfall.median)} ({gap_text(group.shortfall.worst)})"
            ),
            NOT_RUN,
        ),
        "close": cross_table(
            *("Within 1e-4 of the optimum, by number of clients", "solver", sizes),
            _unless_not_taken(close_share),
            NOT_RUN,
        ),
        "times": cross_table(
            "Median (longest) time of a solve, by number of clients",
            "solver",
            sizes,
            _unless_not_taken(
                lambda group: f"{seconds_text(group.seconds.median)} ({seconds_text(group.seconds.worst)})"
            ),
            NOT_RUN,
        ),
        "values": _value_table(judged),
    }


def _value_table(judged: Sequence[Judged]) -> TextTable:
    """What is wanted in each family, which way is better, and what was found, medians over the instances."""
    lines = []
    kinds = grouped(judged, lambda entry: (entry.row.family, entry.row.clients))
    for (name, clients), entries in kinds.items():
        known = {entry.row.fingerprint: entry.known for entry in entries if entry.known.found}.values()
        goal = entries[0].row.goal
        texts = ["–", "–"]
        if known:
            texts[0] = value_text(goal.name, median(one.value for one in known))
        if known and all(math.isfinite(one.bound) for one in known):
            texts[1] = value_text(goal.name, median(one.bound for one in known))
        lines.append((name, f"{clients:,}", goal.name, better_text(goal), *texts))
    columns = ("family", "clients", "objective", "better", "best known", "proved bound")
    return TextTable("What is wanted and found (medians)", columns, tuple(lines))


def _words(judged: Sequence[Judged]) -> Wording:
    return wording(entry.row.goal for entry in judged if entry.row.fingerprint)


def _headers(headers: Sequence[str], words: Wording) -> tuple[str, ...]:
    return tuple(header.format(worse=words.worse) for header in headers)


def _unless_not_taken(text: Text) -> Text:
    """The text of a group's figure, or that its solver does not take such problems."""
    return lambda group: NOT_TAKEN if group.not_taken and not group.runs else text(group)


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
