"""Figures in one style: a solver or training scheme keeps its colour, marker and line in every picture.

Colours are those of Okabe and Ito, then four of Tol, told apart by colour-blind readers; markers and lines
differ too, so that a grey print is readable. matplotlib is imported where it is used.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import numpy as np

from ...solver import MissingDependencyError, solvers
from ...solver.files.file_access import write_atomically

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C"),
    *("#882255", "#999933", "#332288", "#44AA99"),
)
MARKERS: Final = "osD^vPX*<>hp"
LINES: Final = ("-", "--", "-.", ":")
SHADES: Final = (-0.5, 0.0, 0.45)
"""Colours of option variants: towards black (negative) or white by this share."""

VARIANTS: Final = len(SHADES) * (len(MARKERS) - 1)
"""Looks of the option variants of one name."""

REFERENCE: Final[dict[str, Any]] = {"color": "0.35", "linewidth": 1.2}
"""Look of a line at the paper's value, grades A and B."""

REFERENCE_CURVE: Final[dict[str, Any]] = {**REFERENCE, "linestyle": (0, (4, 3))}
"""Of a value that was read off a curve, grade C."""

SETTINGS: Final[dict[str, Any]] = {
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
}
"""Settings of matplotlib in all pictures."""

Look = Mapping[str, Any]
"""Keywords of matplotlib's `plot`: color, marker, linestyle and their sizes."""


def require_matplotlib(who: str) -> None:
    """Raise MissingDependencyError, in the name of `who`, unless matplotlib can be imported."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            who, "no package matplotlib", "an installation with it", 'Run pip install "stsflora[plot]"'
        ) from error


def project_style() -> AbstractContextManager[None]:
    """Context in which what is drawn has the font sizes and lines of the project."""
    from matplotlib import rc_context

    return rc_context(SETTINGS)  # type: ignore[arg-type,unused-ignore]


def canvas(
    who: str,
    rows: int,
    columns: int,
    inches: tuple[float, float],
    *,
    shared: bool = False,
    shared_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """An empty figure in the project's style, and its panels row by row.

    Args:
        who: the command that draws, named where matplotlib is missing.
        rows: of panels.
        columns: of panels.
        inches: width and height.
        shared: both axes are the same in all panels.
        shared_y: the vertical axis is.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require_matplotlib(who)
    from matplotlib.figure import Figure

    with project_style():
        figure = Figure(figsize=inches, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared or shared_y)
    for axes in panels.flat:
        axes.tick_params(labelsize=9)  # ticks are made when drawn, outside the style
    return figure, list(panels.flat)


def look(number: int) -> dict[str, Any]:
    """Colour, marker and line of a place in an order."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[(number + number // len(COLOURS)) % len(LINES)],
        "linewidth": 1.8,
        "markersize": 5,
    }


def solver_names() -> tuple[str, ...]:
    """The order in which solvers get their looks: that of registration."""
    return tuple(info.name for info in solvers())


def looks(labels: Iterable[str], order: Sequence[str] = ()) -> dict[str, Look]:
    """Colour, marker and line of each label.

    A name in `order` has the look of its place there, whichever labels are drawn. Its option variants, such
    as "relaxed:engine=ecos" or "st-sflora (full)", have a shade of its colour and a marker of their own.
    Labels of no such name follow by position.

    Args:
        labels: of all that is drawn in one picture.
        order: `solver_names()`, the names of the training schemes, or none for other curves.
    """
    found: dict[str, Look] = {}
    numbers = {name: number for number, name in enumerate(order)}
    used: dict[str, list[int]] = {name: [] for name in order}
    for label in dict.fromkeys(labels):
        name = next((name for name in order if label.startswith((f"{name}:", f"{name} ("))), None)
        if name is None:
            found[label] = look(numbers.setdefault(label, len(numbers)))
            continue
        # The label's own place; the next free one where another variant of this picture has its marker.
        first, others = crc32(label.encode()), used[name]
        different = len(MARKERS) - 1 if len(others) < len(MARKERS) - 1 else VARIANTS
        places = range(first, first + VARIANTS)
        place = next((n for n in places if all((n - other) % different for other in others)), first)
        others.append(place)
        found[label] = _variant_look(numbers[name], place)
    return found


def lines(
    axes: Axes,
    rows: Iterable[Mapping[str, Any]],
    x: str,
    y: str,
    by: str,
    styles: Mapping[str, Look] | None = None,
    *,
    spread: tuple[float, float] | None = None,
    bars: bool = False,
    markers: bool = True,
    **more: Any,
) -> None:
    """Draw one line per value of a column: the median of `y` at every `x`.

    Args:
        axes: where.
        rows: records with these columns; one or more per point.
        x: column of the horizontal axis; points are sorted by it.
        y: column of the vertical axis; nan leaves a hole.
        by: column whose values, as texts, name the lines in the legend.
        styles: look of every value of `by`, from `looks`; by position if left out.
        spread: percentiles of `y` between which a band is drawn; (0, 100) from least to largest.
        bars: draw the spread as bars instead.
        markers: with the markers of the styles.
        **more: further keywords of `Axes.plot`, for all lines.
    """
    groups: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        groups.setdefault(str(row[by]), {}).setdefault(row[x], []).append(row[y])
    styles = looks(groups) if styles is None else styles
    for label, points in groups.items():
        places = sorted(points)
        style = {**styles[label], **({} if markers else {"marker": ""}), **more, "label": label}
        middle = np.array([np.median(points[place]) for place in places])
        axes.plot(places, middle, **style)
        if spread is None:
            continue
        low, high = (np.array([np.percentile(points[place], share) for place in places]) for share in spread)
        if bars:
            bar = {"color": style["color"], "linestyle": "", "elinewidth": 1}
            axes.errorbar(places, middle, yerr=(middle - low, high - middle), **bar)
        else:
            axes.fill_between(places, low, high, color=style["color"], alpha=0.15, linewidth=0)


def legend_below(figure: Figure, *panels: Axes, columns: int | None = None) -> None:
    """One legend below all panels, each label once; as many columns as fit unless given."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if columns is None:
        entry_inches = 0.7 + 0.075 * max(map(len, entries))
        columns = max(1, min(len(entries), int(figure.get_figwidth() / entry_inches)))
    with project_style():
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure into a PNG file, atomically. Raises FileFormatError."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomically(path, buffer.getvalue())


def _variant_look(number: int, place: int) -> Look:
    """Look of an option variant of the name at a place in an order."""
    base, shade = COLOURS[number % len(COLOURS)], SHADES[place % len(SHADES)]
    towards = 255 if shade > 0 else 0
    parts = (int(base[at : at + 2], 16) for at in (1, 3, 5))
    mixed = (round(part + abs(shade) * (towards - part)) for part in parts)
    return {
        **look(number),
        "color": "#" + "".join(f"{part:02X}" for part in mixed),
        "marker": MARKERS[(number + 1 + place % (len(MARKERS) - 1)) % len(MARKERS)],
        "linestyle": LINES[(number + 1 + place) % len(LINES)],
    }
