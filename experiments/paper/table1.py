"""The paper's Table I: top-1 accuracy of the six schemes, filled from finished runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Final

from ...benchmarks.report.records import Record
from ...benchmarks.report.text_table import TextTable
from ...solver import UnknownNameError
from ..finetune.config import PARTITIONS, SELECTING, Config
from ..finetune.run_records import FinishedRun
from .comparison import NOT_RUN, Claim, OurValue, compare, judge, paper_values
from .report import Report
from .settings import BACKBONES, DATASETS, SCHEMES

UPPER: Final = ("split-lora", "sflora", "st-sflora-full")
"""Schemes that the paper finds not below ST-SFLora."""

PAPER_SETTING: Final = ("vit_base", "dirichlet")
"""Backbone and partition whose accuracies we know from the paper."""

CUT: Final = 2
SELECTION: Final = ("exact", "attention", "attention")
"""Solver, measure and merge of ST-SFLora."""

OURS: Final = ("cell", "top-1", "over seeds", "seeds", "K at test")
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


@dataclass(frozen=True)
class Table1Cell:
    """One cell of Table I by name: data set, backbone, partition, scheme.

    Raises:
        UnknownNameError: one of them is not in the table.
    """

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

    def filled_by(self, run: FinishedRun) -> bool:
        """Whether a run belongs here: the paper's cut, K_min, metric and way to select."""
        selects = run.method != SELECTING or (run.solver, run.measure, run.merge) == SELECTION
        as_in_paper = run.cut in {None, CUT} and run.min_tokens is None and not run.count_forward
        names = (self.dataset, BACKBONES[self.backbone], self.partition, self.scheme)
        same = (run.data, run.model, run.partition, run.method) == names
        return same and as_in_paper and selects and run.top1 is not None


def _far_above(scheme: str) -> Claim:
    return Claim(
        f"ST-SFLora is far above {SCHEMES[scheme]} ({{column}})",
        "A",
        lambda top1: top1["st-sflora"] >= top1[scheme] + FAR,
        f"ST-SFLora {{st-sflora:.1f}} %, {SCHEMES[scheme]} {{{scheme}:.1f}} % (far: by {FAR:g} points)",
        needs=("st-sflora", scheme),
    )


CLAIMS: Final = (
    Claim(
        "SplitLoRA, SFLora and Full are not below ST-SFLora ({column})",
        "A",
        lambda top1: top1["least"] >= top1["st-sflora"] - LEVEL,
        f"least of them {{least:.1f}} %, ST-SFLora {{st-sflora:.1f}} % (within {LEVEL:g} point)",
        needs=("least", "st-sflora"),
    ),
    _far_above("fed-lora"),
    _far_above("local-lora"),
)
"""On accuracies in % by scheme within one column of the table, and the least of `UPPER`."""


def cells() -> list[Table1Cell]:
    """All cells of Table I, with ViT-Ti as a fourth backbone."""
    names = product(BACKBONES, PARTITIONS, DATASETS, SCHEMES)
    return [
        Table1Cell(dataset, backbone, partition, scheme) for backbone, partition, dataset, scheme in names
    ]


def table1(runs: Sequence[FinishedRun]) -> Report:
    """Table I, filled from finished runs; every other cell says that it was not run."""
    paper = paper_values("table1")
    ours: list[OurValue] = []
    shown: list[tuple[str, ...]] = []
    data: list[Record] = []
    columns: dict[str, Record] = {}
    for cell in cells():
        group = _longest(run for run in runs if cell.filled_by(run))
        scheme, dataset = SCHEMES[cell.scheme], DATASETS[cell.dataset]
        values = [100 * (run.top1 or 0.0) for run in group]
        top1 = mean(values) if values else None
        kept = [100 * run.top1_selected for run in group if run.top1_selected is not None]
        value = paper[scheme, dataset]
        data.append(
            {
                **asdict(cell),
                "top1": NOT_RUN if top1 is None else round(top1, 2),
                "top1_selected": round(mean(kept), 2) if kept else None,
                "runs": len(group),
                "rounds": group[0].rounds if group else None,
                "clients": group[0].clients if group else None,
                "paper_vit_base_dirichlet": value.value,
                "grade": value.grade,
            }
        )
        same = (cell.backbone, cell.partition) == PAPER_SETTING
        label = f"{scheme}, {cell.backbone}, {cell.partition}"
        if group or same:
            note = "" if same else "the paper's value is for vit_base, dirichlet"
            ours.append(OurValue((scheme, dataset), top1, (label, dataset), note, same))
        if group:
            column = f"{dataset}, {cell.backbone}, {cell.partition}"
            columns.setdefault(column, {"column": column})[cell.scheme] = top1
            spread = f"{min(values):.1f} to {max(values):.1f} %"
            fewer = f"{mean(kept):.1f} %" if kept else "–"
            shown.append((f"{label}, {dataset}", f"{top1:.1f} %", spread, str(len(group)), fewer))
    for top1s in columns.values():
        if all(scheme in top1s for scheme in UPPER):
            top1s["least"] = min(top1s[scheme] for scheme in UPPER)
    return Report(
        target="table1",
        title="Table I: top-1 accuracy of the six schemes",
        setting=(
            "Top-1 accuracy with all tokens at test time, and with the last round's mean K. Cells are "
            "filled from finished runs of `stsflora finetune`, those that come with the toolkit in "
            "`experiments/results/` and those given with `--runs` or run by this command; a cell without "
            f"one says {NOT_RUN!r}. We know the paper's values for ViT-B/16 and Dirichlet 0.5 only; other "
            "backbones and partitions stand beside them for orientation and are not judged by number, only "
            "by order."
        ),
        compared=compare(paper, ours, lambda value: POINTS),
        statements=judge(CLAIMS, columns.values()),
        tables=[TextTable("Ours", OURS, tuple(shown))] if shown else [],
        data=data,
    )


def _longest(runs: Iterable[FinishedRun]) -> list[FinishedRun]:
    """Of several runs of a cell those with the most rounds: repetitions with other seeds."""
    found = list(runs)
    most = max((run.rounds or 0 for run in found), default=0)
    return [run for run in found if (run.rounds or 0) == most]
