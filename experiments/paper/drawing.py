"""Empty figures in the style of the benchmark's, for printing and for colour-blind readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...benchmarks.report.plots import COLOURS, LINES, LOOK, MARKERS, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE: Final[dict[str, Any]] = {"color": "0.35", "linewidth": 1.2}
"""Look of the paper's values, grades A and B."""

DASHED: Final[dict[str, Any]] = {"color": "0.35", "linewidth": 1.2, "linestyle": (0, (4, 3))}
"""Of grade C."""


def look(number: int, *, markers: bool = True) -> dict[str, Any]:
    """Colour, line and marker of a curve."""
    found: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "linewidth": 1.8,
    }
    if markers:
        found.update(marker=MARKERS[number % len(MARKERS)], markersize=5)
    return found


def canvas(
    lines: int, columns: int, inches: tuple[float, float], *, shared: bool = False, shared_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure and its panels, row by row.

    Args:
        lines: of panels.
        columns: of panels.
        inches: width and height.
        shared: both axes are the same in all panels.
        shared_y: the vertical axis is.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib("reproduce")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(LOOK):  # type: ignore[arg-type,unused-ignore]
        figure = Figure(figsize=inches, layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharex=shared, sharey=shared or shared_y)
    for axes in panels.flat:
        axes.tick_params(labelsize=9)
    return figure, list(panels.flat)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend below all panels."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
