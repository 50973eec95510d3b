"""Packages that fine-tuning needs, looked for before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

NEEDED: Final = ("torch", "timm", "peft", "safetensors", "sklearn")
"""Names under which the packages of the extra `train` are imported."""


def require_packages(who: str, *needed: str) -> None:
    """Raise MissingDependencyError, in the name of `who`, unless these packages (all `NEEDED`) are there."""
    from ...solver import MissingDependencyError  # loads numpy, which help can do without

    missing = [name for name in needed or NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            who,
            f"no package {missing[0]}",
            "an installation with the extra train",
            'Run pip install "stsflora[train]"',
        )
