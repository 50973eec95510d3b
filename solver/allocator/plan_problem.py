"""Plan one uplink round: solve its `Problem`, drop clients that cannot be served, check what was found."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from ..allocation import Allocation
from ..checks import choice
from ..errors import OptionError, SolverFailedError
from ..evaluation import Evaluation, evaluate
from ..problem import IntArray, Problem
from ..result import Diagnosis, Quality, Result
from ..solve import solve
from ..tolerances import FEASIBILITY
from .client import ClientId
from .plan import Dropped, Grant, Plan

FALLBACK: Final = "shi"
"""The rule whose allocation is granted when the solver has no feasible one: it needs no engine, and its first
candidate, the fewest tokens, fits every feasible round."""

LEAST_TIME_S: Final = 1e-9
"""Given to a solver when what came before it took the whole time budget: it still makes its first point."""

NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})

Loss = tuple[int, str, str]
"""Row of a client that is to be dropped, its cause and its reason."""


def plan_problem(
    problem: Problem,
    ids: Sequence[ClientId],
    *,
    solver: str = "exact",
    options: Mapping[str, Any] = NO_OPTIONS,
    gap: float = 1e-4,
    time_limit_s: float | None = None,
    seed: int = 0,
    start: Plan | None = None,
    on_violation: Literal["fallback", "drop"] = "fallback",
    available_tokens: IntArray | None = None,
) -> Plan:
    """Plan one round; clients that no allocation can serve are dropped, and the rest is solved again (P6).

    Args:
        problem: the round, one row per client.
        ids: (M,) of the clients, all different.
        solver: a name of `solvers()`.
        options: the solver's own options.
        gap: relative optimality gap asked for, see `solve`.
        time_limit_s: wall time, s; None for none. One step of the solver may come on top; foreign engines
            obey as they do.
        seed: for solvers that draw random numbers.
        start: an earlier plan, to start from where ids agree. Newcomers start at its median tokens, its mean
            bandwidth and full power.
        on_violation: what to do when the solver's allocation breaks limits, as simple rules may.
            "fallback": the rule `shi` stands in, and `message` says so. "drop": whose energy or deadline is
            broken is dropped, as its upload does not arrive, and nothing is proved of the others.
        available_tokens: (M,) how many tokens each client has, where its row of `importance` is padded with
            zeros: nobody is granted more. None for N.

    Returns:
        The plan, feasible for the clients it grants; empty when nobody can be served.

    Raises:
        OptionError: `ids` are not M different ones, or `on_violation` is unknown.
        ProblemError, OptionError, UnknownNameError, MissingDependencyError: the solver cannot be called so.
        SolverFailedError: with "drop" only. The solver found nothing, or breaks other limits than clients'
            energy and deadlines, such as the bandwidth.

    Cost: some microseconds per client beside the solver's own time. At most three calls of the solver, all
    but the last of which end with a diagnosis, and one of the fallback rule.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import plan_problem
        >>> plan = plan_problem(family("infeasible", clients=3, seed=0), ["ada", "bob", "eve"])
        >>> list(plan.grants), [(client.id, client.cause) for client in plan.dropped]
        (['bob', 'eve'], [('ada', 'energy')])
    """
    started = time.perf_counter()
    choice("plan_problem", "on_violation", on_violation, ("fallback", "drop"))
    if len(ids) != problem.clients or len(set(ids)) != problem.clients:
        raise OptionError(
            "plan_problem",
            f"{len(set(ids))} different ids",
            f"{problem.clients}, one per row",
            "Name each once",
        )
    served, solver_seconds = list(enumerate(ids)), 0.0
    dropped: list[Dropped] = []

    def drop(losses: Iterable[Loss]) -> None:
        for m, cause, reason in losses:
            position, client = served[m]
            dropped.append(Dropped(position, client, cause, f"client {client!r}: {reason}"))

    def plan(**found: Any) -> Plan:
        seconds = time.perf_counter() - started
        return Plan(dropped=tuple(dropped), seconds=seconds, solver_seconds=solver_seconds, **found)

    def failed(message: str) -> Plan:
        return plan(solver=solver, bound=math.inf, stop=result.stop, quality=Quality.NONE, message=message)

    # 1. Solve, without those of whom a diagnosis proves that they cannot be served.
    while True:
        result = solve(
            problem,
            solver,
            time_limit_s=left_s(time_limit_s, started),
            gap=gap,
            seed=seed,
            start=None if start is None else _start(problem, [client for _, client in served], start),
            **options,
        )
        solver_seconds += result.seconds
        if result.diagnosis is None:
            break
        drop(_infeasible(problem, result.diagnosis))
        stays = sorted(set(range(problem.clients)).difference(result.diagnosis.clients))
        if not stays:
            return plan(solver=solver)
        served, problem = [served[m] for m in stays], problem.subset(stays)

    # 2. Check what was found.
    answer, found, message = result, _found(result), result.message
    broken: list[Loss] = []
    if on_violation == "drop":
        if found is None:
            raise SolverFailedError(
                f"solver {solver!r}", message or str(result.stop), "an allocation", result.stop.remedy[:-1]
            )
        broken = list(_broken(problem, found[1], solver))
    elif found is None or not found[1].feasible:
        answer = solve(problem, FALLBACK, time_limit_s=left_s(time_limit_s, started))
        solver_seconds += answer.seconds
        found, message = _found(answer), _fallback_message(result, answer)
        if found is None or not found[1].feasible:
            drop((m, "solver", message) for m in range(problem.clients))
            return failed(message)
    drop(broken)
    if len(broken) == problem.clients:
        return failed(message)

    # 3. Grant it.
    allocation, evaluation = found
    if available_tokens is not None:
        tokens = np.minimum(allocation.tokens, available_tokens[[position for position, _ in served]])
        if (tokens < allocation.tokens).any():  # uploads only get shorter by it
            allocation = Allocation(tokens, allocation.bandwidth_hz, allocation.power_w)
            evaluation = evaluate(problem, allocation)
    bound, quality = (math.inf, Quality.FEASIBLE) if broken else (result.bound, answer.quality)
    proved = problem.objective.gap(evaluation.totals, bound) <= result.asked_gap
    grants, losers = _grants(problem, allocation, evaluation), {m for m, *_ in broken}
    return plan(
        solver=answer.solver,
        grants={client: grants[m] for m, (_, client) in enumerate(served) if m not in losers},
        bound=bound,
        stop=result.stop,
        quality=Quality.OPTIMAL if proved else quality,
        message=message,
    )


def left_s(time_limit_s: float | None, started: float) -> float | None:
    """What is left of a time limit since `started`, s: enough for a first point at least."""
    if time_limit_s is None:
        return None
    return max(time_limit_s - (time.perf_counter() - started), LEAST_TIME_S)


def _start(problem: Problem, ids: Sequence[ClientId], earlier: Plan) -> Allocation | None:
    """The earlier plan for these clients; newcomers get median tokens, mean bandwidth and full power."""
    known = [earlier.grants.get(client) for client in ids]
    matched = [grant for grant in known if grant is not None]
    if not matched:
        return None
    tokens = int(np.median([grant.tokens for grant in matched]))
    share_hz = float(np.mean([grant.bandwidth_hz for grant in matched]))
    return Allocation(
        tokens=[grant.tokens if grant else tokens for grant in known],
        bandwidth_hz=[grant.bandwidth_hz if grant else share_hz for grant in known],
        power_w=[
            grant.power_w if grant else full
            for grant, full in zip(known, problem.max_power_w.tolist(), strict=True)
        ],
    )


def _infeasible(problem: Problem, diagnosis: Diagnosis) -> Iterator[Loss]:
    """Who cannot be served, by a diagnosis of their problem."""
    for place, m in enumerate(diagnosis.clients):
        if diagnosis.limit == "bandwidth":
            reason = (
                f"all clients together need {diagnosis.needed[0]:.4g} Hz to send min_tokens within their "
                f"deadlines, {diagnosis.available[0]:.4g} Hz is available; it is not among the "
                f"{len(diagnosis.clients_that_fit)} of least need, which fit."
            )
            yield m, "bandwidth", reason
            continue
        needed_j, available_j = diagnosis.needed[place], diagnosis.available[place]
        by_budget = problem.max_energy_j[m] <= problem.max_power_w[m] * problem.deadline_s[m]
        source = "the energy budget" if by_budget else "full power until the deadline"
        reason = (
            f"sending min_tokens takes more than {needed_j:.4g} J at any bandwidth, "
            f"{source} gives {available_j:.4g} J."
        )
        yield m, "energy" if by_budget else "deadline", reason


def _broken(problem: Problem, evaluation: Evaluation, solver: str) -> Iterator[Loss]:
    """Whose energy budget or deadline an allocation breaks.

    Raises:
        SolverFailedError: it breaks limits of another kind.
    """
    names = ("bandwidth", "power", "min_tokens", "max_tokens")
    if others := [name for name in names if evaluation.violations[name] > FEASIBILITY]:
        raise SolverFailedError(
            f"solver {solver!r}",
            f"an allocation that breaks {', '.join(others)}",
            "one that breaks energy budgets and deadlines of single clients at most",
            "Take another",
        )
    slack = 1 + FEASIBILITY
    uplink_s, energy_j = evaluation.uplink_s, evaluation.energy_j
    late = ~(uplink_s <= problem.deadline_s * slack) | ~np.isfinite(uplink_s)
    costly = ~(energy_j <= problem.max_energy_j * slack)
    for m in np.flatnonzero(late | costly).tolist():
        got, limit = (
            (f"{uplink_s[m]:.4g} s", f"its deadline is {problem.deadline_s[m]:.4g} s")
            if late[m]
            else (f"{energy_j[m]:.4g} J", f"its energy budget is {problem.max_energy_j[m]:.4g} J")
        )
        reason = f"solver {solver!r} lets its upload take {got}, {limit}."
        yield m, "deadline" if late[m] else "energy", reason


def _found(result: Result) -> tuple[Allocation, Evaluation] | None:
    """The allocation of a result with its evaluation, feasible or not."""
    if result.allocation is None or result.evaluation is None:
        return None
    return result.allocation, result.evaluation


def _fallback_message(result: Result, answer: Result) -> str:
    """What happened when the solver's fallback rule had to work."""
    detail = f": {result.message}" if result.message else ""
    served = answer.quality not in {Quality.NONE, Quality.INFEASIBLE}
    outcome = "this is its allocation" if served else "which found none either"
    return (
        f"Solver {result.solver!r} ended with {result.stop} and no feasible allocation{detail}; "
        f"the rule {answer.solver!r} stood in, {outcome}."
    )


def _grants(problem: Problem, allocation: Allocation, evaluation: Evaluation) -> list[Grant]:
    """Row by row."""
    columns = (
        *(allocation.tokens, allocation.bandwidth_hz, allocation.power_w, evaluation.uplink_s),
        *(problem.overhead_s + evaluation.uplink_s, evaluation.energy_j, evaluation.retained),
    )
    return [Grant(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]
