"""The paper's figure 8: convergence of the alternating loop, ablation of its decisions, K against limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...benchmarks.report.drawing import (
    COLOURS,
    REFERENCE,
    REFERENCE_CURVE,
    canvas,
    legend_below,
    lines,
)
from ...benchmarks.report.records import Record, grouped
from ...benchmarks.report.text_table import TextTable
from ...solver import solve
from ...solver.problem import FloatArray
from .comparison import Claim, OurValue, compare, judge, paper_values
from .figures import METRICS, MIN_TOKENS, UPLOAD, WHOLE, Attention, cell_rounds, setting_text
from .report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE: Final = "share_of_optimum_percent"
PAPER_SHARE: Final = "paper_grade_c_share_of_its_best_percent"
OPTIMUM: Final[Mapping[str, Any]] = {"color": "black", "linewidth": 1.4, "label": "certified optimum"}
SETTLED: Final = 1e-3
"""A loop has settled when it is within this share of where it ends."""

ITERATIONS: Final = 12
STARTS: Final = {"min_tokens": "from K_min", "full": "from all tokens", "random": "from a random point"}
CONVERGENCE: Final = (
    Claim(
        "The loop settles within {limit:g} outer iterations",
        "B",
        lambda found: found["worst"] <= found["limit"],
        "within 0.1 % of its end after at most {worst}, by upload time, over {seeds} rounds and three "
        "starts; how far below the optimum that is, the table says",
    ),
)

ABLATION: Final[Mapping[str, Mapping[str, Any]]] = {
    "all three optimised": {},
    "without power": {"hold": "power"},
    "without bandwidth": {"hold": "bandwidth"},
    "without token selection": {"hold": "tokens", "starts": "full"},
}
"""Options of `alternating`."""

WORTH: Final = (
    Claim(
        "Removing token selection costs the most STE, then bandwidth, then power ({metric})",
        "A",
        lambda share: share["without token selection"] < share["without bandwidth"] < share["without power"],
        ", ".join(f"{name} {{{name}:.1f}} %" for name in ABLATION) + " of the certified optimum",
    ),
)

RULES: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "optimal, upload time": (UPLOAD, "exact", {}),
    "optimal, whole time": (WHOLE, "exact", {}),
    **{
        f"most that fit (eq. 41), {STARTS[start]}": (
            UPLOAD,
            "alternating",
            {"token_rule": "paper", "starts": start},
        )
        for start in ("min_tokens", "full")
    },
}
"""How K is chosen in 8c: round time, solver, options."""

SWEPT: Final = {"bandwidth_hz": "W_tot", "max_energy_j": "E_max"}
GROWTH: Final = (Claim("K grows with {limit} ({rule})", "B", lambda found: found["grows"], "{told}"),)


def figure8a(attention: Attention, seeds: int) -> Report:
    """Convergence of the alternating loop, with the certified optimum drawn in."""
    rows: list[Record] = []
    for metric in METRICS:
        rounds = cell_rounds(attention, seeds, metric)
        bounds = [solve(problem, "exact").bound for problem in rounds]
        for start, text in STARTS.items():
            options: dict[str, Any] = {"starts": start, "max_iterations": ITERATIONS, "tolerance": 0.0}
            for seed, (problem, bound) in enumerate(zip(rounds, bounds, strict=True)):
                loop = {"metric": metric, "start": text, "seed": seed}
                trace = solve(problem, "alternating", seed=seed, **options).trace
                rows += [
                    {**loop, "iteration": step, "ste_per_s": point.value, "certified_bound_per_s": bound}
                    for step, point in enumerate(trace)
                ]
    paper, key = paper_values("fig8a"), ("alternating", "outer iterations until it settles")
    limit = paper[key].value
    ours, ends, worst = [], [], 0
    for (metric, start), group in grouped(rows, itemgetter("metric", "start")).items():
        loops = list(grouped(group, itemgetter("seed")).values())
        settled = [_settled(loop) for loop in loops]
        below = [100 - _share(loop[-1]) for loop in loops]
        ours.append(OurValue(key, max(settled), (f"{start}, {metric}", "slowest to settle")))
        worst = max(worst, *settled) if metric == UPLOAD else worst
        iterations = (f"{np.median(settled):.0f}", f"{max(settled)}")
        ends.append((f"{metric}, {start}", *iterations, f"{np.median(below):.2f} %", f"{max(below):.2f} %"))
    headers = ("round time and start", "iterations, median", "slowest", "below, median", "worst")
    return Report(
        target="fig8a",
        title="Figure 8a: the alternating loop converges, and where to",
        setting=setting_text(attention, seeds)
        + f" K_min = {MIN_TOKENS}. Three starts, each block solved exactly, at most {ITERATIONS} outer "
        "iterations. The certified optimum is the bound that the exact solver proves; lines are medians "
        "over the rounds, shades their range.",
        compared=compare(paper, ours, lambda value: 0.0, at_most=True),
        statements=judge(CONVERGENCE, [{"limit": limit, "worst": worst, "seeds": seeds}]),
        tables=[TextTable("How far below the certified optimum the loop ends", headers, tuple(ends))],
        data=rows,
        figure=_draw_loops(rows, limit),
    )


def figure8b(attention: Attention, seeds: int) -> Report:
    """What is lost when one of power, bandwidth and tokens is not optimised."""
    paper = paper_values("fig8b")
    rows: list[Record] = []
    ours: list[OurValue] = []
    shares: list[Record] = []
    for metric in METRICS:
        rounds = cell_rounds(attention, seeds, metric)
        bounds = np.array([solve(problem, "exact").bound for problem in rounds])
        shares.append({"metric": metric})
        for name, options in ABLATION.items():
            stes = np.array([solve(problem, "alternating", **options).ste for problem in rounds])
            ste, share = float(stes.mean()), 100 * float((stes / bounds).mean())
            papers = 100 * paper[name, "STE"].value / paper["all three optimised", "STE"].value
            variant = {"metric": metric, "variant": name, "ste_per_s": ste}
            rows.append({**variant, SHARE: share, PAPER_SHARE: papers})
            ours.append(OurValue((name, "STE"), ste, (name, f"STE, {metric}")))
            shares[-1][name] = share
    return Report(
        target="fig8b",
        title="Figure 8b: what each decision is worth",
        setting=setting_text(attention, seeds)
        + f" K_min = {MIN_TOKENS}, E_max 0.8 J, `alternating` with one block held where it starts: equal "
        "bandwidth, the power that its first point needs, or all tokens.",
        compared=compare(paper, ours, lambda value: 0.0),
        statements=judge(WORTH, shares),
        data=rows,
        figure=_draw_ablation(rows),
    )


def figure8c(attention: Attention, seeds: int, points: int) -> Report:
    """Mean K against the shared bandwidth and against the energy budget."""
    sweeps = {
        "bandwidth_hz": np.linspace(10e6, 100e6, points),
        "max_energy_j": np.geomspace(0.05, 1.6, points),
    }
    rows: list[Record] = []
    growth: list[Record] = []
    for name, values in sweeps.items():
        for rule in RULES:
            means = [_mean_tokens(attention, seeds, rule, {name: value}) for value in values.tolist()]
            growth.append({"limit": SWEPT[name], "rule": rule, **_growth(np.array(means))})
            rows += [
                {"swept": name, "value": value, "rule": rule, "mean_tokens": mean}
                for value, mean in zip(values.tolist(), means, strict=True)
            ]
    return Report(
        target="fig8c",
        title="Figure 8c: tokens kept, against bandwidth and energy",
        setting=setting_text(attention, seeds)
        + f" K_min = {MIN_TOKENS}. K is that of the certified optimum with either round time, or what the "
        "paper's rule takes: the most tokens that fit the round time found so far (eq. 41), from either "
        "end. A value at which a round is infeasible is left out.",
        statements=judge(GROWTH, growth),
        data=rows,
        figure=_draw_sweeps(rows),
    )


def _settled(loop: Sequence[Record]) -> int:
    """Outer iterations until it is within `SETTLED` of its end."""
    stes = np.array([row["ste_per_s"] for row in loop])
    return int(np.argmax(stes >= stes[-1] * (1 - SETTLED)))


def _share(row: Record) -> float:
    """STE as a share of the certified optimum, %."""
    return 100 * float(row["ste_per_s"] / row["certified_bound_per_s"])


def _mean_tokens(attention: Attention, seeds: int, rule: str, change: Mapping[str, float]) -> float:
    """Mean K over clients and rounds; nan where a round is infeasible."""
    metric, solver, options = RULES[rule]
    found = [
        solve(problem, solver, **options).allocation
        for problem in cell_rounds(attention, seeds, metric, **change)
    ]
    means = [np.nan if allocation is None else float(allocation.tokens.mean()) for allocation in found]
    return float(np.mean(means))


def _growth(means: FloatArray) -> Record:
    """Whether K ends more than a token above its start and never falls by one on the way."""
    known = means[np.isfinite(means)]
    if len(known) < 2:
        return {"grows": None, "told": "infeasible nearly everywhere"}
    grows = bool(known[-1] > known[0] + 1 and (np.diff(known) > -1).all())
    told = f"mean K from {known[0]:.1f} to {known[-1]:.1f}, between {known.min():.1f} and {known.max():.1f}"
    return {"grows": grows, "told": told}


def _draw_loops(rows: Sequence[Record], limit: float) -> Figure:
    figure, panels = canvas("reproduce", 1, 2, (9.2, 3.9), shared=True)
    steps = range(1 + max(row["iteration"] for row in rows))
    for axes, (metric, group) in zip(panels, grouped(rows, itemgetter("metric")).items(), strict=True):
        loops = grouped(group, itemgetter("start", "seed"))
        shares = [  # a loop that has ended stays where it is
            {"start": start, "iteration": step, "share": _share(loop[min(step, len(loop) - 1)])}
            for (start, _), loop in loops.items()
            for step in steps
        ]
        lines(axes, shares, "iteration", "share", "start", spread=(0, 100))
        axes.axhline(100, **OPTIMUM)
        axes.axvline(limit, **REFERENCE, label=f"paper: settled by {limit:g} (B)")
        axes.set(
            xlabel="outer iteration", title=METRICS[metric], xticks=range(1 + max(steps[-1], int(limit)))
        )
    panels[0].set(ylabel="STE, share of the certified optimum, %", ylim=(0, 104))
    legend_below(figure, panels[0], columns=3)
    return figure


def _draw_ablation(rows: Sequence[Record]) -> Figure:
    figure, (axes,) = canvas("reproduce", 1, 1, (7.2, 4.2))
    width = 0.36
    places = np.arange(len(ABLATION))
    for number, (metric, group) in enumerate(grouped(rows, itemgetter("metric")).items()):
        shares = [row[SHARE] for row in group]
        style: dict[str, Any] = {"color": COLOURS[number], "hatch": ("", "//")[number], "edgecolor": "white"}
        bars = axes.bar(places + (number - 0.5) * width, shares, width, **style, label=METRICS[metric])
        box = {"facecolor": COLOURS[number], "edgecolor": "none", "pad": 1.5}
        axes.bar_label(bars, fmt="%.0f %%", fontsize=9, label_type="center", color="white", bbox=box)
    paper = [row[PAPER_SHARE] for row in rows[: len(ABLATION)]]
    label = "paper, share of its best (C)"
    axes.hlines(paper, places - 0.42, places + 0.42, **REFERENCE_CURVE, label=label)
    axes.set_xticks(places, list(ABLATION))
    axes.axhline(100, **OPTIMUM)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel="STE, share of the certified optimum, %", ylim=(0, 104))
    legend_below(figure, axes, columns=2)
    return figure


def _draw_sweeps(rows: Sequence[Record]) -> Figure:
    figure, panels = canvas("reproduce", 1, 2, (9.2, 4.2), shared_y=True)
    for axes, group in zip(panels, grouped(rows, itemgetter("swept")).values(), strict=True):
        lines(axes, group, "value", "mean_tokens", "rule")
        axes.axhline(MIN_TOKENS, color="0.6", linewidth=0.9, label=r"$K_\mathrm{min}$")
        axes.set(ylim=(0, 205))
    bandwidth, energy = panels
    bandwidth.set(xlabel=r"shared bandwidth $W_\mathrm{tot}$, MHz", xlim=(0, None))
    bandwidth.set_ylabel("mean K, tokens kept per image")
    bandwidth.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}")
    energy.set(xlabel=r"energy budget $E_\mathrm{max}$, J", xscale="log")
    energy.set_xticks([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
    energy.xaxis.set_major_formatter("{x:g}")
    energy.minorticks_off()
    legend_below(figure, bandwidth, columns=2)
    return figure
