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

from .option_types import name_option
from .output import AsJson, print_json

if TYPE_CHECKING:
    from ...solver import Result

SHOWN_CLIENTS: Final = 20
"""The table has this many clients."""

OBJECTIVES: Final = ("ste", "retained", "round_time", "weighted", "energy", "total_time")
"""Names in `solver.objective.OBJECTIVES`, which loads numpy."""

EXAMPLES: Final = (
    "stsflora solve --family paper --clients 20",
    "stsflora solve --family round_time --objective round_time --retained-share 0.9",
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
    objective: Annotated[
        str | None, name_option("Wanted instead of what the problem says.", OBJECTIVES)
    ] = None,
    round_s: Annotated[float | None, typer.Option(help="Longest round time, of retained and energy.")] = None,
    retained: Annotated[
        float | None, typer.Option(help="Least sum of utilities, of round_time and energy.")
    ] = None,
    retained_share: Annotated[
        float | None, typer.Option(help="The same as a share of the most that clients have.")
    ] = None,
    per_second: Annotated[float | None, typer.Option(help="Utility that a second costs, weighted.")] = None,
    per_joule: Annotated[float | None, typer.Option(help="Utility that a joule costs, weighted.")] = None,
    weight: Annotated[
        str | None, typer.Option(help="Of total_time; one, or one per client by commas.")
    ] = None,
    max_psd: Annotated[float | None, typer.Option(help="Limit on power per bandwidth, W/Hz.")] = None,
    max_bps_per_hz: Annotated[float | None, typer.Option(help="Highest modulation, bit/s/Hz.")] = None,
    block_hz: Annotated[float | None, typer.Option(help="Whole resource blocks of so many Hz.")] = None,
    may_skip: Annotated[
        bool | None, typer.Option("--may-skip/--no-skip", help="Whether clients may send nothing.")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="JSON result of an earlier run to start from.")] = None,
    save_problem: Annotated[Path | None, typer.Option(help="Also write the problem, .npz or .json.")] = None,
    as_json: AsJson = False,
) -> None:
    """Allocate rows, tokens, bandwidth and power for one problem."""
    from ...benchmarks.families import family as draw
    from ...solver import Allocation, OptionError, Problem
    from ...solver import solve as solve_problem
    from ...solver.registry import lookup
    from ...solver.solver_text import parse_options
    from .objective_options import changed_problem

    if (file is None) == (family is None):
        raise OptionError(
            "stsflora solve",
            "no problem" if file is None else "both a file and a family",
            "either FILE or --family NAME",
            "Try stsflora solve --family paper",
        )
    options = parse_options(option or [])
    lookup(solver).check_options(options)
    problem = changed_problem(
        Problem.load(file) if file is not None else draw(str(family), clients, seed),
        objective,
        retained_share,
        {
            "round_s": round_s,
            "retained": retained,
            "per_second": per_second,
            "per_joule": per_joule,
            "weight": weight,
        },
        {
            "max_psd_w_per_hz": max_psd,
            "max_bps_per_hz": max_bps_per_hz,
            "block_hz": block_hz,
            "may_skip": may_skip,
        },
    )
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
    from ...benchmarks.report.objective_text import OBJECTIVE_TEXTS, value_text
    from ...benchmarks.report.text_table import gap_text, seconds_text

    console = Console(highlight=False)
    problem, allocation, evaluation = result.problem, result.allocation, result.evaluation
    rows = "" if problem.is_one_row_each else f", {problem.row_count:,} rows"
    console.print(
        f"[bold]{result.solver}[/] on {problem.clients} clients x {problem.tokens} tokens{rows}: "
        f"[bold]{result.quality}[/] ({result.stop}) in {seconds_text(result.seconds)}",
    )
    if result.diagnosis is not None:
        console.print(f"Infeasible: {escape(str(result.diagnosis))}")
    if result.message:
        console.print(escape(result.message))
    if allocation is None or evaluation is None:
        if result.stop == "infeasible" and result.diagnosis is None:
            console.print(f"Infeasible: no allocation fulfils {escape(str(problem.objective))}, with proof.")
        elif result.diagnosis is None:
            console.print(result.stop.remedy)
        return
    objective = problem.objective
    name, bound = OBJECTIVE_TEXTS[objective.name].name, value_text(objective.name, result.bound)
    proof = f"at most {bound} possible" if objective.maximises else f"at least {bound} needed"
    console.print(
        f"{name[0].upper()}{name[1:]} [bold]{value_text(objective.name, result.value)}[/], "
        f"{'no proved bound' if isinf(result.bound) else f'{proof} (gap {gap_text(result.gap)})'}, "
        f"round {seconds_text(evaluation.round_s)}",
    )
    if not evaluation.feasible:
        broken = {name: excess for name, excess in evaluation.violations.items() if excess > 0}
        texts = [f"{name} ({gap_text(excess)})" for name, excess in broken.items()]
        console.print(f"[red]Not feasible[/]: limits exceeded: {', '.join(texts)}")
    _show_clients(console, result)


def _show_clients(console: Console, result: Result) -> None:
    """Print a table of the first clients: what each sends, and what that takes and is worth."""
    from ...benchmarks.report.text_table import seconds_text
    from ...solver.feasibility import most_utility

    problem, allocation, evaluation = result.problem, result.allocation, result.evaluation
    if allocation is None or evaluation is None:
        raise ValueError("a result with an allocation has both")
    rows, most = allocation.rows_of(problem), most_utility(problem)
    named, worthy = allocation.row is not None, bool(most.any())
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    columns = ["tokens", "bandwidth", "power", "upload", "energy", *(["kept"] if worthy else [])]
    for column in ("client", *(["row"] if named else []), *columns):
        table.add_column(column, justify="right")
    for m in range(min(problem.clients, SHOWN_CLIENTS)):
        if rows[m] < 0:
            table.add_row(str(m), "skipped")
            continue
        share = evaluation.retained[m] / most[m] if most[m] > 0 else 0.0
        cells = [
            str(allocation.tokens[m]),
            f"{allocation.bandwidth_hz[m] / 1e3:,.1f} kHz",
            f"{allocation.power_w[m] * 1e3:,.1f} mW",
            seconds_text(evaluation.uplink_s[m]),
            f"{evaluation.energy_j[m] * 1e3:,.2f} mJ",
            *([f"{100 * share:.0f} %"] if worthy else []),
        ]
        table.add_row(str(m), *([str(rows[m])] if named else []), *cells)
    if worthy:
        plain = problem.utility is None and problem.is_one_row_each
        mass = "attention mass" if plain else "largest utility"
        table.caption = f"kept: share of the client's {mass}"
    console.print(table)
    if problem.clients > SHOWN_CLIENTS:
        console.print(f"... and {problem.clients - SHOWN_CLIENTS:,} clients more; --json prints all.")
