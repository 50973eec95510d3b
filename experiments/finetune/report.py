"""Report of fine-tuning runs: table of results, accuracy curves, Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from ...benchmarks.report.drawing import canvas, legend_below, lines, looks, save_figure
from ...benchmarks.report.text_table import TextTable, seconds_text
from .checkpoint import RoundLog
from .config import METHODS, Config
from .run_records import curve, figures

BARS: Final = "▁▂▃▄▅▆▇█"
CURVE_COLUMNS: Final = 12
PICTURE: Final = "accuracy.png"

Runs = Mapping[str, Sequence[RoundLog]]
"""Finished rounds by label."""


def labels(configs: Sequence[Config]) -> list[str]:
    """Short labels of runs: the scheme, and every other trait in which the runs that have it differ."""
    traits = [config.traits for config in configs]
    names = list(dict.fromkeys(name for entry in traits for name in entry))
    varied = [
        name
        for name in names
        if name != "method" and len({entry[name] for entry in traits if name in entry}) > 1
    ]
    found = []
    for entry in traits:
        parts = [entry[name] for name in varied if name in entry]
        found.append(f"{entry['method']} ({', '.join(parts)})" if parts else entry["method"])
    return found


def results_table(title: str, runs: Runs, target: float) -> TextTable:
    """One line per run: final accuracies, the curve, costs of the uplink; bits if any client had a choice."""
    ends = ("scheme", "top-1", "K at test", "curve", "mean K", "STE", "MB up", "air time", "energy")
    goals = tuple(f"{cost} to {100 * target:.3g} %" for cost in ("rounds", "air", "energy"))
    cells = tuple(_line(label, logs, target) for label, logs in runs.items())
    chosen = [figures(logs, target).mean_bits for logs in runs.values()]
    if all(bits is None for bits in chosen):
        return TextTable(title=title, columns=(*ends, *goals), lines=cells)
    bits = ["–" if bits is None else f"{bits:.1f}" for bits in chosen]
    cells = tuple((*line, depth) for line, depth in zip(cells, bits, strict=True))
    return TextTable(title=title, columns=(*ends, *goals, "mean bits"), lines=cells)


def markdown(
    table: TextTable, configs: Sequence[Config], runs: Runs, notes: Sequence[str], pictures: Sequence[str]
) -> str:
    """Report in Markdown: table, pictures, notes, clients left out, settings."""
    parts = [f"# Fine-tuning\n\n{table.markdown()}"]
    parts += [f"![Accuracy over rounds and over air time]({name})\n" for name in pictures]
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes) + "\n")
    left_out = [line for label, logs in runs.items() for line in _left_out(label, logs)]
    if left_out:
        parts.append("## Left out\n\n" + "\n".join(f"- {line}" for line in left_out) + "\n")
    first, *others = (config.as_dict() for config in configs)
    shared = {name: value for name, value in first.items() if all(other[name] == value for other in others)}
    settings = "\n".join(f"- {name}: {value}" for name, value in shared.items())
    parts.append(f"## Settings in common\n\n{settings}\n")
    return "\n".join(parts)


def save_curves(runs: Runs, folder: Path) -> list[str]:
    """Draw accuracy over rounds and over simulated uplink time into a PNG file and return its name.

    A training scheme keeps its colour, marker and line in every picture of the project.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        FileFormatError: the folder cannot be written.
    """
    figure, (by_round, by_uplink) = canvas("finetune", 1, 2, (9.0, 3.9), shared_y=True)
    points = [asdict(point) for label, logs in runs.items() for point in curve(label, logs)]
    rows = [{**point, "top1_percent": 100 * point["top1"]} for point in points]
    uploaded = {row["run"] for row in rows if row["air_s"] > 0}
    styles = looks(runs, METHODS)
    lines(by_round, rows, "round", "top1_percent", "run", styles)
    lines(by_uplink, [row for row in rows if row["run"] in uploaded], "air_s", "top1_percent", "run", styles)
    by_round.set(xlabel="round", ylabel="top-1 accuracy, %", ylim=(0, 101))
    by_uplink.set(xlabel="simulated air time, s")
    legend_below(figure, by_round)
    save_figure(figure, folder / PICTURE)
    return [PICTURE]


def _line(label: str, logs: Sequence[RoundLog], target: float) -> tuple[str, ...]:
    found = figures(logs, target)

    def cost(value: float | None, text: Callable[[float], str]) -> str:
        return "–" if value is None or not found.air_s else text(value)

    return (
        label,
        _percent(found.top1),
        _percent(found.top1_selected),
        _curve([log.accuracy for log in logs if log.accuracy is not None]),
        f"{found.mean_tokens:.1f}" if found.mean_tokens is not None else "–",
        f"{found.ste:,.0f}/s" if found.ste is not None else "–",
        f"{found.uplink_mb:.2f}",
        cost(found.air_s, seconds_text),
        cost(found.energy_j, _millijoules),
        str(found.rounds_to_target or "–"),
        cost(found.air_s_to_target, seconds_text),
        cost(found.energy_j_to_target, _millijoules),
    )


def _left_out(label: str, logs: Sequence[RoundLog]) -> list[str]:
    rounds: dict[tuple[str, str], list[int]] = {}
    for log in logs:
        for client, reason in log.left_out.items():
            rounds.setdefault((client, reason), []).append(log.index)
    return [
        f"{label}: client {client}, round {', '.join(map(str, where))}: {why}"
        for (client, why), where in rounds.items()
    ]


def _millijoules(energy_j: float) -> str:
    return f"{1e3 * energy_j:.4g} mJ"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _curve(shares: Sequence[float]) -> str:
    """Sparkline of accuracies from 0 to 1, evenly thinned, the last one kept."""
    count = min(len(shares), CURVE_COLUMNS)
    chosen = [shares[-1 - (len(shares) - 1) * step // max(count - 1, 1)] for step in reversed(range(count))]
    return "".join(BARS[min(int(share * len(BARS)), len(BARS) - 1)] for share in chosen)
