"""Report of one reproduced table or figure: Markdown, CSV files, picture and provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...benchmarks.report.drawing import save_figure
from ...benchmarks.report.records import Record, csv_text
from ...benchmarks.report.text_table import TextTable
from ...solver.files.file_access import write_atomically
from .comparison import Statement, comparison_table, statement_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Report:
    """What one table or figure comes to.

    Attributes:
        target: its name on the command line.
        title: in words.
        setting: what was computed and how, a paragraph.
        compared: numbers, from `comparison.compare`.
        statements: sentences.
        tables: further tables of ours.
        data: rows of what is drawn, with the same keys in each; nan is left empty in the file.
        figure: to be drawn, if any.
        remarks: paragraphs for the reader.
    """

    target: str
    title: str
    setting: str
    compared: Sequence[Record] = ()
    statements: Sequence[Statement] = ()
    tables: Sequence[TextTable] = ()
    data: Sequence[Record] = ()
    figure: Figure | None = None
    remarks: Sequence[str] = ()

    @property
    def picture(self) -> list[str]:
        """Name of the picture's file; none without a figure."""
        return [] if self.figure is None else [f"{self.target}.png"]


def save_report(report: Report, output: Path, provenance: Mapping[str, Any]) -> list[str]:
    """Write a report's Markdown, CSV files, picture and provenance; the names of the files.

    Raises:
        FileFormatError: the folder is missing or cannot be written.
    """
    name = report.target
    texts = {
        f"{name}.md": markdown(report, provenance),
        f"{name}_provenance.json": json.dumps(dict(provenance), indent=1, allow_nan=False),
    }
    if report.compared:
        texts[f"{name}.csv"] = _csv(report.compared)
    if report.data:
        texts[f"{name}_data.csv"] = _csv(report.data)
    for file, text in texts.items():
        write_atomically(output / file, text.encode())
    if report.figure is not None:
        save_figure(report.figure, output / f"{name}.png")
    return sorted([*texts, *report.picture])


def markdown(report: Report, provenance: Mapping[str, Any]) -> str:
    """The page of one table or figure."""
    parts = [f"# {report.title}\n", f"{report.setting}\n"]
    parts += [f"![{report.title}]({name})\n" for name in report.picture]
    if report.compared:
        parts.append(comparison_table(report.compared).markdown())
    if report.statements:
        parts.append(statement_table(report.statements).markdown())
    parts += [table.markdown() for table in report.tables]
    parts += [f"{remark}\n" for remark in report.remarks]
    made = "\n".join(f"- {name}: {_listed(value)}" for name, value in provenance.items())
    return "\n".join([*parts, f"## How this was made\n\n{made}\n"])


def _csv(rows: Sequence[Record]) -> str:
    """Floats to six digits."""

    def cell(value: Any) -> Any:
        if isinstance(value, float):
            return None if math.isnan(value) else float(f"{value:.6g}")
        return value

    return csv_text([{name: cell(value) for name, value in row.items()} for row in rows])


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return str(value)
