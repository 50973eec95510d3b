"""Tables of a benchmark, for the terminal and as Markdown, from the same columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final

from ...solver import Stop
from ..rows import Row
from ..suites.suite import Suite
from .metrics import (
    TIME_SHIFT_S,
    Known,
    Summary,
    bound_excess,
    growth_exponent,
    median_by_family,
    median_seconds,
    proved_gaps,
    shortfall,
    summarise,
)
from .text_table import TextTable, gap_text, seconds_text, share_text

MOST_NOTES: Final = 20
"""The report lists this many kinds of messages."""


def tables(rows: Sequence[Row], known: dict[str, Known]) -> list[TextTable]:
    """The tables that these rows have something to say in."""
    found = [summary_table(summarise(rows, known))]
    below = median_by_family(rows, known, shortfall)
    if len(below) > 1:
        found.append(family_table("How far below the best known STE (median)", below))
    bounded = [row for row in rows if math.isfinite(row.bound)]
    if len({row.label for row in bounded}) > 1:
        above = median_by_family(bounded, known, bound_excess)
        found.append(family_table("How far bounds are above the best known STE (median)", above))
    if len({row.clients for row in rows}) > 1:
        found.append(speed_table(median_seconds(rows)))
    return found


def summary_table(summaries: Sequence[Summary]) -> TextTable:
    """One line per solver."""
    return TextTable(
        title="Solvers",
        columns=(
            "solver",
            "runs",
            "success",
            "correct",
            "within gap",
            "median below",
            "worst below",
            "median proof",
            "mean time",
        ),
        lines=tuple(
            (
                entry.label,
                str(entry.runs),
                share_text(entry.success),
                share_text(entry.correct),
                share_text(entry.within_gap),
                gap_text(entry.median_shortfall),
                gap_text(entry.worst_shortfall),
                gap_text(entry.median_proved_gap),
                seconds_text(entry.mean_s),
            )
            for entry in summaries
        ),
    )


def family_table(title: str, figures: dict[str, dict[str, float]]) -> TextTable:
    """Relative figures, families by solvers."""
    labels = list(dict.fromkeys(label for by_solver in figures.values() for label in by_solver))
    return TextTable(
        title=title,
        columns=("family", *labels),
        lines=tuple(
            (name, *(gap_text(by_solver.get(label, math.nan)) for label in labels))
            for name, by_solver in figures.items()
        ),
    )


def speed_table(seconds: dict[str, dict[int, float]]) -> TextTable:
    """Median seconds, sizes by solvers, and the exponent of growth from 100 clients on."""
    sizes = sorted({clients for by_size in seconds.values() for clients in by_size})
    lines = [
        (
            f"{clients:,} clients",
            *(seconds_text(by_size.get(clients, math.nan)) for by_size in seconds.values()),
        )
        for clients in sizes
    ]
    large = {
        label: {clients: value for clients, value in by_size.items() if clients >= 100}
        for label, by_size in seconds.items()
    }
    if any(len(by_size) > 1 for by_size in large.values()):
        exponents = [growth_exponent(by_size) for by_size in large.values()]
        lines.append(("growth exponent from 100", *("–" if math.isnan(e) else f"{e:.2f}" for e in exponents)))
    return TextTable(title="Median time of one solve", columns=("size", *seconds), lines=tuple(lines))


def proof_sentence(known: dict[str, Known]) -> str:
    """How tightly bounds and best points enclose the optimum, over all instances."""
    gaps = proved_gaps(known)
    infeasible = sum(entry.infeasible for entry in known.values())
    parts = []
    if gaps:
        parts.append(
            f"The optimum is enclosed on {len(gaps)} of {len(known)} instances: best bound over best STE - 1 "
            f"is {gap_text(median(gaps))} in the median and {gap_text(max(gaps))} at worst."
        )
        below = sum(gap < -1e-6 for gap in gaps)
        parts.append(
            f"On {below} of them a bound is below an accepted STE: that is an error." if below else ""
        )
    if infeasible:
        parts.append(f"{infeasible} instances are infeasible, with proof.")
    return " ".join(part for part in parts if part)


def markdown(suite: Suite, rows: Sequence[Row], known: dict[str, Known], pictures: Sequence[str]) -> str:
    """The whole report."""
    shown = "\n".join(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})\n" for name in pictures)
    said = notes(rows)
    tokens = sorted({row.tokens for row in rows if row.tokens})
    return "\n".join(
        part
        for part in (
            f"# Benchmark: {suite.name}\n",
            f"{suite.summary}\n",
            f"{len(known)} instances ({', '.join(sorted({row.family for row in rows}))}; "
            f"{_listed(sorted({row.clients for row in rows}))} clients, {_listed(tokens)} tokens, "
            f"{suite.seeds} seeds), asked gap {gap_text(suite.gap)}, time limit {suite.time_limit_s:g} s.\n",
            proof_sentence(known) + "\n",
            *(table.markdown() for table in tables(rows, known)),
            shown,
            "\n".join(["## Skips, errors and notes\n", *(f"- {line}" for line in said), ""]) if said else "",
            LEGEND,
            software(rows),
        )
        if part.strip()
    )


LEGEND = f"""## How to read this

- *below*: how far the STE is below the best that any solver found on the instance; over accepted
  allocations in the first table, and with 100 % for runs without one in the second.
- *proof*: the gap that the solver itself proves, its bound / STE - 1; – where it proves nothing.
- *success*: the evaluator accepts the allocation, or the instance is infeasible and the solver proved it.
- *correct*: what the solver claims (its STE, its bound, infeasibility) agrees with all evidence.
- *within gap*: the answer is within the asked gap of the best known STE.
- *mean time*: geometric mean shifted by {TIME_SHIFT_S * 1e3:g} ms; without success the limit counts.
"""


def notes(rows: Sequence[Row], *, failures_only: bool = False) -> list[str]:
    """One line per reason of skips, errors and, unless left out, what else solvers had to say."""
    counts = Counter(
        (row.label, row.stop, " ".join(row.message.split()))
        for row in rows
        if row.skipped or row.stop == Stop.ERROR or (row.message and not failures_only and row.feasible)
    )
    lines = [
        f"{label}: {stop}, {count} x: {message or 'no reason given'}"
        for (label, stop, message), count in counts.most_common(MOST_NOTES)
    ]
    return lines + [f"and {len(counts) - MOST_NOTES} more"] * (len(counts) > MOST_NOTES)


def software(rows: Sequence[Row]) -> str:
    """One sentence with the versions of what made the rows; several of one name where rows differ."""
    versions = dict.fromkeys(f"{name} {version}" for row in rows for name, version in row.versions.items())
    return f"Made with {', '.join(versions)}.\n"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values) or "no"
