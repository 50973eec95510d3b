"""The paper's numbers, ours beside them, and whether they agree; reports that say how they were made."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess  # git alone, to name the commit
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...benchmarks.report.csv_text import csv_text
from ...benchmarks.report.drawing import save_figure
from ...benchmarks.report.text_table import TextTable
from ...benchmarks.versions import digest_of
from ...solver import FileFormatError
from ...solver.files.file_access import write_atomically
from ...solver.files.json_files import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VALUES: Final = Path(__file__).with_name("paper_values.json")
GRADES: Final = ("A", "B", "C")
"""Of the paper's numbers as we know them: several notes or arithmetic; one note; read off a figure."""

PACKAGES: Final = ("numpy", "scipy", "torch", "timm", "peft", "matplotlib")
OWN: Final = ("solver", "models", "benchmarks", "experiments")
"""Folders of the toolkit's packages."""

NOT_RUN: Final = "not run here"


@dataclass(frozen=True)
class PaperValue:
    """One number of the paper.

    Attributes:
        place: table or figure, as `stsflora reproduce` names it.
        row: what it belongs to.
        column: what it measures.
        value: the number.
        unit: its unit.
        grade: how sure we are of it, one of `GRADES`.
    """

    place: str
    row: str
    column: str
    value: float
    unit: str
    grade: str


@dataclass(frozen=True)
class Compared:
    """One number of ours beside the paper's.

    Attributes:
        row: what it belongs to.
        column: what it measures.
        unit: its unit.
        ours: None where it was not run.
        paper: None where the paper gives none that we know.
        allowed: largest difference that counts as agreement; None where the settings are too unlike.
        note: what a reader has to know.
        at_most: the paper's number is a limit; anything below it agrees.
    """

    row: str
    column: str
    unit: str
    ours: float | None
    paper: PaperValue | None = None
    allowed: float | None = None
    note: str = ""
    at_most: bool = False

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper.value

    @property
    def agrees(self) -> bool | None:
        """Whether the numbers agree; None where nothing can be said, and always for grade C."""
        if self.difference is None or self.allowed is None or self.paper is None or self.paper.grade == "C":
            return None
        distance = self.difference if self.at_most else abs(self.difference)
        return distance <= self.allowed * (1 + 1e-12)

    @property
    def verdict(self) -> str:
        """`agrees` in words."""
        if self.ours is None:
            return NOT_RUN
        if self.paper is None:
            return "no reference"
        if self.paper.grade == "C":
            return "grade C, not judged"
        if self.allowed is None:
            return "another setting"
        return "yes" if self.agrees else "no"


@dataclass(frozen=True)
class Statement:
    """Something that the paper says in words.

    Attributes:
        text: what it says.
        grade: one of `GRADES`.
        holds: in our runs; None where that cannot be told.
        found: what we see.
    """

    text: str
    grade: str
    holds: bool | None
    found: str

    @property
    def verdict(self) -> str:
        """`holds` in words."""
        return "not judged" if self.holds is None else "holds" if self.holds else "does not hold"


@dataclass(frozen=True, eq=False)
class Report:
    """What one table or figure comes to.

    Attributes:
        target: its name on the command line.
        title: in words.
        setting: what was computed and how, a paragraph.
        compared: numbers.
        statements: sentences.
        tables: further tables of ours.
        data: rows of what is drawn, with the same keys in each.
        figure: to be drawn, if any.
        remarks: paragraphs for the reader.
    """

    target: str
    title: str
    setting: str
    compared: Sequence[Compared] = ()
    statements: Sequence[Statement] = ()
    tables: Sequence[TextTable] = ()
    data: Sequence[Mapping[str, Any]] = ()
    figure: Figure | None = None
    remarks: Sequence[str] = ()


def paper_values(place: str, file: Path = VALUES) -> dict[tuple[str, str], PaperValue]:
    """The paper's numbers of one table or figure by (row, column).

    Raises:
        FileFormatError: the file is malformed, or has an entry twice.
    """

    def malformed(got: str) -> FileFormatError:
        return FileFormatError(
            f"paper values {file.name!r}", got, "place, row, column, value, unit, grade", "Correct the file"
        )

    found: dict[tuple[str, str], PaperValue] = {}
    entries = read_json(file).get("values")
    if not isinstance(entries, list):
        raise malformed("no list of values")
    for entry in entries:
        try:
            value = PaperValue(**entry)
        except TypeError as error:
            raise malformed(f"{entry!r:.80}") from error
        number = isinstance(value.value, int | float) and not isinstance(value.value, bool)
        texts = (value.place, value.row, value.column, value.unit)
        if (
            not number
            or not all(isinstance(text, str) and text for text in texts)
            or value.grade not in GRADES
        ):
            raise malformed(f"{entry!r:.80}")
        if value.place == place:
            if (value.row, value.column) in found:
                raise malformed(f"{value.row}, {value.column} of {place} twice")
            found[value.row, value.column] = value
    return found


