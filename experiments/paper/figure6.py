"""The paper's figure 6: STE against a common K, where it peaks, and what moves the peak."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ...benchmarks.report.drawing import LINES, REFERENCE, REFERENCE_CURVE, canvas, lines, look
from ...benchmarks.report.records import Record, grouped
from ...benchmarks.report.text_table import TextTable
from ...solver import solve
from ...solver.problem import FloatArray
from .comparison import Claim, OurValue, compare, judge, paper_values
from .figures import CLIENTS, METRICS, MIN_TOKENS, UPLOAD, WHOLE, Attention, cell_round, setting_text
from .report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES: Final = (5, 10, 20, 100)
"""Numbers of clients that share the band."""

DRAWN: Final = (5, 10)
TOLERANCE: Final = 0.1
"""Peaks agree within this share of the paper's K."""

CLAIMS: Final = (
    Claim(
        f"The STE peaks inside the range, by {{metric}} ({CLIENTS} clients, from K_min = {MIN_TOKENS} on)",
        "B",
        lambda peak: MIN_TOKENS < peak["tokens"] < peak["all_tokens"],
        "over all K at {tokens} of {all_tokens}",
    ),
)


def figure6(attention: Attention, seeds: int, step: int) -> Report:
    """Compute and draw it.

    Args:
        attention: profiles to compare.
        seeds: rounds to average over.
        step: between the K that are computed.
    """
    profiles = {
        label: np.asarray(np.sort(single, axis=1)[:, ::-1].mean(axis=0))
        for label, single in attention.profiles.items()
    }
    tokens = len(next(iter(profiles.values())))
    counts = np.unique(np.r_[1, np.arange(step, tokens + 1, step), tokens])
    rows: list[Record] = []
    fixed_tokens: dict[int, float] = {}
    for clients in SIZES:
        gained = [np.cumsum(attention.importance(clients, seed), axis=1) for seed in range(seeds)]
        kept = np.stack([mass[:, counts - 1].sum(axis=0) for mass in gained])
        rounds_s = {metric: _round_s(clients, seeds, counts, metric) for metric in METRICS}
        rows += [
            {"metric": metric, "clients": clients, "tokens": count, "ste_per_s": ste}
            for metric, seconds in rounds_s.items()
            for count, ste in zip(counts.tolist(), (kept / seconds).mean(axis=0).tolist(), strict=True)
        ]
        upload = rounds_s[UPLOAD]
        per_token = (upload[:, -1] - upload[:, 0]) / (counts[-1] - counts[0])
        fixed_tokens[clients] = float(((rounds_s[WHOLE] - upload)[:, -1] / per_token).mean())
    peaks = [
        max(curve, key=lambda row: row["ste_per_s"])
        for curve in grouped(rows, itemgetter("clients", "metric")).values()
    ]
    at_standard = [peak for peak in peaks if peak["clients"] == CLIENTS]
    paper = paper_values("fig6")
    peak, height = paper["peak", "common K"].value, paper["peak", "STE"].value
    ours = [
        OurValue(
            ("peak", "common K"), row["tokens"], (f"{row['clients']} clients", f"peak by {row['metric']}")
        )
        for row in peaks
    ]
    ours += [
        OurValue(("peak", "STE"), row["ste_per_s"], (f"{CLIENTS} clients", f"STE there, {row['metric']}"))
        for row in at_standard
    ]
    sizes = ", ".join(f"{clients} clients {worth:.0f}" for clients, worth in fixed_tokens.items())
    return Report(
        target="fig6",
        title="Figure 6: STE against a common K",
        setting=setting_text(attention, seeds)
        + " Every client sends the same K with the bandwidths and powers that finish it soonest.",
        compared=compare(paper, ours, lambda value: TOLERANCE * value.value),
        statements=judge(CLAIMS, [{**row, "all_tokens": tokens} for row in at_standard]),
        tables=[_moves_table(profiles, int(peak))],
        data=rows,
        figure=_draw(rows, profiles, fixed_tokens, peak, height),
        remarks=[
            "An upload takes K + 2 token times (somewhat more where energy forces the power down), so by "
            "upload time the peak is where the next token's share of the attention gained so far falls to "
            f"1 / (K + 2). Two things move it to {peak:g}, and the table says how much of each alone "
            "it takes: time that does not shrink with K, or even attention mixed in. Downlink and forward "
            f"pass are worth, in token times: {sizes}; the fewer share the band, the more."
        ],
    )


def peak_of(profile: FloatArray, fixed_tokens: float) -> int:
    """K that maximises f(K) / (K + 2 + c) for one descending profile; c is fixed time in token times."""
    counts = np.arange(1, len(profile) + 1)
    return int((np.cumsum(profile) / (counts + 2 + fixed_tokens)).argmax()) + 1


