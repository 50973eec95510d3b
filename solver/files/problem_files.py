"""Problem files: `.npz` (compact, exact) and `.json` (readable by people), both with `Problem`'s field names.

A `.json` file holds one object. A per-client field is one number for all clients or a list of M numbers,
`importance` a list of M lists; "inf" stands for no limit. Fields with a default may be left out. Numbers
survive both formats bit by bit.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from ..errors import FileFormatError
from .file_access import existing_file, write_atomically
from .json_files import MAX_JSON_BYTES, read_json

MAX_NPZ_BYTES: Final = 2 * 2**30
"""Largest total of a problem's arrays that is read, as stored and as unpacked."""


def write_fields(fields: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Write a problem's fields to `.npz` or `.json`, by the ending, atomically.

    Args:
        fields: numbers and arrays by name.
        path: the file.

    Raises:
        FileFormatError: unknown ending, unwritable place, or too large for JSON.
    """
    if _ending(path) == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **fields)
        write_atomically(path, buffer.getvalue())
        return
    lines = [f"  {json.dumps(name)}: {_json_text(name, value)}" for name, value in fields.items()]
    data = ("{\n" + ",\n".join(lines) + "\n}\n").encode()
    if len(data) > MAX_JSON_BYTES:
        raise FileFormatError(
            f"file {str(path)!r}",
            f"{len(data)} bytes of JSON",
            f"at most {MAX_JSON_BYTES} bytes",
            "Save it as .npz",
        )
    write_atomically(path, data)


def read_fields(
    path: str | PathLike[str], known: Collection[str], required: Collection[str]
) -> dict[str, Any]:
    """Read a problem's fields from `.npz` or `.json`; nothing is unpickled, sizes are checked before reading.

    Args:
        path: the file.
        known: names that a file may have.
        required: names that it must have.

    Raises:
        FileFormatError: unknown ending; missing, truncated, oversized or hostile file; wrong names.
    """

    def check_names(names: Collection[str]) -> None:
        unknown, missing = sorted(set(names) - set(known)), sorted(set(required) - set(names))
        if unknown or missing:
            got = [f"unknown field {unknown[0]!r:.60}"] if unknown else []
            got += [f"no field {name!r}" for name in missing]
            allowed = ", ".join(name for name in known if "." not in name)
            raise FileFormatError(
                f"file {Path(path).name!r}",
                ", ".join(got),
                f"{allowed}, objective.NAME.SETTING",
                "Write it with Problem.save",
            )

    if _ending(path) == ".npz":
        return _read_npz(path, check_names)
    fields = read_json(path)
    check_names(fields)
    return {name: _number_from_json(value) for name, value in fields.items()}


def _ending(path: str | PathLike[str]) -> str:
    ending = Path(path).suffix.lower()
    if ending not in {".npz", ".json"}:
        raise FileFormatError(
            f"file {str(path)!r}", f"the ending {ending!r}", ".npz or .json", "Rename the file"
        )
    return ending


def _json_text(name: str, value: Any) -> str:
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return json.dumps(value.item() if isinstance(value, np.ndarray) else value)
    if value.ndim == 2:
        return "[\n" + ",\n".join(f"    {json.dumps(row)}" for row in value.tolist()) + "\n  ]"
    numbers = ["inf" if math.isinf(number) else number for number in value.tolist()]
    one_for_all = len(set(numbers)) == 1 and name != "client" and not name.startswith("objective.")
    return json.dumps(numbers[0] if one_for_all else numbers)


def _number_from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [math.inf if entry == "inf" else entry for entry in value]
    return math.inf if value == "inf" else value


def _read_npz(path: str | PathLike[str], check_names: Callable[[Collection[str]], None]) -> dict[str, Any]:
    file = existing_file(path, MAX_NPZ_BYTES, "Split the problem")
    try:
        with file.open("rb") as stream:
            _check_archive(stream, check_names)
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
    except FileFormatError:
        raise
    except (
        Exception
    ) as error:  # a hostile archive can raise nearly anything from zip, zlib and header parsers
        raise FileFormatError(
            f"file {file.name!r}",
            f"{error}"[:200] or type(error).__name__,
            "an .npz archive of real arrays, unencrypted and without pickles",
            "Write it with Problem.save",
        ) from error


def _check_archive(stream: IO[bytes], check_names: Callable[[Collection[str]], None]) -> None:
    """Raise an error unless names, types and declared sizes of all members are those of a problem."""
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        check_names({name[:-4] if name.endswith(".npy") else f"{name} without .npy" for name in names})
        if len(set(names)) != len(names):
            raise ValueError("a member that occurs twice")
        total = sum(member.file_size for member in members)
        if total > MAX_NPZ_BYTES:
            raise ValueError(f"{total} bytes unpacked, more than {MAX_NPZ_BYTES}")
        for member in members:
            with archive.open(member) as array:
                _check_header(array, member)


def _check_header(array: IO[bytes], member: zipfile.ZipInfo) -> None:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = readers[np.lib.format.read_magic(array)](array)
    except Exception as error:  # the parser of untrusted text has no contract for what it raises
        raise ValueError(f"member {member.filename!r} with a malformed header") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(f"member {member.filename!r} of type {dtype}")
    if len(shape) > 2 or any(length < 0 for length in shape):
        raise ValueError(f"member {member.filename!r} of shape {shape}")
    if array.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ValueError(f"member {member.filename!r} of {member.file_size} bytes for shape {shape}, {dtype}")
