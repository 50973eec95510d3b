"""Provenance of a reproduced table or figure: command, commit, sources, versions, hardware, time."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess  # git alone, to name the commit
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ...benchmarks.versions import digest_of

PACKAGES: Final = ("stsflora", "numpy", "scipy", "torch", "timm", "peft", "matplotlib")
ROOT: Final = Path(__file__).resolve().parents[2]
OWN: Final = ("solver", "models", "benchmarks", "experiments")
"""Folders of the toolkit's packages: an environment may lie in the same checkout."""


def provenance(target: str, settings: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Commit, versions, seed, command, hardware and time of a report."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return {
        "target": target,
        "command": shlex.join(["stsflora", *sys.argv[1:]]),
        "commit": commit(),
        "sources": digest_of(sorted(file for name in OWN for file in (ROOT / name).rglob("*.py"))),
        "settings": dict(settings),
        "versions": found,
        "hardware": hardware(),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(seconds, 1),
    }


def commit() -> str:
    """The checkout's commit, marked when files differ from it; or that there is none."""
    none = "none, an installed copy"
    if not (ROOT / ".git").exists():  # git would name a repository around the installation
        return none
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return none
    return done.stdout.strip()


def hardware() -> str:
    """Processor, cores, and the GPU if there is one."""
    parts = [f"{platform.machine()}, {os.cpu_count()} cores"]
    torch = sys.modules.get("torch")  # not imported for this alone
    if torch is not None and torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)
