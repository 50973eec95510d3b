"""Records of finished fine-tuning runs in CSV files: results per run, accuracy curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, make_dataclass
from itertools import accumulate
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import numpy as np

from ...benchmarks.report.records import csv_text
from ...solver import FileFormatError
from ...solver.files.file_access import existing_file, write_atomically
from ..field_info import field_infos
from .config import Config

if TYPE_CHECKING:
    from .checkpoint import RoundLog

COMMITTED: Final = Path(__file__).parents[1] / "results"
"""Rows that come with the toolkit."""

RECORDS: Final = ("results.csv", "curves.csv")
"""One row per run, and one per evaluated round."""

NEEDED: Final = frozenset({"data", "model", "partition", "method", "top1"})
"""Columns without which a row says nothing."""

MAX_BYTES: Final = 16 * 2**20


@dataclass(frozen=True)
class Figures:
    """Results of a run; None where it has no such figure. Costs are sums over all rounds.

    Attributes:
        top1: share of the test images with all tokens, last evaluation.
        top1_selected: the same with the last round's mean K.
        mean_tokens: K over all rounds and clients.
        mean_bits: per element over all rounds and clients, where they had a choice.
        ste: mean over the rounds, 1/s.
        uplink_mb: MiB sent up.
        air_s: simulated uplink time.
        energy_j: of all uploads.
        target: an accuracy.
        rounds_to_target: until the first evaluation that reaches it.
        air_s_to_target: uplink time until then.
        energy_j_to_target: of the uploads until then.
    """

    top1: float | None = None
    top1_selected: float | None = None
    mean_tokens: float | None = None
    mean_bits: float | None = None
    ste: float | None = None
    uplink_mb: float | None = None
    air_s: float | None = None
    energy_j: float | None = None
    target: float | None = None
    rounds_to_target: int | None = None
    air_s_to_target: float | None = None
    energy_j_to_target: float | None = None


def _setting_columns() -> list[tuple[str, Any, Any]]:
    """Columns of settings: names, types and defaults; a missing text is empty, anything else None."""
    columns: list[tuple[str, Any, Any]] = [("run", str, "")]
    for name, setting in field_infos(Config).items():
        kind = int if setting.kind is bool else setting.kind
        columns.append((name, str, "") if kind is str else (name, kind | None, None))
    return columns


SettingColumns: Any = make_dataclass("SettingColumns", _setting_columns(), frozen=True)


@dataclass(frozen=True)
class FinishedRun(Figures, SettingColumns):  # type: ignore[misc]  # no checker knows a class made from `Config`
    """Row of `results.csv`: name `run` (the key to its curve), every setting of `Config`, and results.

    `data` and `weights` are names without their folders, `rounds` those that were done. `solver` comes with
    its options; solver, measure and merge are empty where the scheme selects no tokens.
    """


@dataclass(frozen=True)
class CurvePoint:
    """Row of `curves.csv`: an evaluated round of a run; costs are sums over all rounds so far.

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


def curve(run: str, logs: Sequence[RoundLog]) -> list[CurvePoint]:
    """Accuracy curve of a run: its evaluated rounds."""
    costs = accumulate(np.array([log.uplink_bytes / 2**20, log.round_s, log.energy_j]) for log in logs)
    return [
        CurvePoint(run, log.index + 1, log.accuracy, log.accuracy_selected, log.loss, *past.tolist())
        for log, past in zip(logs, costs, strict=True)
        if log.accuracy is not None
    ]


