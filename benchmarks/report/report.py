"""The Markdown report of `stsflora bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..suites.suite import Suite
from .objective_text import wording
from .sentences import notes, proof_sentence, software
from .standing import TIME_SHIFT_S, Judged, Known
from .tables import report_tables
from .text_table import gap_text

LEGEND: Final = """## How to read this

- *{worse}*: how far the {value} is {worse} the best that any solver found on the instance{share}; over
  accepted allocations in the first table, and with 100 % for runs without one in the second.
- *proof*: the gap that the solver itself proves, {gap}; – where it proves nothing.
- *success*: the evaluator accepts the allocation, or the instance is infeasible and the solver proved it.
- *correct*: what the solver claims (its {value}, its bound, infeasibility) agrees with all evidence.
- *within gap*: the answer is within the asked gap of the best known {value}.
- *mean time*: geometric mean shifted by {shift_ms:g} ms; without success the limit counts.
"""
"""Filled in by `_legend`."""


def report_text(
    suite: Suite, judged: Sequence[Judged], known: Mapping[str, Known], pictures: Sequence[str]
) -> str:
    """Tables, pictures, notes and legend as Markdown.

    Args:
        suite: what was run.
        judged: its rows.
        known: what is known of their instances.
        pictures: names of PNG files beside the report.
    """
    rows = [entry.row for entry in judged]
    shown = "\n".join(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})\n" for name in pictures)
    said = notes(rows)
    parts = (
        f"# Benchmark: {suite.name}\n",
        f"{suite.summary}\n",
        f"{len(known)} instances ({', '.join(sorted({row.family for row in rows}))}; "
        f"{_sizes({row.clients for row in rows})} clients, {_sizes({row.tokens for row in rows} - {0})} "
        f"tokens, {suite.seeds} seeds), asked gap {gap_text(suite.gap)}, "
        f"time limit {suite.time_limit_s:g} s.\n",
        proof_sentence(known) + "\n",
        *(table.markdown() for table in report_tables(judged)),
        shown,
        "\n".join(["## Skips, errors and notes\n", *(f"- {line}" for line in said), ""]) if said else "",
        _legend(known),
        software(rows),
    )
    return "\n".join(part for part in parts if part.strip())


def _legend(known: Mapping[str, Known]) -> str:
    """What the words in the tables mean."""
    words = wording(entry.goal for entry in known.values())
    plain = words.worse == "below"
    return LEGEND.format(
        worse=words.worse,
        value=words.value,
        share="" if plain else ", as a share of the larger of both",
        gap=f"its bound / {words.value} - 1" if plain else "between its bound and its value",
        shift_ms=TIME_SHIFT_S * 1e3,
    )


def _sizes(values: set[int]) -> str:
    """Numbers as "5, 20, 1,000"."""
    return ", ".join(f"{value:,}" for value in sorted(values)) or "no"
