"""`stsflora reproduce`: reproduction of the paper's tables and figures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from ..finetune.config import Config, cache_folder
from ..finetune.packages import require_packages
from ..paper.settings import TARGETS, ReproductionSettings
from .finetune import train_all
from .option_types import Names, with_options_of
from .output import AsJson, print_files, print_json

if TYPE_CHECKING:
    from ..finetune.run import Run

WHAT: Final = (*TARGETS, "all")

EXAMPLES: Final = (
    "stsflora reproduce table2",
    "stsflora reproduce all --quick",
    "stsflora reproduce table1 --dataset flowers102 --backbone vit_tiny --partition iid "
    "--schemes sflora,st-sflora --data flowers102/ --weights vit.safetensors",
)


@with_options_of(ReproductionSettings, schemes="all")
def reproduce(
    settings: Mapping[str, Any],
    *,
    target: Annotated[
        str,
        typer.Argument(parser=str, callback=Names(WHAT).option, metavar="|".join(WHAT), help="What to make."),
    ] = "all",
    output: Annotated[Path, typer.Option(help="Folder of reports.")] = Path("results/reproduce"),
    as_json: AsJson = False,
) -> None:
    """Make a table or figure of the paper anew: its numbers, ours, and whether they agree."""
    from dataclasses import asdict

    from ...solver.files.file_access import make_folder
    from ..paper.comparison import SHORT, comparison_table
    from ..paper.provenance import provenance
    from ..paper.report import save_report
    from ..paper.targets import reproduce as make

    chosen = ReproductionSettings(**settings, cache=cache_folder())

    def train(configs: Mapping[str, Config]) -> list[Run]:
        require_packages("stsflora finetune")
        return train_all(configs, output / "runs", resume=True, device=chosen.device)

    make_folder(output)  # before the work, which would be lost without one
    console, plain = Console(), {}
    for name in TARGETS if target == "all" else (target,):
        started = time.perf_counter()
        report = make(name, chosen, train)
        made = provenance(name, chosen.as_dict(), time.perf_counter() - started)
        files = save_report(report, output, made)
        plain[name] = {
            "compared": report.compared,
            "statements": [asdict(entry) for entry in report.statements],
            "files": [str(output / file) for file in files],
        }
        if as_json:
            continue
        console.print(f"[bold]{escape(report.title)}[/]")
        if report.compared:
            console.print(*comparison_table(report.compared, SHORT).rich(console.width))
        for entry in report.statements:
            console.print(
                f"[bold]{entry.verdict}[/]: {escape(entry.text)}\n    {escape(entry.found)}", highlight=False
            )
        print_files(output, files)
        console.print()
    if as_json:
        print_json(plain)
