"""Records, plain values by column: grouped by a key, and as the text of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

Record = dict[str, Any]
"""Plain values by column: what is computed, drawn, tabulated and written."""

Key = TypeVar("Key", bound=Hashable)
Entry = TypeVar("Entry")


def grouped(entries: Iterable[Entry], key: Callable[[Entry], Key]) -> dict[Key, list[Entry]]:
    """Entries by their key, in the order in which keys first appear."""
    groups: dict[Key, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return groups


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV under the keys of the first; empty where a value is None."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
