"""Scaling and form of the convex relaxation: `python -m stsflora.benchmarks.studies.convex_forms --help`.

`docs/convex_forms.md` explains the forms and quotes the tables printed here.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import product
from statistics import median
from typing import Annotated, Any, Final

import numpy as np
import typer

from ...solver import Problem, solve
from ...solver.conic.program import Programs
from ...solver.physics.demand import Demand
from ...solver.primal.rounding import best_common_tokens
from ..families import fading_sequence, families, family
from .timing import Way, numbers, round_seconds, table_lines

RIGHT: Final = 1e-3
"""A value this close to the optimum is right; the relaxation itself adds less here."""

FAMILIES: Final = ("paper", "flat", "energy_tight", "heterogeneous")
SIZES: Final = ((5, 32), (20, 196))
"""Clients and tokens of the comparison of forms."""

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def forms(
    seeds: Annotated[int, typer.Option(help="Instances per family and size.")] = 3,
    engines: Annotated[str, typer.Option(help="cvxpy's names, comma-separated.")] = "clarabel,ecos",
) -> None:
    """Textbook units against scaled ones; Charnes-Cooper against Dinkelbach and DQCP."""

    def lines() -> Iterator[Sequence[object]]:
        for clients, tokens in SIZES:
            instances = list(_instances(clients, tokens, seeds))
            for (name, value), engine in product(FORMS.items(), engines.split(",")):
                outcomes = [_outcome(value, problem, engine, best) for problem, best in instances]
                errors = [error for error, _ in outcomes if not math.isnan(error)]
                right = sum(error <= RIGHT for error in errors)
                counts = (right, len(errors) - right, len(outcomes) - len(errors))
                worst = f"{max(errors):.0e}" if errors else "–"
                seconds = median(seconds for _, seconds in outcomes)
                yield name, engine, f"{clients} x {tokens}", *counts, worst, f"{seconds:.2f}"

    counts = ("right", "wrong, no error", "no answer")
    _print(("form", "engine", "clients x tokens", *counts, "worst", "median s"), lines(), names=3)


@app.command()
def engines(
    clients: Annotated[str, typer.Option(help="Sizes, comma-separated.")] = "1,5,20,50,100,200",
    seeds: Annotated[int, typer.Option(help="Instances per family and size.")] = 2,
    names: Annotated[str, typer.Option(help="Engines, comma-separated.")] = "clarabel,ecos,highs",
) -> None:
    """`relaxed` on every feasible family: is the bound within 1e-4 of the optimum?"""

    def lines() -> Iterator[Sequence[object]]:
        for engine, size in product(names.split(","), numbers(clients)):
            results = [
                solve(family(name, size, seed), "relaxed", engine=engine)
                for name in families()
                if name != "infeasible"
                for seed in range(seeds)
            ]
            good = sum(result.gap <= 1e-4 for result in results)
            took_over = sum(bool(result.stats.get("fallbacks")) for result in results)
            programs = sum(result.stats.get("programs", 0) for result in results) / len(results)
            seconds = [result.seconds for result in results]
            largest = f"{max(result.gap for result in results):.1e}"
            times = f"{median(seconds):.2f}", f"{max(seconds):.2f}"
            yield engine, size, f"{good} of {len(results)}", took_over, largest, f"{programs:.1f}", *times

    counts = ("within 1e-4", "took over", "largest gap", "programs")
    _print(("engine", "clients", *counts, "median s", "slowest s"), lines())


@app.command()
def reuse(
    clients: Annotated[str, typer.Option(help="Sizes, comma-separated.")] = "10,50,200",
    rounds: Annotated[int, typer.Option(help="Rounds of a fading cell.", min=3)] = 10,
    names: Annotated[str, typer.Option(help="Engines, comma-separated.")] = "clarabel,ecos",
) -> None:
    """Later rounds compiled anew, with the programs of the first round, and from the round before too."""

    def lines() -> Iterator[Sequence[object]]:
        for engine, size in product(names.split(","), numbers(clients)):
            kept: dict[str, Any] = {"programs": Programs()}
            ways = (_way(engine), _way(engine, **kept), _way(engine, started=True, **kept))
            sequence = fading_sequence(size, rounds, seed=0, correlation=0.99)
            (anew_s, kept_s, started_s), _ = round_seconds(sequence, ways)
            times = (f"{1e3 * seconds:.0f}" for seconds in (anew_s, kept_s, started_s))
            yield engine, size, *times, f"{anew_s / kept_s:.1f}", f"{anew_s / started_s:.1f}"

    times = ("anew ms", "programs kept ms", "and started ms")
    _print(("engine", "clients", *times, "anew / kept", "anew / started"), lines())


def charnes_cooper(problem: Problem, engine: str, *, scaled: bool) -> float:
    """P5 divided by the round time: t = 1 / tau, x = t kept, w = bandwidth, q = power.

    As in a textbook in hertz, watts and seconds, or scaled: in fair shares of the band, full powers and
    round times near the optimum. One variable per token.
    """
    cp = _cvxpy()
    units = _Units(problem, scaled)
    x, t = cp.Variable((problem.clients, problem.tokens), nonneg=True), cp.Variable(pos=True)
    w, q = cp.Variable(problem.clients), cp.Variable(problem.clients)
    kept = cp.sum(x, axis=1)
    constraints = [
        x <= t,
        kept >= cp.multiply(problem.min_tokens, t),
        units.rate(w, q) >= cp.multiply(units.nats, kept + problem.extra_tokens * t),
        cp.sum(w) <= units.bandwidth,
        q <= units.power,
        q <= units.energy * t,
    ]
    program = cp.Problem(cp.Maximize(cp.sum(cp.multiply(units.importance, x))), constraints)
    program.solve(solver=engine.upper())
    return float(program.value) * units.ste


def dinkelbach(problem: Problem, engine: str) -> float:
    """Maximise attention - efficiency x round time, with the efficiency of the answer before."""
    cp = _cvxpy()
    attention, round_time, constraints, unit = _ratio_model(problem, scaled=True)
    efficiency = cp.Parameter(nonneg=True, value=1.0)
    program = cp.Problem(cp.Maximize(attention - efficiency * round_time), constraints)
    for _ in range(20):
        program.solve(solver=engine.upper())
        before, efficiency.value = efficiency.value, float(attention.value / round_time.value)
        if abs(efficiency.value / before - 1.0) < 1e-7:
            break
    return float(efficiency.value) * unit


def dqcp(problem: Problem, engine: str) -> float:
    """Maximise the ratio and leave it to cvxpy: bisection on its value, `solve(qcp=True)`."""
    cp = _cvxpy()
    attention, round_time, constraints, unit = _ratio_model(problem, scaled=True)
    program = cp.Problem(cp.Maximize(attention / round_time), constraints)
    program.solve(qcp=True, solver=engine.upper())
    return float(program.value) * unit


def relaxed(problem: Problem, engine: str) -> float:
    """The engine's own value of the last program of `relaxed`, none when another engine took over."""
    result = solve(problem, "relaxed", engine=engine)
    value = result.stats.get("relaxation_ste")
    return float(value) if value is not None and not result.stats["fallbacks"] else math.nan


