"""The paper's figure 10: accuracy against the number of tokens kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from operator import itemgetter
from statistics import mean
from typing import TYPE_CHECKING, Final

import numpy as np

from ...benchmarks.report.drawing import REFERENCE, canvas, legend_below, lines, looks
from ...benchmarks.report.records import Record, grouped
from ...benchmarks.report.text_table import TextTable, cross_table
from ..finetune.config import SELECTING, SMALL, Config
from ..finetune.run_records import FinishedRun
from .comparison import Claim, OurValue, PaperValue, Statement, compare, judge, paper_values
from .report import Report
from .settings import SCHEMES
from .table1 import CUT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGIT_COUNTS: Final = (1, 3, 6, 12, 24, 36)
PHOTO_COUNTS: Final = (16, 32, 64, 98, 128, 160, 196)
FIXED: Final = "fixed:tokens="
FULL: Final = "st-sflora-full"
NEAR: Final = 1.0
"""Points below all tokens that count as near."""

SLACK: Final = 0.5
"""Points that a rising curve may fall on the way."""

TESTS: Final = {"all tokens at test": "top1", "K at test": "top1_selected"}
"""Fields of `FinishedRun` by kind of test."""

CLAIMS: Final = (
    Claim(
        "Accuracy rises with K from {low} to {high} ({series}; {test})",
        "B",
        lambda found: (
            found["rising"][-1] > found["rising"][0]
            and all(after >= before - SLACK for before, after in pairwise(found["rising"]))
        ),
        "{told}",
        needs=("rising",),
    ),
    Claim(
        "It is near that of all tokens from K = {near} ({series}; {test})",
        "B",
        lambda found: found["at_near"] >= found["full"] - NEAR,
        f"{{at_near:.1f}} % with K = {{near}}, {{full:.1f}} % with all (near: within {NEAR:g} point)",
        needs=("at_near", "full"),
    ),
)
NOT_JUDGED: Final = Statement(
    "Accuracy rises with K from 64 to 160 and is near that of all tokens from 128",
    "B",
    None,
    "not run here with 196 tokens",
)


def accuracy_configs(base: Config, counts: Sequence[int]) -> dict[str, Config]:
    """Runs for the figure: ST-SFLora with a common K each, and all tokens."""
    plain = {**base.as_dict(), "min_tokens": 1}
    found = {
        f"fig10_{count}": Config.from_dict(
            {**plain, "method": SELECTING, "solver": "fixed", "solver_options": {"tokens": count}}
        )
        for count in counts
    }
    return {**found, "fig10_full": Config.from_dict({**plain, "method": FULL})}


def figure10(runs: Sequence[FinishedRun]) -> Report:
    """Accuracy against K, from finished runs of ST-SFLora with a common K; means over seeds in %."""
    usable = [
        {**asdict(run), "series": f"{run.data}, {run.model.removesuffix('_patch16_224')}, {run.partition}"}
        for run in runs
        if run.top1 is not None and run.cut in {None, CUT}
    ]
    rows = _rows(usable)
    series = grouped(rows, itemgetter("series"))
    photographs = {run["series"] for run in usable if run["model"] != SMALL}  # of the paper's 196 tokens
    whole = grouped((run for run in usable if run["method"] == FULL), itemgetter("series"))
    full = {name: 100 * mean(run["top1"] for run in group) for name, group in whole.items()}
    paper = paper_values("fig10")
    low, high, near = _paper_counts(paper)
    ours, results = [], []
    for (name, test), group in grouped(rows, itemgetter("series", "test")).items():
        if name not in photographs:
            continue
        top1 = {row["tokens"]: row["top1_percent"] for row in group}
        inside = {count: value for count, value in top1.items() if low <= count <= high}
        level = full.get(name)
        result = {"series": name, "test": test, "low": low, "high": high, "near": near}
        results.append({**result, "full": level, "at_near": top1.get(near)})
        if len(inside) > 1:
            results[-1]["rising"] = list(inside.values())
            results[-1]["told"] = ", ".join(f"K = {count} {value:.1f} %" for count, value in inside.items())
        if level is not None:
            enough = [float(count) for count, value in top1.items() if value >= level - NEAR]
            label = (name, f"near all tokens from K, {test}")
            note = f"within {NEAR:g} point, of the K that were run"
            ours.append(OurValue(("near all tokens", "from K"), min(enough, default=None), label, note))
    return Report(
        target="fig10",
        title="Figure 10: accuracy against K",
        setting=(
            "ST-SFLora with the same K for every client (solver `fixed`), [CLS] attention after block "
            f"{CUT}, the rest merged into one token; top-1 with all tokens at test time and with K. From "
            "finished runs: those in `experiments/results/`, with `--runs`, or run by this command."
        ),
        compared=compare(paper, ours, lambda value: 0.0, at_most=True),
        statements=judge(CLAIMS, results) or [NOT_JUDGED],
        tables=[_table(name, group, full.get(name)) for name, group in series.items()],
        data=rows,
        figure=_draw(series, full, photographs, paper) if rows else None,
    )


def _paper_counts(paper: Mapping[tuple[str, str], PaperValue]) -> tuple[int, ...]:
    """K from and to which accuracy rises, and K from which it is near that of all tokens."""
    keys = (("accuracy rises", "from K"), ("accuracy rises", "to K"), ("near all tokens", "from K"))
    return tuple(int(paper[key].value) for key in keys)


def _rows(runs: Sequence[Record]) -> list[Record]:
    """Means over seeds by series, test and K, of series with two K or more."""
    plain = [
        {**run, "tokens": int(run["solver"].removeprefix(FIXED))}
        for run in runs
        if run["method"] == SELECTING
        and run["solver"].startswith(FIXED)
        and (run["measure"], run["merge"]) == ("attention", "attention")
    ]
    found: list[Record] = []
    for name, group in grouped(plain, itemgetter("series")).items():
        by_count = sorted(grouped(group, itemgetter("tokens")).items())
        for test, field in TESTS.items() if len(by_count) > 1 else ():
            for count, repeated in by_count:
                if known := [run[field] for run in repeated if run[field] is not None]:
                    point = {"series": name, "tokens": count, "test": test}
                    found.append({**point, "top1_percent": 100 * mean(known), "seeds": len(repeated)})
    return found


def _table(series: str, rows: Sequence[Record], full: float | None) -> TextTable:
    def text(row: Record) -> str:
        return f"{row['top1_percent']:.1f} %" + (f" ({row['seeds']} seeds)" if row["seeds"] > 1 else "")

    title = series if full is None else f"{series}; {SCHEMES[FULL]} {full:.1f} %"
    return cross_table(title, "tokens", {(str(row["tokens"]), row["test"]): row for row in rows}, text)


def _draw(
    series: Mapping[str, Sequence[Record]],
    full: Mapping[str, float],
    photographs: set[str],
    paper: Mapping[tuple[str, str], PaperValue],
) -> Figure:
    styles = looks((SELECTING, FULL), tuple(SCHEMES))
    whole, kept = TESTS
    tests = {
        whole: {**styles[SELECTING], "linestyle": "-"},
        kept: {**styles[SELECTING], "linestyle": "--", "markerfacecolor": "white"},
    }
    figure, panels = canvas("reproduce", 1, len(series), (max(7.2, 4.6 * len(series)), 4.4), shared_y=True)
    for axes, (name, group) in zip(panels, series.items(), strict=True):
        lines(axes, group, "tokens", "top1_percent", "test", tests, markersize=6)
        if name in full:
            level = {"color": styles[FULL]["color"], "linestyle": ":", "label": SCHEMES[FULL]}
            axes.axhline(full[name], **level)
        if name in photographs:
            low, high, near = _paper_counts(paper)
            axes.axvspan(low, high, color="0.93", zorder=0, label="paper: rises here (B)")
            axes.axvline(near, **REFERENCE, label="paper: near all tokens from here (B)")
        axes.set(xlabel="K, tokens kept per image", title=name)
    lowest = min(row["top1_percent"] for group in series.values() for row in group)
    panels[0].set(ylabel="top-1 accuracy, %", ylim=(max(0.0, 10 * np.floor((lowest - 4) / 10)), 101))
    legend_below(figure, *panels, columns=2)
    return figure