def comparison_table(compared: Sequence[Compared]) -> TextTable:
    """Paper and ours side by side."""
    return TextTable(
        "Paper and ours",
        ("what", "paper", "grade", "ours", "difference", "agree?", "note"),
        tuple(
            (
                f"{entry.row}, {entry.column}",
                _number(entry.paper.value if entry.paper else None, entry.unit),
                entry.paper.grade if entry.paper else "–",
                _number(entry.ours, entry.unit),
                _difference(entry),
                entry.verdict,
                entry.note or "–",
            )
            for entry in compared
        ),
    )


def short_table(compared: Sequence[Compared]) -> TextTable:
    """The same for a terminal."""
    return TextTable(
        "Paper and ours",
        ("what", "paper", "ours", "agree?"),
        tuple(
            (
                f"{entry.row}, {entry.column}",
                f"{_number(entry.paper.value, entry.unit)} ({entry.paper.grade})" if entry.paper else "–",
                _number(entry.ours, entry.unit),
                entry.verdict,
            )
            for entry in compared
        ),
    )


def statement_table(statements: Sequence[Statement]) -> TextTable:
    """What the paper says in words, and what we see."""
    return TextTable(
        "What the paper says",
        ("statement", "grade", "here", "what we see"),
        tuple((entry.text, entry.grade, entry.verdict, entry.found) for entry in statements),
    )


def save_report(report: Report, output: Path, provenance: Mapping[str, Any]) -> list[str]:
    """Write a report's Markdown, CSV files, picture and provenance; the names of the files.

    Raises:
        FileFormatError: the folder cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    if report.compared:
        files[f"{report.target}.csv"] = csv_text(
            [_rounded(_plain(entry)) for entry in report.compared]
        ).encode()
    if report.data:
        files[f"{report.target}_data.csv"] = csv_text([_rounded(row) for row in report.data]).encode()
    files[f"{report.target}_provenance.json"] = json.dumps(
        dict(provenance), indent=1, allow_nan=False
    ).encode()
    picture = f"{report.target}.png"
    if report.figure is not None:
        save_figure(report.figure, output / picture)
    text = markdown(report, provenance, picture if report.figure is not None else None)
    files[f"{report.target}.md"] = text.encode()
    for name, data in files.items():
        write_atomically(output / name, data)
    return sorted([*files, *([picture] if report.figure is not None else [])])


def markdown(report: Report, provenance: Mapping[str, Any], picture: str | None) -> str:
    """The page of one table or figure."""
    parts = [f"# {report.title}\n", f"{report.setting}\n"]
    if picture is not None:
        parts.append(f"![{report.title}]({picture})\n")
    if report.compared:
        parts.append(comparison_table(report.compared).markdown())
    if report.statements:
        parts.append(statement_table(report.statements).markdown())
    parts += [table.markdown() for table in report.tables]
    parts += [f"{remark}\n" for remark in report.remarks]
    made = "\n".join(f"- {name}: {_listed(value)}" for name, value in provenance.items())
    parts.append(f"## How this was made\n\n{made}\n")
    return "\n".join(parts)


def provenance(target: str, settings: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Commit, versions, seed, command, hardware and time of a report."""
    found = {"python": platform.python_version()}
    for package in ("stsflora", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "target": target,
        "command": shlex.join(["stsflora", *sys.argv[1:]]),
        "commit": commit(),
        "sources": _sources_digest(),
        "settings": dict(settings),
        "versions": found,
        "hardware": hardware(),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(seconds, 1),
    }


def _sources_digest() -> str:
    """Of the toolkit's own packages: an environment may lie in the same checkout."""
    root = Path(__file__).resolve().parents[2]
    files = (file for name in OWN for file in (root / name).rglob("*.py"))
    return digest_of(sorted(files))


def commit() -> str:
    """The checkout's commit, marked when files differ from it; or that there is none."""
    root = Path(__file__).resolve().parents[2]
    none = "none, an installed copy"
    if not (root / ".git").exists():  # git would name a repository around the installation
        return none
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return none
    return done.stdout.strip()


def hardware() -> str:
    """Processor, cores, and the GPU if there is one."""
    parts = [f"{platform.machine()}, {os.cpu_count()} cores"]
    torch = sys.modules.get("torch")  # not imported for this alone
    if torch is not None and torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _plain(entry: Compared) -> dict[str, Any]:
    return {
        "row": entry.row,
        "column": entry.column,
        "unit": entry.unit,
        "paper": entry.paper.value if entry.paper else None,
        "grade": entry.paper.grade if entry.paper else None,
        "ours": entry.ours,
        "difference": entry.difference,
        "allowed": entry.allowed,
        "agrees": entry.verdict,
        "note": entry.note,
    }


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Floats to six digits."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()}


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.5g} {unit}"


def _difference(entry: Compared) -> str:
    if entry.difference is None or entry.paper is None:
        return "–"
    text = f"{entry.difference:+.3g} {entry.unit}"
    relative = entry.unit != "%" and entry.paper.value
    if not relative:
        return text
    percent = 100 * entry.difference / entry.paper.value
    return f"{text} ({percent:+.0f} %)" if abs(percent) >= 10 else f"{text} ({percent:+.2g} %)"


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return str(value)
