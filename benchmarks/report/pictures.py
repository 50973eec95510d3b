"""Pictures of how solvers stand, for reports and the page; matplotlib is imported where it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .drawing import (
    Look,
    canvas,
    legend_below,
    lines,
    looks,
    project_style,
    require_matplotlib,
    save_figure,
    solver_names,
)
from .objective_text import wording
from .records import grouped
from .standing import (
    CLOSE,
    Judged,
    Standing,
    by_label,
    gap_between,
    shortfall,
    standings,
    time_ratios,
)
from .text_table import seconds_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

LEAST: Final = 1e-6
"""Smaller distances are drawn here."""

SPREAD: Final = (10, 90)
"""Percentiles between which times are drawn as a bar."""

INSTANCES: Final = 6
"""Largest number of instances whose convergence is drawn."""

Looks = Mapping[str, Look]


def quality_figure(judged: Sequence[Judged], styles: Looks) -> Figure | None:
    """Share of instances by distance to the best known value, one panel per size."""
    limits = np.logspace(np.log10(LEAST), 0, 300)
    return _shares_by_size(judged, styles, _drawn, limits, _distance_label(judged), percent_axis, mark=CLOSE)


def answers_figure(judged: Sequence[Judged], styles: Looks) -> Figure | None:
    """Data profile: share of instances that are answered closely within a time, one panel per size."""
    times = [entry.row.solve_s for entry in judged if entry.competes and entry.row.solve_s > 0]
    limits = np.geomspace(min(times) / 2, 2 * max(times), 400) if times else np.ones(1)

    def answered(entry: Judged) -> float:
        return entry.row.solve_s if entry.close else math.inf

    return _shares_by_size(judged, styles, answered, limits, "time of one solve", seconds_axis)


def time_figure(judged: Sequence[Judged], styles: Looks) -> Figure | None:
    """Left: times against size, median and spread. Right: Dolan-Moré profile of time."""
    competing = [entry for entry in judged if entry.competes]
    timed = [entry.row for entry in competing if not math.isnan(entry.row.solve_s)]
    if not timed:
        return None
    figure, (growth, profile) = canvas("bench", 1, 2, (9.0, 4.2))
    labels = list(by_label(competing))
    # Bars side by side: most sizes are shared by all solvers.
    shift = {label: 1.05 ** (number - len(labels) / 2) for number, label in enumerate(labels)}
    times = [
        {"solver": row.label, "clients": row.clients * shift[row.label], "time": row.solve_s} for row in timed
    ]
    lines(growth, times, "clients", "time", "solver", styles, spread=SPREAD, bars=True)
    sizes = sorted({row.clients for row in timed})
    if len(sizes) > 1:
        least_s = min(row.solve_s for row in timed if row.clients == sizes[0])
        linear = [least_s * size / sizes[0] for size in sizes]
        growth.plot(sizes, linear, color="0.6", linewidth=1, label="linear growth")
    growth.set(xscale="log", yscale="log", xlabel="clients", ylabel="time of one solve")
    growth.set_title(f"Time: median, {SPREAD[0]} to {SPREAD[1]} % of the runs as bars")
    growth.set_xticks(sizes, [f"{size:,}" for size in sizes])
    growth.set_xticks([], minor=True)
    seconds_axis(growth.yaxis)
    _draw_shares(profile, time_ratios(competing), np.logspace(0, 4, 200), styles)
    profile.set(xlabel="time over that of the fastest solver on the instance", ylabel="share of instances")
    profile.set_title("Profile: instances answered to the asked gap")
    profile.xaxis.set_major_formatter("{x:,.0f}x")
    legend_below(figure, growth)
    return figure


def map_figure(judged: Sequence[Judged], styles: Looks) -> Figure | None:
    """Distance to the best known value, families by solvers, one field per size; hatched if not run."""
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    competing = [entry for entry in judged if entry.competes]
    found = standings(competing, lambda entry: (entry.row.family, entry.row.label, entry.row.clients))
    names = list(dict.fromkeys(name for name, _, _ in found))
    labels = [label for label in styles if any(label == entry for _, entry, _ in found)]
    sizes = sorted({clients for _, _, clients in found})
    if not names:
        return None
    distances: dict[str, Callable[[Standing], float]] = {
        "Median of the seeds": lambda group: group.shortfall.median,
        "Worst of the seeds": lambda group: group.shortfall.worst,
    }
    figure, panels = canvas("bench", 2, 1, (8.5, 1.3 + 0.5 * len(names)), shared=True)
    for axes, (title, distance) in zip(panels, distances.items(), strict=True):
        fields = np.full((len(names), len(labels) * len(sizes)), np.nan)
        for (name, label, clients), group in found.items():
            column = labels.index(label) * len(sizes) + sizes.index(clients)
            fields[names.index(name), column] = max(distance(group), LEAST)
        scale = LogNorm(LEAST, 1.0)
        image = axes.imshow(fields, cmap="cividis_r", norm=scale, aspect="auto", interpolation="none")
        hatched: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.7", "hatch": "////", "linewidth": 0}
        for line, column in np.argwhere(np.isnan(fields)):
            axes.add_patch(Rectangle((column - 0.5, line - 0.5), 1, 1, **hatched))
        axes.set_title(title)
        axes.set_yticks(range(len(names)), names)
        middle = np.arange(len(labels)) * len(sizes) + (len(sizes) - 1) / 2
        axes.set_xticks(middle, [label.replace(":", "\n") for label in labels])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for border in np.arange(1, len(labels)) * len(sizes) - 0.5:
            axes.axvline(border, color="white", linewidth=4)
        for border in np.arange(1, len(names)) - 0.5:
            axes.axhline(border, color="white", linewidth=1.5)
        axes.spines[:].set_visible(False)
    listed = ", ".join(f"{size:,}" for size in sizes)
    panels[-1].set_xlabel(f"fields of a solver from left to right: {listed} clients; hatched: not run")
    bar = figure.colorbar(image, ax=panels, aspect=30, pad=0.01)
    bar.set_label(_distance_label(judged))
    percent_axis(bar.ax.yaxis)
    return figure


def family_figure(judged: Sequence[Judged], styles: Looks) -> Figure | None:
    """Every run by family: how much worse than the best known value it ended."""
    competing = [entry for entry in judged if entry.competes]
    names = list(dict.fromkeys(entry.row.family for entry in competing))
    groups = by_label(competing)
    if len(names) < 2:
        return None
    figure, (axes,) = canvas("bench", 1, 1, (7.5, 1.1 + len(names) * (0.2 + 0.07 * len(groups))))
    for number, (label, group) in enumerate(groups.items()):
        offset = 0.8 * ((number + 0.5) / len(groups) - 0.5)
        places = [names.index(entry.row.family) + offset for entry in group]
        axes.plot([_drawn(entry) for entry in group], places, **_points(styles[label]), label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.tick_params(axis="y", which="both", length=0)
    axes.grid(visible=False, axis="y", which="major")
    axes.grid(visible=True, axis="y", which="minor")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xscale="log", xlabel=f"{_distance_label(judged)} (100 % without an accepted allocation)")
    percent_axis(axes.xaxis)
    legend_below(figure, axes)
    return figure


def gap_figure(judged: Sequence[Judged], styles: Looks) -> Figure | None:
    """Every accepted run: its distance to the best known value against its time."""
    groups = by_label(entry for entry in judged if entry.row.feasible)
    if not groups:
        return None
    figure, (axes,) = canvas("bench", 1, 1, (7.0, 4.4))
    for label, group in groups.items():
        seconds = [entry.row.solve_s for entry in group]
        axes.plot(seconds, [_drawn(entry) for entry in group], **_points(styles[label]), label=label)
    axes.set(xscale="log", yscale="log", xlabel="time of one solve", ylabel=_distance_label(judged))
    percent_axis(axes.yaxis)
    axes.set_ylim(LEAST / 2, 2)
    seconds_axis(axes.xaxis)
    legend_below(figure, axes)
    return figure


def convergence_figure(judged: Sequence[Judged], styles: Looks) -> Figure | None:
    """How value (full markers) and bound (hollow) approach the best known value, one instance a panel."""
    instances = _telling_instances(judged)
    if not instances:
        return None
    columns = min(len(instances), 3)
    height = math.ceil(len(instances) / columns)
    inches = (max(5.0, 3.0 * columns + 0.6), 2.4 * height + 0.9)
    figure, panels = _panels(len(instances), columns, inches)
    for axes, group in zip(panels, instances, strict=True):
        known = group[0].known
        for entry in group:
            seconds = np.array([second for second, _, _ in entry.row.trace])
            look = {**styles[entry.row.label], "markersize": 4, "drawstyle": "steps-post"}
            found = {"linestyle": "-", "label": entry.row.label}
            proved = {"linestyle": "--", "markerfacecolor": "white"}
            worse = np.array([shortfall(known, value) for _, value, _ in entry.row.trace])
            beyond = np.array(
                [gap_between(known.goal, known.value, bound) for _, _, bound in entry.row.trace]
            )
            for distance, line in ((worse, found), (beyond, proved)):
                shown = np.isfinite(distance) & (seconds > 0)
                if shown.any():
                    axes.plot(seconds[shown], np.maximum(distance[shown], LEAST), **{**look, **line})
        axes.set(xscale="log", yscale="log", title=group[0].row.instance)
        percent_axis(axes.yaxis)
        seconds_axis(axes.xaxis)
    for axes in panels[-columns:]:
        axes.set_xlabel("time")
    words = wording(entry.row.goal for entry in judged)
    figure.supylabel(f"distance to the best known {words.value}", fontsize=9)
    bound_look: dict[str, Any] = {"color": "0.4", "markersize": 4, "markerfacecolor": "white"}
    label = "proved bound" if words.beyond == "off" else f"proved bound, {words.beyond}"
    panels[0].plot([], [], "--o", **bound_look, label=label)
    legend_below(figure, *panels)
    return figure


def _distance_label(judged: Sequence[Judged]) -> str:
    words = wording(entry.row.goal for entry in judged)
    return f"distance {words.worse} the best known {words.value}"


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


def _drawn(entry: Judged) -> float:
    """The distance to the best, raised to the least that a logarithmic axis shows."""
    return max(entry.shortfall, LEAST)


def _points(look: Look) -> dict[str, Any]:
    """A solver's look without line, for single runs."""
    return {**look, "linestyle": "", "markersize": 6, "alpha": 0.75, "markeredgewidth": 0}


