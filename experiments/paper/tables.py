"""The paper's Tables I and II: accuracy of the schemes, and what they ask of a client."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Final

from ...benchmarks.report.text_table import TextTable
from ...models.cell.device import Architecture, Demands, client_demands
from ...solver import FileFormatError, UnknownNameError
from ..finetune.config import PARTITIONS, SELECTING, Config
from ..finetune.run_records import COMMITTED, FinishedRun
from .reproduce import NOT_RUN, Compared, Report, Statement, paper_values
from .settings import BACKBONES, DATASETS, SCHEMES

PAPER_CELL: Final = ("vit_base", "dirichlet")
"""Backbone and partition whose accuracies we know from the paper."""

CUT: Final = 2
MEMORY_BATCH: Final = 64
KEPT: Final = 128
"""K in the memory of ST-SFLora; it hardly matters there."""

SELECTION: Final = ("exact", "attention", "attention")
"""Solver, measure and merge of ST-SFLora."""

POINTS: Final = 2.0
"""Accuracies of one setting agree within so many points of one hundred."""
FAR: Final = 10.0
"""Points that make one scheme far better than another."""
LEVEL: Final = 1.0
"""Points within which schemes are level."""

ROUNDS: Final = 60
TRAINING: Final[Mapping[str, Any]] = {
    "size_px": 224,
    "cut": CUT,
    "batch": 32,
    "local_steps": 4,
    "learning_rate": 5e-4,
    "head_learning_rate": 5e-3,
    "evaluate_every": 10,
}
"""Of the runs in Table I and figure 10, as those in `experiments/results/`."""

SEQUENTIAL: Final[Mapping[str, Any]] = {**TRAINING, "learning_rate": 2e-4, "head_learning_rate": 2e-3}
"""Of SplitLoRA, which makes a step for each client."""

SHAPES: Final = {
    "ViT-S/16": (Architecture(width=384), 12),
    "ViT-B/16": (Architecture(), 12),
    "ViT-L/16": (Architecture(width=1024), 24),
}
DEMANDS: Final = {
    "LocalLoRA": "local",
    "FedLoRA": "fed",
    "SplitLoRA": "split",
    "SFLora": "split",
    "ST-SFLora-Full": "full",
    "ST-SFLora": "selected",
}
MEBIBYTE: Final = 2**20
GIBIBYTE: Final = 2**30
COMPARED_KINDS: Final = ("counted tensors", "tensors, fused", "whole GPU, fused")
"""Measurements beside the paper's: timm's default attention, as torch and as a monitor of the GPU count."""

Memory = Mapping[str, Mapping[str, float]]
"""Peaks in bytes by scheme of `client_demands` and by kind of measurement."""

TRAFFIC_TOLERANCE: Final = 0.01
MEMORY_TOLERANCE: Final = 0.1


@dataclass(frozen=True)
class Cell:
    """One cell of Table I by name: data set, backbone, partition, scheme."""

    dataset: str
    backbone: str
    partition: str
    scheme: str

    def __post_init__(self) -> None:
        for what, name, allowed in (
            ("data set", self.dataset, DATASETS),
            ("backbone", self.backbone, BACKBONES),
            ("partition", self.partition, PARTITIONS),
            ("scheme", self.scheme, SCHEMES),
        ):
            if name not in allowed:
                raise UnknownNameError("table1", f"{what} {name!r:.40}", ", ".join(allowed), "Choose one")

    def config(self, data: Path, weights: Path | None, rounds: int, seed: int) -> Config:
        """The run that fills it."""
        return Config(
            method=self.scheme,
            data=str(data.resolve()),
            model=BACKBONES[self.backbone],
            weights=None if weights is None else str(weights.resolve()),
            partition=self.partition,
            rounds=rounds,
            seed=seed,
            **(SEQUENTIAL if self.scheme == "split-lora" else TRAINING),
        )


def cells() -> list[Cell]:
    """All cells of Table I, with ViT-Ti as a fourth backbone."""
    return [
        Cell(dataset, backbone, partition, scheme)
        for backbone in BACKBONES
        for partition in PARTITIONS
        for dataset in DATASETS
        for scheme in SCHEMES
    ]


def fills(run: FinishedRun, cell: Cell) -> bool:
    """Whether a run belongs into a cell: the paper's cut, K_min, metric and way to select."""
    selects = run.method != SELECTING or (run.solver, run.measure, run.merge) == SELECTION
    as_in_paper = run.cut in {None, CUT} and run.min_tokens is None and not run.count_forward
    return (
        (run.data, run.model) == (cell.dataset, BACKBONES[cell.backbone])
        and (run.partition, run.method) == (cell.partition, cell.scheme)
        and as_in_paper
        and selects
        and run.top1 is not None
    )


