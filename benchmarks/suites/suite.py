"""A benchmark suite and the jobs it consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...solver import OptionError, UnknownNameError, solvers
from ...solver.checks import real_number, whole_number
from ...solver.registry import lookup
from ...solver.solver_text import parse_solver
from ..families import families
from ..job import Job
from ..versions import versions_for


@dataclass(frozen=True)
class Suite:
    """A benchmark: every solver on every family, size and seed.

    Attributes:
        name: for `stsflora bench --suite`.
        summary: one sentence for the help and the report.
        solvers: solver specifications such as "exact" or "relaxed:engine=ecos"; empty for all.
        families: instance families; empty for all.
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

    def jobs(self) -> list[Job]:
        """All jobs, each once, smallest instances first, the solvers of one instance side by side.

        Raises:
            UnknownNameError, OptionError: a solver, option, family or limit is wrong.
        """
        chosen = [parse_solver(text) for text in self.solvers or [info.name for info in solvers()]]
        names = self.families or families()
        for name in names:
            if name not in families():
                known = ", ".join(families())
                raise UnknownNameError("bench", f"family {name!r}", known, "Choose one of them")
        whole_number("bench", "clients", min(self.clients, default=0), 1)
        whole_number("bench", "seeds", self.seeds, 1)
        whole_number("bench", "repeats", self.repeats, 1)
        real_number("bench", "gap", self.gap)
        if not self.time_limit_s > 0:  # inf is no limit
            got = f"time_limit_s={self.time_limit_s!r}"
            raise OptionError("bench", got, "a number > 0", "Pass a float")
        versions = {name: versions_for(lookup(name)) for name, _ in chosen}
        jobs = [
            Job(
                family=family_name,
                clients=clients,
                seed=seed,
                overrides=self.overrides,
                solver=solver,
                options=options,
                asked_gap=self.gap,
                time_limit_s=self.time_limit_s,
                repeats=self.repeats,
                versions=versions[solver],
            )
            for clients in sorted(self.clients)
            for family_name in names
            for seed in range(self.seeds)
            for solver, options in chosen
            if clients <= self.largest.get(solver, clients)
        ]
        return list({job.key: job for job in jobs}.values())

    def reference_jobs(self) -> list[Job]:
        """`exact` at the reference gap; none without one. Raises as `jobs`."""
        if self.reference_gap is None:
            return []
        return replace(self, solvers=("exact",), gap=self.reference_gap, repeats=1, largest={}).jobs()
