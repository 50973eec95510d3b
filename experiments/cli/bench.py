"""`stsflora bench`: benchmark of solvers on instance families."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from ...benchmarks.suites import named
from .option_types import name_option
from .output import AsJson, drawn, print_files, print_json, print_table, progress

THREAD_VARIABLES: Final = tuple(
    f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR", "NUMBA")
)
"""Read by numerical libraries when they load."""

EXAMPLES: Final = (
    "stsflora bench",
    "stsflora bench --suite speed --clients 100,1000",
    "stsflora bench --solvers exact,minlp:engine=highs --families paper,flat --clients 5 --jobs 2",
)


def bench(
    suite: Annotated[str, name_option("What to run.", (entry.name for entry in named.suites()))] = "demo",
    solvers: Annotated[Any, name_option("With options as name:option=value.", many=True)] = None,
    families: Annotated[Any, name_option("Instance families.", many=True)] = None,
    clients: Annotated[Any, name_option("Instance sizes.", many=True, whole=True)] = None,
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

    from ...benchmarks.report.pictures import save_pictures
    from ...benchmarks.report.report import report_text
    from ...benchmarks.report.sentences import notes, proof_sentence
    from ...benchmarks.report.standing import best_known, comparable, judge
    from ...benchmarks.report.tables import report_tables, summaries
    from ...benchmarks.run import run
    from ...benchmarks.suites.plan import plan, plan_reference
    from ...solver.files.file_access import write_atomically
    from ...solver.files.json_files import plain
    from ...solver.solver_text import parse_options

    given = {
        "solvers": solvers,
        "families": families,
        "clients": clients,
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
    to_run, console = [*competing, *references], Console()
    kept = f"of {len(to_run)} runs are in {folder / 'rows.jsonl'}"
    with progress(len(to_run), lambda finished: f"{finished} {kept}") as step:
        all_rows = run(
            to_run,
            folder,
            workers=jobs,
            backend=backend,
            resume=resume,
            on_row=lambda row: step(advance=1, description=f"{row.label} on {row.instance}: {row.stop}"),
        )
    row_by_key = {row.key: row for row in all_rows}
    rows = [row_by_key[job.key] for job in competing]
    known = best_known(comparable(rows, all_rows))
    judged = judge(rows, known)
    pictures = drawn(lambda: save_pictures(judged, folder)) if plots else []
    write_atomically(folder / "report.md", report_text(chosen, judged, known, pictures).encode())
    files = [folder / name for name in ("rows.jsonl", "report.md", *pictures)]
    if page is not None:
        from ...benchmarks.report.page import write_page

        files += write_page([*rows, *(row_by_key[job.key] for job in references)], page)
    if as_json:
        found = {"suite": suite, "summaries": summaries(judged), "files": [str(path) for path in files]}
        print_json(plain(found))
        return
    for table in report_tables(judged):
        print_table(console, table)
    for line in notes(rows, failures_only=True):
        console.print(escape(line), highlight=False, soft_wrap=True)
    if sentence := proof_sentence(known):
        console.print(sentence, highlight=False)
    for where, paths in groupby(files, key=lambda path: path.parent):
        print_files(where, (path.name for path in paths))
