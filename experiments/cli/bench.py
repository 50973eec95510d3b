"""The `stsflora` command: thin layer over `solve`, `solvers` and the benchmark.

Further commands join with `@app.command()`. numpy and the solvers are imported inside the commands, so
that help is instant and `bench` can set the number of threads first.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from itertools import groupby
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from ...benchmarks.job import Job
    from ...benchmarks.report.standing import Judged
    from ...benchmarks.rows import Row
    from ...solver import Problem, Result

SHOWN_CLIENTS: Final = 20
"""`solve` prints this many clients."""

THREAD_VARIABLES: Final = tuple(
    f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR", "NUMBA")
)
"""Read by numerical libraries when they load."""

app = typer.Typer(
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Token, bandwidth and power allocation for wireless split federated learning, with a proved gap.",
    epilog="Exit codes: 0 fine, 1 no feasible answer, 2 a mistake in the call, 130 interrupted.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print strict JSON for scripts, and nothing else.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: errors of ours end as one sentence on stderr and exit code 2."""
    try:
        app(arguments)
    except Exception as error:
        from ...solver import StsfloraError

        if not isinstance(error, StsfloraError):
            raise
        message = f"[bold red]Error:[/] {escape(str(error))}"
        Console(stderr=True, soft_wrap=True).print(message, highlight=False)
        sys.exit(2)


