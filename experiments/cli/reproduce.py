"""`stsflora reproduce`: tables and figures of the paper beside ours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from ..finetune.config import DEVICES, PARTITIONS, Config, cache_folder
from ..paper.names import BACKBONES, DATASETS, SCHEMES, TARGETS
from .finetune import require_packages, train_all
from .option_types import choice, choice_argument, name_list
from .output import AsJson, print_files, print_json

if TYPE_CHECKING:
    from ..finetune.train import Run

EXAMPLES: Final = (
    "stsflora reproduce table2",
    "stsflora reproduce all --quick",
    "stsflora reproduce table1 --dataset flowers102 --backbone vit_tiny --partition iid "
    "--schemes sflora,st-sflora --data flowers102/ --weights vit.safetensors",
)


def reproduce(
    target: Annotated[str, choice_argument("What to make.", (*TARGETS, "all"))] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer seeds and points: minutes in all.")] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Images; else flowers102/ in the folder $STSFLORA_DATA, if set, else digits."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Safetensors with timm's keys; else weights/ there, or timm's."),
    ] = None,
    model: Annotated[str, typer.Option(help="A timm ViT, for attention maps.")] = "vit_tiny_patch16_224",
    dataset: Annotated[str | None, choice("Run cells of Table I now.", DATASETS)] = None,
    backbone: Annotated[str, choice("Of those cells.", BACKBONES)] = "vit_tiny",
    partition: Annotated[str, choice("Of those cells.", PARTITIONS)] = "dirichlet",
    schemes: Annotated[Any, name_list("Of those cells.", SCHEMES)] = "all",
    rounds: Annotated[int | None, typer.Option(help="Of fine-tuning.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of finished runs for Table I, figure 10.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, choice("Where models run.", DEVICES)] = "auto",
    output: Annotated[Path, typer.Option(help="Folder of reports.")] = Path("results/reproduce"),
    as_json: AsJson = False,
) -> None:
    """Make a table or figure of the paper anew: its numbers, ours, and whether they agree."""
    from dataclasses import asdict

    from ..paper.reproduce import provenance, save_report, short_table
    from ..paper.targets import Settings
    from ..paper.targets import reproduce as make

    settings = Settings(
        quick=quick,
        data=data,
        weights=weights,
        model=model,
        device=device,
        seed=seed,
        cache=cache_folder(),
        dataset=dataset,
        backbone=backbone,
        partition=partition,
        schemes=schemes,
        rounds=rounds,
        runs=runs,
    )

    def train(configs: Mapping[str, Config]) -> list[Run]:
        require_packages()
        return train_all(configs, output / "runs", resume=True, device=device)

    console, plain = Console(), {}
    for name in TARGETS if target == "all" else (target,):
        started = time.perf_counter()
        report = make(name, settings, train)
        made = provenance(name, settings.as_dict(), time.perf_counter() - started)
        files = save_report(report, output, made)
        plain[name] = {
            "compared": [{**asdict(entry), "agrees": entry.verdict} for entry in report.compared],
            "statements": [asdict(entry) for entry in report.statements],
            "files": [str(output / file) for file in files],
        }
        if as_json:
            continue
        console.print(f"[bold]{escape(report.title)}[/]")
        if report.compared:
            console.print(*short_table(report.compared).rich(console.width))
        for entry in report.statements:
            console.print(
                f"[bold]{entry.verdict}[/]: {escape(entry.text)}\n    {escape(entry.found)}", highlight=False
            )
        print_files(output, files)
        console.print()
    if as_json:
        print_json(plain)