def figures(logs: Sequence[RoundLog], target: float) -> Figures:
    """Results of finished rounds; `target` is the accuracy whose cost is given."""
    evaluated = curve("", logs)
    goal = next((point for point in evaluated if point.top1 >= target), None)
    selected = [log.accuracy_selected for log in logs if log.accuracy_selected is not None]
    tokens = [count for log in logs for count in log.tokens]
    bits = [depth for log in logs for depth in log.bits]
    stes = [log.ste for log in logs if log.ste is not None]
    return Figures(
        top1=evaluated[-1].top1 if evaluated else None,
        top1_selected=selected[-1] if selected else None,
        mean_tokens=mean(tokens) if tokens else None,
        mean_bits=mean(bits) if bits else None,
        ste=mean(stes) if stes else None,
        uplink_mb=sum(log.uplink_bytes for log in logs) / 2**20,
        air_s=sum(log.round_s for log in logs),
        energy_j=sum(log.energy_j for log in logs),
        target=target,
        rounds_to_target=goal.round if goal else None,
        air_s_to_target=goal.air_s if goal else None,
        energy_j_to_target=goal.energy_j if goal else None,
    )


def finished_run(
    config: Config, logs: Sequence[RoundLog], *, run: str = "", target: float = 0.9
) -> FinishedRun:
    """Row of `results.csv` of a run; `target` is the accuracy whose cost it gives."""
    given = {name: getattr(config, name) for name in field_infos(Config)} | {
        "data": Path(config.data).stem,
        "weights": Path(config.weights).name if config.weights else "",
        "rounds": len(logs),
        "count_forward": int(config.count_forward),
    }
    selection = {name: config.traits.get(name, "") for name in ("solver", "measure", "merge")}
    return FinishedRun(run=run, **{**given, **selection}, **asdict(figures(logs, target)))


def from_folders(folder: Path) -> list[FinishedRun]:
    """Rows of all runs below a folder of `stsflora finetune`, in the order of their names.

    Raises:
        FileFormatError: there is none, or a checkpoint is broken.
    """
    from .checkpoint import CHECKPOINT, load_checkpoint

    files = sorted(folder.glob(f"**/{CHECKPOINT}"))
    if not files:
        raise FileFormatError(
            f"folder {str(folder)!r}",
            f"no {CHECKPOINT}",
            "a folder of runs",
            "Run stsflora finetune",
        )
    loaded = ((file.parent.name, *load_checkpoint(file, with_tensors=False)[:2]) for file in files)
    return [finished_run(config, logs, run=name) for name, config, logs in loaded]


def from_csv(file: Path) -> list[FinishedRun]:
    """Rows of a CSV file; columns that a row does not have stay empty, others are passed over.

    Raises:
        FileFormatError: missing, too large, without the columns `NEEDED`, or with a cell that is no number
            where one belongs.
    """
    existing_file(file, MAX_BYTES, "Split it")
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if missing := NEEDED - set(reader.fieldnames or ()):
            raise FileFormatError(
                f"results {file.name!r}", f"no column {min(missing)!r}", ", ".join(sorted(NEEDED)), "Add it"
            )
        return [_row(entry, file) for entry in reader]


def committed() -> list[FinishedRun]:
    """Rows of all CSV files that come with the toolkit."""
    return [row for file in sorted(COMMITTED.glob("*.csv")) for row in from_csv(file)]


def save_records(folder: Path, runs: Mapping[str, tuple[Config, Sequence[RoundLog]]], target: float) -> None:
    """Write both `RECORDS` of runs, by name, into a folder. Raises FileFormatError where it cannot."""
    results = [finished_run(config, logs, run=name, target=target) for name, (config, logs) in runs.items()]
    curves = [point for name, (_, logs) in runs.items() for point in curve(name, logs)]
    for name, rows in zip(RECORDS, (map(asdict, results), map(asdict, curves)), strict=True):
        write_atomically(folder / name, csv_text(list(rows)).encode())


def _row(entry: Mapping[str, str | None], file: Path) -> FinishedRun:
    values: dict[str, Any] = {}
    for name, kind in get_type_hints(FinishedRun).items():
        text = (entry.get(name) or "").strip()
        try:
            if kind is str:
                values[name] = text
            elif text:
                values[name] = int(float(text)) if kind == int | None else float(text)
        except ValueError as error:
            raise FileFormatError(
                f"results {file.name!r}", f"{name} = {text!r:.40}", "a number or nothing", "Correct it"
            ) from error
    return FinishedRun(**values)
