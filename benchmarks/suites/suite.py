"""A benchmark suite as data; loads no numerical library, so that a command's help can list suites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Suite:
    """A benchmark: every solver on every family, size and seed.

    Attributes:
        name: for `stsflora bench --suite`.
        summary: one sentence for the help and the report.
        solvers: solver specifications such as "exact" or "relaxed:engine=ecos"; empty for all.
        families: instance families; empty for all of the token problem.
        clients: instance sizes M.
        seeds: number of seeds, counted from 0.
        gap: relative gap asked of solvers with a bound.
        time_limit_s: limit of one solve, s.
        repeats: timed solves per job, of which the median counts.
        overrides: keyword arguments for `family`, such as tokens.
        largest: most clients of the instances that a solver gets, by name; no limit for the others.
        reference_gap: gap at which `exact` solves every instance once more, to know the optimum better than
            the competitors have to; those rows are in no table. None for no such jobs.
    """

    name: str
    summary: str
    solvers: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    clients: tuple[int, ...] = (20,)
    seeds: int = 3
    gap: float = 1e-4
    time_limit_s: float = 60.0
    repeats: int = 1
    overrides: Mapping[str, Any] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    reference_gap: float | None = None