def table1(runs: Sequence[FinishedRun]) -> Report:
    """Table I, filled from finished runs; every other cell says that it was not run."""
    paper = paper_values("table1")
    filled = {cell: _longest(run for run in runs if fills(run, cell)) for cell in cells()}
    compared, data = [], []
    for cell, group in filled.items():
        ours = 100 * mean(run.top1 or 0.0 for run in group) if group else None
        known = (cell.backbone, cell.partition) == PAPER_CELL
        column = DATASETS[cell.dataset]
        value = paper[SCHEMES[cell.scheme], column]
        entry = Compared(
            row=f"{SCHEMES[cell.scheme]}, {cell.backbone}, {cell.partition}",
            column=column,
            unit="%",
            ours=ours,
            paper=value,
            allowed=POINTS if known else None,
            note="" if known else "the paper's value is for vit_base, dirichlet",
        )
        if known or group:
            compared.append(entry)
        data.append(
            {
                "dataset": cell.dataset,
                "backbone": cell.backbone,
                "partition": cell.partition,
                "scheme": cell.scheme,
                "top1": NOT_RUN if ours is None else round(ours, 2),
                "top1_selected": _selected(group),
                "runs": len(group),
                "rounds": group[0].rounds if group else None,
                "clients": group[0].clients if group else None,
                "paper_vit_base_dirichlet": value.value,
                "grade": value.grade,
            }
        )
    return Report(
        target="table1",
        title="Table I: top-1 accuracy of the six schemes",
        setting=(
            "Top-1 accuracy with all tokens at test time; in brackets with the last round's mean K at "
            "test time. Cells are filled from finished runs of `stsflora finetune`, those that come with "
            "the toolkit in `experiments/results/` and those given with `--runs` or run by this command; "
            f"a cell without one says {NOT_RUN!r}. We know the paper's values for ViT-B/16 and Dirichlet "
            "0.5 only; other backbones and partitions stand beside them for orientation and are not "
            "judged by number, only by order."
        ),
        compared=compared,
        statements=[entry for name, top1 in _groups(filled).items() for entry in _order(name, top1)],
        tables=[_matrix(filled, backbone, partition) for backbone in BACKBONES for partition in PARTITIONS],
        data=data,
    )


