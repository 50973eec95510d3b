"""Beyond the paper: what choosing bits per element and cut layer with the tokens adds to the STE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...benchmarks.paper_cell import (
    BITS_PER_ELEMENT,
    Setting,
    before_upload_s,
    cell_problem,
    paper_devices,
    selected_clients,
)
from ...benchmarks.report.drawing import canvas
from ...benchmarks.report.records import Record
from ...benchmarks.report.text_table import TextTable
from ...solver import Problem, Result, solve
from .figures import CLIENTS, MIN_TOKENS, Attention
from .report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUTS: Final = (2, 4, 6, 8)
"""Blocks that a client may run; the first is the paper's."""

WORTH: Final = {32: 1.0, 16: 1.0, 8: 0.98}
"""What a token is worth by bits per element, as a share: assumed, and stated with the result."""

CHOICES: Final[Mapping[str, tuple[Sequence[int], Sequence[int]]]] = {
    "tokens alone": (CUTS[:1], (32,)),
    "tokens x cut": (CUTS, (32,)),
    "tokens x bits": (CUTS[:1], tuple(WORTH)),
    "tokens x bits x cut": (CUTS, tuple(WORTH)),
}
"""What is chosen per client: among these cuts and bits."""

LIMIT_S: Final = 60.0


def joint(attention: Attention, seeds: int) -> Report:
    """Solve every round with every choice, and compare.

    Args:
        attention: with profiles after every block of `CUTS`.
        seeds: rounds.
    """
    rows: list[Record] = []
    for seed in range(seeds):
        results = {name: solve(problem, time_limit_s=LIMIT_S) for name, problem in problems(attention, seed)}
        alone = results["tokens alone"].value
        rows += [
            {
                "choice": name,
                "seed": seed,
                "ste_per_s": result.value,
                "over_tokens_alone": result.value / alone,
                "gap": result.gap,
                "seconds": result.seconds,
                **_chosen(name, result),
            }
            for name, result in results.items()
        ]
    proved = max(row["gap"] for row in rows)
    return Report(
        target="joint",
        title="Beyond the paper: tokens, bits and cut chosen together",
        setting=f"{CLIENTS} clients per round in the paper's cell (`benchmarks/paper_cell.py`), {seeds} "
        f"drawn rounds, K_min = {MIN_TOKENS}, whole time: downlink of the client half and its forward pass "
        "count, and grow with the cut. Every client chooses its own cut out of "
        f"{', '.join(map(str, CUTS))} blocks and bits out of {', '.join(map(str, WORTH))} per element. "
        f"Importance by cut: {', '.join(labels_of(attention).values())}; {attention.source}. A token in 8 "
        "bits is assumed to be worth 0.98 of one in 32, one in 16 as much.",
        tables=[_table(rows)],
        data=rows,
        figure=_draw(rows),
        remarks=[f"All {len(rows)} optima are proved, to a gap of {proved:.0e} at most."]
        if proved <= 1e-4
        else [f"The largest gap left after {LIMIT_S:g} s is {proved:.1e}."],
    )


def labels_of(attention: Attention) -> dict[int, str]:
    """The profile after every cut; drawn ones get steeper with the depth, as those of ViTs do."""
    after = {cut: f"after block {cut}" for cut in CUTS}
    if set(after.values()) <= set(attention.profiles):
        return after
    return dict(zip(CUTS, attention.profiles, strict=False))


