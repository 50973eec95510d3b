"""Rows of a finished run in one small file, for the page that quotes them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

from ...solver import FileFormatError
from ...solver.files.file_access import existing_file, write_atomically
from ...solver.files.json_files import parse_json
from ..rows import Row

MAX_BYTES: Final = 2**28
"""Largest archive that is read, unpacked."""

TIME_DIGITS: Final = 3
"""Significant digits that an archive keeps of times."""

DIGITS: Final = 10
"""Significant digits that an archive keeps of other figures."""


def compact(row: Row) -> Row:
    """The row as an archive holds it: without key and trace, figures rounded."""
    figures: dict[str, Any] = {}
    for entry in fields(row):
        digits = TIME_DIGITS if entry.name.endswith("_s") else DIGITS
        if isinstance(value := getattr(row, entry.name), float):
            figures[entry.name] = float(f"{value:.{digits}g}")
    return replace(row, key="", trace=(), **figures)


def write_archive(rows: Iterable[Row], path: str | PathLike[str]) -> Path:
    """Write compact rows as compressed JSON Lines; equal rows make equal files.

    Raises:
        FileFormatError: the folder is missing or cannot be written.
    """
    lines = (json.dumps(compact(row).as_dict(), allow_nan=False) + "\n" for row in rows)
    return write_atomically(path, gzip.compress("".join(lines).encode(), mtime=0))


def read_archive(path: str | PathLike[str]) -> list[Row]:
    """The rows that `write_archive` wrote.

    Raises:
        FileFormatError: the file is missing, too large, or holds anything but rows.
    """
    file = existing_file(path, MAX_BYTES, "Choose an archive that `stsflora bench --page` wrote")
    try:
        with gzip.open(io.BytesIO(file.read_bytes())) as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes when unpacked")
        return [Row.from_dict(parse_json(line)) for line in data.splitlines()]
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise FileFormatError(
            f"file {str(path)!r}",
            f"{type(error).__name__}: {error}"[:200],
            "compressed benchmark rows, one per line",
            "Write it again with `stsflora bench --page`",
        ) from error
