"""Pictures of the benchmark page; matplotlib is imported where it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..rows import Row
from .drawing import canvas, legend_below
from .metrics import Known, by_label, performance_profile
from .plots import (
    LEAST,
    Picture,
    Style,
    drawn_distance,
    line_look,
    percent_axis,
    seconds_axis,
)
from .standings import CLOSE, Standing, competes, is_close, standings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

SPREAD: Final = (10, 90)
"""Percentiles between which times are drawn as a bar."""


def quality_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """Share of instances by distance below the best known STE, one panel per size."""
    figure, panels, by_size = _panels_by_size(rows, known)
    distances = np.logspace(np.log10(LEAST), 0, 300)
    for axes, group in zip(panels, by_size, strict=True):
        for label, entries in by_label(group).items():
            reached = np.sort([drawn_distance(row, known) for row in entries])
            axes.plot(distances, _shares(reached, distances), **line_look(styles[label]), label=label)
        axes.axvline(CLOSE, color="0.6", linewidth=1, label="1e-4")
        axes.set_xscale("log")
        percent_axis(axes.xaxis)
    return _finished(figure, panels, "distance below the best known STE")


def answers_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """Data profile: share of instances that are answered closely within a time, one panel per size."""
    figure, panels, by_size = _panels_by_size(rows, known)
    times = [row.solve_s for group in by_size for row in group if row.solve_s > 0]
    ends = (min(times) / 2, 2 * max(times)) if times else (1e-3, 1.0)
    grid = np.geomspace(*ends, 400)
    for axes, group in zip(panels, by_size, strict=True):
        for label, entries in by_label(group).items():
            answered = np.sort([row.solve_s if is_close(row, known) else np.inf for row in entries])
            axes.plot(grid, _shares(answered, grid), **line_look(styles[label]), label=label)
        axes.set_xscale("log")
        seconds_axis(axes.xaxis)
    return _finished(figure, panels, "time of one solve")


def time_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """Left: times against size, median and spread. Right: Dolan-Moré profile of time."""
    competing = [row for row in rows if competes(row, known)]
    figure, (growth, profile) = canvas("bench", 1, 2, (9.0, 4.2))
    labels = by_label(competing)
    for number, (label, entries) in enumerate(labels.items()):
        sizes = sorted({row.clients for row in entries})
        seconds = [[row.solve_s for row in entries if row.clients == size] for size in sizes]
        low, middle, high = (
            np.array([np.nanpercentile(values, share) for values in seconds])
            for share in (SPREAD[0], 50, SPREAD[1])
        )
        # Bars side by side: most sizes are shared by all solvers.
        shifted = np.array(sizes) * 1.05 ** (number - len(labels) / 2)
        growth.errorbar(
            shifted,
            middle,
            yerr=(middle - low, high - middle),
            elinewidth=1,
            label=label,
            **line_look(styles[label], marker=True),
        )
    growth.set(xscale="log", yscale="log", xlabel="clients", ylabel="time of one solve")
    growth.set_title(f"Time: median, {SPREAD[0]} to {SPREAD[1]} % of the runs as bars")
    ticks = sorted({row.clients for row in competing})
    growth.set_xticks(ticks, [f"{size:,}" for size in ticks])
    growth.set_xticks([], minor=True)
    seconds_axis(growth.yaxis)
    ratios = np.logspace(0, 4, 200)
    for label, shares in performance_profile(competing, known, ratios.tolist()).items():
        profile.plot(ratios, 100 * np.array(shares), **line_look(styles[label]))
    profile.set(xscale="log", xlabel="time over that of the fastest solver on the instance")
    profile.set_title("Profile: instances answered to the asked gap")
    profile.xaxis.set_major_formatter("{x:,.0f}x")
    _share_axis(profile)
    profile.set_ylabel("share of instances")
    legend_below(figure, growth)
    return figure


def map_figure(rows: Sequence[Row], known: Mapping[str, Known], styles: Style) -> Figure | None:
    """Distance below the best known STE, families by solvers, one field per size; hatched if not run."""
    from matplotlib.colors import LogNorm

    found = standings(rows, known, lambda row: (row.family, row.label, row.clients))
    names = list(dict.fromkeys(name for name, _, _ in found))
    labels = [label for label in styles if any(label == entry for _, entry, _ in found)]
    sizes = sorted({clients for _, _, clients in found})
    figure, panels = canvas("bench", 2, 1, (8.5, 1.3 + 0.5 * len(names)), shared=True)
    for axes, (title, figure_of) in zip(panels, _DISTANCES.items(), strict=True):
        fields = np.full((len(names), len(labels) * len(sizes)), np.nan)
        for (name, label, clients), entry in found.items():
            column = labels.index(label) * len(sizes) + sizes.index(clients)
            fields[names.index(name), column] = max(figure_of(entry), LEAST)
        scale = LogNorm(LEAST, 1.0)
        image = axes.imshow(fields, cmap="cividis_r", norm=scale, aspect="auto", interpolation="none")
        for line, column in np.argwhere(np.isnan(fields)):
            axes.add_patch(_hatched(column - 0.5, line - 0.5))
        axes.set_title(title)
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks(np.arange(len(labels)) * len(sizes) + (len(sizes) - 1) / 2, labels)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for border in np.arange(1, len(labels)) * len(sizes) - 0.5:
            axes.axvline(border, color="white", linewidth=4)
        for border in np.arange(1, len(names)) - 0.5:
            axes.axhline(border, color="white", linewidth=1.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
    listed = ", ".join(f"{size:,}" for size in sizes)
    panels[-1].set_xlabel(f"fields of a solver from left to right: {listed} clients; hatched: not run")
    bar = figure.colorbar(image, ax=panels, aspect=30, pad=0.01)
    bar.set_label("distance below the best known STE")
    percent_axis(bar.ax.yaxis)
    return figure


_DISTANCES: Final[Mapping[str, Callable[[Standing], float]]] = {
    "Median of the seeds": lambda entry: entry.median_below,
    "Worst of the seeds": lambda entry: entry.worst_below,
}


def _hatched(left: float, bottom: float) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((left, bottom), 1, 1, facecolor="white", edgecolor="0.7", hatch="////", linewidth=0)


PICTURES: Final[Mapping[str, tuple[Picture, str]]] = {
    "quality": (
        quality_figure,
        "Share of instances by distance below the optimum, for each number of clients",
    ),
    "map": (
        map_figure,
        "Distance below the optimum by family, solver and number of clients, median and worst",
    ),
    "answers": (answers_figure, "Share of instances answered within 1e-4 of the optimum against time"),
    "time": (time_figure, "Time against the number of clients, and the performance profile"),
}
"""The pictures of the page and their descriptions, by name."""


def _panels_by_size(
    rows: Sequence[Row], known: Mapping[str, Known]
) -> tuple[Figure, list[Axes], list[list[Row]]]:
    competing = [row for row in rows if competes(row, known)]
    sizes = sorted({row.clients for row in competing})
    by_size = [[row for row in competing if row.clients == size] for size in sizes]
    lines = -(-len(sizes) // 2)
    figure, panels = canvas("bench", lines, min(2, len(sizes)), (9.2, 0.9 + 2.6 * lines), shared=True)
    for hidden in panels[len(sizes) :]:
        hidden.set_visible(False)
    for axes, size in zip(panels, sizes, strict=False):
        axes.set_title(f"{size:,} clients")
    return figure, panels[: len(sizes)], by_size


def _shares(ordered: Any, limits: Any) -> Any:
    """Percent of the ordered values that are within each limit."""
    return 100 * np.searchsorted(ordered, limits, side="right") / len(ordered)


def _finished(figure: Figure, panels: Sequence[Axes], label: str) -> Figure:
    for axes in panels:
        _share_axis(axes)
    for axes in panels[-2:]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(label)
    for axes in panels[::2]:
        axes.set_ylabel("share of instances")
    legend_below(figure, *panels)
    return figure


def _share_axis(axes: Axes) -> None:
    axes.set_ylim(-3, 103)
    axes.yaxis.set_major_formatter("{x:g} %")
