"""Pictures of a benchmark; matplotlib is imported where it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..rows import Row
from .drawing import (
    Look,
    canvas,
    legend_below,
    looks,
    project_style,
    require_matplotlib,
    save_figure,
    solver_names,
)
from .metrics import Known, by_label, median_seconds, performance_profile, shortfall
from .text_table import seconds_text

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

LEAST: Final = 1e-6
"""Smaller distances are drawn here."""

PANELS: Final = 6
"""Largest number of instances whose convergence is drawn."""

Style = Mapping[str, Look]


Picture = Callable[[Sequence[Row], Mapping[str, Known], Style], "Figure | None"]
"""Draws rows that ran, in the styles of their solvers; None where there is nothing to show."""


def save_plots(
    rows: Sequence[Row],
    known: Mapping[str, Known],
    output: Path,
    pictures: Mapping[str, Picture] | None = None,
) -> list[str]:
    """Draw what the rows have to show into PNG files and return their names.

    Args:
        rows: of the solvers to compare; skipped rows are left out.
        known: what is known of the instances.
        output: an existing folder.
        pictures: by file name; those of every report if left out.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        FileFormatError: the folder cannot be written.
    """
    require_matplotlib("bench")
    ran = [row for row in rows if not row.skipped and row.fingerprint]
    styles = looks(by_label(ran), solver_names())
    drawn = []
    with project_style():
        for name, draw in (REPORT if pictures is None else pictures).items():
            figure = draw(ran, known, styles)
            if figure is not None:
                save_figure(figure, output / name)
                drawn.append(name)
    return drawn


def family_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """Every run by family: how far below the best known STE it ended."""
    drawable = solvable(rows, known)
    names = list(dict.fromkeys(row.family for row in drawable))
    labels = list(by_label(drawable))
    if len(names) < 2:
        return None
    figure, (axes,) = canvas("bench", 1, 1, (7.5, 1.1 + len(names) * (0.2 + 0.07 * len(labels))))
    for number, label in enumerate(labels):
        offset = 0.8 * ((number + 0.5) / len(labels) - 0.5)
        group = [row for row in drawable if row.label == label]
        axes.plot(
            [drawn_distance(row, known) for row in group],
            [names.index(row.family) + offset for row in group],
            **_points(styles[label]),
            label=label,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.tick_params(axis="y", which="both", length=0)
    axes.grid(visible=False, axis="y", which="major")
    axes.grid(visible=True, axis="y", which="minor")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xscale="log", xlabel="distance below the best known STE (100 % without an accepted allocation)")
    percent_axis(axes.xaxis)
    legend_below(figure, axes)
    return figure


def profile_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """Left: share of instances by distance to the best known STE. Right: Dolan-Moré profile of time."""
    drawable = solvable(rows, known)
    if not drawable:
        return None
    figure, (quality, speed) = canvas("bench", 1, 2, (9.0, 3.7))
    distances = np.logspace(np.log10(LEAST), 0, 200)
    for label, group in by_label(drawable).items():
        reached = np.array([drawn_distance(row, known) for row in group])
        shares = [100 * np.mean(reached <= distance) for distance in distances]
        quality.plot(distances, shares, **line_look(styles[label]), label=label)
    quality.set(
        xscale="log", xlabel="distance below the best known STE", title="Quality: how close to the best"
    )
    percent_axis(quality.xaxis)
    ratios = np.logspace(0, 4, 200)
    for label, profile in performance_profile(drawable, known, ratios.tolist()).items():
        speed.plot(ratios, 100 * np.array(profile), **line_look(styles[label]), label=label)
    speed.set(
        xscale="log", xlabel="time over the fastest solver's", title="Speed: time to reach the asked gap"
    )
    speed.xaxis.set_major_formatter("{x:,.0f}x")
    for axes in (quality, speed):
        axes.set(ylim=(-3, 103), ylabel="share of instances")
        axes.yaxis.set_major_formatter("{x:g} %")
    legend_below(figure, quality)
    return figure


def gap_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """Every accepted run: its distance to the best known STE against its time."""
    accepted = [row for row in rows if row.feasible]
    if not accepted:
        return None
    figure, (axes,) = canvas("bench", 1, 1, (7.0, 4.4))
    for label, group in by_label(accepted).items():
        distances = [drawn_distance(row, known) for row in group]
        axes.plot([row.solve_s for row in group], distances, **_points(styles[label]), label=label)
    axes.set(
        xscale="log", yscale="log", xlabel="time of one solve", ylabel="distance below the best known STE"
    )
    axes.set_ylim(LEAST / 2, 2)
    percent_axis(axes.yaxis)
    seconds_axis(axes.xaxis)
    legend_below(figure, axes)
    return figure


def convergence_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """How STE (full markers) and bound (hollow) approach the best known STE, one instance a panel."""
    instances = _telling_instances(rows, known)
    if not instances:
        return None
    columns = min(len(instances), 3)
    lines = math.ceil(len(instances) / columns)
    figure, panels = canvas(
        "bench", lines, columns, (max(5.0, 3.0 * columns + 0.6), 2.4 * lines + 0.9), shared=True
    )
    for axes, group in zip(panels, instances, strict=False):
        best = known[group[0].fingerprint].ste
        for row in group:
            seconds, ste, bound = np.array(row.trace).T
            look = {**styles[row.label], "linewidth": 1.5, "markersize": 4, "drawstyle": "steps-post"}
            below = {"linestyle": "-", "label": row.label}
            above = {"linestyle": "--", "markerfacecolor": "white"}
            for distance, line in ((1 - ste / best, below), (bound / best - 1, above)):
                shown = np.isfinite(distance) & (seconds > 0)
                if shown.any():
                    axes.plot(seconds[shown], np.maximum(distance[shown], LEAST), **{**look, **line})
        axes.set(xscale="log", yscale="log", title=group[0].instance)
        percent_axis(axes.yaxis)
        seconds_axis(axes.xaxis)
    for hidden in panels[len(instances) :]:
        hidden.set_visible(False)
    for axes in panels[max(0, len(instances) - columns) : len(instances)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("time")
    figure.supylabel("distance to the best known STE", fontsize=9)
    panels[0].plot(
        [], [], "--o", color="0.4", markersize=4, markerfacecolor="white", label="proved bound, above"
    )
    legend_below(figure, *panels)
    return figure


def speed_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """Median time against the number of clients, with a line of linear growth."""
    seconds = {label: by_size for label, by_size in median_seconds(rows).items() if len(by_size) > 1}
    if not seconds:
        return None
    figure, (axes,) = canvas("bench", 1, 1, (6.0, 4.4))
    for label, by_size in seconds.items():
        axes.plot(list(by_size), list(by_size.values()), **line_look(styles[label], marker=True), label=label)
    sizes = np.array(sorted({size for by_size in seconds.values() for size in by_size}))
    least = min(value / size for by_size in seconds.values() for size, value in by_size.items())
    axes.plot(sizes, 0.5 * least * sizes, color="0.6", linewidth=1, label="linear growth")
    axes.set(xscale="log", yscale="log", xlabel="clients", ylabel="median time of one solve")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    seconds_axis(axes.yaxis)
    legend_below(figure, axes)
    return figure


REPORT: Final[Mapping[str, Picture]] = {
    "distance_by_family.png": family_figure,
    "performance_profile.png": profile_figure,
    "distance_against_time.png": gap_figure,
    "convergence.png": convergence_figure,
    "time_against_clients.png": speed_figure,
}
"""The pictures of every report, by file name."""


def solvable(rows: Sequence[Row], known: Mapping[str, Known]) -> list[Row]:
    """The rows on instances for which some solver found an accepted allocation."""
    return [row for row in rows if math.isfinite(known[row.fingerprint].ste)]


def drawn_distance(row: Row, known: Mapping[str, Known]) -> float:
    """The shortfall, raised to the least that a logarithmic axis shows."""
    return max(shortfall(row, known), LEAST)


def _telling_instances(rows: Sequence[Row], known: Mapping[str, Known]) -> list[list[Row]]:
    """For up to six of the largest families and sizes, the rows of the instance with the most traces."""
    traced: dict[str, list[Row]] = {}
    for row in solvable(rows, known):
        if len(row.trace) > 1:
            traced.setdefault(row.fingerprint, []).append(row)
    chosen: dict[tuple[int, str], list[Row]] = {}
    for group in traced.values():
        kind = (-group[0].clients, group[0].family)
        if len(group) > len(chosen.get(kind, ())):
            chosen[kind] = group
    largest = sorted(chosen, key=lambda kind: kind[0])[:PANELS]
    return [chosen[kind] for kind in sorted(largest, key=lambda kind: -kind[0])]


def line_look(style: Look, *, marker: bool = False) -> dict[str, Any]:
    """A line in a solver's style, without its marker unless asked for."""
    return {**style, "marker": style["marker"] if marker else None, "linewidth": 1.8}


def _points(style: Look) -> dict[str, Any]:
    return {
        "color": style["color"],
        "marker": style["marker"],
        "linestyle": "",
        "markersize": 6,
        "alpha": 0.75,
        "markeredgewidth": 0,
    }


def percent_axis(axis: Axis) -> None:
    """Every second decade in percent; the lowest stands for everything below it too."""
    from matplotlib.ticker import LogLocator

    def text(value: float, _: float) -> str:
        return f"{'≤ ' if value <= LEAST else ''}{100 * value:g} %"

    axis.set_major_locator(LogLocator(base=100.0))
    axis.set_major_formatter(text)
    _decades(axis)


def seconds_axis(axis: Axis) -> None:
    """Times with fitting units."""
    axis.set_major_formatter(lambda value, _: seconds_text(value))
    _decades(axis)


def _decades(axis: Axis) -> None:
    """Label decades only: labels between them would overlap."""
    from matplotlib.ticker import NullFormatter

    axis.set_minor_formatter(NullFormatter())
