"""Checked reading and atomic writing of files, and making of folders."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from os import PathLike
from pathlib import Path

from ..errors import FileFormatError


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


def make_folder(path: str | PathLike[str]) -> Path:
    """The folder, made with its parents where it is missing. Raises FileFormatError."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise FileFormatError(
            f"folder {str(path)!r}",
            f"a place where no folder can be made ({getattr(error, 'strerror', None) or error})",
            "a folder, or a name in a writable one",
            "Choose another",
        ) from error
    return folder


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
