"""The `stsflora` command: thin layers over solvers, benchmark and experiments, one file a command.

Commands import numpy and torch inside, so that help is instant and `bench` can set the threads first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.markup import escape

from . import bench, finetune, reproduce, solve, solvers
from .output import examples


def application() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        rich_markup_mode="rich",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Token, bandwidth and power allocation for wireless split federated learning, "
        "with a proved gap.",
        epilog="Exit codes: 0 fine, 1 no feasible answer, 2 a mistake in the call, 130 interrupted.",
    )
    app.command(epilog=examples(*solve.EXAMPLES))(solve.solve)
    app.command()(solvers.solvers)
    app.command(epilog=examples(*bench.EXAMPLES))(bench.bench)
    app.command(epilog=examples(*finetune.EXAMPLES))(finetune.finetune)
    app.command(epilog=examples(*reproduce.EXAMPLES))(reproduce.reproduce)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors of ours end as one sentence on stderr and exit code 2."""
    try:
        application()(arguments)
    except Exception as error:
        from ...solver import StsfloraError

        if not isinstance(error, StsfloraError):
            raise
        message = f"[bold red]Error:[/] {escape(str(error))}"
        Console(stderr=True, soft_wrap=True).print(message, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
