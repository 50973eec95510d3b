"""Time of warm and cold starts over fading rounds: `python -m stsflora.benchmarks.studies.warm_start`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from ...solver import Problem, Result, solve
from ..families import fading_sequence
from .timing import numbers, round_seconds, table_lines


def main(
    solver: Annotated[str, typer.Option(help="A solver that profits from a start.")] = "exact",
    clients: Annotated[str, typer.Option(help="Sizes, comma-separated.")] = "20,100,1000,10000",
    correlations: Annotated[str, typer.Option(help="Of the fading from round to round.")] = "0.9,0.99,0.999",
    rounds: Annotated[int, typer.Option(help="Rounds per sequence.", min=3)] = 30,
    gap: Annotated[float, typer.Option(help="Asked gap.")] = 1e-4,
) -> None:
    """Solve rounds of a Gauss-Markov fading cell cold and from the previous round's result.

    The STE of both differ by the gap at most: whoever has proved it stops.
    """

    def cold(problem: Problem, _: Result | None) -> Result:
        return solve(problem, solver, gap=gap)

    def warm(problem: Problem, earlier: Result | None) -> Result:
        return solve(problem, solver, gap=gap, start=earlier)

    def lines() -> Iterator[tuple[str, ...]]:
        for size in numbers(clients):
            for correlation in map(float, correlations.split(",")):
                sequence = fading_sequence(size, rounds, seed=0, correlation=correlation)
                # Processor time: other work on the machine does not count.
                (cold_s, warm_s), difference = round_seconds(sequence, (cold, warm), time.process_time)
                times = f"{cold_s * 1e3:.2f}", f"{warm_s * 1e3:.2f}", f"{cold_s / warm_s:.2f}"
                yield f"{size:,}", f"{correlation:g}", *times, f"{difference:.1e}"

    columns = ("clients", "correlation", "cold ms", "warm ms", "cold / warm", "STE differs by")
    for line in table_lines(columns, lines(), names=0):
        print(line, flush=True)


if __name__ == "__main__":
    typer.run(main)
