"""`stsflora solvers`: list of solvers."""

from __future__ import annotations

from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .output import AsJson, print_json

FIELDS: Final = (
    *("name", "summary", "proves", "always_feasible", "needs", "available", "how_to_install", "options"),
)
"""Of a solver, in JSON."""


def solvers(as_json: AsJson = False) -> None:
    """List the solvers: what they prove, what they need, their options."""
    from ...solver import solvers as registered
    from ...solver.files.json_files import plain

    if as_json:
        print_json([{name: plain(getattr(info, name)) for name in FIELDS} for info in registered()])
        return
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in ("name", "proves", "what it does", "available"):
        table.add_column(column, no_wrap=column == "name")
    for info in registered():
        options = ", ".join(f"{name}={value}" for name, value in info.options.items())
        table.add_row(
            info.name,
            info.proves,
            escape(info.summary) + (f"\n[dim]{escape(options)}[/]" if options else ""),
            "[green]yes[/]" if info.available else escape(info.how_to_install),
        )
    Console().print(table)
