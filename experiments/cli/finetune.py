"""`stsflora finetune`: fine-tuning over a simulated cell; torch is imported inside, for instant help."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from ..field_info import field_infos
from ..finetune.config import DEVICES, SMALL, Config, cache_folder
from ..finetune.packages import require_packages
from .option_types import name_option, with_options_of
from .output import AsJson, drawn, print_files, print_json, print_table, progress

if TYPE_CHECKING:
    from ..finetune.run import Run

EXAMPLES: Final = (
    "stsflora finetune",
    "stsflora finetune --methods st-sflora --solvers exact,equal,fixed:tokens=20",
    "stsflora finetune --data flowers102/ --model vit_tiny_patch16_224 --weights vit.safetensors --size 224",
)


@with_options_of(Config, method="all")
def finetune(
    settings: Mapping[str, Any],
    *,
    target: Annotated[float, typer.Option(help="Accuracy whose cost is reported.")] = 0.9,
    device: Annotated[str, name_option("Where models run.", DEVICES)] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of torch; else 1 for small, one per core for others.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of runs and report.")] = Path("results/finetune"),
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on from checkpoints or redo.")] = True,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a ViT by split federated LoRA over a simulated cell; solvers decide who sends what.

    Lists separated by commas are run in all combinations, those of --bits apart: depths of which the solver
    gives each client of st-sflora one. The cut is the same for all clients of a run. Without arguments: six
    schemes on digits, offline.
    """
    require_packages("stsflora finetune")
    from dataclasses import asdict

    import torch

    from ...solver.files.file_access import write_atomically
    from ..finetune.report import labels, markdown, results_table, save_curves
    from ..finetune.run import cache_note
    from ..finetune.run_records import RECORDS, save_records

    if threads is not None or settings["model"] == SMALL:  # so small a model only waits for a second thread
        torch.set_num_threads(1 if threads is None else threads)
    configs = _configs(settings)
    finished = train_all(configs, output, resume=resume, device=device)
    by_label = dict(zip(labels(list(configs.values())), finished, strict=True))
    runs = {label: run.logs for label, run in by_label.items()}
    table = results_table("{data}, {model}, {rounds} rounds".format_map(settings), runs, target)
    notes = [f"{label}: {note}" for label, run in by_label.items() if (note := cache_note(run))]
    pictures = drawn(lambda: save_curves(runs, output))
    report = markdown(table, list(configs.values()), runs, notes, pictures)
    write_atomically(output / "report.md", report.encode())
    records = {name: (run.config, run.logs) for name, run in zip(configs, finished, strict=True)}
    save_records(output, records, target)
    if as_json:
        print_json({label: [asdict(log) for log in logs] for label, logs in runs.items()})
        return
    print_table(Console(), table)
    print_files(output, (*pictures, "report.md", *RECORDS, *configs))


def train_all(configs: Mapping[str, Config], output: Path, *, resume: bool, device: str) -> list[Run]:
    """Run fine-tuning, each in its folder below `output`, with a progress bar.

    Raises:
        StsfloraError: what `finetune` raises, each by its own class.
    """
    from ..finetune.train import finetune as train

    runs: list[Run] = []
    total = sum(config.rounds for config in configs.values())
    with progress(total, lambda finished: f"{finished} rounds are kept in {output}") as step:
        for name, config in configs.items():
            step(description=name)
            run = train(
                config,
                output / name,
                cache=cache_folder(),
                resume=resume,
                device=device,
                like=runs[-1] if runs else None,
                on_round=lambda log: step(advance=1),
            )
            runs.append(run)
    return runs


def _configs(settings: Mapping[str, Any]) -> dict[str, Config]:
    """One run for each combination that differs where it matters, by the name of its folder."""
    from ...solver.solver_text import parse_solver

    data, weights = settings["data"], settings["weights"]
    files = {
        "data": data if data == "digits" or ":" in data else str(Path(data).resolve()),
        "weights": None if weights is None else str(Path(weights).resolve()),
    }
    configs: dict[str, Config] = {}
    swept = [name for name, setting in field_infos(Config).items() if setting.many]
    for values in product(*(settings[name] for name in swept)):
        single = dict(zip(swept, values, strict=True))
        solver, options = parse_solver(single["solver"])
        given = {**settings, **files, **single, "solver": solver, "solver_options": options}
        config = Config(**given)
        name = "_".join(config.traits.values()).replace(" ", "").replace(":", "-").replace('"', "")
        configs.setdefault(name, config)
    return configs
