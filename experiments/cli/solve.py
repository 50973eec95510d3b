"""`stsflora solve`: solve one problem and print its allocation, as a table or as JSON."""

from __future__ import annotations

from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .output import AsJson, print_json

if TYPE_CHECKING:
    from ...solver import Result

SHOWN_CLIENTS: Final = 20
"""The table has this many clients."""

EXAMPLES: Final = (
    "stsflora solve --family paper --clients 20",
    "stsflora solve problem.json --gap 1e-6 --json > result.json",
    "stsflora solve problem.npz --solver minlp --option engine=highs --start result.json",
)


def solve(
    file: Annotated[Path | None, typer.Argument(help="Problem file, .npz or .json.")] = None,
    family: Annotated[str | None, typer.Option(help="Draw the problem from this family instead.")] = None,
    clients: Annotated[int, typer.Option(help="Clients of the drawn problem.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the drawn problem and of the solver.")] = 0,
    solver: Annotated[str, typer.Option(help="A name that [cyan]stsflora solvers[/] lists.")] = "exact",
    gap: Annotated[float, typer.Option(help="Relative optimality gap asked for; 0 for 1e-9.")] = 1e-4,
    time_limit: Annotated[float | None, typer.Option(help="Seconds; best so far when they end.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Solver option, name=value; repeatable.")] = None,
    start: Annotated[Path | None, typer.Option(help="JSON result of an earlier run to start from.")] = None,
    save_problem: Annotated[Path | None, typer.Option(help="Also write the problem, .npz or .json.")] = None,
    as_json: AsJson = False,
) -> None:
    """Allocate tokens, bandwidth and power for one problem."""
    from ...benchmarks.families import family as draw
    from ...solver import Allocation, OptionError, Problem
    from ...solver import solve as solve_problem
    from ...solver.registry import lookup
    from ...solver.solver_text import parse_options

    if (file is None) == (family is None):
        raise OptionError(
            "stsflora solve",
            "no problem" if file is None else "both a file and a family",
            "either FILE or --family NAME",
            "Try stsflora solve --family paper",
        )
    options = parse_options(option or [])
    lookup(solver).check_options(options)
    problem = Problem.load(file) if file is not None else draw(str(family), clients, seed)
    result = solve_problem(
        problem,
        solver,
        gap=gap,
        time_limit_s=time_limit,
        seed=seed,
        start=None if start is None else Allocation.load(start),
        **options,
    )
    if save_problem is not None:
        problem.save(save_problem)
    if as_json:
        print_json(result.as_dict())
    else:
        _show(result)
    if result.evaluation is None or not result.evaluation.feasible:
        raise typer.Exit(1)


def _show(result: Result) -> None:
    """Print a result: figures first, then a table of the clients."""
    from ...benchmarks.report.text_table import gap_text, seconds_text

    console = Console(highlight=False)
    problem, allocation, evaluation = result.problem, result.allocation, result.evaluation
    console.print(
        f"[bold]{result.solver}[/] on {problem.clients} clients x {problem.tokens} tokens: "
        f"[bold]{result.quality}[/] ({result.stop}) in {seconds_text(result.seconds)}",
    )
    if result.diagnosis is not None:
        console.print(f"Infeasible: {escape(str(result.diagnosis))}")
    if result.message:
        console.print(escape(result.message))
    if allocation is None or evaluation is None:
        if result.diagnosis is None:
            console.print(result.stop.remedy)
        return
    proof = f"at most {result.bound:.6g}/s possible (gap {gap_text(result.gap)})"
    console.print(
        f"STE [bold]{result.ste:.6g}/s[/], {'no proved bound' if isinf(result.bound) else proof}, "
        f"round {seconds_text(evaluation.round_s)}",
    )
    if not evaluation.feasible:
        broken = {name: excess for name, excess in evaluation.violations.items() if excess > 0}
        texts = [f"{name} ({gap_text(excess)})" for name, excess in broken.items()]
        console.print(f"[red]Not feasible[/]: limits exceeded: {', '.join(texts)}")
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in ("client", "tokens", "bandwidth", "power", "upload", "energy", "kept"):
        table.add_column(column, justify="right")
    total = problem.importance.sum(axis=1)
    for m in range(min(problem.clients, SHOWN_CLIENTS)):
        share = evaluation.retained[m] / total[m] if total[m] > 0 else 0.0
        table.add_row(
            str(m),
            str(allocation.tokens[m]),
            f"{allocation.bandwidth_hz[m] / 1e3:,.1f} kHz",
            f"{allocation.power_w[m] * 1e3:,.1f} mW",
            seconds_text(evaluation.uplink_s[m]),
            f"{evaluation.energy_j[m] * 1e3:,.2f} mJ",
            f"{100 * share:.0f} %",
        )
    table.caption = "kept: share of the client's attention mass"
    console.print(table)
    if problem.clients > SHOWN_CLIENTS:
        console.print(f"... and {problem.clients - SHOWN_CLIENTS:,} clients more; --json prints all.")