def problems(attention: Attention, seed: int) -> list[tuple[str, Problem]]:
    """The problem of one round for each of `CHOICES`."""
    setting = Setting(CLIENTS, seed)
    round_problem = cell_problem(setting, whole_time=True)
    devices = paper_devices(setting)
    importance = {
        cut: replace(attention, label=label).importance(CLIENTS, seed)
        for cut, label in labels_of(attention).items()
    }
    clients = selected_clients(setting, devices)
    before_s = {cut: before_upload_s(setting, devices, clients, cut) for cut in CUTS}
    standing_s = round_problem.deadline_s + round_problem.overhead_s
    found = []
    for name, (cuts, depths) in CHOICES.items():
        # A cut that a client has no time for is not among its rows.
        menu = [
            (m, cut, bits)
            for m in range(CLIENTS)
            for cut in cuts
            for bits in depths
            if before_s[cut][m] < standing_s[m]
        ]
        client = np.array([m for m, _, _ in menu])
        overhead_s = np.array([before_s[cut][m] for m, cut, _ in menu])
        fields: dict[str, Any] = {
            field: getattr(round_problem, field)[client] for field in ("gain", "max_power_w", "max_energy_j")
        }
        problem = Problem(
            client=client,
            importance=np.stack([WORTH[bits] * importance[cut][m] for m, cut, bits in menu]),
            bits_per_token=[round_problem.bits_per_token[m] * bits / BITS_PER_ELEMENT for m, _, bits in menu],
            bandwidth_hz=round_problem.bandwidth_hz,
            overhead_s=overhead_s,
            deadline_s=standing_s[client] - overhead_s,
            min_tokens=MIN_TOKENS,
            extra_tokens=round_problem.extra_tokens,
            **fields,
        )
        found.append((name, problem))
    return found


def _chosen(name: str, result: Result) -> Record:
    """Which cuts and bits were chosen, as texts, and the median K."""
    assert result.allocation is not None
    cuts, depths = CHOICES[name]
    problem, rows = result.problem, result.allocation.rows_of(result.problem)
    bits = problem.bits_per_token[rows] / problem.bits_per_token.max() * max(depths)
    by_time = np.array(
        [np.unique(problem.overhead_s[problem.client == m]) for m in range(problem.clients)], object
    )
    cut = [
        cuts[int(np.searchsorted(by_time[m], problem.overhead_s[rows[m]]))] for m in range(problem.clients)
    ]
    return {
        "tokens": float(np.median(result.allocation.tokens)),
        "cuts": _counted(cut),
        "bits": _counted(np.rint(bits).astype(int).tolist()),
    }


def _counted(values: Sequence[int]) -> str:
    return ", ".join(f"{value}: {count}" for value, count in sorted(Counter(values).items()))


def _table(rows: Sequence[Record]) -> TextTable:
    lines = []
    for name in CHOICES:
        own = [row for row in rows if row["choice"] == name]
        times = np.array([row["over_tokens_alone"] for row in own])
        tokens = np.median([row["tokens"] for row in own])
        cuts = sum((_uncounted(row["cuts"]) for row in own), Counter())
        bits = sum((_uncounted(row["bits"]) for row in own), Counter())
        lines.append(
            (
                name,
                f"{np.median(times):.2f}",
                f"{times.min():.2f} to {times.max():.2f}",
                f"{tokens:.0f}",
                _shares(bits),
                _shares(cuts),
                f"{1e3 * np.median([row['seconds'] for row in own]):.1f} ms",
            )
        )
    headers = (
        "chosen per client",
        "STE over tokens alone, median",
        "range",
        "K, median",
        "bits",
        "cuts",
        "time",
    )
    return TextTable("What the joint choice adds", headers, tuple(lines))


def _uncounted(text: str) -> Counter[str]:
    return Counter({value: int(count) for value, count in (entry.split(": ") for entry in text.split(", "))})


def _shares(counts: Counter[str]) -> str:
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda entry: int(entry[0]))
    return ", ".join(f"{value} ({count / total:.0%})" for value, count in ordered)


def _draw(rows: Sequence[Record]) -> Figure:
    """A row of points per choice, one per round, and their median."""
    figure, (axes,) = canvas("reproduce joint", 1, 1, (7.0, 2.8))
    names = list(CHOICES)
    for place, name in enumerate(names):
        times = [row["over_tokens_alone"] for row in rows if row["choice"] == name]
        axes.plot(times, [place] * len(times), "o", color="tab:blue", alpha=0.35, markersize=5)
        axes.plot([float(np.median(times))], [place], "|", color="black", markersize=18, markeredgewidth=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("proved optimal STE over that of tokens alone; one point per round, bar: median")
    axes.grid(axis="x", alpha=0.3)
    return figure
