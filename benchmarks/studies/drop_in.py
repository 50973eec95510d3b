"""Time of the allocator beside its solver: `python -m stsflora.benchmarks.studies.drop_in`."""

from __future__ import annotations

import subprocess  # fresh interpreters, to time the import
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import chain
from statistics import median
from typing import Annotated, Any, Final

import numpy as np
import typer

from ...solver import Allocator, Client, Problem
from ..families import family
from .timing import table_lines

IMPORT: Final = (
    "import time; started = time.perf_counter(); import {name}; print(time.perf_counter() - started)"
)


REPORTED: Final = (
    *("gain", "importance", "bits_per_token", "max_power_w"),
    *("max_energy_j", "deadline_s", "overhead_s", "min_tokens"),
)
"""What clients say of themselves in the token problem."""


def clients_of(problem: Problem, convert: Callable[[Any], Any]) -> list[Client]:
    """The clients of a token problem, as they would report themselves, every value converted."""
    reported = {name: getattr(problem, name) for name in REPORTED}
    return [
        Client(m, **{name: convert(value[m].copy()) for name, value in reported.items()})
        for m in range(problem.clients)
    ]


def plan_seconds(problem: Problem, convert: Callable[[Any], Any], plans: int) -> tuple[float, float]:
    """Median seconds of a plan beside its solver's, and of the solver."""
    allocator = Allocator(bandwidth_hz=problem.bandwidth_hz, noise_w_per_hz=problem.noise_w_per_hz)
    clients = clients_of(problem, convert)
    made = [allocator.plan(clients) for _ in range(plans)]
    beside = median(plan.seconds - plan.solver_seconds for plan in made)
    return beside, median(plan.solver_seconds for plan in made)


def import_seconds(name: str, runs: int) -> float:
    """Median seconds of an import in a fresh interpreter."""
    command = [sys.executable, "-c", IMPORT.format(name=name)]
    return median(
        float(subprocess.run(command, capture_output=True, check=True).stdout)  # noqa: S603 - our own code
        for _ in range(runs)
    )


def main(
    clients: Annotated[int, typer.Option(help="Of the round.")] = 20,
    plans: Annotated[int, typer.Option(help="To take the median of.")] = 300,
    imports: Annotated[int, typer.Option(help="To take the median of.")] = 10,
) -> None:
    """Time `Allocator.plan` beside its solver for arrays and, where torch is installed, tensors."""
    problem = family("paper", clients, seed=0)
    kinds: dict[str, Callable[[Any], Any]] = {"numpy": np.asarray}
    if find_spec("torch") is not None:
        import torch

        kinds["torch"] = torch.as_tensor

    def plan_lines() -> Iterator[tuple[str, ...]]:
        for name, convert in kinds.items():
            yield name, *(f"{seconds * 1e3:.2f}" for seconds in plan_seconds(problem, convert, plans))

    names = ("numpy", "stsflora.solver")
    import_lines = ((name, f"{import_seconds(name, imports):.2f}") for name in names)
    plan_columns = ("clients report", "plan beside the solver ms", "solver ms")
    tables = (table_lines(plan_columns, plan_lines()), [""], table_lines(("import", "s"), import_lines))
    for line in chain(*tables):
        print(line, flush=True)


if __name__ == "__main__":
    typer.run(main)
