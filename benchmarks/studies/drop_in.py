"""What the allocator costs beside its solver: `python -m stsflora.benchmarks.studies.drop_in`."""

from __future__ import annotations

import subprocess  # fresh interpreters, to time the import
import sys
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Annotated, Any, Final

import numpy as np
import typer

from ...solver import Allocator, Client, Problem
from ..families import family

FIELDS: Final = (
    "gain",
    "importance",
    "bits_per_token",
    "max_power_w",
    "max_energy_j",
    "deadline_s",
    "overhead_s",
    "min_tokens",
)
IMPORT: Final = (
    "import time; started = time.perf_counter(); import {name}; print(time.perf_counter() - started)"
)


def clients_of(problem: Problem, convert: Callable[[Any], Any]) -> list[Client]:
    """The problem's clients, as they would report themselves."""
    return [
        Client(m, *(convert(getattr(problem, name)[m].copy()) for name in FIELDS))
        for m in range(problem.clients)
    ]


def plan_seconds(problem: Problem, convert: Callable[[Any], Any], plans: int) -> tuple[float, float]:
    """Median seconds of a plan beside its solver's, and of the solver."""
    allocator = Allocator(bandwidth_hz=problem.bandwidth_hz, noise_w_per_hz=problem.noise_w_per_hz)
    clients = clients_of(problem, convert)
    made = [allocator.plan(clients) for _ in range(plans)]
    return median(plan.seconds - plan.solver_seconds for plan in made), median(
        plan.solver_seconds for plan in made
    )


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
    print("| clients report | plan beside the solver ms | solver ms |")
    print("|---|---:|---:|")
    for name, convert in kinds.items():
        beside_s, solver_s = plan_seconds(problem, convert, plans)
        print(f"| {name} | {beside_s * 1e3:.2f} | {solver_s * 1e3:.2f} |", flush=True)
    print("\n| import | s |\n|---|---:|")
    for name in ("numpy", "stsflora.solver"):
        print(f"| {name} | {import_seconds(name, imports):.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
