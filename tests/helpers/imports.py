"""Which file of the project imports which, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from .paths import ROOT

PACKAGES = ("solver", "models", "benchmarks", "experiments")
SOURCES = sorted(path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every import statement in a file."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.level, name) for name in names]
    return found


def arrows(path: Path) -> Iterator[tuple[str, ...]]:
    """What a file of ours imports of ours, as parts: ("solver", "physics", "demand").

    A package itself is a target too: ("solver",) for `from ..solver import Problem`.
    """
    folder = path.relative_to(ROOT).parts[:-1]
    for level, module in imports(path):
        if level:
            base = folder[: len(folder) - level + 1]
            yield _within(*base, *module.split("."))


def _within(*parts: str) -> tuple[str, ...]:
    """The file or package that these parts name, without names inside it."""
    place = ROOT
    for count, part in enumerate(parts):
        place = place / part
        if not place.is_dir():
            return parts[: count + 1] if place.with_suffix(".py").is_file() else parts[:count]
    return parts