def table2(measured: Memory) -> Report:
    """Table II: analytic for three backbones, ViT-B/16 beside the paper, with measured memory.

    Args:
        measured: peaks of one client's step with ViT-B/16; empty where nothing could be measured.
    """
    paper = paper_values("table2")
    known = committed_memory()
    schemes = dict.fromkeys(DEMANDS.values())
    memory = {scheme: {**measured.get(scheme, {}), **known.get(scheme, {})} for scheme in schemes}
    compared: list[Compared] = []
    for row, scheme in DEMANDS.items():
        for column, ours in _megabytes(_demands("ViT-B/16", scheme)).items():
            value = paper.get((row, column))
            allowed = None if value is None else TRAFFIC_TOLERANCE * value.value
            compared.append(Compared(row, column, "MB", ours, value, allowed))
        value = paper[row, "peak memory"]
        for kind, size in memory[scheme].items():
            if kind.startswith(COMPARED_KINDS):
                peak = Compared(
                    row, "peak memory", "GB", size / GIBIBYTE, value, MEMORY_TOLERANCE * value.value, kind
                )
                compared.append(peak)
    value = paper["ST-SFLora", "one kept token per batch"]
    token = _demands("ViT-B/16", "selected").tokens_up / KEPT / MEBIBYTE
    compared.append(Compared(value.row, value.column, "MB", token, value, TRAFFIC_TOLERANCE * value.value))
    return Report(
        target="table2",
        title="Table II: what a scheme asks of a client",
        setting=(
            f"Batch {MEMORY_BATCH}, cut after block {CUT}, LoRA of rank 16 on qkv, fc1 and fc2, single "
            "precision. MB and GB are 2^20 and 2^30 bytes, as the paper's numbers imply. Traffic is "
            "analytic (`models/cell/device.py`). Peak memory is of one client's step with random weights: "
            "living tensors, what torch's allocator held, or all that the GPU had given away, the CUDA "
            "context included. On a CPU living tensors are counted operation by operation, with explicit "
            "attention. Rows of a GPU that is not here come from `experiments/results/memory/`."
        ),
        compared=compared,
        tables=[_memory_table(memory), *(_analytic(name) for name in SHAPES)],
        data=[
            {"scheme": scheme, "measurement": kind, "gib": round(size / GIBIBYTE, 4)}
            for scheme, kinds in memory.items()
            for kind, size in kinds.items()
        ],
        remarks=[
            "The broadcast is the model with the adapters in it, 327.3 + 7.9 MB: without them it is 2.4 % "
            "below the paper's column. Tokens are counted as the paper's table does, without [CLS] and "
            "the merged token; sent are K + 2. How the paper measured memory is not known to us; a CUDA "
            "context alone takes half a GB or more. Between rows it cancels: the paper's whole model "
            "takes 6.7 GB more than its trained half, and that 0.9 GB more than the frozen half; compare "
            "the differences within one column of the table."
        ],
    )


