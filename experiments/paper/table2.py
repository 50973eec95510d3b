"""The paper's Table II: memory and traffic of a client, analytic and measured."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any, Final

from ...benchmarks.report.text_table import TextTable, cross_table
from ...models.cell.device import Architecture, Demands, client_demands
from ...solver import FileFormatError
from ..finetune.run_records import COMMITTED
from .comparison import OurValue, compare, paper_values
from .report import Report
from .table1 import CUT

BATCH: Final = 64
KEPT: Final = 128
"""K in the memory of ST-SFLora; it hardly matters there."""

SHAPES: Final = {
    "ViT-S/16": (Architecture(width=384), 12),
    "ViT-B/16": (Architecture(), 12),
    "ViT-L/16": (Architecture(width=1024), 24),
}
"""Architecture and depth."""

DEMANDS: Final = {
    "LocalLoRA": "local",
    "FedLoRA": "fed",
    "SplitLoRA": "split",
    "SFLora": "split",
    "ST-SFLora-Full": "full",
    "ST-SFLora": "selected",
}
"""Schemes of `client_demands` by rows of the table."""

MEBIBYTE: Final = 2**20
GIBIBYTE: Final = 2**30
COMPARED_KINDS: Final = ("counted tensors", "tensors, fused", "whole GPU, fused")
"""Measurements beside the paper's: timm's default attention, as torch and as a monitor of the GPU count."""

TOLERANCES: Final = {"MB": 0.01, "GB": 0.1}
"""Shares of the paper's values within which traffic and memory agree."""

Memory = Mapping[str, Mapping[str, float]]
"""Peaks in bytes by scheme of `client_demands` and by kind of measurement."""


def table2(measured: Memory) -> Report:
    """Table II: analytic for three backbones, ViT-B/16 beside the paper, with measured memory.

    Args:
        measured: peaks of one client's step with ViT-B/16; empty where nothing could be measured.

    Raises:
        FileFormatError: peaks that come with the toolkit are malformed.
    """
    known = committed_memory()
    memory = {scheme: {**measured.get(scheme, {}), **known.get(scheme, {})} for scheme in DEMANDS.values()}
    ours: list[OurValue] = []
    for row, scheme in DEMANDS.items():
        traffic = _megabytes(_demands("ViT-B/16", scheme))
        ours += [OurValue((row, column), megabytes) for column, megabytes in traffic.items()]
        ours += [
            OurValue((row, "peak memory"), size / GIBIBYTE, note=kind)
            for kind, size in memory[scheme].items()
            if kind.startswith(COMPARED_KINDS)
        ]
    token = _demands("ViT-B/16", "selected").tokens_up / KEPT / MEBIBYTE
    ours.append(OurValue(("ST-SFLora", "one kept token per batch"), token))
    gib = {
        (scheme, kind): round(size / GIBIBYTE, 4)
        for scheme in memory
        for kind, size in memory[scheme].items()
    }
    measured_table = cross_table("Measured peak memory, ViT-B/16, GB", "scheme", gib, "{:.2f}".format)
    return Report(
        target="table2",
        title="Table II: what a scheme asks of a client",
        setting=(
            f"Batch {BATCH}, cut after block {CUT}, LoRA of rank 16 on qkv, fc1 and fc2, single "
            "precision. MB and GB are 2^20 and 2^30 bytes, as the paper's numbers imply. Traffic is "
            "analytic (`models/cell/device.py`). Peak memory is of one client's step with random weights: "
            "living tensors, what torch's allocator held, or all that the GPU had given away, the CUDA "
            "context included. On a CPU living tensors are counted operation by operation, with explicit "
            "attention. Rows of a GPU that is not here come from `experiments/results/memory/`."
        ),
        compared=compare(paper_values("table2"), ours, lambda paper: TOLERANCES[paper.unit] * paper.value),
        tables=[measured_table, *map(_analytic_table, SHAPES)],
        data=[{"scheme": scheme, "measurement": kind, "gib": size} for (scheme, kind), size in gib.items()],
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
                    columns = "hardware, scheme, measurement, gib"
                    raise FileFormatError(
                        f"results {file.name!r}", f"{row!r:.80}", columns, "Correct it"
                    ) from error
    return found


def measured_memory(device: str) -> Memory:
    """Peaks for `table2`, measured now on "cpu" or "cuda". Raises OptionError without that device."""
    from ...models.vit.memory import client_step_peak

    peaks: dict[str, dict[str, float]] = {}
    common: dict[str, Any] = {"cut": CUT, "batch": BATCH, "kept": KEPT, "device": device}
    for scheme in dict.fromkeys(DEMANDS.values()):
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


def _demands(backbone: str, scheme: str) -> Demands:
    shape, depth = SHAPES[backbone]
    return client_demands(scheme, shape, depth=depth, cut=CUT, batch=BATCH, kept=KEPT)


def _megabytes(demands: Demands) -> dict[str, float]:
    """The table's columns; a model travels with its adapters in it."""
    broadcast = demands.broadcast + (demands.adapter if demands.broadcast else 0.0)
    return {
        "model broadcast": broadcast / MEBIBYTE,
        "LoRA": demands.adapter / MEBIBYTE,
        "tokens per batch": demands.tokens_up / MEBIBYTE,
    }


def _analytic_table(backbone: str) -> TextTable:
    lines = []
    for row, scheme in DEMANDS.items():
        demands = _demands(backbone, scheme)
        traffic = [f"{size:.4g} MB" if size else "0" for size in _megabytes(demands).values()]
        lines.append((row, f"{demands.memory / GIBIBYTE:.2f} GB", *traffic))
    columns = ("scheme", "memory", "model broadcast", "LoRA", "tokens per batch")
    return TextTable(f"Analytic, {backbone}, K = {KEPT}", columns, tuple(lines))