def fixed_time_for_peak(profile: FloatArray, count: int) -> float | None:
    """The c that puts the peak at K: f(K) / (K + 2 + c) is level where c = f / f' - K - 2.

    Returns:
        None where the peak lies beyond K without any fixed time.
    """
    excess, slope = _excess_and_slope(profile, count)
    if excess < 0:
        return None
    return excess / slope if slope > 0 else math.inf


def evenness_for_peak(profile: FloatArray, count: int) -> float | None:
    """Share of even attention, mixed into a profile of sum 1, that puts the peak of f(K) / (K + 2) at K.

    Returns:
        None where the peak lies beyond K as it is.
    """
    excess, _ = _excess_and_slope(profile, count)
    even, _ = _excess_and_slope(np.full(len(profile), 1 / len(profile)), count)  # below 0, and linear between
    return None if excess < 0 else excess / (excess - even)


def _excess_and_slope(profile: FloatArray, count: int) -> tuple[float, float]:
    """f(K) - (K + 2) f'(K), 0 where f(K) / (K + 2) is level, and f'(K), the mean of the slopes around K."""
    slope = 0.5 * float(profile[count - 1] + profile[count])
    return float(profile[:count].sum()) - (count + 2) * slope, slope


def _moves_table(profiles: Mapping[str, FloatArray], count: int) -> TextTable:
    def needed(amount: float | None, scale: float, unit: str) -> str:
        return "it lies beyond" if amount is None else f"{scale * amount:.0f} {unit}"

    lines = tuple(
        (
            label,
            f"{100 * float(profile[: round(len(profile) / 10)].sum()):.0f} %",
            f"K = {peak_of(profile, 0.0)}",
            needed(fixed_time_for_peak(profile, count), 1.0, "token times"),
            needed(evenness_for_peak(profile, count), 100.0, "%"),
        )
        for label, profile in profiles.items()
    )
    columns = ("attention", "in the first 10 %", "peak by upload time", "fixed time needed")
    return TextTable(f"What would put the peak at K = {count}", (*columns, "or even share needed"), lines)


def _round_s(clients: int, seeds: int, counts: NDArray[np.int64], metric: str) -> FloatArray:
    """(seeds, counts) least round time of a common K whatever the importance; inf where none is feasible."""
    even = np.ones((clients, int(counts[-1])))
    found = np.empty((seeds, len(counts)))
    for seed in range(seeds):
        problem = cell_round(clients, seed, even, metric=metric, min_tokens=1)
        for column, count in enumerate(counts):
            evaluation = solve(problem, "fixed", tokens=int(count)).evaluation
            found[seed, column] = math.inf if evaluation is None else evaluation.round_s
    return found


def _draw(
    rows: Sequence[Record],
    profiles: Mapping[str, FloatArray],
    fixed_tokens: Mapping[int, float],
    peak: float,
    height: float,
) -> Figure:
    """Left the curves with their peaks; right the peak against fixed time, with the cell's own marked."""
    figure, (left, right) = canvas("reproduce", 1, 2, (9.6, 4.4))
    for (clients, metric), curve in grouped(rows, itemgetter("clients", "metric")).items():
        if clients in DRAWN:
            tokens, stes = ([row[column] for row in curve] for column in ("tokens", "ste_per_s"))
            style = {**look(DRAWN.index(clients)), "linestyle": LINES[list(METRICS).index(metric)]}
            style |= {"markersize": 6, "markevery": [int(np.argmax(stes))]}  # a marker at the peak alone
            left.plot(tokens, stes, **style, label=f"{clients} clients, {metric}")
    left.axvline(peak, **REFERENCE, label=f"paper's peak, K = {peak:g} (B)")
    left.axhline(height, **REFERENCE_CURVE, label="paper's STE there (C)")
    left.set(xlabel="common K, tokens kept per image", ylabel="STE, 1/s", title="Where the STE peaks")
    left.set_ylim(bottom=0)
    moves = [
        {"attention": label, "fixed": fixed, "peak": peak_of(profile, fixed)}
        for label, profile in profiles.items()
        for fixed in np.geomspace(1, 2000, 200).tolist()
    ]
    lines(right, moves, "fixed", "peak", "attention", markers=False)
    ceiling = 1.02 * max(row["tokens"] for row in rows)
    right.axhline(peak, **REFERENCE)
    marks = [(1.0, "left", "clients:"), *((at, "center", str(size)) for size, at in fixed_tokens.items())]
    for at, side, text in marks:
        right.text(at, ceiling, text, ha=side, va="bottom", fontsize=8, color="0.3")
    for at in fixed_tokens.values():
        right.axvline(at, color="0.75", linewidth=0.9)
    right.set(xscale="log", xlabel="time that does not shrink with K, in uploads of one token")
    right.set(ylabel="K of the peak by whole time", ylim=(0, ceiling))
    right.set_title("What moves it", pad=16)
    right.xaxis.set_major_formatter("{x:,.0f}")
    for axes in (left, right):
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
        axes.legend(**place, fontsize=8, frameon=False, handlelength=3.5)
    return figure
