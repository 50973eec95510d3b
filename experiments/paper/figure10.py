"""The paper's figure 10: what keeping fewer tokens costs in accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import TYPE_CHECKING, Final

import numpy as np

from ...benchmarks.report.drawing import COLOURS, REFERENCE, canvas, look
from ...benchmarks.report.text_table import TextTable
from ..finetune.config import SELECTING, SMALL, Config
from ..finetune.run_records import FinishedRun
from .reproduce import Compared, Report, Statement, paper_values
from .tables import CUT

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

TESTS: Final = ("all tokens at test", "K at test")


@dataclass(frozen=True)
class Series:
    """Accuracies of one data set, model and partition, in %, means over seeds.

    Attributes:
        name: in words.
        paper_tokens: whether N is the paper's.
        by_test: by `TESTS` and K.
        full: of ST-SFLora-Full; None where it was not run.
        seeds: runs of each K.
    """

    name: str
    paper_tokens: bool
    by_test: Mapping[str, Mapping[int, float]]
    full: float | None
    seeds: Mapping[int, int]


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
    """Accuracy against K, from finished runs of ST-SFLora with a common K."""
    series = _series(runs)
    judged = [one for one in series if one.paper_tokens]
    statements = [entry for one in judged for test in TESTS for entry in _judged(one, test)]
    not_run = Statement(
        "Accuracy rises with K from 64 to 160 and is near that of all tokens from 128",
        "B",
        None,
        "not run here with 196 tokens",
    )
    return Report(
        target="fig10",
        title="Figure 10: accuracy against K",
        setting=(
            "ST-SFLora with the same K for every client (solver `fixed`), [CLS] attention after block "
            f"{CUT}, the rest merged into one token; top-1 with all tokens at test time and with K. From "
            "finished runs: those in `experiments/results/`, with `--runs`, or run by this command."
        ),
        compared=[_nearest(one, test) for one in judged if one.full is not None for test in TESTS],
        statements=statements or [not_run],
        tables=[_table(one) for one in series],
        data=[
            {
                "series": one.name,
                "tokens": count,
                "test": test,
                "top1_percent": value,
                "seeds": one.seeds[count],
            }
            for one in series
            for test, values in one.by_test.items()
            for count, value in values.items()
        ],
        figure=_draw(series) if series else None,
    )


def _series(runs: Iterable[FinishedRun]) -> list[Series]:
    """Those with two K or more."""
    groups: dict[tuple[str, str, str], dict[int, list[FinishedRun]]] = {}
    full: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        key = (run.data, run.model, run.partition)
        if run.top1 is None or run.cut not in {None, CUT}:
            continue
        if run.method == FULL:
            full.setdefault(key, []).append(100 * run.top1)
        plain = run.method == SELECTING and (run.measure, run.merge) == ("attention", "attention")
        if plain and run.solver.startswith(FIXED):
            count = int(run.solver.removeprefix(FIXED))
            groups.setdefault(key, {}).setdefault(count, []).append(run)
    found = []
    for key, points in groups.items():
        if len(points) < 2:
            continue
        ordered = dict(sorted(points.items()))
        accuracies = {
            TESTS[0]: {count: [run.top1 for run in group] for count, group in ordered.items()},
            TESTS[1]: {count: [run.top1_selected for run in group] for count, group in ordered.items()},
        }
        by_test = {
            test: {
                count: 100 * mean(known)
                for count, values in by_count.items()
                if (known := [value for value in values if value is not None])
            }
            for test, by_count in accuracies.items()
        }
        seeds = {count: len(group) for count, group in ordered.items()}
        level = mean(full[key]) if key in full else None
        found.append(
            Series(
                ", ".join((key[0], key[1].split("_patch")[0], key[2])), key[1] != SMALL, by_test, level, seeds
            )
        )
    return found


def _judged(one: Series, test: str) -> list[Statement]:
    paper = paper_values("fig10")
    low, high = (int(paper["accuracy rises", name].value) for name in ("from K", "to K"))
    near = int(paper["near all tokens", "from K"].value)
    top1 = one.by_test[test]
    found = []
    inside = {count: value for count, value in top1.items() if low <= count <= high}
    if len(inside) > 1:
        values = list(inside.values())
        rises = values[-1] > values[0] and all(after >= before - SLACK for before, after in pairwise(values))
        told = ", ".join(f"K = {count} {value:.1f} %" for count, value in inside.items())
        text = f"Accuracy rises with K from {low} to {high} ({one.name}; {test})"
        found.append(Statement(text, "B", rises, told))
    if one.full is not None and near in top1:
        text = f"It is near that of all tokens from K = {near} ({one.name}; {test})"
        told = f"{top1[near]:.1f} % with K = {near}, {one.full:.1f} % with all (near: within {NEAR:g} point)"
        found.append(Statement(text, "B", top1[near] >= one.full - NEAR, told))
    return found


def _nearest(one: Series, test: str) -> Compared:
    """The K from which accuracy is near that of all tokens."""
    near = [count for count, value in one.by_test[test].items() if value >= (one.full or 0.0) - NEAR]
    value = paper_values("fig10")["near all tokens", "from K"]
    least = float(min(near)) if near else None
    note = f"within {NEAR:g} point, of the K that were run"
    return Compared(
        one.name, f"near all tokens from K, {test}", "tokens", least, value, 0.0, note, at_most=True
    )


def _table(one: Series) -> TextTable:
    lines = [
        (
            str(count),
            *(f"{one.by_test[test][count]:.1f} %" if count in one.by_test[test] else "–" for test in TESTS),
            str(seeds),
        )
        for count, seeds in one.seeds.items()
    ]
    if one.full is not None:
        lines.append(("all (ST-SFLora-Full)", f"{one.full:.1f} %", "–", "–"))
    return TextTable(one.name, ("K", *TESTS, "seeds"), tuple(lines))


def _draw(series: Sequence[Series]) -> Figure:
    figure, (axes,) = canvas("reproduce", 1, 1, (7.2, 4.4))
    for number, one in enumerate(series):
        name = f"{one.name}: " if len(series) > 1 else ""
        for test, line, fill in zip(TESTS, ("-", "--"), (COLOURS[number], "white"), strict=True):
            points = one.by_test[test]
            style = {**look(number), "linestyle": line, "markersize": 6, "markerfacecolor": fill}
            axes.plot(list(points), list(points.values()), **style, label=f"{name}{test}")
        if one.full is not None:
            style = {"color": COLOURS[number], "linewidth": 1, "linestyle": ":"}
            axes.axhline(one.full, **style, label=f"{name}ST-SFLora-Full")
    if any(one.paper_tokens for one in series):
        axes.axvspan(64, 160, color="0.93", zorder=0, label="paper: rises here (B)")
        axes.axvline(128, **REFERENCE, label="paper: near all tokens from here (B)")
    if len(series) == 1:
        axes.set_title(series[0].name)
    lowest = min(value for one in series for values in one.by_test.values() for value in values.values())
    axes.set(xlabel="K, tokens kept per image", ylabel="top-1 accuracy, %")
    axes.set_ylim(max(0.0, 10 * np.floor((lowest - 4) / 10)), 101)
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
