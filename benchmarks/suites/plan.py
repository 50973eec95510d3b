"""The jobs of a benchmark suite."""

from __future__ import annotations

from dataclasses import replace

from ...solver import UnknownNameError, solvers
from ...solver.checks import real_number, whole_number
from ...solver.registry import lookup
from ...solver.solver_text import parse_solver
from ..families import families, general_families
from ..job import Job
from ..versions import versions_for
from .suite import Suite


def plan(suite: Suite) -> list[Job]:
    """All jobs of a suite, each once, smallest instances first, the solvers of one instance side by side.

    Raises:
        UnknownNameError, OptionError: a solver, option, family or limit is wrong.
    """
    chosen = [parse_solver(text) for text in suite.solvers or [info.name for info in solvers()]]
    names = suite.families or families()
    known = (*families(), *general_families())
    for name in names:
        if name not in known:
            raise UnknownNameError("bench", f"family {name!r}", ", ".join(known), "Choose one of them")
    whole_number("bench", "clients", min(suite.clients, default=0), 1)
    whole_number("bench", "seeds", suite.seeds, 1)
    whole_number("bench", "repeats", suite.repeats, 1)
    real_number("bench", "gap", suite.gap)
    real_number("bench", "time_limit_s", suite.time_limit_s, open_low=True, infinite=True)
    versions = {name: versions_for(lookup(name)) for name, _ in chosen}
    jobs = [
        Job(
            family=family_name,
            clients=clients,
            seed=seed,
            overrides=suite.overrides,
            solver=solver,
            options=options,
            asked_gap=suite.gap,
            time_limit_s=suite.time_limit_s,
            repeats=suite.repeats,
            versions=versions[solver],
        )
        for clients in sorted(suite.clients)
        for family_name in names
        for seed in range(suite.seeds)
        for solver, options in chosen
        if clients <= suite.largest.get(solver, clients)
    ]
    return list({job.key: job for job in jobs}.values())


def plan_reference(suite: Suite) -> list[Job]:
    """The jobs of `exact` at the suite's reference gap; none without one. Raises as `plan`."""
    if suite.reference_gap is None:
        return []
    return plan(replace(suite, solvers=("exact",), gap=suite.reference_gap, repeats=1, largest={}))
