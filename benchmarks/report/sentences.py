"""Sentences and lists about rows, for the terminal, the report and the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from ...solver import Stop
from ..rows import NOT_TAKEN, Row
from .objective_text import wording
from .standing import Judged, Known, by_label
from .text_table import gap_text

MOST_NOTES: Final = 20
"""A list holds this many kinds of messages."""

MOST_PLACES: Final = 4
"""A list of families and sizes names this many."""


def listed(texts: Sequence[str]) -> str:
    """Texts as "a, b and c"."""
    return " and ".join(part for part in (", ".join(texts[:-1]), *texts[-1:]) if part)


def software(rows: Iterable[Row]) -> str:
    """One sentence with the versions of what made the rows; several of one name where rows differ."""
    versions = dict.fromkeys(f"{name} {version}" for row in rows for name, version in row.versions.items())
    return f"Made with {', '.join(versions)}.\n"


def proof_sentence(known: Mapping[str, Known]) -> str:
    """How tightly bounds and best points enclose the optimum, over all instances."""
    gaps = [entry.gap for entry in known.values() if math.isfinite(entry.gap)]
    infeasible = sum(entry.infeasible for entry in known.values())
    words = wording(entry.goal for entry in known.values())
    parts = []
    if gaps:
        parts.append(
            f"The optimum is enclosed on {len(gaps)} of {len(known)} instances: {words.gap} "
            f"is {gap_text(median(gaps))} in the median and {gap_text(max(gaps))} at worst."
        )
        wrong = sum(gap < -1e-6 for gap in gaps)
        if wrong:
            parts.append(f"On {wrong} of them {words.contradiction}: that is an error.")
    if infeasible:
        parts.append(f"{infeasible} instances are infeasible, with proof.")
    return " ".join(parts)


def notes(rows: Iterable[Row], *, failures_only: bool = False) -> list[str]:
    """One line per reason of skips, errors and, unless left out, refusals and what else was said."""
    counts = Counter(
        (row.label, row.stop, " ".join(row.message.split()))
        for row in rows
        if row.skipped
        or row.stop == Stop.ERROR
        or (row.message and not failures_only and (row.feasible or row.stop == NOT_TAKEN))
    )
    lines = [
        f"{label}: {stop}, {count} x: {message or 'no reason given'}"
        for (label, stop, message), count in counts.most_common(MOST_NOTES)
    ]
    return lines + [f"and {len(counts) - MOST_NOTES} more"] * (len(counts) > MOST_NOTES)


def failures(competing: Iterable[Judged]) -> list[str]:
    """What went wrong on feasible instances, how often and where, one sentence per solver and kind."""
    kinds: dict[str, Callable[[Judged], bool]] = {
        "ended in an error": lambda entry: entry.row.stop == Stop.ERROR,
        "found no feasible allocation": lambda entry: not entry.row.feasible,
        "reached the limit": lambda entry: entry.limited,
        "missed 1e-4": lambda entry: not entry.close,
    }
    return [
        f"`{label}` {kind} in {len(failed):,} of {len(group):,} runs: {_places(failed, group)}."
        for label, group in by_label(competing).items()
        for kind, holds in kinds.items()
        if (failed := [entry for entry in group if holds(entry)])
    ]


def _places(failed: Iterable[Judged], among: Iterable[Judged]) -> str:
    """Families and sizes of failed runs, or those without any where these are fewer."""
    total, counts = (
        Counter(f"{entry.row.family} at {entry.row.clients:,}" for entry in group)
        for group in (among, failed)
    )
    spared = [place for place in total if place not in counts]
    if not spared:
        return "in every family and at every size"
    if len(spared) < len(counts):
        return f"in every family and at every size but {_some(spared)}"
    return _some([f"{place} ({count} of {total[place]})" for place, count in counts.most_common()])


def _some(texts: Sequence[str]) -> str:
    """The first few texts and how many more there are."""
    rest = len(texts) - MOST_PLACES
    return ", ".join([*texts[:MOST_PLACES], *([f"and {rest} more"] if rest > 0 else [])])
