"""The paper's graded numbers and statements beside ours: one join, one place where statements are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ...benchmarks.report.records import Record
from ...benchmarks.report.text_table import TextTable
from ...solver import FileFormatError
from ...solver.files.json_files import read_json

VALUES: Final = Path(__file__).with_name("paper_values.json")
GRADES: Final = ("A", "B", "C")
"""Of the paper's numbers as we know them: several notes or arithmetic; one note; read off a figure."""

NOT_RUN: Final = "not run here"
SHORT: Final = ("what", "paper (grade)", "ours", "agree?")
"""Columns of `comparison_table` that fit a terminal."""


@dataclass(frozen=True)
class PaperValue:
    """One number of the paper.

    Attributes:
        place: table or figure, as `stsflora reproduce` names it.
        row: what it belongs to.
        column: what it measures; a column has one unit.
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


class OurValue(NamedTuple):
    """One number of ours, under the paper's name for it.

    Attributes:
        key: row and column in `paper_values.json`.
        value: in the column's unit; None where it was not run.
        label: row and column of ours, where they say more than the key.
        note: what a reader has to know.
        same_setting: whether it is the paper's setting, so that numbers can be held against each other.
    """

    key: tuple[str, str]
    value: float | None
    label: tuple[str, str] | None = None
    note: str = ""
    same_setting: bool = True


class Claim(NamedTuple):
    """A statement of the paper, to be judged by results of ours.

    Attributes:
        text: what it says, a `str.format` template over the results.
        grade: one of `GRADES`.
        holds: predicate over the results; None where it cannot be told.
        found: what we see, a template too.
        needs: results without which nothing is said.
    """

    text: str
    grade: str
    holds: Callable[[Mapping[str, Any]], bool | None]
    found: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A statement of the paper, judged: whether it holds in our runs (None: untold), and what we found."""

    text: str
    grade: str
    holds: bool | None
    found: str

    @property
    def verdict(self) -> str:
        """`holds` in words."""
        return "not judged" if self.holds is None else "holds" if self.holds else "does not hold"


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
        named = all(isinstance(text, str) and text for text in texts)
        if not (number and named and value.grade in GRADES):
            raise malformed(f"{entry!r:.80}")
        if value.place == place:
            if (value.row, value.column) in found:
                raise malformed(f"{value.row}, {value.column} of {place} twice")
            found[value.row, value.column] = value
    return found


def compare(
    values: Mapping[tuple[str, str], PaperValue],
    ours: Iterable[OurValue],
    allowed: Callable[[PaperValue], float],
    *,
    at_most: bool = False,
) -> list[Record]:
    """Join numbers of ours with the paper's.

    Args:
        values: of one table or figure, from `paper_values`.
        ours: in the order of the comparison.
        allowed: largest difference from a value that counts as agreement; grade C is never judged.
        at_most: the paper's numbers are limits; anything below agrees.

    Returns:
        One record for each number, a line of the CSV file. The difference is ours less the paper's; "agrees"
        says "yes" or "no", or why that is not judged; None stands for what there is not.
    """
    units = {column: value.unit for (_, column), value in values.items()}
    found = []
    for key, number, label, note, same_setting in ours:
        paper = values.get(key)
        difference = None if number is None or paper is None else number - paper.value
        limit = allowed(paper) if paper and paper.grade != "C" and same_setting else None
        if number is None:
            agrees = NOT_RUN
        elif paper is None or difference is None:
            agrees = "no reference"
        elif limit is None:
            agrees = "grade C, not judged" if paper.grade == "C" else "another setting"
        else:
            distance = difference if at_most else abs(difference)
            agrees = "yes" if distance <= limit * (1 + 1e-12) else "no"
        row, column = label or key
        names = {"row": row, "column": column, "unit": units[key[1]]}
        given = {"paper": paper.value, "grade": paper.grade} if paper else {"paper": None, "grade": None}
        judged = {"ours": number, "difference": difference, "allowed": limit, "agrees": agrees, "note": note}
        found.append({**names, **given, **judged})
    return found


def judge(claims: Iterable[Claim], results: Iterable[Mapping[str, Any]]) -> list[Statement]:
    """Every claim, judged by every result that has what the claim needs."""
    claims = tuple(claims)
    return [
        Statement(text.format_map(result), grade, holds(result), seen.format_map(result))
        for result in results
        for text, grade, holds, seen, needs in claims
        if all(result.get(name) is not None for name in needs)
    ]


def comparison_table(compared: Sequence[Record], columns: Sequence[str] = ()) -> TextTable:
    """Paper and ours side by side; some columns, or all."""
    rows = [
        {
            "what": f"{entry['row']}, {entry['column']}",
            "paper (grade)": f"{_number(entry, 'paper')} ({entry['grade']})" if entry["grade"] else "–",
            "ours": _number(entry, "ours"),
            "difference": _difference(entry),
            "agree?": entry["agrees"],
            "note": entry["note"] or "–",
        }
        for entry in compared
    ]
    chosen = tuple(columns or rows[0])
    return TextTable("Paper and ours", chosen, tuple(tuple(row[name] for name in chosen) for row in rows))


def statement_table(statements: Sequence[Statement]) -> TextTable:
    """What the paper says in words, and what we see."""
    lines = tuple((entry.text, entry.grade, entry.verdict, entry.found) for entry in statements)
    return TextTable("What the paper says", ("statement", "grade", "here", "what we see"), lines)


def _number(entry: Record, column: str) -> str:
    return "–" if entry[column] is None else f"{entry[column]:.5g} {entry['unit']}"


def _difference(entry: Record) -> str:
    if entry["difference"] is None:
        return "–"
    text = f"{entry['difference']:+.3g} {entry['unit']}"
    if entry["unit"] == "%" or not entry["paper"]:
        return text
    percent = 100 * entry["difference"] / entry["paper"]
    return f"{text} ({percent:+.0f} %)" if abs(percent) >= 10 else f"{text} ({percent:+.2g} %)"
