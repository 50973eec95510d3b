"""Versions of the software that makes a row, and the digest of our own sources."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
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
    version, requirements = "0", list[str]()
    with suppress(metadata.PackageNotFoundError):  # a checkout that is not installed
        toolkit = metadata.distribution("stsflora")
        version, requirements = toolkit.version, toolkit.requires or []
    mark = re.compile(rf"""extra\s*==\s*["']{re.escape(info.extra)}["']""")
    extra = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requirements if mark.search(line)}
    found = {"python": platform.python_version(), "stsflora": f"{version}+{source_digest()}"}
    for package in sorted({*CORE, *(extra if info.needs else ())}):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def source_digest(root: Path = ROOT) -> str:
    """Digest of what instances, answers and times come from: a border of folders, by content.

    Inside are `solver/`, `models/cell/` and the files that lie directly in `benchmarks/`. The folders in
    `benchmarks/` are outside: they choose what is run or show what was.

    Args:
        root: where these folders lie.
    """
    folders = (root / "solver", root / "models" / "cell")
    nested = (file for folder in folders for file in folder.rglob("*.py"))
    return digest_of(sorted([*(root / "benchmarks").glob("*.py"), *nested]))


def digest_of(files: Iterable[Path]) -> str:
    """Digest of names and contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:8]
