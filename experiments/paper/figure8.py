"""The paper's figure 8: how the alternating loop converges, what each decision is worth, what K follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...benchmarks.report.drawing import (
    COLOURS,
    REFERENCE,
    REFERENCE_CURVE,
    canvas,
    legend_below,
    look,
)
from ...benchmarks.report.text_table import TextTable
from ...solver import solve
from ...solver.problem import FloatArray
from .figures import CLIENTS, METRICS, MIN_TOKENS, UPLOAD, WHOLE, Attention, cell_round, setting_text
from .reproduce import Compared, Report, Statement, paper_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETTLED: Final = 1e-3
"""A loop has settled when it is within this share of where it ends."""

ITERATIONS: Final = 12
STARTS: Final = {"min_tokens": "from K_min", "full": "from all tokens", "random": "from a random point"}

ABLATION: Final[Mapping[str, Mapping[str, Any]]] = {
    "all three optimised": {},
    "without power": {"hold": "power"},
    "without bandwidth": {"hold": "bandwidth"},
    "without token selection": {"hold": "tokens", "starts": "full"},
}
WORST_FIRST: Final = ("without token selection", "without bandwidth", "without power")

RULES: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "optimal, upload time": (UPLOAD, "exact", {}),
    "optimal, whole time": (WHOLE, "exact", {}),
    "most that fit (eq. 41), from K_min": (
        UPLOAD,
        "alternating",
        {"token_rule": "paper", "starts": "min_tokens"},
    ),
    "most that fit (eq. 41), from all tokens": (
        UPLOAD,
        "alternating",
        {"token_rule": "paper", "starts": "full"},
    ),
}
"""How K is chosen in 8c: round time, solver, options."""

SWEPT: Final = {"bandwidth_hz": "W_tot", "max_energy_j": "E_max"}


@dataclass(frozen=True, eq=False)
class Loop:
    """The alternating loop on one round.

    Attributes:
        ste: after every outer iteration, the start first.
        bound: proved upper bound on the optimum.
    """

    ste: FloatArray
    bound: float

    @property
    def settled(self) -> int:
        """Outer iterations until it is within `SETTLED` of its end."""
        return int(np.argmax(self.ste >= self.ste[-1] * (1 - SETTLED)))

    @property
    def below(self) -> float:
        """How far below the bound it ends, relative."""
        return 1 - float(self.ste[-1]) / self.bound


Loops = Mapping[tuple[str, str], Sequence[Loop]]
"""Loops by metric and start."""


def figure8a(attention: Attention, seeds: int) -> Report:
    """Convergence of the alternating loop, with the certified optimum drawn in."""
    loops = _loops(attention, seeds)
    limit = paper_values("fig8a")["alternating", "outer iterations until it settles"]
    slowest = {key: max(loop.settled for loop in group) for key, group in loops.items()}
    worst = max(iterations for (metric, _), iterations in slowest.items() if metric == UPLOAD)
    return Report(
        target="fig8a",
        title="Figure 8a: the alternating loop converges, and where to",
        setting=setting_text(attention, seeds)
        + f" K_min = {MIN_TOKENS}. Three starts, each block solved exactly, at most {ITERATIONS} outer "
        "iterations. The certified optimum is the bound that the exact solver proves; lines are medians "
        "over the rounds, shades their range.",
        compared=[
            Compared(f"{start}, {metric}", "slowest to settle", "iterations", slow, limit, 0.0, at_most=True)
            for (metric, start), slow in slowest.items()
        ],
        statements=[
            Statement(
                f"The loop settles within {limit.value:g} outer iterations",
                limit.grade,
                worst <= limit.value,
                f"within 0.1 % of its end after at most {worst}, by upload time, over {seeds} rounds and "
                "three starts; how far below the optimum that is, the table says",
            )
        ],
        tables=[
            TextTable(
                "How far below the certified optimum the loop ends",
                ("round time and start", "iterations, median", "slowest", "below, median", "worst"),
                tuple(
                    (
                        f"{metric}, {start}",
                        f"{np.median([loop.settled for loop in group]):.0f}",
                        f"{slowest[metric, start]}",
                        f"{100 * np.median([loop.below for loop in group]):.2f} %",
                        f"{100 * max(loop.below for loop in group):.2f} %",
                    )
                    for (metric, start), group in loops.items()
                ),
            )
        ],
        data=[
            {
                "metric": metric,
                "start": start,
                "seed": seed,
                "iteration": iteration,
                "ste_per_s": float(value),
                "certified_bound_per_s": loop.bound,
            }
            for (metric, start), group in loops.items()
            for seed, loop in enumerate(group)
            for iteration, value in enumerate(loop.ste)
        ],
        figure=_draw_loops(loops, limit.value),
    )


def figure8b(attention: Attention, seeds: int) -> Report:
    """What is lost when one of power, bandwidth and tokens is not optimised."""
    paper = {row: value for (row, _), value in paper_values("fig8b").items()}
    whole = paper["all three optimised"].value
    paper_shares = {name: 100 * paper[name].value / whole for name in ABLATION}
    stes: dict[str, dict[str, FloatArray]] = {}
    shares: dict[str, dict[str, float]] = {}
    for metric in METRICS:
        rounds = [
            cell_round(CLIENTS, seed, attention.importance(CLIENTS, seed), metric=metric)
            for seed in range(seeds)
        ]
        bound = np.array([solve(problem, "exact").bound for problem in rounds])
        stes[metric] = {
            name: np.array([solve(problem, "alternating", **options).ste for problem in rounds])
            for name, options in ABLATION.items()
        }
        shares[metric] = {name: 100 * float((ste / bound).mean()) for name, ste in stes[metric].items()}

    return Report(
        target="fig8b",
        title="Figure 8b: what each decision is worth",
        setting=setting_text(attention, seeds)
        + f" K_min = {MIN_TOKENS}, E_max 0.8 J, `alternating` with one block held where it starts: equal "
        "bandwidth, the power that its first point needs, or all tokens.",
        compared=[
            Compared(name, f"STE, {metric}", "1/s", float(stes[metric][name].mean()), paper[name])
            for metric in METRICS
            for name in ABLATION
        ],
        statements=[
            Statement(
                f"Removing token selection costs the most STE, then bandwidth, then power ({metric})",
                "A",
                bool((np.diff([shares[metric][name] for name in WORST_FIRST]) > 0).all()),
                ", ".join(f"{name} {shares[metric][name]:.1f} %" for name in ABLATION)
                + " of the certified optimum",
            )
            for metric in METRICS
        ],
        data=[
            {
                "metric": metric,
                "variant": name,
                "ste_per_s": float(stes[metric][name].mean()),
                "share_of_optimum_percent": shares[metric][name],
                "paper_grade_c_share_of_its_best_percent": paper_shares[name],
            }
            for metric in METRICS
            for name in ABLATION
        ],
        figure=_draw_ablation(shares, paper_shares),
    )


def figure8c(attention: Attention, seeds: int, points: int) -> Report:
    """Mean K against the shared bandwidth and against the energy budget."""
    sweeps = {
        "bandwidth_hz": np.linspace(10e6, 100e6, points),
        "max_energy_j": np.geomspace(0.05, 1.6, points),
    }
    means = {
        (name, rule): np.array(
            [_mean_tokens(attention, seeds, rule, {name: float(value)}) for value in values]
        )
        for name, values in sweeps.items()
        for rule in RULES
    }
    return Report(
        target="fig8c",
        title="Figure 8c: tokens kept, against bandwidth and energy",
        setting=setting_text(attention, seeds)
        + f" K_min = {MIN_TOKENS}. K is that of the certified optimum with either round time, or what the "
        "paper's rule takes: the most tokens that fit the round time found so far (eq. 41), from either "
        "end. A value at which a round is infeasible is left out.",
        statements=[
            _grows(f"K grows with {SWEPT[name]} ({rule})", found) for (name, rule), found in means.items()
        ],
        data=[
            {
                "swept": name,
                "value": float(value),
                "rule": rule,
                "mean_tokens": None if np.isnan(found) else float(found),
            }
            for (name, rule), curve in means.items()
            for value, found in zip(sweeps[name], curve, strict=True)
        ],
        figure=_draw_sweeps(sweeps, means),
    )


def _loops(attention: Attention, seeds: int) -> Loops:
    loops: dict[tuple[str, str], list[Loop]] = {
        (metric, text): [] for metric in METRICS for text in STARTS.values()
    }
    for metric in METRICS:
        for seed in range(seeds):
            problem = cell_round(CLIENTS, seed, attention.importance(CLIENTS, seed), metric=metric)
            bound = solve(problem, "exact").bound
            for start, text in STARTS.items():
                options: dict[str, Any] = {"starts": start, "max_iterations": ITERATIONS, "tolerance": 0.0}
                run = solve(problem, "alternating", seed=seed, **options)
                loops[metric, text].append(Loop(np.array([point.ste for point in run.trace]), bound))
    return loops


def _mean_tokens(attention: Attention, seeds: int, rule: str, change: Mapping[str, Any]) -> float:
    """Mean K over clients and rounds; nan where a round is infeasible."""
    metric, solver, options = RULES[rule]
    means = []
    for seed in range(seeds):
        problem = cell_round(CLIENTS, seed, attention.importance(CLIENTS, seed), metric=metric, **change)
        allocation = solve(problem, solver, **options).allocation
        means.append(np.nan if allocation is None else float(allocation.tokens.mean()))
    return float(np.mean(means))


def _grows(text: str, means: FloatArray) -> Statement:
    """Whether K ends more than a token above its start and never falls by one on the way."""
    known = means[np.isfinite(means)]
    if len(known) < 2:
        return Statement(text, "B", None, "infeasible nearly everywhere")
    grows = bool(known[-1] > known[0] + 1 and (np.diff(known) > -1).all())
    told = f"mean K from {known[0]:.1f} to {known[-1]:.1f}, between {known.min():.1f} and {known.max():.1f}"
    return Statement(text, "B", grows, told)


def _draw_loops(loops: Loops, limit: float) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, panels = canvas("reproduce", 1, 2, (9.2, 3.9), shared=True)
    for axes, metric in zip(panels, METRICS, strict=True):
        for number, start in enumerate(STARTS.values()):
            group = loops[metric, start]
            longest = max(len(loop.ste) for loop in group)
            shares = np.array(
                [100 * np.pad(loop.ste, (0, longest - len(loop.ste)), "edge") / loop.bound for loop in group]
            )
            steps = np.arange(longest)
            low, high = shares.min(axis=0), shares.max(axis=0)
            axes.fill_between(steps, low, high, color=COLOURS[number], alpha=0.15, linewidth=0)
            axes.plot(steps, np.median(shares, axis=0), **look(number), label=start)
        axes.axhline(100, color="black", linewidth=1.4, label="certified optimum")
        axes.axvline(limit, **REFERENCE, label=f"paper: settled by {limit:g} (B)")
        axes.set(xlabel="outer iteration", title=METRICS[metric])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set(ylabel="STE, share of the certified optimum, %")
    legend_below(figure, panels[0], columns=3)
    return figure


def _draw_ablation(shares: Mapping[str, Mapping[str, float]], paper: Mapping[str, float]) -> Figure:
    figure, (axes,) = canvas("reproduce", 1, 1, (7.2, 4.2))
    width = 0.36
    for number, (metric, values) in enumerate(shares.items()):
        bars = axes.bar(
            np.arange(len(paper)) + (number - 0.5) * width,
            [values[name] for name in paper],
            width,
            color=COLOURS[number],
            hatch=("", "//")[number],
            edgecolor="white",
            label=METRICS[metric],
        )
        box = {"facecolor": COLOURS[number], "edgecolor": "none", "pad": 1.5}
        axes.bar_label(bars, fmt="%.0f %%", fontsize=9, label_type="center", color="white", bbox=box)
    for place, share in enumerate(paper.values()):
        label = None if place else "paper, share of its best (C)"
        axes.plot([place - 0.42, place + 0.42], [share, share], **REFERENCE_CURVE, label=label)
    axes.set_xticks(range(len(paper)), list(paper))
    axes.axhline(100, color="black", linewidth=1.4, label="certified optimum")
    axes.grid(visible=False, axis="x")
    axes.set(ylabel="STE, share of the certified optimum, %", ylim=(0, 112))
    legend_below(figure, axes, columns=2)
    return figure


def _draw_sweeps(sweeps: Mapping[str, FloatArray], means: Mapping[tuple[str, str], FloatArray]) -> Figure:
    figure, (bandwidth, energy) = canvas("reproduce", 1, 2, (9.2, 4.2), shared_y=True)
    for axes, (name, values), scale in zip((bandwidth, energy), sweeps.items(), (1e-6, 1.0), strict=True):
        for number, rule in enumerate(RULES):
            axes.plot(scale * values, means[name, rule], **look(number), label=rule)
        axes.axhline(MIN_TOKENS, color="0.6", linewidth=0.9, label=r"$K_\mathrm{min}$")
        axes.set(ylim=(0, 205))
    bandwidth.set(
        xlabel=r"shared bandwidth $W_\mathrm{tot}$, MHz",
        ylabel="mean K, tokens kept per image",
        xlim=(0, None),
    )
    energy.set(xlabel=r"energy budget $E_\mathrm{max}$, J", xscale="log")
    energy.set_xticks([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
    energy.xaxis.set_major_formatter("{x:g}")
    energy.minorticks_off()
    legend_below(figure, bandwidth, columns=2)
    return figure
