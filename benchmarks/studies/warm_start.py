"""What a warm start saves over fading rounds: `python -m stsflora.benchmarks.studies.warm_start`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Annotated

import typer

from ...solver import Problem, Result, solve
from ..families import fading_sequence


def timed(problem: Problem, solver: str, start: Result | None, gap: float) -> tuple[Result, float]:
    """A result and the processor time of `solve`, s: other work on the machine does not count."""
    began = time.process_time()
    result = solve(problem, solver, start=start, gap=gap)
    return result, time.process_time() - began


def compare(
    solver: str, clients: int, rounds: int, correlation: float, gap: float
) -> tuple[float, float, float]:
    """Median seconds per round cold and warm, and the largest relative difference of their STE.

    Both solve the same rounds, in turn; the first round is cold for both and not counted. The difference
    is at most the gap: whoever has proved it stops.
    """
    cold_s: list[float] = []
    warm_s: list[float] = []
    difference = 0.0
    earlier: Result | None = None
    for problem in fading_sequence(clients, rounds, seed=0, correlation=correlation):
        cold, seconds = timed(problem, solver, None, gap)
        if earlier is None:
            earlier, _ = timed(problem, solver, cold, gap)  # what is compiled on first use is so by now
            continue
        cold_s.append(seconds)
        earlier, seconds = timed(problem, solver, earlier, gap)
        warm_s.append(seconds)
        difference = max(difference, abs(earlier.ste / cold.ste - 1.0))
    return median(cold_s), median(warm_s), difference


def main(
    solver: Annotated[str, typer.Option(help="A solver that profits from a start.")] = "exact",
    clients: Annotated[str, typer.Option(help="Sizes, comma-separated.")] = "20,100,1000,10000",
    correlations: Annotated[str, typer.Option(help="Of the fading from round to round.")] = "0.9,0.99,0.999",
    rounds: Annotated[int, typer.Option(help="Rounds per sequence.")] = 30,
    gap: Annotated[float, typer.Option(help="Asked gap.")] = 1e-4,
) -> None:
    """Solve rounds of a Gauss-Markov fading cell cold and from the previous round's result."""
    print("| clients | correlation | cold ms | warm ms | cold / warm | STE differs by |")
    print("|---:|---:|---:|---:|---:|---:|")
    for size in _numbers(clients):
        for correlation in _numbers(correlations):
            cold_s, warm_s, difference = compare(solver, int(size), rounds, correlation, gap)
            print(
                f"| {int(size):,} | {correlation:g} | {cold_s * 1e3:.2f} | {warm_s * 1e3:.2f} "
                f"| {cold_s / warm_s:.2f} | {difference:.1e} |",
                flush=True,
            )


def _numbers(text: str) -> Sequence[float]:
    return [float(part) for part in text.split(",")]


if __name__ == "__main__":
    typer.run(main)
