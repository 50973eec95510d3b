"""Versions of the software that makes a row, and the digest of our own sources."""

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

ROOT: Final = Path(__file__).parent.parent
"""Where the folders of the toolkit lie, as files or links to them."""


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


def source_digest(root: Path = ROOT) -> str:
    """Digest of what instances, answers and times come from: a border of folders, by content.

    Inside are `solver/`, `models/cell/` and the files that lie directly in `benchmarks/`. The folders in
    `benchmarks/` are outside: they choose what is run or show what was.

    Args:
        root: where these folders lie.
    """
    return digest_of(
        sorted(
            [
                *(root / "benchmarks").glob("*.py"),
                *(root / "solver").rglob("*.py"),
                *(root / "models" / "cell").rglob("*.py"),
            ]
        )
    )


def digest_of(files: Iterable[Path]) -> str:
    """Digest of names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:8]
