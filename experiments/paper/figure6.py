"""The paper's figure 6: STE against a common K, where it peaks, and what moves the peak."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ...benchmarks.report.drawing import COLOURS, LINES, MARKERS, REFERENCE, REFERENCE_CURVE, canvas, look
from ...benchmarks.report.text_table import TextTable
from ...solver import solve
from ...solver.problem import FloatArray
from .figures import CLIENTS, METRICS, MIN_TOKENS, UPLOAD, WHOLE, Attention, cell_round, setting_text
from .reproduce import Compared, Report, Statement, paper_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZES: Final = (5, 10, 20, 100)
"""Numbers of clients that share the band."""

TOLERANCE: Final = 0.1
"""Peaks agree within this share of the paper's K."""

Curves = Mapping[tuple[str, int], FloatArray]
"""Mean STE at every K, by metric and number of clients."""


def figure6(attention: Attention, seeds: int, step: int) -> Report:
    """Compute and draw it.

    Args:
        attention: profiles to compare.
        seeds: rounds to average over.
        step: between the K that are computed.
    """
    tokens = next(iter(attention.profiles.values())).shape[1]
    counts = np.unique(np.r_[1, np.arange(step, tokens + 1, step), tokens])
    curves: dict[tuple[str, int], FloatArray] = {}
    fixed_tokens: dict[int, float] = {}
    for clients in SIZES:
        rounds_s = {metric: _round_s(clients, seeds, counts, metric) for metric in METRICS}
        kept = np.stack([_retained(attention, clients, seed, counts) for seed in range(seeds)])
        for metric, seconds in rounds_s.items():
            curves[metric, clients] = np.asarray((kept / seconds).mean(axis=0))
        upload = rounds_s[UPLOAD]
        per_token = (upload[:, -1] - upload[:, 0]) / (counts[-1] - counts[0])
        fixed_tokens[clients] = float(((rounds_s[WHOLE] - upload)[:, -1] / per_token).mean())
    peaks = {key: int(counts[curve.argmax()]) for key, curve in curves.items()}
    values = paper_values("fig6")
    peak, height = values["peak", "common K"], values["peak", "STE"]
    sizes = ", ".join(f"{clients} clients {fixed_tokens[clients]:.0f}" for clients in SIZES)
    return Report(
        target="fig6",
        title="Figure 6: STE against a common K",
        setting=setting_text(attention, seeds)
        + " Every client sends the same K with the bandwidths and powers that finish it soonest.",
        compared=[
            *(
                Compared(
                    f"{clients} clients", f"peak by {metric}", "tokens", at, peak, TOLERANCE * peak.value
                )
                for (metric, clients), at in peaks.items()
            ),
            *(
                Compared(
                    f"{CLIENTS} clients", f"STE there, {metric}", "1/s", curves[metric, CLIENTS].max(), height
                )
                for metric in METRICS
            ),
        ],
        statements=[
            Statement(
                f"The STE peaks inside the range, by {metric} ({CLIENTS} clients, from K_min = "
                f"{MIN_TOKENS} on)",
                "B",
                MIN_TOKENS < peaks[metric, CLIENTS] < tokens,
                f"over all K at {peaks[metric, CLIENTS]} of {tokens}",
            )
            for metric in METRICS
        ],
        tables=[_moves_table(attention, int(peak.value))],
        data=[
            {"metric": metric, "clients": clients, "tokens": int(count), "ste_per_s": float(value)}
            for (metric, clients), curve in curves.items()
            for count, value in zip(counts, curve, strict=True)
        ],
        figure=_draw(attention, counts, curves, fixed_tokens, peak.value, height.value),
        remarks=[
            "An upload takes K + 2 token times (somewhat more where energy forces the power down), so by "
            "upload time the peak is where the next token's share of the attention gained so far falls to "
            f"1 / (K + 2). Two things move it to {peak.value:g}, and the table says how much of each alone "
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


def _mean_profile(single: FloatArray) -> FloatArray:
    return np.asarray(np.sort(single, axis=1)[:, ::-1].mean(axis=0))


def _moves_table(attention: Attention, count: int) -> TextTable:
    profiles = {label: _mean_profile(profile) for label, profile in attention.profiles.items()}
    lines = [
        (
            label,
            f"{100 * float(profile[: round(len(profile) / 10)].sum()):.0f} %",
            f"K = {peak_of(profile, 0.0)}",
            _needed(fixed_time_for_peak(profile, count), 1.0, "token times"),
            _needed(evenness_for_peak(profile, count), 100.0, "%"),
        )
        for label, profile in profiles.items()
    ]
    return TextTable(
        f"What would put the peak at K = {count}",
        (
            "attention",
            "in the first 10 %",
            "peak by upload time",
            "fixed time needed",
            "or even share needed",
        ),
        tuple(lines),
    )


def _needed(amount: float | None, scale: float, unit: str) -> str:
    return "it lies beyond" if amount is None else f"{scale * amount:.0f} {unit}"


def _retained(attention: Attention, clients: int, seed: int, counts: NDArray[np.int64]) -> FloatArray:
    """Attention that all clients together keep at every K."""
    gained = np.cumsum(attention.importance(clients, seed), axis=1)
    return np.asarray(gained[:, counts - 1].sum(axis=0))


def _round_s(clients: int, seeds: int, counts: NDArray[np.int64], metric: str) -> FloatArray:
    """(seeds, counts) least round time of a common K, which does not depend on the importance."""
    even = np.ones((clients, int(counts[-1])))
    found = np.empty((seeds, len(counts)))
    for seed in range(seeds):
        problem = cell_round(clients, seed, even, metric=metric, min_tokens=1)
        for column, count in enumerate(counts):
            evaluation = solve(problem, "fixed", tokens=int(count)).evaluation
            assert evaluation is not None
            found[seed, column] = evaluation.round_s
    return found


def _draw(
    attention: Attention,
    counts: NDArray[np.int64],
    curves: Curves,
    fixed_tokens: Mapping[int, float],
    peak: float,
    height: float,
) -> Figure:
    figure, (left, right) = canvas("reproduce", 1, 2, (9.6, 4.4))
    drawn = [(metric, clients) for clients in (CLIENTS, SIZES[0]) for metric in METRICS]
    for number, (metric, clients) in enumerate(drawn):
        curve = curves[metric, clients]
        best = int(curve.argmax())
        line = LINES[list(METRICS).index(metric)]
        label = f"{clients} clients, {metric}"
        left.plot(counts, curve, color=COLOURS[number], linestyle=line, linewidth=1.8, label=label)
        left.plot(counts[best], curve[best], MARKERS[number], color=COLOURS[number], markersize=7)
    left.axvline(peak, **REFERENCE, label=f"paper's peak, K = {peak:g} (B)")
    left.axhline(height, **REFERENCE_CURVE, label="paper's STE there (C)")
    left.set(xlabel="common K, tokens kept per image", ylabel="STE, 1/s", title="Where the STE peaks")
    left.set_ylim(bottom=0)
    _draw_moves(right, attention, fixed_tokens, peak)
    for axes in (left, right):
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return figure


def _draw_moves(axes: Axes, attention: Attention, fixed_tokens: Mapping[int, float], peak: float) -> None:
    """The peak against time that does not shrink with K, with the cell's own marked."""
    fixed = np.geomspace(1, 2000, 200)
    for number, (label, profile) in enumerate(attention.profiles.items()):
        mean = _mean_profile(profile)
        at: list[Any] = [peak_of(mean, value) for value in fixed]
        axes.plot(fixed, at, **{**look(number), "marker": ""}, label=label)
    top = 1.02 * next(iter(attention.profiles.values())).shape[1]
    axes.axhline(peak, **REFERENCE)
    for clients, value in fixed_tokens.items():
        axes.axvline(value, color="0.75", linewidth=0.9)
        axes.text(value, top, f"{clients}", ha="center", va="bottom", fontsize=8, color="0.3")
    axes.text(1, top, "clients:", ha="left", va="bottom", fontsize=8, color="0.3")
    axes.set(
        xscale="log",
        xlabel="time that does not shrink with K, in uploads of one token",
        ylabel="K of the peak by whole time",
        ylim=(0, top),
    )
    axes.set_title("What moves it", pad=16)
    axes.xaxis.set_major_formatter("{x:,.0f}")