def committed_memory() -> dict[str, dict[str, float]]:
    """Peaks in bytes by scheme and kind that come with the toolkit. Raises FileFormatError."""
    found: dict[str, dict[str, float]] = {}
    for file in sorted((COMMITTED / "memory").glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                try:
                    kind, size = f"{row['measurement']} ({row['hardware']})", float(row["gib"]) * GIBIBYTE
                    found.setdefault(row["scheme"], {})[kind] = size
                except (KeyError, TypeError, ValueError) as error:
                    raise FileFormatError(
                        f"results {file.name!r}",
                        f"{row!r:.80}",
                        "hardware, scheme, measurement, gib",
                        "Correct it",
                    ) from error
    return found


def _demands(backbone: str, scheme: str) -> Demands:
    shape, depth = SHAPES[backbone]
    return client_demands(scheme, shape, depth=depth, cut=CUT, batch=MEMORY_BATCH, kept=KEPT)


def _megabytes(demands: Demands) -> dict[str, float]:
    """The table's columns; a model travels with its adapters in it."""
    broadcast = demands.broadcast + (demands.adapter if demands.broadcast else 0.0)
    return {
        "model broadcast": broadcast / MEBIBYTE,
        "LoRA": demands.adapter / MEBIBYTE,
        "tokens per batch": demands.tokens_up / MEBIBYTE,
    }


def _analytic(name: str) -> TextTable:
    lines = []
    for row, scheme in DEMANDS.items():
        demands = _demands(name, scheme)
        figures = [f"{value:.4g} MB" if value else "0" for value in _megabytes(demands).values()]
        lines.append((row, f"{demands.memory / GIBIBYTE:.2f} GB", *figures))
    return TextTable(
        f"Analytic, {name}, K = {KEPT}",
        ("scheme", "memory", "model broadcast", "LoRA", "tokens per batch"),
        tuple(lines),
    )


def _memory_table(memory: Memory) -> TextTable:
    kinds = list(dict.fromkeys(kind for values in memory.values() for kind in values))
    return TextTable(
        "Measured peak memory, ViT-B/16",
        ("client's step", *kinds),
        tuple(
            (scheme, *(f"{values[kind] / GIBIBYTE:.2f} GB" if kind in values else "–" for kind in kinds))
            for scheme, values in memory.items()
        ),
    )


def _longest(runs: Iterable[FinishedRun]) -> list[FinishedRun]:
    """Of several runs of a cell those with the most rounds: repetitions with other seeds."""
    found = list(runs)
    most = max((run.rounds or 0 for run in found), default=0)
    return [run for run in found if (run.rounds or 0) == most]


Filled = Mapping[Cell, Sequence[FinishedRun]]


def _groups(filled: Filled) -> dict[str, dict[str, float]]:
    """Accuracies in % by scheme, for every data set, backbone and partition with a run."""
    groups: dict[str, dict[str, float]] = {}
    for cell, runs in filled.items():
        if runs:
            name = f"{DATASETS[cell.dataset]}, {cell.backbone}, {cell.partition}"
            groups.setdefault(name, {})[cell.scheme] = 100 * mean(run.top1 or 0.0 for run in runs)
    return groups


def _order(name: str, top1: Mapping[str, float]) -> list[Statement]:
    """The paper's order within one column, as far as its schemes were run."""
    found = []
    ours = top1.get(SELECTING)
    upper = [top1[scheme] for scheme in ("split-lora", "sflora", "st-sflora-full") if scheme in top1]
    if ours is not None and len(upper) == 3:
        text = f"SplitLoRA, SFLora and Full are not below ST-SFLora ({name})"
        told = f"least of them {min(upper):.1f} %, ST-SFLora {ours:.1f} % (within {LEVEL:g} point)"
        found.append(Statement(text, "A", min(upper) >= ours - LEVEL, told))
    for scheme in ("fed-lora", "local-lora"):
        if ours is not None and scheme in top1:
            text = f"ST-SFLora is far above {SCHEMES[scheme]} ({name})"
            told = f"ST-SFLora {ours:.1f} %, {SCHEMES[scheme]} {top1[scheme]:.1f} % (far: by {FAR:g} points)"
            found.append(Statement(text, "A", ours >= top1[scheme] + FAR, told))
    return found


def _selected(runs: Sequence[FinishedRun]) -> float | None:
    """Mean top-1 in % with K tokens at test time; None where nothing selects."""
    values = [100 * run.top1_selected for run in runs if run.top1_selected is not None]
    return round(mean(values), 2) if values else None


def _matrix(filled: Filled, backbone: str, partition: str) -> TextTable:
    def text(dataset: str, scheme: str) -> str:
        runs = filled[Cell(dataset, backbone, partition, scheme)]
        if not runs:
            return NOT_RUN
        values = [100 * (run.top1 or 0.0) for run in runs]
        spread = (
            f", {min(values):.1f} to {max(values):.1f} over {len(values)} seeds" if len(values) > 1 else ""
        )
        selected = _selected(runs)
        return f"{mean(values):.1f} %{spread}" + ("" if selected is None else f" ({selected:.1f} %)")

    return TextTable(
        f"Ours: {backbone}, {'Dirichlet 0.5' if partition == 'dirichlet' else 'IID'}",
        ("scheme", *DATASETS.values()),
        tuple((SCHEMES[scheme], *(text(dataset, scheme) for dataset in DATASETS)) for scheme in SCHEMES),
    )


def measured_memory(device: str) -> Memory:
    """Peaks for `table2`, measured now. Raises OptionError without that device."""
    from ...models.vit.memory import client_step_peak

    peaks: dict[str, dict[str, float]] = {}
    for scheme in dict.fromkeys(DEMANDS.values()):
        common: dict[str, Any] = {"cut": CUT, "batch": MEMORY_BATCH, "kept": KEPT, "device": device}
        kinds = peaks.setdefault(scheme, {})
        for attention in ("explicit",) if device == "cpu" else ("fused", "explicit"):
            peak = client_step_peak(scheme, **common, explicit_attention=attention == "explicit")
            if device == "cpu":
                kinds["counted tensors, explicit attention (CPU)"] = float(peak.tensors)
                continue
            kinds[f"tensors, {attention} attention"] = float(peak.tensors)
            kinds[f"allocator, {attention} attention"] = float(peak.reserved or 0)
            kinds[f"whole GPU, {attention} attention"] = float(peak.device or 0)
    return peaks
