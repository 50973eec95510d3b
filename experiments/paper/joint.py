"""Beyond the paper: what choosing bits per element and cut layer with the tokens adds to the STE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ...benchmarks.paper_cell import (
    BATCH,
    WIDTH,
    Setting,
    before_upload_s,
    cell_problem,
    paper_devices,
    selected_clients,
)
from ...benchmarks.report.drawing import canvas
from ...benchmarks.report.records import Record
from ...benchmarks.report.text_table import TextTable
from ...models.vit.names import BIT_DEPTHS
from ...solver import Problem, Result, solve
from ...solver.problem import FloatArray
from ...solver.random_streams import random_stream
from .figures import CLIENTS
from .report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .pictures import Pictures

CUTS: Final = (2, 4, 6, 8)
"""Blocks that a client may run; the first is the paper's."""

SMALL_CUTS: Final = (1, 2, 3)
"""The same of the small ViT."""

SHARES: Final = (0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.25, 0.33, 0.5, 0.65, 0.82, 1.0)
"""Token counts at which fidelity is measured, over N; between them it is interpolated."""

CHOICES: Final = ("tokens alone", "tokens x cut", "tokens x bits", "tokens x bits x cut")
LIMIT_S: Final = 60.0


class Row(NamedTuple):
    """An alternative of a client."""

    client: int
    cut: int
    bits: int


def joint(seen: Pictures, seeds: int) -> Report:
    """Measure what tokens are worth by count, cut and bits, solve every round with every choice, compare.

    Args:
        seen: images and the ViT that looks at them.
        seeds: rounds.
    """
    cuts = CUTS if seen.depth > CUTS[-1] else SMALL_CUTS
    patches = seen.grid[0] * seen.grid[1]
    counts: list[int] = np.unique(np.ceil(np.array(SHARES) * patches).astype(int)).tolist()
    fidelity = seen.fidelity(cuts, counts, BIT_DEPTHS)
    rows: list[Record] = []
    for seed in range(seeds):
        alone = 0.0
        for name, menu, problem in _problems(fidelity, counts, cuts, seed):
            result = solve(problem, time_limit_s=LIMIT_S)
            alone = alone or result.value
            rows.append(_record(name, menu, seed, result, alone))
    worst = max(row["gap"] for row in rows)
    return Report(
        target="joint",
        title="Beyond the paper: tokens, bits and cut chosen together",
        setting=f"{CLIENTS} clients per round in the paper's cell (`benchmarks/paper_cell.py`), {seeds} "
        "drawn rounds, whole time: downlink of the client half and its forward pass count, and grow with the "
        f"cut. Every client chooses among cuts after {', '.join(map(str, cuts))} blocks, "
        f"{', '.join(map(str, BIT_DEPTHS))} bits per element and all K from {counts[0]} to {patches}. Worth "
        f"is measured on {len(seen.images)} images of {seen.name} with {seen.model}, not adapted: the cosine "
        "similarity of the class token's last feature with that of the uncut model, when the K tokens of "
        "most attention and the merged one are sent in so many bits. STE is then similarity per second.",
        tables=[_table(rows), _worth_table(fidelity, counts)],
        data=rows,
        figure=_draw(rows),
        remarks=[
            f"All {len(rows)} optima are proved, to a gap of {worst:.1e} at most."
            if worst <= 1e-4
            else f"The largest gap left after {LIMIT_S:g} s is {worst:.1e}."
        ],
    )


