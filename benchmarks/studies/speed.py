"""Speed of `exact`, alone, beside another commit and beside other solvers.

All four tables, or some of them (`--part solve,many,million,peers`). On one thread: where other work runs
beside it, the linear algebra of SLSQP takes several times as long on two.

    OMP_NUM_THREADS=1 python -m stsflora.benchmarks.studies.speed

Beside another commit, instance by instance in turn:

    git worktree add ../before 91e0972
    OMP_NUM_THREADS=1 python -m stsflora.benchmarks.studies.speed --part solve,many --other ../before
"""

from __future__ import annotations

import json
import subprocess  # one interpreter per checkout
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer

from ...solver import OptionError, Problem, SolverFailedError
from ...solver.checks import choices
from ..families import family
from . import speed_worker
from .peers import PEER_COLUMNS, peer_lines
from .timing import Timed, fastest, numbers, table_lines

GAP: Final = 1e-4
"""What has to be proved."""

PARTS: Final = ("solve", "many", "million", "peers")

HERE: Final = Path(__file__).parents[2]
"""The checkout, or its installation: `solver` lies in it."""

FAMILIES: Final = "paper,round_time,deadline_tight,flat"
MANY_FAMILIES: Final = ("paper", "round_time")
MANY_CLIENTS: Final = 20

MILLION: Final = 1_000_000
MILLION_TOKENS: Final = 49
COMPILING_CLIENTS: Final = 1000
"""Solved before a million, so that the code is there."""

Ask = Callable[..., Timed]
"""Solves the instances of some files: `ask(paths, clock="perf_counter", many=False, arrays=False)`."""


@contextmanager
def solver_of(checkout: Path) -> Iterator[Ask]:
    """The solver of a checkout of any commit, in an interpreter of its own.

    Raises:
        OptionError: the folder is no checkout of this project.
    """
    if not (checkout / "solver" / "__init__.py").is_file():
        raise OptionError(
            "speed",
            f"--other {str(checkout)!r} without solver/__init__.py",
            "the folder of a checkout of this project",
            "Make one by git worktree add FOLDER COMMIT",
        )
    with TemporaryDirectory() as folder:
        package = Path(folder) / "stsflora"
        package.mkdir()
        (package / "__init__.py").touch()  # or else the installed package would be found
        (package / "solver").symlink_to((checkout / "solver").resolve(), target_is_directory=True)
        with subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-P", speed_worker.__file__, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            yield partial(_ask, process, checkout)


def _ask(
    process: subprocess.Popen[str],
    checkout: Path,
    paths: Sequence[Path],
    clock: str = "perf_counter",
    many: bool = False,
    arrays: bool = False,
) -> Timed:
    """One request to a worker."""
    if process.stdin is None or process.stdout is None:
        raise TypeError("a worker has pipes")
    request = {"paths": list(map(str, paths)), "clock": clock, "many": many, "arrays": arrays, "gap": GAP}
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        raise SolverFailedError(
            f"speed, the solver of {checkout}",
            "no answer",
            "a solver that solves all instances",
            "Read its traceback above",
        )
    return Timed(**json.loads(line))


def solve_lines(
    solvers: Sequence[Ask], families: Iterable[str], clients: Iterable[int], seeds: int, repeats: int
) -> Iterator[tuple[str, ...]]:
    """Wall time of the whole `solve`, median over the instances; two solvers alternate on each."""
    for name in families:
        for size in clients:
            columns: list[list[Timed]] = []
            for seed in range(seeds):
                with _saved([family(name, size, seed)]) as paths:
                    columns.append(fastest([partial(ask, paths) for ask in solvers], repeats))
            ours, *others = zip(*columns, strict=True)
            proved, our_ms = sum(timed.solved for timed in ours), _median_ms(ours)
            line = [name, f"{size:,}", f"{proved} of {seeds}", f"{our_ms:.2f}"]
            for theirs in others:
                their_ms, difference = _median_ms(theirs), max(map(_difference, ours, theirs))
                line += [f"{their_ms:.2f}", f"{their_ms / our_ms:.1f}", f"{difference:.1e}"]
            yield tuple(line)


def many_lines(
    ours: Ask, theirs: Ask, families: Iterable[str], clients: int, cells: int, repeats: int
) -> Iterator[tuple[str, ...]]:
    """CPU time per instance of our `solve_many` on all, and of a loop over their `solve`."""
    for name in families:
        with _saved(family(name, clients, seed) for seed in range(cells)) as paths:
            ways = (partial(ours, paths, "process_time", True), partial(theirs, paths, "process_time"))
            many, loop = fastest(ways, repeats)
        many_us, loop_us = (timed.seconds / cells * 1e6 for timed in (many, loop))
        rates = f"{1e6 / many_us:,.0f}", f"{loop_us / many_us:.1f}", f"{_difference(many, loop):.1e}"
        solved = f"{many.solved} of {cells}"
        yield name, str(clients), solved, f"{many_us:,.0f}", f"{loop_us:,.0f}", *rates