FORMS: Final[dict[str, Callable[[Problem, str], float]]] = {
    "Charnes-Cooper, SI units": partial(charnes_cooper, scaled=False),
    "Charnes-Cooper, fair shares": partial(charnes_cooper, scaled=True),
    "Dinkelbach, fair shares": dinkelbach,
    "DQCP, fair shares": dqcp,
    "`relaxed`": relaxed,
}


def _ratio_model(problem: Problem, scaled: bool) -> tuple[Any, Any, list[Any], float]:
    """Concave attention, the round time, and the convex set of P5 in areas a = W tau, energies e = p tau."""
    cp = _cvxpy()
    units = _Units(problem, scaled)
    x, round_time = cp.Variable((problem.clients, problem.tokens), nonneg=True), cp.Variable(pos=True)
    a, e = cp.Variable(problem.clients), cp.Variable(problem.clients)
    kept = cp.sum(x, axis=1)
    constraints = [
        x <= 1.0,
        kept >= problem.min_tokens,
        units.rate(a, e) >= cp.multiply(units.nats, kept + problem.extra_tokens),
        cp.sum(a) <= units.bandwidth * round_time,
        e <= units.power * round_time,
        e <= units.energy,
    ]
    return cp.sum(cp.multiply(units.importance, x)), round_time, constraints, units.ste


class _Units:
    """A problem without overheads and deadlines in SI units, or in fair shares around a common K."""

    def __init__(self, problem: Problem, scaled: bool) -> None:
        round_s, kept, share_hz, power_w = 1.0, 1.0, 1.0, np.ones(problem.clients)
        if scaled:
            centre = best_common_tokens(Demand(problem))
            round_s, kept = centre.round_s, centre.ste * centre.round_s
            share_hz, power_w = problem.bandwidth_hz / problem.clients, problem.max_power_w
        self.scaled = scaled
        self.snr = power_w * problem.gain / (problem.noise_w_per_hz * share_hz)
        self.nats = problem.bits_per_token * math.log(2.0) / (share_hz * round_s)
        self.bandwidth = problem.bandwidth_hz / share_hz
        self.power = problem.max_power_w / power_w
        self.energy = problem.max_energy_j / (power_w * round_s)
        self.importance = problem.importance / kept
        self.ste = kept / round_s

    def rate(self, w: Any, q: Any) -> Any:
        """Nats w ln(1 + snr q / w), concave in both."""
        cp = _cvxpy()
        if self.scaled:
            return cp.multiply(np.log(self.snr), w) - cp.rel_entr(w, w / self.snr + q)
        return -cp.rel_entr(w, w + cp.multiply(self.snr, q))


def _instances(clients: int, tokens: int, seeds: int) -> Iterator[tuple[Problem, float]]:
    """Problems without overheads and deadlines, and their optimum."""
    for name in FAMILIES:
        for seed in range(seeds):
            problem = family(name, clients, seed, tokens=tokens, deadline_s=np.inf)
            yield problem, solve(problem, "exact", gap=1e-6).ste


def _outcome(
    value: Callable[[Problem, str], float], problem: Problem, engine: str, best: float
) -> tuple[float, float]:
    """Relative error of a form's value, nan where it gave none, and seconds."""
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = abs(value(problem, engine) / best - 1.0)
    except (_cvxpy().SolverError, TypeError, ValueError, ArithmeticError):  # TypeError: no value at all
        error = math.nan
    return error, time.perf_counter() - began


def _way(engine: str, *, started: bool = False, **options: Any) -> Way:
    """`relaxed` on a round, from the result of the round before where asked."""
    return lambda problem, earlier: solve(
        problem, "relaxed", engine=engine, start=earlier if started else None, **options
    )


def _print(columns: Sequence[str], lines: Iterable[Sequence[object]], names: int = 1) -> None:
    """Print a table line by line, as it is computed."""
    for line in table_lines(columns, lines, names):
        print(line, flush=True)


def _cvxpy() -> Any:
    """cvxpy, which has no types."""
    return import_module("cvxpy")


if __name__ == "__main__":
    app()
