"""Strict JSON: parse untrusted objects, and turn our values into plain data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any, Final

import numpy as np

from ..errors import FileFormatError
from .file_access import existing_file

MAX_JSON_BYTES: Final = 64 * 2**20
"""Largest JSON file that is read or written; larger problems belong into `.npz`."""

MAX_JSON_DEPTH: Final = 32
"""Deepest nesting of JSON arrays and objects that is read."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def read_json(path: str | PathLike[str], max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read one strict JSON object: finite numbers, no duplicate keys, bounded size and depth.

    Raises:
        FileFormatError: the file is missing, too large, too deep, malformed or not an object.
    """
    file = existing_file(path, max_bytes, "Save large problems as .npz")
    try:
        return parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise FileFormatError(
            f"file {file.name!r}", str(error), "one strict JSON object in UTF-8", "Write the file again"
        ) from error


def parse_json(data: bytes) -> dict[str, Any]:
    """One strict JSON object. Raises ValueError with a short reason."""
    marks = np.frombuffer(_STRING.sub(b"", data), dtype=np.uint8)
    # Counted before parsing: the parser recurses, so depth would otherwise cost the stack.
    opened = np.isin(marks, np.frombuffer(b"[{", dtype=np.uint8)).astype(np.int8)
    closed = np.isin(marks, np.frombuffer(b"]}", dtype=np.uint8)).astype(np.int8)
    if np.cumsum(opened - closed, dtype=np.int64).max(initial=0) > MAX_JSON_DEPTH:
        raise ValueError(f"JSON nested more than {MAX_JSON_DEPTH} deep")
    value = json.loads(
        data.decode("utf-8"),
        object_pairs_hook=_unique_keys,
        parse_float=_finite,
        parse_constant=_refuse_constant,
    )
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__} at the top")
    return value


def plain(value: Any) -> Any:
    """The value as strict JSON data: numbers that are not finite become None.

    Entries of mappings and sequences that are not plain data are dropped. Raises TypeError for a
    value that is not plain data itself.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items() if _is_plain(entry)}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value if _is_plain(entry)]
    raise TypeError(f"{type(value).__name__} is not plain data")


def _is_plain(value: Any) -> bool:
    scalar = value is None or isinstance(value, bool | int | float | str | np.number | np.bool_)
    numeric = isinstance(value, np.ndarray) and value.dtype.kind in "biufU"
    return scalar or numeric or isinstance(value, Mapping | list | tuple)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("a key that occurs twice")
    return keys


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]}, which is beyond float64")
    return number


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text}, which is not JSON")
