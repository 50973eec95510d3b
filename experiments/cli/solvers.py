"""`stsflora solvers`: list of solvers."""

from __future__ import annotations

from collections.abc import Collection
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
    """List the solvers: what they prove, what they need, their options, and which problems they take."""
    from ...solver import solvers as registered
    from ...solver.files.json_files import plain
    from ...solver.registry import FEATURES

    if as_json:
        taken = [
            {wanted: [name for name in FEATURES if name in has] for wanted, has in info.takes.items()}
            for info in registered()
        ]
        listed = [{name: plain(getattr(info, name)) for name in FIELDS} for info in registered()]
        print_json([entry | {"takes": takes} for entry, takes in zip(listed, taken, strict=True)])
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
    console = Console()
    console.print(table)
    matrix = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in ("name", "objectives", "of the features below"):
        matrix.add_column(column, no_wrap=column == "name")
    for info in registered():
        wanted_by: dict[frozenset[str], list[str]] = {}
        for wanted, has in info.takes.items():
            wanted_by.setdefault(has, []).append(wanted)
        for has, objectives in wanted_by.items():
            matrix.add_row(info.name, ", ".join(objectives), _features_text(has, FEATURES))
    console.print(matrix)
    for name, field in FEATURES.items():
        console.print(f"[dim]{name}: {escape(field)}[/]", highlight=False)


def _features_text(has: Collection[str], known: Collection[str]) -> str:
    """Some features of all that are known, or which are missing where those are fewer."""
    lacking = [name for name in known if name not in has]
    if 2 * len(lacking) >= len(known):
        return ", ".join(name for name in known if name in has) or "none"
    return f"all but {', '.join(lacking)}" if lacking else "all"
