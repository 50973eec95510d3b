"""Which software made a row."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Final

from ..solver.registry import SolverInfo

CORE: Final = ("numpy", "scipy", "numba")
"""Packages that every solver's answer or speed may depend on."""


def versions_for(info: SolverInfo) -> dict[str, str]:
    """Versions of Python, the toolkit, numpy, scipy, numba and the packages of the solver's extra.

    Packages that are not installed are left out. The toolkit's version carries a digest of the sources,
    so that rows of edited code are told from older ones.
    """
    packages = {*CORE, *(info.needs and _extra(info.extra))}
    found = {"python": platform.python_version(), "stsflora": f"{_toolkit_version()}+{source_digest()}"}
    for package in sorted(packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _toolkit_version() -> str:
    try:
        return metadata.version("stsflora")
    except metadata.PackageNotFoundError:
        return "0"


def _extra(name: str) -> tuple[str, ...]:
    """Names of the packages that an extra of the toolkit installs."""
    try:
        requirements = metadata.requires("stsflora") or []
    except metadata.PackageNotFoundError:
        return ()
    mark = re.compile(rf"""extra\s*==\s*["']{re.escape(name)}["']""")
    return tuple(re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requirements if mark.search(line))


def source_digest() -> str:
    """Digest of what instances, answers and times come from: the solvers, the cell and this folder."""
    here = Path(__file__).parent
    files = [
        *here.glob("*.py"),
        *(here.parent / "solver").rglob("*.py"),
        *(here.parent / "models" / "cell").rglob("*.py"),
    ]
    return digest_of(sorted(files))


def digest_of(files: Iterable[Path]) -> str:
    """Digest of names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:8]