@app.command(
    epilog="Examples:\n\n"
    "[cyan]stsflora solve --family paper --clients 20[/]\n\n"
    "[cyan]stsflora solve problem.json --gap 1e-6 --json > result.json[/]\n\n"
    "[cyan]stsflora solve problem.npz --solver minlp --option engine=highs --start result.json[/]"
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
    from ...solver import Allocation, OptionError
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
    problem = _problem(file, family, clients, seed)
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
        print(json.dumps(result.as_dict(), allow_nan=False))
    else:
        _show(result)
    if result.evaluation is None or not result.evaluation.feasible:
        raise typer.Exit(1)


@app.command()
def solvers(as_json: AsJson = False) -> None:
    """List the solvers: what they prove, what they need, their options."""
    from ...solver import solvers as registered
    from ...solver.files.json_files import plain

    if as_json:
        names = (
            "name",
            "summary",
            "proves",
            "always_feasible",
            "needs",
            "available",
            "how_to_install",
            "options",
        )
        print(json.dumps([{name: plain(getattr(info, name)) for name in names} for info in registered()]))
        return
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in ("name", "proves", "what it does", "available"):
        table.add_column(column, no_wrap=column == "name")
    for info in registered():
        options = ", ".join(f"{name}={value}" for name, value in info.options.items())
        table.add_row(
            info.name,
            info.proves,
            escape(info.summary) + (f"\n[dim]{escape(options)}[/]" if options else ""),
            "[green]yes[/]" if info.available else escape(info.how_to_install),
        )
    Console().print(table)


@app.command(
    epilog="Examples:\n\n"
    "[cyan]stsflora bench[/]\n\n"
    "[cyan]stsflora bench --suite speed --clients 100,1000[/]\n\n"
    "[cyan]stsflora bench --solvers exact,minlp:engine=highs --families paper,flat --clients 5 --jobs 2[/]"
)
def bench(
    suite: Annotated[
        str, typer.Option(help="demo, starts, speed, speed-large, conic, agreement, report or all.")
    ] = "demo",
    solvers: Annotated[str | None, typer.Option(help="Names, with options as name:option=value.")] = None,
    families: Annotated[str | None, typer.Option(help="Names of instance families.")] = None,
    clients: Annotated[str | None, typer.Option(help="Instance sizes.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Instances per family and size.")] = None,
    override: Annotated[list[str] | None, typer.Option(help="Of the family, such as tokens=32.")] = None,
    gap: Annotated[float | None, typer.Option(help="Relative gap asked of solvers with a bound.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds of one solve.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Timed solves per run; the median counts.")] = None,
    jobs: Annotated[int, typer.Option(help="Runs at a time on one thread each; from 2 on in processes.")] = 1,
    backend: Annotated[str, typer.Option(help="joblib backend: loky, threading, dask, ray, ...")] = "loky",
    output: Annotated[Path | None, typer.Option(help="Folder; default results/bench-SUITE.")] = None,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Keep finished runs or redo all.")] = True,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw pictures.")] = True,
    page: Annotated[
        Path | None, typer.Option(help="Also write this .md page, with its rows and pictures beside it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let solvers compete on instance families; every answer is re-scored and checked.

    Comma-separated lists replace the suite's; a run that was killed goes on when repeated.
    """
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # before numpy loads, here and in workers
    from dataclasses import replace

    from ...benchmarks.report.report import report_text
    from ...benchmarks.report.sentences import notes, proof_sentence
    from ...benchmarks.report.standing import best_known, comparable, judge
    from ...benchmarks.report.tables import report_tables, summaries
    from ...benchmarks.suites import named
    from ...benchmarks.suites.plan import plan, plan_reference
    from ...solver.files.file_access import write_atomically
    from ...solver.files.json_files import plain
    from ...solver.solver_text import parse_options

    given: dict[str, Any] = {
        "solvers": _names(solvers),
        "families": _names(families),
        "clients": _sizes(clients),
        "seeds": seeds,
        "overrides": None if override is None else parse_options(override),
        "gap": gap,
        "time_limit_s": time_limit,
        "repeats": repeats,
    }
    chosen = replace(
        named.suite(suite), **{name: value for name, value in given.items() if value is not None}
    )
    competing, references = plan(chosen), plan_reference(chosen)
    folder = Path("results") / f"bench-{suite}" if output is None else output
    console, messages = Console(), Console(stderr=True)
    all_rows = _run([*competing, *references], folder, messages, workers=jobs, backend=backend, resume=resume)
    row_by_key = {row.key: row for row in all_rows}
    rows = [row_by_key[job.key] for job in competing]
    known = best_known(comparable(rows, all_rows))
    judged = judge(rows, known)
    pictures = _pictures(judged, folder, messages) if plots else []
    write_atomically(folder / "report.md", report_text(chosen, judged, known, pictures).encode())
    files = [folder / name for name in ("rows.jsonl", "report.md", *pictures)]
    if page is not None:
        from ...benchmarks.report.page import write_page

        files += write_page([*rows, *(row_by_key[job.key] for job in references)], page)
    if as_json:
        found = {"suite": suite, "summaries": summaries(judged), "files": [str(path) for path in files]}
        print(json.dumps(plain(found), allow_nan=False))
        return
    for table in report_tables(judged):
        console.print(f"[bold]{table.title}[/]", *table.rich(console.width), sep="\n")
    for line in notes(rows, failures_only=True):
        console.print(escape(line), highlight=False, soft_wrap=True)
    if sentence := proof_sentence(known):
        console.print(sentence, highlight=False)
    for where, names in groupby(files, key=lambda path: path.parent):
        console.print(
            f"In {where}: {', '.join(path.name for path in names)}", highlight=False, soft_wrap=True
        )


def _run(jobs: list[Job], folder: Path, messages: Console, **how: Any) -> list[Row]:
    """Run with a progress bar; on Ctrl-C say what is kept and exit with 130."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ...benchmarks.run import run

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=messages, transient=True) as progress:
        task = progress.add_task("starting", total=len(jobs))
        try:
            return run(
                jobs,
                folder,
                on_row=lambda row: progress.update(
                    task, advance=1, description=f"{row.label} on {row.instance}: {row.stop}"
                ),
                **how,
            )
        except KeyboardInterrupt:
            finished = int(progress.tasks[0].completed)
    messages.print(
        f"Stopped: {finished} of {len(jobs)} runs are in {folder / 'rows.jsonl'}; "
        "the same command goes on from there.",
        soft_wrap=True,
    )
    raise typer.Exit(130)


def _pictures(judged: list[Judged], folder: Path, messages: Console) -> list[str]:
    from ...benchmarks.report.pictures import save_pictures
    from ...solver import MissingDependencyError

    try:
        return save_pictures(judged, folder)
    except MissingDependencyError as error:
        messages.print(f"No pictures: {escape(str(error))}", highlight=False, soft_wrap=True)
        return []


def _problem(file: Path | None, family: str | None, clients: int, seed: int) -> Problem:
    from ...solver import Problem

    if file is not None:
        return Problem.load(file)
    from ...benchmarks.families import family as draw

    return draw(str(family), clients, seed)


def _names(text: str | None) -> tuple[str, ...] | None:
    """Split at commas that are not inside the brackets of an option's value."""
    if text is None:
        return None
    return tuple(name.strip() for name in re.split(r",(?![^\[]*\])", text) if name.strip())


def _sizes(text: str | None) -> tuple[int, ...] | None:
    from ...solver import OptionError

    names = _names(text)
    if names is not None and not all(name.isdecimal() for name in names):
        raise OptionError("stsflora bench", f"--clients {text}", "whole numbers >= 1", "Write 5,20")
    return None if names is None else tuple(int(name) for name in names)


def _show(result: Result) -> None:
    """The result for people: figures first, then the clients' shares."""
    from ...benchmarks.report.text_table import gap_text, seconds_text

    console = Console()
    problem, allocation, evaluation = result.problem, result.allocation, result.evaluation
    console.print(
        f"[bold]{result.solver}[/] on {problem.clients} clients x {problem.tokens} tokens: "
        f"[bold]{result.quality}[/] ({result.stop}) in {seconds_text(result.seconds)}",
        highlight=False,
    )
    if result.diagnosis is not None:
        console.print(f"Infeasible: {escape(str(result.diagnosis))}", highlight=False)
    if result.message:
        console.print(escape(result.message), highlight=False)
    if allocation is None or evaluation is None:
        if result.diagnosis is None:
            console.print(result.stop.remedy)
        return
    proof = f"at most {result.bound:.6g}/s possible (gap {gap_text(result.gap)})"
    console.print(
        f"STE [bold]{result.ste:.6g}/s[/], {'no proved bound' if isinf(result.bound) else proof}, "
        f"round {seconds_text(evaluation.round_s)}",
        highlight=False,
    )
    if not evaluation.feasible:
        broken = {name: excess for name, excess in evaluation.violations.items() if excess > 0}
        texts = [f"{name} ({gap_text(excess)})" for name, excess in broken.items()]
        console.print(f"[red]Not feasible[/]: limits exceeded: {', '.join(texts)}", highlight=False)
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


if __name__ == "__main__":
    main()
