"""Finished fine-tuning runs as rows of a CSV file: what the docs' claims about accuracy trace to."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Final

import numpy as np

from ...benchmarks.report.csv_text import csv_text
from ...solver import FileFormatError
from ...solver.files.file_access import existing_file, write_atomically

if TYPE_CHECKING:
    from .checkpoint import RoundLog
    from .config import Config

COMMITTED: Final = Path(__file__).parents[1] / "results"
"""Rows that come with the toolkit."""

RECORDS: Final = ("results.csv", "curves.csv")
"""One row per run, and one per evaluated round."""

MAX_BYTES: Final = 16 * 2**20


@dataclass(frozen=True)
class FinishedRun:
    """One run: its settings, its last accuracies, and what the air had to carry; None where it has none.

    Attributes:
        run: its name, the key to its curve.
        data: name of the images.
        model: timm's name, or "small".
        partition: "iid" or "dirichlet".
        method: a name of `schemes.SCHEMES`.
        cut: client blocks.
        solver: with its options, where tokens are selected.
        measure: what ranks tokens.
        merge: what becomes of the others.
        clients: in the cell.
        rounds: done.
        batch: images per client and round.
        local_steps: optimiser steps per round.
        learning_rate: of the adapters.
        head_learning_rate: of the head.
        min_tokens: K_min as asked; None for the paper's share.
        count_forward: 1 where the forward pass counts in the round time.
        seed: of everything random.
        top1: share of the test images with all tokens, last evaluation.
        top1_selected: the same with the last round's mean K.
        mean_tokens: K over all rounds and clients.
        ste: mean over the rounds, 1/s.
        uplink_mb: MiB sent up.
        air_s: simulated uplink time.
        energy_j: of all uploads.
        target: an accuracy.
        rounds_to_target: until the first evaluation that reaches it.
        air_s_to_target: uplink time until then.
        energy_j_to_target: of the uploads until then.
    """

    data: str
    model: str
    partition: str
    method: str
    run: str = ""
    cut: int | None = None
    solver: str = ""
    measure: str = ""
    merge: str = ""
    clients: int | None = None
    rounds: int | None = None
    batch: int | None = None
    local_steps: int | None = None
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    min_tokens: int | None = None
    count_forward: int | None = None
    seed: int | None = None
    top1: float | None = None
    top1_selected: float | None = None
    mean_tokens: float | None = None
    ste: float | None = None
    uplink_mb: float | None = None
    air_s: float | None = None
    energy_j: float | None = None
    target: float | None = None
    rounds_to_target: int | None = None
    air_s_to_target: float | None = None
    energy_j_to_target: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The final figures of a run, as in `FinishedRun`; costs are sums over all rounds."""

    top1: float | None
    top1_selected: float | None
    mean_tokens: float | None
    ste: float | None
    uplink_mb: float
    air_s: float
    energy_j: float
    target: float
    rounds_to_target: int | None
    air_s_to_target: float | None
    energy_j_to_target: float | None


@dataclass(frozen=True)
class Reached:
    """What it took to reach an accuracy: rounds, air time in s, energy in J, uplink in bytes."""

    rounds: int
    air_s: float
    energy_j: float
    uplink_bytes: int


@dataclass(frozen=True)
class CurvePoint:
    """An evaluated round of a run; costs are sums over all rounds so far.

    Attributes:
        run: its name.
        round: 1, 2, ...
        top1: share of the test images with all tokens.
        top1_selected: the same with the round's mean K.
        loss: of the round.
        uplink_mb: MiB sent up.
        air_s: simulated uplink time.
        energy_j: of all uploads.
    """

    run: str
    round: int
    top1: float
    top1_selected: float | None
    loss: float | None
    uplink_mb: float
    air_s: float
    energy_j: float


def reached(logs: Sequence[RoundLog], accuracy: float) -> Reached | None:
    """The cost of all rounds up to the first evaluation of at least this accuracy; None if there is none."""
    for end, log in enumerate(logs, start=1):
        if log.accuracy is not None and log.accuracy >= accuracy:
            past = logs[:end]
            return Reached(
                end,
                sum(entry.round_s for entry in past),
                sum(entry.energy_j for entry in past),
                sum(entry.uplink_bytes for entry in past),
            )
    return None


def outcome(logs: Sequence[RoundLog], target: float) -> Outcome:
    """The final figures of some rounds; `target` is the accuracy whose cost is given."""
    goal = reached(logs, target)
    top1 = [log.accuracy for log in logs if log.accuracy is not None]
    selected = [log.accuracy_selected for log in logs if log.accuracy_selected is not None]
    tokens = [count for log in logs for count in log.tokens]
    stes = [log.ste for log in logs if log.ste is not None]
    return Outcome(
        top1=top1[-1] if top1 else None,
        top1_selected=selected[-1] if selected else None,
        mean_tokens=mean(tokens) if tokens else None,
        ste=mean(stes) if stes else None,
        uplink_mb=sum(log.uplink_bytes for log in logs) / 2**20,
        air_s=sum(log.round_s for log in logs),
        energy_j=sum(log.energy_j for log in logs),
        target=target,
        rounds_to_target=goal.rounds if goal else None,
        air_s_to_target=goal.air_s if goal else None,
        energy_j_to_target=goal.energy_j if goal else None,
    )