def _problems(
    fidelity: Mapping[tuple[int, int], FloatArray], counts: Sequence[int], cuts: Sequence[int], seed: int
) -> Iterator[tuple[str, list[Row], Problem]]:
    """The problem of one round for each of `CHOICES`, with its rows."""
    setting = Setting(CLIENTS, seed)
    cell = cell_problem(setting, whole_time=True)
    devices = paper_devices(setting)
    clients = selected_clients(setting, devices)
    before_s = {cut: before_upload_s(setting, devices, clients, cut) for cut in cuts}
    standing_s = cell.deadline_s + cell.overhead_s
    images = len(next(iter(fidelity.values())))
    rng = random_stream(f"images of a joint choice's clients, seed {seed}")
    batch = rng.choice(images, (CLIENTS, BATCH))
    all_counts = np.arange(counts[-1] + 1)
    for name in CHOICES:
        menu = [
            Row(m, cut, bits)
            for m in range(CLIENTS)
            for cut in (cuts if "cut" in name else cuts[:1])
            for bits in (sorted(BIT_DEPTHS) if "bits" in name else (max(BIT_DEPTHS),))
            if before_s[cut][m] < standing_s[m]
        ]
        of = [row.client for row in menu]
        overhead_s = np.array([before_s[row.cut][row.client] for row in menu])
        worth = [fidelity[row.cut, row.bits][batch[row.client]].sum(axis=0) for row in menu]
        fields: dict[str, Any] = {
            field: getattr(cell, field)[of] for field in ("gain", "max_power_w", "max_energy_j")
        }
        yield (
            name,
            menu,
            Problem(
                client=of,
                utility=np.stack([np.interp(all_counts, counts, np.maximum(total, 0.0)) for total in worth]),
                bits_per_token=[BATCH * _token_bits(row.bits) for row in menu],
                bandwidth_hz=cell.bandwidth_hz,
                overhead_s=overhead_s,
                deadline_s=standing_s[of] - overhead_s,
                min_tokens=counts[0],
                extra_tokens=cell.extra_tokens,
                **fields,
            ),
        )


def _token_bits(bits: int) -> int:
    from ...models.vit.quantisation import token_bits

    return token_bits(WIDTH, bits)


def _record(name: str, menu: Sequence[Row], seed: int, result: Result, alone: float) -> Record:
    assert result.allocation is not None
    chosen = [menu[row] for row in result.allocation.rows_of(result.problem)]
    return {
        "choice": name,
        "seed": seed,
        "ste_per_s": result.value,
        "over_tokens_alone": result.value / alone,
        "gap": result.gap,
        "seconds": result.seconds,
        "tokens": float(np.median(result.allocation.tokens)),
        "cuts": " ".join(str(row.cut) for row in chosen),
        "bits": " ".join(str(row.bits) for row in chosen),
    }


def _table(rows: Sequence[Record]) -> TextTable:
    lines = []
    for name in CHOICES:
        own = [row for row in rows if row["choice"] == name]
        times = np.array([row["over_tokens_alone"] for row in own])
        lines.append(
            (
                name,
                f"{np.median(times):.2f}",
                f"{times.min():.2f} to {times.max():.2f}",
                f"{np.median([row['tokens'] for row in own]):.0f}",
                _shares(row["bits"] for row in own),
                _shares(row["cuts"] for row in own),
                f"{1e3 * np.median([row['seconds'] for row in own]):.1f} ms",
            )
        )
    headers = (
        *("chosen per client", "STE over tokens alone, median", "range"),
        *("K, median", "bits", "cuts", "time, median"),
    )
    return TextTable("What the joint choice adds", headers, tuple(lines))


def _shares(texts: Iterable[str]) -> str:
    counted = Counter(value for text in texts for value in text.split())
    total = sum(counted.values())
    ordered = sorted(counted.items(), key=lambda entry: int(entry[0]))
    return ", ".join(f"{value} ({count / total:.0%})" for value, count in ordered)


def _worth_table(fidelity: Mapping[tuple[int, int], FloatArray], counts: Sequence[int]) -> TextTable:
    lines = tuple(
        (f"cut {cut}, {bits} bit", *(f"{value:.3f}" for value in single.mean(axis=0)))
        for (cut, bits), single in fidelity.items()
    )
    return TextTable("Similarity by K", ("K", *map(str, counts)), lines)


def _draw(rows: Sequence[Record]) -> Figure:
    """A line of points per choice, one per round, and their median."""
    figure, (axes,) = canvas("reproduce joint", 1, 1, (7.0, 2.8))
    for place, name in enumerate(CHOICES):
        times = [row["over_tokens_alone"] for row in rows if row["choice"] == name]
        axes.plot(times, [place] * len(times), "o", color="tab:blue", alpha=0.35, markersize=5)
        axes.plot([float(np.median(times))], [place], "|", color="black", markersize=18, markeredgewidth=2)
    axes.set_yticks(range(len(CHOICES)), CHOICES)
    axes.set_ylim(len(CHOICES) - 0.5, -0.5)
    axes.set_xlabel("proved optimal STE over that of tokens alone; one point per round, bar: median")
    axes.grid(axis="x", alpha=0.3)
    return figure
