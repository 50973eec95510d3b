"""Output shared by all commands: JSON, written files, pictures that cannot be drawn, help examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

AsJson = Annotated[bool, typer.Option("--json", help="Print strict JSON for scripts, and nothing else.")]


def print_json(values: Any) -> None:
    """Strict JSON on one line. Raises ValueError for NaN and infinity."""
    typer.echo(json.dumps(values, allow_nan=False))


def print_files(folder: Path, names: Iterable[str]) -> None:
    """Print the names of written files."""
    Console().print(f"In {folder}: {', '.join(names)}", highlight=False, soft_wrap=True)


def drawn(draw: Callable[[], list[str]]) -> list[str]:
    """Names of the pictures that were drawn; none, and a line on stderr, without the package for them."""
    from ...solver import MissingDependencyError

    try:
        return draw()
    except MissingDependencyError as error:
        message = f"No pictures: {escape(str(error))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        return []


def examples(*lines: str) -> str:
    """Commands for the end of a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"[cyan]{escape(line)}[/]" for line in lines)
