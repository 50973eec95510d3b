"""Output shared by all commands: progress bar, JSON, tables, written files, missing pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from ...benchmarks.report.text_table import TextTable

AsJson = Annotated[bool, typer.Option("--json", help="Print strict JSON for scripts, and nothing else.")]


def print_json(values: Any) -> None:
    """Strict JSON on one line. Raises ValueError for NaN and infinity."""
    typer.echo(json.dumps(values, allow_nan=False))


def print_table(console: Console, table: TextTable) -> None:
    """Print a table under its title, in parts where it is wider than the terminal."""
    console.print(f"[bold]{escape(table.title)}[/]", *table.rich(console.width), sep="\n")


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


@contextmanager
def progress(total: int, kept: Callable[[int], str]) -> Iterator[Callable[..., None]]:
    """Progress bar on stderr while the block runs; on Ctrl-C say what is kept and exit with 130.

    Args:
        total: steps.
        kept: from the number of finished steps to what a user finds again, where.

    Yields:
        A function to call with `advance=1` after a step, and with `description=...` to say what goes on.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    messages = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=messages, transient=True) as bar:
        task = bar.add_task("starting", total=total)
        try:
            yield partial(bar.update, task)
        except KeyboardInterrupt:
            finished = int(bar.tasks[0].completed)
        else:
            return
    messages.print(f"Stopped: {kept(finished)}; the same command goes on from there.", soft_wrap=True)
    raise typer.Exit(130)
