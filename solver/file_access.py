"""Files from outside are untrusted, files of ours are written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from .errors import FileFormatError

MAX_JSON_BYTES: Final = 64 * 2**20
"""Largest JSON file that is read or written; larger problems belong into `.npz`."""

MAX_JSON_DEPTH: Final = 32
"""Deepest nesting of JSON arrays and objects that is read."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def existing_file(path: str | PathLike[str], max_bytes: int, next_step: str) -> Path:
    """The path of a regular file that is not too large. Raises FileFormatError."""
    file = Path(path)
    try:
        regular, size = file.is_file(), file.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileFormatError(
            f"file {str(path)!r}", f"no readable file ({reason})", "an existing file", "Check the path"
        ) from error
    if not regular:
        raise FileFormatError(f"file {str(path)!r}", "a folder or device", "a regular file", "Check the path")
    if size > max_bytes:
        raise FileFormatError(f"file {file.name!r}", f"{size} bytes", f"at most {max_bytes} bytes", next_step)
    return file


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


def write_atomically(path: str | PathLike[str], data: bytes) -> Path:
    """Replace the file's content at once: a reader, or a crash, meets the old file or the new one.

    Raises:
        FileFormatError: the folder is missing or cannot be written.
    """
    file = Path(path)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except (OSError, ValueError) as error:
        with suppress(OSError):  # where the folder is none there is nothing to remove
            temporary.unlink()
        raise FileFormatError(
            f"file {str(path)!r}",
            f"a place that cannot be written ({getattr(error, 'strerror', None) or error})",
            "a file name in an existing, writable folder",
            "Make the folder or choose another",
        ) from error
    return file


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