def finished_run(
    config: Config, logs: Sequence[RoundLog], *, run: str = "", target: float = 0.9
) -> FinishedRun:
    """The row of a run; `target` is the accuracy whose cost it gives."""
    traits = config.traits
    return FinishedRun(
        data=Path(config.data).stem,
        model=config.model,
        partition=config.partition,
        method=config.method,
        run=run,
        cut=config.cut,
        solver=traits.get("solver", ""),
        measure=traits.get("measure", ""),
        merge=traits.get("merge", ""),
        clients=config.clients,
        rounds=len(logs),
        batch=config.batch,
        local_steps=config.local_steps,
        learning_rate=config.learning_rate,
        head_learning_rate=config.head_learning_rate,
        min_tokens=config.min_tokens,
        count_forward=int(config.count_forward),
        seed=config.seed,
        **asdict(outcome(logs, target)),
    )


def curve(run: str, logs: Sequence[RoundLog]) -> list[CurvePoint]:
    """The evaluated rounds of a run."""
    sums = accumulate(
        np.array([log.uplink_bytes / 2**20, log.round_s, log.energy_j], dtype=np.float64) for log in logs
    )
    return [
        CurvePoint(run, log.index + 1, log.accuracy, log.accuracy_selected, log.loss, *past.tolist())
        for log, past in zip(logs, sums, strict=True)
        if log.accuracy is not None
    ]


def from_folders(folder: Path) -> list[FinishedRun]:
    """Rows of all runs below a folder of `stsflora finetune`, in the order of their names.

    Raises:
        FileFormatError: there is none, or a checkpoint is broken.
    """
    from .checkpoint import load_checkpoint

    files = sorted(folder.glob("**/checkpoint.safetensors"))
    if not files:
        raise FileFormatError(
            f"folder {str(folder)!r}",
            "no checkpoint.safetensors",
            "a folder of runs",
            "Run stsflora finetune",
        )
    loaded = ((file.parent.name, *load_checkpoint(file)[:2]) for file in files)
    return [finished_run(config, logs, run=name) for name, config, logs in loaded]


def from_csv(file: Path) -> list[FinishedRun]:
    """Rows of a CSV file; columns that a row does not have stay None, others are passed over.

    Raises:
        FileFormatError: missing, too large, without the columns data, model, partition, method and top1,
            or with a cell that is no number where one belongs.
    """
    existing_file(file, MAX_BYTES, "Split it")
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        needed = {"data", "model", "partition", "method", "top1"}
        if missing := needed - set(reader.fieldnames or ()):
            raise FileFormatError(
                f"results {file.name!r}",
                f"no column {sorted(missing)[0]!r}",
                ", ".join(sorted(needed)),
                "Add it",
            )
        return [_row(entry, file) for entry in reader]


def committed() -> list[FinishedRun]:
    """Rows of all CSV files that come with the toolkit."""
    return [row for file in sorted(COMMITTED.glob("*.csv")) for row in from_csv(file)]


def save_records(folder: Path, runs: Mapping[str, tuple[Config, Sequence[RoundLog]]], target: float) -> None:
    """Write both `RECORDS` of runs, by name, into a folder. Raises FileFormatError where it cannot."""
    results = [finished_run(config, logs, run=name, target=target) for name, (config, logs) in runs.items()]
    curves = [point for name, (_, logs) in runs.items() for point in curve(name, logs)]
    for name, rows in zip(RECORDS, (as_rows(results), as_rows(curves)), strict=True):
        write_atomically(folder / name, csv_text(rows).encode())


def as_rows(entries: Iterable[FinishedRun | CurvePoint]) -> list[dict[str, object]]:
    """For a CSV file."""
    return [asdict(entry) for entry in entries]


def _row(entry: dict[str, str | None], file: Path) -> FinishedRun:
    values: dict[str, object] = {}
    for column in fields(FinishedRun):
        text = (entry.get(column.name) or "").strip()
        if column.type == "str":
            values[column.name] = text
        elif text:
            try:
                number = float(text)
            except ValueError as error:
                raise FileFormatError(
                    f"results {file.name!r}",
                    f"{column.name} = {text!r:.40}",
                    "a number or nothing",
                    "Correct it",
                ) from error
            values[column.name] = int(number) if column.type == "int | None" else number
    return FinishedRun(**values)  # type: ignore[arg-type]
