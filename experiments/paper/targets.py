"""Targets of `stsflora reproduce`: the paper's tables and figures by name, and settings of a reproduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...solver import FileFormatError, UnknownNameError
from ..finetune.config import Config
from ..finetune.packages import require_packages
from ..finetune.run_records import FinishedRun, committed, finished_run, from_folders
from .figure6 import figure6
from .figure8 import figure8a, figure8b, figure8c
from .figure9 import figure9
from .figure10 import DIGIT_COUNTS, PHOTO_COUNTS, accuracy_configs, figure10
from .figures import Attention, drawn_attention
from .joint import joint
from .report import Report
from .settings import BACKBONES, DATASETS, TARGETS, ReproductionSettings
from .table1 import CUT, ROUNDS, TRAINING, Table1Cell, table1
from .table2 import measured_memory, table2

if TYPE_CHECKING:
    from ..finetune.run import Run
    from .pictures import Pictures

Train = Callable[[Mapping[str, Config]], "Sequence[Run]"]
"""Runs fine-tuning by names of folders."""


def reproduce(target: str, settings: ReproductionSettings, train: Train) -> Report:
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
    return MAKERS[target](settings, train)


def _amount(settings: ReproductionSettings, quick: int, full: int) -> int:
    return quick if settings.quick else full


def _known_runs(settings: ReproductionSettings) -> list[FinishedRun]:
    return committed() + ([] if settings.runs is None else from_folders(settings.runs))


def _trained(train: Train, configs: Mapping[str, Config]) -> list[FinishedRun]:
    return [finished_run(run.config, run.logs) for run in train(configs)]


def _table1(settings: ReproductionSettings, train: Train) -> Report:
    """Table I from known runs, and some of its cells run now where a data set is named."""
    runs = _known_runs(settings)
    if settings.dataset is None:
        return table1(runs)
    chosen = [
        Table1Cell(settings.dataset, settings.backbone, settings.partition, scheme)
        for scheme in settings.schemes
    ]
    data = settings.found_data
    if data is None or not Path(data).is_dir() or Path(data).name != settings.dataset:
        raise FileFormatError(
            "reproduce table1",
            f"images of {DATASETS[settings.dataset]} at {data!r:.80}",
            f"a folder named {settings.dataset} with train and test images (`models/data.py` says how)",
            f"Give it with --data .../{settings.dataset}",
        )
    rounds = settings.rounds or _amount(settings, 2, ROUNDS)
    weights = replace(settings, model=BACKBONES[settings.backbone]).found_weights
    configs = {
        f"{cell.dataset}_{cell.backbone}_{cell.partition}_{cell.scheme}": cell.config(
            Path(data), weights, rounds, settings.seed
        )
        for cell in chosen
    }
    return table1([*runs, *_trained(train, configs)])


def _table2(settings: ReproductionSettings, _: Train) -> Report:
    if find_spec("peft") is None:
        return table2({})
    from ..finetune.device import chosen_device

    return table2(measured_memory(chosen_device(settings.device).type))


def _attention(settings: ReproductionSettings, blocks: Sequence[int] = ()) -> Attention:
    """Attention of the ViT over real images where they are at hand, else drawn."""
    if settings.found_data in {None, "digits"} or find_spec("timm") is None:
        return drawn_attention(settings.seed)
    seen = _pictures(settings, _amount(settings, 64, 256))
    profiles = {f"after block {block}": rows for block, rows in seen.attention([CUT, *blocks]).items()}
    source = f"[CLS] attention of {seen.model} after block {CUT} on {len(seen.images)} images of {seen.name}"
    return Attention(source, f"after block {CUT}", profiles)


def _pictures(settings: ReproductionSettings, count: int) -> Pictures:
    """Images and model. Raises MissingDependencyError without torch and timm."""
    require_packages("reproduce fig9", "timm")
    from .pictures import pictures

    return pictures(settings.found_data, settings.model, settings.found_weights, count, settings.cache)


def _figure10(settings: ReproductionSettings, train: Train) -> Report:
    """Figure 10 from known runs; its own runs where images are given or nothing is known."""
    runs = _known_runs(settings)
    report = figure10(runs)
    if settings.data is None and report.figure is not None:
        return report
    digits = settings.data in {None, "digits"}
    rounds = settings.rounds or _amount(settings, 3, 15 if digits else ROUNDS)
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
    configs = accuracy_configs(base, DIGIT_COUNTS if digits else PHOTO_COUNTS)
    return figure10([*runs, *_trained(train, configs)])


MAKERS: Final[Mapping[str, Callable[[ReproductionSettings, Train], Report]]] = dict(
    zip(
        TARGETS,
        (
            _table1,
            _table2,
            lambda s, _: figure6(_attention(s, (1, 4, 8, 12)), _amount(s, 2, 20), _amount(s, 6, 1)),
            lambda s, _: figure8a(_attention(s), _amount(s, 4, 20)),
            lambda s, _: figure8b(_attention(s), _amount(s, 4, 20)),
            lambda s, _: figure8c(_attention(s), _amount(s, 3, 20), _amount(s, 5, 9)),
            lambda s, _: figure9(_pictures(s, _amount(s, 32, 256)), CUT),
            _figure10,
            lambda s, _: joint(_pictures(s, _amount(s, 8, 64)), _amount(s, 2, 20)),
        ),
        strict=True,
    )
)
"""What makes each table and figure, in the order of `TARGETS`."""
