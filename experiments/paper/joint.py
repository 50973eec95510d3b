"""Beyond the paper: what choosing bits per element and cut layer with the tokens adds to the STE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
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
from ...benchmarks.report.drawing import canvas, lines
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

BANDWIDTHS_HZ: Final = (2e6, 5e6, 10e6, 20e6, 50e6)
"""Shared by the clients; the last is the paper's."""

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
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        for name, menu, problem in _problems(fidelity, counts, cuts, seed):
            for bandwidth_hz in BANDWIDTHS_HZ:
                result = solve(replace(problem, bandwidth_hz=bandwidth_hz), time_limit_s=LIMIT_S)
                rows.append(_record(name, menu, seed, result))
    alone = {(row["seed"], row["mhz"]): row["ste_per_s"] for row in rows if row["choice"] == CHOICES[0]}
    for row in rows:
        row["over_tokens_alone"] = row["ste_per_s"] / alone[row["seed"], row["mhz"]]
    worst = max(row["gap"] for row in rows)
    return Report(
        target="joint",
        title="Beyond the paper: tokens, bits and cut chosen together",
        setting=f"{CLIENTS} clients per round in the paper's cell (`benchmarks/paper_cell.py`), {seeds} "
        "drawn rounds, each at several bandwidths, whole time: downlink of the client half and its forward "
        "pass count, and grow with the cut. Every client chooses among cuts after "
        f"{', '.join(map(str, cuts))} blocks, {', '.join(map(str, BIT_DEPTHS))} bits per element and all K "
        f"from {counts[0]} to {patches}. Worth is measured on {len(seen.images)} images of {seen.name} with "
        f"{seen.model}, not adapted: the cosine similarity of the class token's last feature with that of "
        "the uncut model, when the K tokens of most attention and the merged one are sent in so many bits. "
        "STE is then similarity per second.",
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


def _record(name: str, menu: Sequence[Row], seed: int, result: Result) -> dict[str, Any]:
    assert result.allocation is not None
    chosen = [menu[row] for row in result.allocation.rows_of(result.problem)]
    return {
        "choice": name,
        "seed": seed,
        "mhz": result.problem.bandwidth_hz / 1e6,
        "ste_per_s": result.value,
        "gap": result.gap,
        "seconds": result.seconds,
        "tokens": float(np.median(result.allocation.tokens)),
        "cuts": " ".join(str(row.cut) for row in chosen),
        "bits": " ".join(str(row.bits) for row in chosen),
    }


def _table(rows: Sequence[Record]) -> TextTable:
    lines = []
    for bandwidth_hz in BANDWIDTHS_HZ:
        for name in CHOICES[1:]:
            own = [row for row in rows if row["choice"] == name and row["mhz"] == bandwidth_hz / 1e6]
            times = np.array([row["over_tokens_alone"] for row in own])
            lines.append(
                (
                    f"{bandwidth_hz / 1e6:g} MHz: {name}",
                    f"{np.median(times):.2f}",
                    f"{times.min():.2f} to {times.max():.2f}",
                    f"{np.median([row['tokens'] for row in own]):.0f}",
                    _shares(row["bits"] for row in own),
                    _shares(row["cuts"] for row in own),
                    f"{1e3 * np.median([row['seconds'] for row in own]):.0f} ms",
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
    """STE over that of tokens alone against the bandwidth, a line per choice."""
    figure, (axes,) = canvas("reproduce joint", 1, 1, (6.4, 3.8))
    drawn = [row for row in rows if row["choice"] != CHOICES[0]]
    lines(axes, drawn, "mhz", "over_tokens_alone", "choice", spread=(0, 100))
    axes.axhline(1.0, color="0.4", linewidth=1.0)
    axes.set_xscale("log")
    axes.set_xticks([hz / 1e6 for hz in BANDWIDTHS_HZ], [f"{hz / 1e6:g}" for hz in BANDWIDTHS_HZ])
    axes.minorticks_off()
    axes.set_xlabel("bandwidth, MHz")
    axes.set_ylabel("optimal STE over that of tokens alone")
    axes.legend()
    return figure
