"""`stsflora finetune` and `reproduce`: thin layers; torch is imported inside, so that help stays instant."""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from .bench import AsJson, app, main

if TYPE_CHECKING:
    from ..finetune.config import Config
    from ..finetune.run import Run

__all__ = ["app", "finetune", "main", "reproduce"]


@app.command(
    epilog="Examples:\n\n"
    "[cyan]stsflora finetune[/]\n\n"
    "[cyan]stsflora finetune --methods st-sflora --solvers exact,equal,fixed:tokens=20[/]\n\n"
    "[cyan]stsflora finetune --data flowers102/ --model vit_tiny_patch16_224 --weights vit.safetensors "
    "--size 224[/]"
)
def finetune(
    methods: Annotated[str, typer.Option(help="Names from Table I, or all.")] = "all",
    solvers: Annotated[str, typer.Option(help="For st-sflora, options as name:option=value.")] = "exact",
    partitions: Annotated[str, typer.Option(help="dirichlet, iid.")] = "dirichlet",
    cuts: Annotated[str, typer.Option(help="Blocks on the client.")] = "2",
    measures: Annotated[
        str, typer.Option(help="attention, value_norm, rollout, random, grid.")
    ] = "attention",
    merges: Annotated[str, typer.Option(help="attention, mean, tome, none.")] = "attention",
    data: Annotated[
        str, typer.Option(help="digits, an .npz file, a folder, torchvision:NAME, hf:NAME.")
    ] = "digits",
    model: Annotated[str, typer.Option(help="A timm ViT; small is pretrained on digits here.")] = "small",
    weights: Annotated[
        Path | None, typer.Option(help="Safetensors with timm's keys; else timm's own.")
    ] = None,
    size: Annotated[int, typer.Option(help="Pixels per side.")] = 24,
    concentration: Annotated[float, typer.Option(help="Of the Dirichlet partition.")] = 0.5,
    clients: Annotated[int, typer.Option(help="In the cell.")] = 10,
    rounds: Annotated[int, typer.Option(help="How many.")] = 12,
    batch: Annotated[int, typer.Option(help="Images per client and round.")] = 32,
    local_steps: Annotated[int, typer.Option(help="Optimiser steps per round.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="Of the adapters.")] = 3e-3,
    head_learning_rate: Annotated[float | None, typer.Option(help="Of the head; else the same.")] = None,
    rank: Annotated[int, typer.Option(help="Of LoRA.")] = 16,
    min_tokens: Annotated[int | None, typer.Option(help="K_min; else 64 of 196 in proportion.")] = None,
    bits: Annotated[int, typer.Option(help="Per element of a token, 16 or 32.")] = 32,
    bandwidth_hz: Annotated[float, typer.Option(help="Shared by the clients of a round.")] = 50e6,
    max_energy_j: Annotated[float, typer.Option(help="Per client and round.")] = 0.8,
    count_forward: Annotated[bool, typer.Option(help="Count the forward pass in the round time.")] = False,
    activations: Annotated[float, typer.Option(help="Poisson mean per client and round.")] = 2.0,
    test_images: Annotated[int | None, typer.Option(help="Evaluate on so many; else on all.")] = None,
    evaluate_every: Annotated[int, typer.Option(help="Rounds between evaluations.")] = 1,
    target: Annotated[float, typer.Option(help="Accuracy whose cost is reported.")] = 0.9,
    seeds: Annotated[str, typer.Option(help="Of everything random.")] = "0",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of torch; else 1 for small, one per core for others.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of runs and report.")] = Path("results/finetune"),
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on from checkpoints or redo.")] = True,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a ViT by split federated LoRA over a simulated cell; solvers decide who sends what.

    Lists separated by commas are run in all combinations. Without arguments: six schemes on digits, offline.
    """
    _require_packages()
    from dataclasses import asdict

    import torch

    from ...solver import OptionError
    from ...solver.files.file_access import write_atomically
    from ...solver.solver_text import parse_solver
    from ..finetune.config import SMALL, Config
    from ..finetune.report import labels, markdown, results_table, save_curves
    from ..finetune.run import cache_note
    from ..finetune.run_records import RECORDS, save_records
    from ..finetune.schemes import SCHEMES

    if threads is not None or model == SMALL:  # so small a model only waits for a second thread
        torch.set_num_threads(1 if threads is None else threads)
    common: dict[str, Any] = {
        "data": data if data == "digits" or ":" in data else str(Path(data).resolve()),
        "model": model,
        "weights": None if weights is None else str(weights.resolve()),
        "size_px": size,
        "concentration": concentration,
        "clients": clients,
        "rounds": rounds,
        "batch": batch,
        "local_steps": local_steps,
        "learning_rate": learning_rate,
        "head_learning_rate": head_learning_rate,
        "rank": rank,
        "min_tokens": min_tokens,
        "bits_per_element": bits,
        "bandwidth_hz": bandwidth_hz,
        "max_energy_j": max_energy_j,
        "count_forward": count_forward,
        "activations_per_round": activations,
        "test_images": test_images,
        "evaluate_every": evaluate_every,
    }
    chosen = [kind.name for kind in SCHEMES] if methods == "all" else _names(methods)
    configs: dict[str, Config] = {}
    lists = [_names(text) for text in (partitions, ",".join(chosen), solvers, measures, merges)]
    if not all(lists):
        raise OptionError("stsflora finetune", "an empty list", "names separated by commas", "Leave it out")
    numbers = product(_numbers("seeds", seeds), _numbers("cuts", cuts))
    for (seed, cut), (partition, method, solver, measure, merge) in product(numbers, product(*lists)):
        name, options = parse_solver(solver)
        varied: dict[str, Any] = {
            "method": method,
            "partition": partition,
            "cut": cut,
            "measure": measure,
            "merge": merge,
            "seed": seed,
        }
        config = Config(**common, **varied, solver=name, solver_options=options)
        configs.setdefault("_".join(config.traits.values()).replace(" ", "").replace(":", "-"), config)
    finished = _run(configs, output, resume=resume, device=device)
    runs = dict(zip(labels(list(configs.values())), [run.logs for run in finished], strict=True))
    table = results_table(f"{data}, {model}, {rounds} rounds", runs, target)
    console, messages = Console(), Console(stderr=True)
    saved = {label: cache_note(run) for label, run in zip(runs, finished, strict=True)}
    notes = [f"{label}: {note}" for label, note in saved.items() if note]
    picture = _picture(save_curves, runs, output / "accuracy.png", messages)
    write_atomically(
        output / "report.md", markdown(table, list(configs.values()), runs, notes, picture).encode()
    )
    save_records(
        output, {name: (run.config, run.logs) for name, run in zip(configs, finished, strict=True)}, target
    )
    if as_json:
        plain = {label: [asdict(log) for log in logs] for label, logs in runs.items()}
        print(json.dumps(plain, allow_nan=False))
        return
    console.print(f"[bold]{escape(table.title)}[/]", *table.rich(console.width), sep="\n")
    names = ", ".join(name for name in (picture, "report.md", *RECORDS, *configs) if name)
    console.print(f"In {output}: {names}", highlight=False, soft_wrap=True)


@app.command(
    epilog="Examples:\n\n"
    "[cyan]stsflora reproduce table2[/]\n\n"
    "[cyan]stsflora reproduce all --quick[/]\n\n"
    "[cyan]stsflora reproduce table1 --dataset flowers102 --backbone vit_tiny --partition iid "
    "--schemes sflora,st-sflora --data flowers102/ --weights vit.safetensors[/]"
)
def reproduce(
    target: Annotated[
        str, typer.Argument(help="table1, table2, fig6, fig8a, fig8b, fig8c, fig9, fig10 or all.")
    ] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer seeds and points: minutes in all.")] = False,
    data: Annotated[str | None, typer.Option(help="Images; else ../shared/data, else digits.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Safetensors with timm's keys.")] = None,
    model: Annotated[str, typer.Option(help="A timm ViT, for attention maps.")] = "vit_tiny_patch16_224",
    dataset: Annotated[
        str | None, typer.Option(help="Run cells of Table I: imagenet100, flowers102, cub200.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="vit_tiny, vit_small, vit_base, vit_large.")] = "vit_tiny",
    partition: Annotated[str, typer.Option(help="dirichlet or iid.")] = "dirichlet",
    schemes: Annotated[str, typer.Option(help="Names from Table I, or all.")] = "all",
    rounds: Annotated[int | None, typer.Option(help="Of fine-tuning.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of finished runs for Table I, figure 10.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    output: Annotated[Path, typer.Option(help="Folder of reports.")] = Path("results/reproduce"),
    as_json: AsJson = False,
) -> None:
    """Make a table or figure of the paper anew: its numbers, ours, and whether they agree."""
    from dataclasses import asdict

    from ..finetune.config import cache_folder
    from ..paper.comparison import SHORT, comparison_table
    from ..paper.provenance import provenance
    from ..paper.report import save_report
    from ..paper.settings import SCHEMES, ReproductionSettings
    from ..paper.targets import TARGETS
    from ..paper.targets import reproduce as make

    settings = ReproductionSettings(
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
        schemes=tuple(SCHEMES) if schemes == "all" else tuple(_names(schemes)),
        rounds=rounds,
        runs=runs,
    )

    def train(configs: Any) -> list[Run]:
        _require_packages()
        return _run(dict(configs), output / "runs", resume=True, device=device)

    console, plain = Console(), {}
    for name in TARGETS if target == "all" else (target,):
        started = time.perf_counter()
        report = make(name, settings, train)
        made = provenance(name, settings.as_dict(), time.perf_counter() - started)
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
        console.print(f"In {output}: {', '.join(files)}\n", highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(plain, allow_nan=False))


def _run(configs: dict[str, Config], output: Path, *, resume: bool, device: str) -> list[Run]:
    """All runs with a progress bar; on Ctrl-C say what is kept and exit with 130."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..finetune.config import cache_folder
    from ..finetune.train import finetune as train

    messages = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    cache = cache_folder()
    runs: list[Run] = []
    with Progress(*columns, console=messages, transient=True) as progress:
        task = progress.add_task("starting", total=sum(config.rounds for config in configs.values()))
        try:
            for name, config in configs.items():
                progress.update(task, description=name)
                runs.append(
                    train(
                        config,
                        output / name,
                        cache=cache,
                        resume=resume,
                        device=device,
                        like=runs[-1] if runs else None,
                        on_round=lambda log: progress.advance(task),
                    )
                )
        except KeyboardInterrupt:
            finished = int(progress.tasks[0].completed)
        else:
            return runs
    messages.print(f"Stopped: {finished} rounds are kept in {output}; the same command goes on from there.")
    raise typer.Exit(130)


def _picture(draw: Any, runs: Any, path: Path, messages: Console) -> str | None:
    from ...solver import MissingDependencyError

    try:
        draw(runs, path)
    except MissingDependencyError as error:
        messages.print(f"No picture: {escape(str(error))}", highlight=False, soft_wrap=True)
        return None
    return path.name


def _require_packages() -> None:
    from ...solver import MissingDependencyError

    needed = ("torch", "timm", "peft", "safetensors", "sklearn")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            "stsflora finetune",
            f"no package {missing[0]}",
            "an installation with the extra train",
            'Run pip install "stsflora[train]"',
        )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(option: str, text: str) -> list[int]:
    from ...solver import OptionError

    names = _names(text)
    if not names or not all(name.isdecimal() for name in names):
        raise OptionError("stsflora finetune", f"--{option} {text}", "whole numbers", "Write 2,4")
    return [int(name) for name in names]


if __name__ == "__main__":
    main()