def _draw_shares(axes: Axes, figures: Mapping[str, Sequence[float]], limits: Any, styles: Looks) -> None:
    """Lines of the percentage of a solver's instances whose figure is within each limit."""
    points = []
    for label, values in figures.items():
        shares = 100 * np.searchsorted(np.sort(values), limits, side="right") / len(values)
        points += [{"solver": label, "x": x, "share": y} for x, y in zip(limits, shares, strict=True)]
    lines(axes, points, "x", "share", "solver", styles, markers=False)
    axes.set(xscale="log", ylim=(-3, 103))
    axes.yaxis.set_major_formatter("{x:g} %")


def _shares_by_size(
    judged: Sequence[Judged],
    styles: Looks,
    figure_of: Callable[[Judged], float],
    limits: Any,
    label: str,
    format_axis: Callable[[Axis], None],
    mark: float | None = None,
) -> Figure | None:
    """Shares of instances, one panel per number of clients; None without a feasible instance."""
    groups = grouped((entry for entry in judged if entry.competes), lambda entry: entry.row.clients)
    if not groups:
        return None
    columns = min(2, len(groups))
    figure, panels = _panels(len(groups), columns, (9.2, 0.9 + 2.6 * -(-len(groups) // 2)))
    for axes, (size, group) in zip(panels, sorted(groups.items()), strict=True):
        values = {name: [figure_of(entry) for entry in rows] for name, rows in by_label(group).items()}
        _draw_shares(axes, values, limits, styles)
        if mark is not None:
            axes.axvline(mark, color="0.6", linewidth=1, label=f"{mark:.0e}".replace("e-0", "e-"))
        axes.set_title(f"{size:,} clients")
        format_axis(axes.xaxis)
    for axes in panels[-columns:]:
        axes.set_xlabel(label)
    for axes in panels[::columns]:
        axes.set_ylabel("share of instances")
    legend_below(figure, *panels)
    return figure


def _panels(count: int, columns: int, inches: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """So many panels of equal axes; the lowest of each column has its labels, places left over are hidden."""
    figure, panels = canvas("bench", -(-count // columns), columns, inches, shared=True)
    for hidden in panels[count:]:
        hidden.set_visible(False)
    for axes in panels[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def _telling_instances(judged: Sequence[Judged]) -> list[list[Judged]]:
    """For up to six of the largest families and sizes, the rows of the instance with the most traces."""
    traced = [entry for entry in judged if entry.competes and len(entry.row.trace) > 1]
    chosen: dict[tuple[int, str], list[Judged]] = {}
    for group in grouped(traced, lambda entry: entry.row.fingerprint).values():
        kind = (-group[0].row.clients, group[0].row.family)
        if len(group) > len(chosen.get(kind, ())):
            chosen[kind] = group
    largest = sorted(chosen, key=lambda kind: kind[0])[:INSTANCES]
    return [chosen[kind] for kind in sorted(largest, key=lambda kind: -kind[0])]


PICTURES: Final[Mapping[str, Callable[[Sequence[Judged], Looks], Figure | None]]] = {
    "quality": quality_figure,
    "map": map_figure,
    "answers": answers_figure,
    "time": time_figure,
    "distance_by_family": family_figure,
    "distance_against_time": gap_figure,
    "convergence": convergence_figure,
}
"""All pictures by name: each draws rows that ran, solvers in their looks; None where nothing is to show."""


def save_pictures(
    judged: Sequence[Judged], folder: Path, names: Iterable[str] = PICTURES, prefix: str = ""
) -> list[str]:
    """Draw what the rows have to show into PNG files and return their names.

    Args:
        judged: rows of the solvers to compare, in the order of the legends; those that did not run are
            left out.
        folder: an existing one.
        names: of `PICTURES`.
        prefix: of the files' names.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        FileFormatError: the folder cannot be written.
    """
    require_matplotlib("bench")
    ran = [entry for entry in judged if entry.row.ran and entry.row.fingerprint]
    styles = looks(by_label(ran), solver_names())
    drawn = []
    with project_style():
        for name in names:
            figure = PICTURES[name](ran, styles)
            if figure is not None:
                drawn.append(f"{prefix}{name}.png")
                save_figure(figure, folder / drawn[-1])
    return drawn
