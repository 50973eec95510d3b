"""Records, what is computed, drawn, tabulated and written to CSV: plain values by column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...benchmarks.report.text_table import TextTable

Record = dict[str, Any]


def records(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Record]:
    """Records of rows with a value for each column."""
    return [dict(zip(columns, row, strict=True)) for row in rows]


def grouped(rows: Iterable[Record], *columns: str) -> dict[tuple[Any, ...], list[Record]]:
    """Records by their values in some columns, in the order in which these first appear."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def pivot_table(
    title: str, rows: Sequence[Record], index: str, column: str, text: Callable[[Record], str]
) -> TextTable:
    """Records as a table, a line for each value of one column and a column for each value of another."""
    names = list(dict.fromkeys(row[column] for row in rows))
    lines = []
    for (name,), group in grouped(rows, index).items():
        texts = {row[column]: text(row) for row in group}
        lines.append((str(name), *(texts.get(other, "–") for other in names)))
    return TextTable(title, (index, *names), tuple(lines))
