"""Benchmark rows, one per solver and instance, and their JSON Lines file, which survives a kill."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, Final, Self

from ..solver import FileFormatError, Objective, Quality, Ste
from ..solver.files.file_access import existing_file
from ..solver.files.json_files import parse_json, plain
from ..solver.objective import OBJECTIVES
from ..solver.solver_text import solver_text

SKIPPED: Final = "skipped"
"""The `stop` of a row whose solver could not run here; `message` says why."""

NOT_TAKEN: Final = "not taken"
"""The `stop` of a row whose solver does not take such problems, and was not run; `message` says why."""

GOALS: Final[Mapping[str, Objective]] = {
    name: kind(**{setting.name: 1.0 for setting in fields(kind)}) for name, kind in OBJECTIVES.items()
}
"""An objective of each name, with settings that mean nothing: for its sense."""

MAX_BYTES: Final = 2**30
"""Largest file of rows that is read."""

KINDS: Final = {"str": str, "int": int, "float": int | float, "Mapping[str, Any]": dict}
"""Types in a file by the annotation of a field."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One solver on one instance: the schema of a line of `rows.jsonl`.

    A file holds null where a figure is undefined: nan, or infinite as said below. Rows are equal when they
    are written alike. Where less is better, infinite figures have the other sign than said here.

    Attributes:
        key: identifies solver, options, limits, instance and versions; equal keys need no second run.
        instance: readable name, family-clientsxtokens-seed.
        fingerprint: digest of the problem's data; rows with the same one are comparable. Empty when the
            instance was not built.
        family: name of the instance family.
        clients: M.
        tokens: N; 0 when the instance was not built.
        seed: of the instance and of the solver.
        solver: name without options.
        options: the options given.
        asked_gap: relative gap asked for.
        time_limit_s: limit of one solve, s.
        versions: of Python, the toolkit and the packages that matter.
        build_s: time to build the instance, s.
        solve_s: time of `solve`, s; the median when repeated.
        repeats: timed solves.
        objective: name of what is wanted, as in `OBJECTIVES`.
        value: evaluated, of the objective; -inf without an allocation.
        ste: evaluated STE, 1/s, whatever is wanted; -inf without an allocation, nan where no time passes.
        bound: proved limit of the value; inf without one.
        gap: proved relative gap; inf without one.
        violation: largest relative violation; inf without an allocation.
        claimed_value: the method's own figure; nan without one.
        claimed_bound: the method's own bound, also where it was withdrawn; inf without one, and the most
            negative float if it was no number.
        stop: why it ended: a `Stop`, "skipped" or "not taken".
        quality: what was found: a `Quality`.
        message: reason of a failure or skip.
        trace: (seconds, value, bound) over time, thinned.
    """

    key: str
    instance: str
    fingerprint: str = ""
    family: str
    clients: int
    tokens: int = 0
    seed: int
    solver: str
    options: Mapping[str, Any]
    asked_gap: float
    time_limit_s: float = math.inf
    versions: Mapping[str, str]
    build_s: float = math.nan
    solve_s: float = math.nan
    repeats: int = 0
    objective: str = Ste.name
    value: float = -math.inf
    ste: float = -math.inf
    bound: float = math.inf
    gap: float = math.inf
    violation: float = math.inf
    claimed_value: float = math.nan
    claimed_bound: float = math.inf
    stop: str
    quality: str = Quality.NONE
    message: str = ""
    trace: tuple[tuple[float, float, float], ...] = field(default=(), repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def label(self) -> str:
        """Solver with its options, as on the command line: minlp:engine=highs."""
        return solver_text(self.solver, self.options)

    @property
    def goal(self) -> Objective:
        """An objective of that name, for its sense only."""
        return GOALS[self.objective]

    @property
    def skipped(self) -> bool:
        """Whether the solver could not run here."""
        return self.stop == SKIPPED

    @property
    def ran(self) -> bool:
        """Whether the solver was run."""
        return self.stop not in {SKIPPED, NOT_TAKEN}

    @property
    def feasible(self) -> bool:
        """Whether the evaluator accepts the allocation."""
        return self.quality in {Quality.FEASIBLE, Quality.STATIONARY, Quality.OPTIMAL}

    def as_dict(self) -> dict[str, Any]:
        """Strict JSON data; None where a figure is undefined."""
        values: dict[str, Any] = plain(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `as_dict`. Raises ValueError or TypeError for other fields and wrong types.

        Rows from before there were objectives, which have `claimed_ste`, are read too.
        """
        row, names = dict(values), {entry.name for entry in fields(cls)}
        if "claimed_ste" in row and "objective" not in row:
            added = {"objective": Ste.name, "value": row.get("ste"), "claimed_value": row.pop("claimed_ste")}
            row = added | row
        if set(row) != names:
            raise ValueError(f"other fields than a row's: {', '.join(sorted(set(row) ^ names))[:80]}")
        if row["objective"] not in GOALS:
            raise ValueError(f"no objective {row['objective']!r:.40}")
        unproved = GOALS[row["objective"]].unproved
        of_sense = {"value": -unproved, "bound": unproved, "claimed_bound": unproved}
        for entry in fields(cls):
            if row[entry.name] is None and entry.type == "float":
                row[entry.name] = of_sense.get(entry.name, entry.default)
            kind = KINDS.get(str(entry.type), object)
            if not isinstance(row[entry.name], kind):
                raise ValueError(f"field {entry.name!r} of type {type(row[entry.name]).__name__}")
        row["trace"] = tuple(
            (seconds, -unproved if value is None else value, unproved if bound is None else bound)
            for seconds, value, bound in row["trace"]
        )
        return cls(**row)


def read_rows(path: str | PathLike[str]) -> list[Row]:
    """All complete rows of a file, a torn last line left out; none when there is no file.

    Raises:
        FileFormatError: a line before the last is not a row.
    """
    if not Path(path).exists():
        return []
    file = existing_file(path, MAX_BYTES, "Choose another output folder")
    rows = []
    for number, line in enumerate(_complete(file.read_bytes()).splitlines(), start=1):
        try:
            rows.append(Row.from_dict(parse_json(line)))
        except (ValueError, TypeError) as error:
            raise FileFormatError(
                f"file {str(path)!r}",
                f"line {number} with {error}",
                "one benchmark row per line",
                "Use --fresh to start anew, or choose another folder with --output",
            ) from error
    return rows


class RowWriter:
    """Appends rows to a file, each at once; cuts off a line that a kill left half-written.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._stream = Path(path).open("a+b")  # noqa: SIM115 - closed by __exit__
        self._stream.seek(0)
        self._stream.truncate(len(_complete(self._stream.read())))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def append(self, row: Row) -> None:
        """Write one row and hand it to the operating system."""
        self._stream.write(json.dumps(row.as_dict(), allow_nan=False).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


def _complete(data: bytes) -> bytes:
    """The data up to the last end of a line."""
    return data[: data.rfind(b"\n") + 1]
