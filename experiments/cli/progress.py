"""Progress bar of all commands; Ctrl-C says what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import typer
from rich.console import Console


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
