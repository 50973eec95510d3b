"""Tables of text, for the terminal and as Markdown, and the texts of figures in them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class TextTable:
    """A titled table of texts; the first column names, the others are figures.

    Attributes:
        title: of the whole.
        columns: headers.
        lines: one text per column each.
    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def rich(self, width: int) -> list[Table]:
        """For a terminal of that many columns, without the title; a wide table is continued below itself."""
        headers = [re.sub(r" |(?<=:)", "\n", column) for column in self.columns]
        lines = [(re.sub(r"(?<=:)", "\n  ", line[0]), *line[1:]) for line in self.lines]
        texts = [
            [text for cell in (header, *cells) for text in cell.splitlines()]
            for header, *cells in zip(headers, *lines, strict=True)
        ]
        widths = [1 + max(map(len, column)) for column in texts]
        parts: list[list[int]] = []
        room = 0
        for number in range(1, len(headers)):
            if not parts or widths[number] > room:
                parts.append([0])
                room = width - 1 - widths[0]
            parts[-1].append(number)
            room -= widths[number]
        return [_part(headers, lines, numbers) for numbers in parts]

    def markdown(self, level: int = 2) -> str:
        """As a GitHub table under a heading of that level."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        body = [" | ".join(line) for line in (self.columns, rule, *self.lines)]
        return f"{'#' * level} {self.title}\n\n" + "\n".join(f"| {line} |" for line in body) + "\n"


def cross_table(
    title: str,
    corner: str,
    found: Mapping[tuple[str, str], Entry],
    text: Callable[[Entry], str],
    missing: str = "–",
) -> TextTable:
    """A figure by two traits, one line by line and the other column by column.

    Args:
        title: of the table.
        corner: header of the first column.
        found: what has the figure by the names of its line and column; both in order of appearance.
        text: the figure.
        missing: where there is none.
    """
    names, columns = (tuple(dict.fromkeys(key[part] for key in found)) for part in (0, 1))
    cells = {key: text(entry) for key, entry in found.items()}
    lines = ((name, *(cells.get((name, column), missing) for column in columns)) for name in names)
    return TextTable(title, (corner, *columns), tuple(lines))


def share_text(count: float, total: float = 1) -> str:
    """A share in percent, never rounded up to all nor down to none; a dash where undefined."""
    if math.isnan(count) or not total:
        return "–"
    percent = 100 * count / total
    if count in {0, total} or 1 <= percent <= 99:
        return f"{percent:.0f} %"
    return f"{min(max(percent, 0.1), 99.9):.1f} %"


def gap_text(gap: float) -> str:
    """A relative gap: percent when large, powers of ten when small; a dash where undefined."""
    if not math.isfinite(gap):
        return "–"
    if abs(gap) < 1e-9:
        return "0"
    if abs(gap) < 1e-3:
        return f"{gap:.1e}".replace("e-0", "e-")
    return f"{100 * gap:.2g} %" if gap < 0.1 else f"{100 * gap:,.0f} %"


def seconds_text(seconds: float) -> str:
    """A time with a fitting unit; a dash where undefined."""
    if not math.isfinite(seconds):
        return "–"
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1 or unit == "µs":
            break
    return f"{float(f'{seconds * factor:.3g}'):,.10g} {unit}"


def _part(headers: Sequence[str], lines: Sequence[Sequence[str]], numbers: Sequence[int]) -> Table:
    """Some columns as a table of rich."""
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=0)
    for number in numbers:
        table.add_column(escape(headers[number]), justify="right" if number else "left", no_wrap=True)
    for line in lines:
        table.add_row(*(escape(line[number]) for number in numbers))
    return table