def million_lines(checkouts: Sequence[Path], clients: int, repeats: int) -> Iterator[tuple[str, ...]]:
    """Wall time of `Problem` and `solve` for one cell of very many clients, and memory beyond its arrays.

    Every turn has an interpreter of its own, whose memory nobody else has grown.
    """
    sizes = min(clients, COMPILING_CLIENTS), clients
    cells = (family("paper", size, 0, tokens=MILLION_TOKENS) for size in sizes)
    with _saved(cells) as paths:
        ways = [partial(_alone, checkout, paths) for checkout in checkouts]
        ours, *others = fastest(ways, repeats)
    line = [f"{clients:,} x {MILLION_TOKENS}", f"{ours.solved} of 1", f"{ours.seconds:.2f}", _gib(ours)]
    for theirs in others:
        ratio, difference = theirs.seconds / ours.seconds, _difference(ours, theirs)
        line += [f"{theirs.seconds:.2f}", _gib(theirs), f"{ratio:.1f}", f"{difference:.1e}"]
    yield tuple(line)


def _alone(checkout: Path, paths: Sequence[Path]) -> Timed:
    with solver_of(checkout) as ask:
        return ask(paths, arrays=True)


def _gib(timed: Timed) -> str:
    return f"{timed.peak_bytes / 2**30:.3f}"


@contextmanager
def _saved(problems: Iterable[Problem]) -> Iterator[list[Path]]:
    """Files of instances, so that all solvers read the same bytes."""
    with TemporaryDirectory() as folder:
        paths = []
        for number, problem in enumerate(problems):
            paths.append(Path(folder) / f"{number}.npz")
            problem.save(paths[-1])
        yield paths


def _median_ms(instances: Iterable[Timed]) -> float:
    return median(timed.seconds for timed in instances) * 1e3


def _difference(one: Timed, other: Timed) -> float:
    """Largest relative difference of the STE of the same instance."""
    return max(abs(ste / its - 1.0) for ste, its in zip(one.values, other.values, strict=True))


def main(
    part: Annotated[str, typer.Option(help="Tables, comma-separated.")] = ",".join(PARTS),
    other: Annotated[Path | None, typer.Option(help="A checkout of another commit.")] = None,
    families: Annotated[str, typer.Option(help="Of `solve`, comma-separated.")] = FAMILIES,
    clients: Annotated[str, typer.Option(help="Of `solve`, comma-separated.")] = "20,100,1000",
    seeds: Annotated[int, typer.Option(help="Instances per line.", min=1)] = 20,
    repeats: Annotated[int, typer.Option(help="Turns on each instance; the best counts.", min=1)] = 3,
    cells: Annotated[int, typer.Option(help="Instances of `solve_many`.", min=1)] = 200,
    crowd: Annotated[int, typer.Option(help="Clients of `million`.", min=1)] = MILLION,
) -> None:
    """Time `exact` to a proved gap of 1e-4: `solve`, `solve_many`, a million clients, other solvers.

    Medians over the instances of the best turn. `--other` is measured in turn with this checkout.
    """
    parts = choices("speed", "part", part.split(","), PARTS)
    checkouts = [HERE] if other is None else [HERE, other]
    with ExitStack() as stack:
        solvers = [stack.enter_context(solver_of(folder)) for folder in checkouts]
        whose = "other " if other is not None else ""
        beside = ("other ms", "other / this", "STE differs by") if other is not None else ()
        tables = {
            "solve": (
                ("family", "clients", "proved", "ms", *beside),
                solve_lines(solvers, families.split(","), numbers(clients), seeds, repeats),
            ),
            "many": (
                (
                    *("family", "clients", "proved", "`solve_many` CPU us", f"{whose}`solve` CPU us"),
                    *("`solve_many` per CPU s", "ratio", "STE differs by"),
                ),
                many_lines(solvers[0], solvers[-1], MANY_FAMILIES, MANY_CLIENTS, cells, repeats),
            ),
            "million": (
                (
                    *("clients x tokens", "proved", "s", "GiB beyond the arrays"),
                    *(
                        ("other s", "other GiB", "other / this", "STE differs by")
                        if other is not None
                        else ()
                    ),
                ),
                million_lines(checkouts, crowd, repeats),
            ),
            "peers": (PEER_COLUMNS, peer_lines((5, 20), seeds, repeats)),
        }
        for chosen in parts:
            for line in table_lines(*tables[chosen]):
                print(line, flush=True)
            print()


if __name__ == "__main__":
    typer.run(main)
