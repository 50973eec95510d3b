"""What `stsflora reproduce` can make, by name, and how much of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...solver import FileFormatError, MissingDependencyError, UnknownNameError
from ..finetune.config import Config
from ..finetune.run_records import FinishedRun, committed, finished_run, from_folders
from .figure6 import figure6
from .figure8 import figure8a, figure8b, figure8c
from .figure9 import figure9
from .figure10 import DIGIT_COUNTS, PHOTO_COUNTS, accuracy_configs, figure10
from .figures import Attention, drawn_attention
from .reproduce import Report
from .settings import BACKBONES, DATASETS, Settings
from .tables import (
    CUT,
    ROUNDS,
    TRAINING,
    Cell,
    measured_memory,
    table1,
    table2,
)

if TYPE_CHECKING:
    from ..finetune.train import Run
    from .pictures import Pictures

Train = Callable[[Mapping[str, Config]], "Sequence[Run]"]
"""Runs fine-tuning by names of folders."""


def reproduce(target: str, settings: Settings, train: Train) -> Report:
    """Make one table or figure.

    Args:
        target: a name of `TARGETS`.
        settings: how much, and from what.
        train: runs fine-tuning.

    Raises:
        UnknownNameError: no such target, data set, backbone, partition or scheme.
        OptionError, FileFormatError, MissingDependencyError: data, weights, results or packages that are
            wrong or missing.
    """
    if target not in TARGETS:
        raise UnknownNameError(
            "reproduce", f"target {target!r:.40}", f"{', '.join(TARGETS)}, all", "Choose one"
        )
    return TARGETS[target](settings, train)


def _table1(settings: Settings, train: Train) -> Report:
    rows = _known_runs(settings)
    if settings.dataset is not None:
        rows += _run_cells(settings, train)
    return table1(rows)


def _known_runs(settings: Settings) -> list[FinishedRun]:
    return committed() + ([] if settings.runs is None else from_folders(settings.runs))


def _run_cells(settings: Settings, train: Train) -> list[FinishedRun]:
    """Fill some cells of Table I now."""
    chosen = [
        Cell(str(settings.dataset), settings.backbone, settings.partition, scheme)
        for scheme in settings.schemes
    ]
    data = settings.found_data
    if data is None or not Path(data).is_dir() or Path(data).name != settings.dataset:
        raise FileFormatError(
            "reproduce table1",
            f"images of {DATASETS[str(settings.dataset)]} at {data!r:.80}",
            f"a folder named {settings.dataset} with train and test images (`models/data.py` says how)",
            f"Give it with --data .../{settings.dataset}",
        )
    rounds = settings.rounds or (2 if settings.quick else ROUNDS)
    weights = replace(settings, model=BACKBONES[settings.backbone]).found_weights
    configs = {
        f"{cell.dataset}_{cell.backbone}_{cell.partition}_{cell.scheme}": cell.config(
            Path(data), weights, rounds, settings.seed
        )
        for cell in chosen
    }
    return [finished_run(run.config, run.logs) for run in train(configs)]


def _table2(settings: Settings, train: Train) -> Report:
    if find_spec("peft") is None:
        return table2({})
    from ..finetune.device import chosen_device

    return table2(measured_memory(chosen_device(settings.device).type))


def _attention(settings: Settings, blocks: Sequence[int] = ()) -> Attention:
    """Attention of the ViT over real images where they are at hand, else drawn."""
    data = settings.found_data
    if data is None or data == "digits" or find_spec("timm") is None:
        return drawn_attention(settings.seed)
    seen = _pictures(settings, 64 if settings.quick else 256)
    profiles = seen.attention([CUT, *blocks])
    source = f"[CLS] attention of {seen.model} after block {CUT} on {len(seen.images)} images of {seen.name}"
    return Attention(
        source, f"after block {CUT}", {f"after block {block}": values for block, values in profiles.items()}
    )


def _pictures(settings: Settings, count: int) -> Pictures:
    """Images and model. Raises MissingDependencyError without torch and timm."""
    if find_spec("timm") is None:
        raise MissingDependencyError(
            "reproduce fig9",
            "no package timm",
            "an installation with the extra train",
            'Run pip install "stsflora[train]"',
        )
    from .pictures import pictures

    return pictures(settings.found_data, settings.model, settings.found_weights, count, settings.cache)


def _seeds(settings: Settings, quick: int, full: int) -> int:
    return quick if settings.quick else full


def _figure6(settings: Settings, train: Train) -> Report:
    return figure6(_attention(settings, (1, 4, 8, 12)), _seeds(settings, 2, 20), 6 if settings.quick else 1)


def _figure8a(settings: Settings, train: Train) -> Report:
    return figure8a(_attention(settings), _seeds(settings, 4, 20))


def _figure8b(settings: Settings, train: Train) -> Report:
    return figure8b(_attention(settings), _seeds(settings, 4, 20))


def _figure8c(settings: Settings, train: Train) -> Report:
    return figure8c(_attention(settings), _seeds(settings, 3, 20), 5 if settings.quick else 9)


def _figure9(settings: Settings, train: Train) -> Report:
    return figure9(_pictures(settings, 32 if settings.quick else 256), CUT)


def _figure10(settings: Settings, train: Train) -> Report:
    rows = _known_runs(settings)
    report = figure10(rows)
    if settings.data is None and report.figure is not None:
        return report
    digits = settings.data in {None, "digits"}
    rounds = settings.rounds or (3 if settings.quick else 15 if digits else ROUNDS)
    base = Config(rounds=rounds, evaluate_every=rounds, seed=settings.seed)
    if not digits:
        weights = settings.found_weights
        base = Config(
            data=str(settings.data),
            model=settings.model,
            weights=None if weights is None else str(weights),
            rounds=rounds,
            seed=settings.seed,
            **TRAINING,
        )
    runs = train(accuracy_configs(base, DIGIT_COUNTS if digits else PHOTO_COUNTS))
    return figure10([*rows, *(finished_run(run.config, run.logs) for run in runs)])


TARGETS: Final[Mapping[str, Callable[[Settings, Train], Report]]] = {
    "table1": _table1,
    "table2": _table2,
    "fig6": _figure6,
    "fig8a": _figure8a,
    "fig8b": _figure8b,
    "fig8c": _figure8c,
    "fig9": _figure9,
    "fig10": _figure10,
}
