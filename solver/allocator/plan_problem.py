"""Plan one uplink round: solve its `Problem`, drop clients that cannot be served, check what was found."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from ..allocation import SKIPPED, Allocation
from ..checks import choice
from ..errors import OptionError, ProblemError, SolverFailedError
from ..evaluation import Evaluation, evaluate
from ..feasibility import most_utility
from ..objective import Objective
from ..problem import IntArray, Problem
from ..registry import lookup
from ..result import Diagnosis, Quality, Result, Stop
from ..solve import solve
from ..tolerances import FEASIBILITY
from .client import ClientId
from .plan import Dropped, Grant, Plan, for_clients

FALLBACK: Final = "shi"
"""The rule whose allocation is granted when the solver has no feasible one: it needs no engine, and its first
candidate, the fewest tokens, fits every feasible round."""

GENERAL: Final = "exact"
"""What takes every objective and every kind of client; it stands in where a solver or the rule does not."""

LEAST_TIME_S: Final = 1e-9
"""Given to a solver when what came before it took the whole time budget: it still makes its first point."""

NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})

Loss = tuple[int, str, str]
"""Index of a client that is to be dropped, its cause and its reason."""


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
    alternatives: Sequence[str | int | None] | None = None,
    retained_share: float | None = None,
) -> Plan:
    """Plan one round; clients that no allocation can serve are dropped, and the rest is solved again (P6).

    Args:
        problem: the round.
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
            zeros: nobody is granted more. None for N. For problems with one row per client.
        alternatives: (R,) names of the rows, for `Grant.alternative`. By default a row is its index among the
            client's, and None where that is the only one.
        retained_share: for `RoundTime` and `Energy`, in place of `retained`: so much of all that the clients
            have to offer, of those that are not dropped.

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
            f"{problem.clients}, one per client",
            "Name each once",
        )
    served, solver_seconds = list(enumerate(ids)), 0.0
    dropped: list[Dropped] = []
    rows = np.arange(problem.row_count)
    names = _indices(problem) if alternatives is None else alternatives
    if retained_share is not None:
        problem = _requiring(problem, retained_share)

    def drop(losses: Iterable[Loss]) -> None:
        for m, cause, reason in losses:
            position, client = served[m]
            dropped.append(Dropped(position, client, cause, f"client {client!r}: {reason}"))

    def plan(**found: Any) -> Plan:
        seconds = time.perf_counter() - started
        return Plan(dropped=tuple(dropped), seconds=seconds, solver_seconds=solver_seconds, **found)

    def failed(message: str, stop: Stop) -> Plan:
        objective = for_clients(problem.objective, ())
        return plan(
            solver=solver,
            objective=objective,
            bound=objective.unproved,
            stop=stop,
            quality=Quality.NONE,
            message=message,
        )

    # 1. Solve, without those of whom a diagnosis proves that they cannot be served.
    while True:
        here = [names[row] for row in rows.tolist()]
        result = solve(
            problem,
            solver,
            time_limit_s=left_s(time_limit_s, started),
            gap=gap,
            seed=seed,
            start=None if start is None else _start(problem, served, here, start),
            **options,
        )
        solver_seconds += result.seconds
        if result.diagnosis is None or result.diagnosis.limit == "retained":
            break
        drop(_infeasible(problem, result.diagnosis, here))
        stays = sorted(set(range(problem.clients)).difference(result.diagnosis.clients))
        if not stays:
            return plan(solver=solver, objective=for_clients(problem.objective, ()))
        served = [served[m] for m in stays]
        rows = rows[_rows_of(problem, stays)]
        problem = problem.subset(stays)
        if retained_share is not None:
            problem = _requiring(problem, retained_share)
    if result.stop is Stop.INFEASIBLE:
        cause, reason = _unreachable(problem, result)
        drop((m, cause, reason) for m in range(problem.clients))
        return failed(reason, result.stop)

    # 2. Check what was found.
    answer, found, message = result, _found(result), result.message
    broken: list[Loss] = []
    if on_violation == "drop":
        if found is None:
            raise SolverFailedError(
                f"solver {solver!r}", message or str(result.stop), "an allocation", result.stop.remedy[:-1]
            )
        broken = list(_broken(problem, *found, solver))
    elif found is None or not found[1].feasible:
        answer = solve(problem, _fallback(problem), time_limit_s=left_s(time_limit_s, started))
        solver_seconds += answer.seconds
        found, message = _found(answer), _fallback_message(result, answer)
        if found is None or not found[1].feasible:
            drop((m, "solver", message) for m in range(problem.clients))
            return failed(message, result.stop)
    drop(broken)
    if len(broken) == problem.clients:
        return failed(message, result.stop)

    # 3. Grant it.
    allocation, evaluation = found
    if available_tokens is not None:
        tokens = np.minimum(allocation.tokens, available_tokens[[position for position, _ in served]])
        if (tokens < allocation.tokens).any():  # uploads only get shorter by it
            allocation = Allocation(tokens, allocation.bandwidth_hz, allocation.power_w)
            evaluation = evaluate(problem, allocation)
    objective = problem.objective
    bound, quality = (objective.unproved, Quality.FEASIBLE) if broken else (result.bound, answer.quality)
    proved = objective.gap(evaluation.totals, bound) <= result.asked_gap
    losers = {m for m, *_ in broken}
    grants = _grants(problem, allocation, evaluation, rows, names)
    granted = [m for m, grant in enumerate(grants) if grant.row >= 0 and m not in losers]
    return plan(
        solver=answer.solver,
        grants={served[m][1]: grants[m] for m in granted},
        skipped=tuple(served[m][1] for m, grant in enumerate(grants) if grant.row < 0),
        objective=for_clients(objective, granted),
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


def _indices(problem: Problem) -> list[int | None]:
    """(R,) what a row is called: its index among its client's, None where it is the only one."""
    if problem.is_one_row_each:
        return [None] * problem.row_count
    indices: list[int | None] = []
    seen = [0] * problem.clients
    several = (np.bincount(problem.client) > 1).tolist()
    for client in problem.client.tolist():
        indices.append(seen[client] if several[client] else None)
        seen[client] += 1
    return indices


def _rows_of(problem: Problem, clients: Sequence[int]) -> IntArray:
    """The rows of some clients, client by client: those of `Problem.subset`, in its order."""
    if problem.is_one_row_each:
        return np.array(clients)
    return np.concatenate([np.flatnonzero(problem.client == m) for m in clients])


def _requiring(problem: Problem, retained_share: float) -> Problem:
    """The problem with a share of the clients' largest utilities as what is required."""
    most = float(most_utility(problem).sum())
    return replace(problem, objective=with_retained(problem.objective, retained_share * most))


def with_retained(objective: Objective, retained: float) -> Objective:
    """The objective with another required sum of utilities."""
    return type(objective)(**(objective.settings() | {"retained": retained}))


def _start(
    problem: Problem,
    served: Sequence[tuple[int, ClientId]],
    names: Sequence[str | int | None],
    earlier: Plan,
) -> Allocation | None:
    """The earlier plan for these clients; newcomers get median tokens, mean bandwidth and full power.

    Who had an alternative that is gone is a newcomer; newcomers start with their first.
    """
    known = [earlier.grants.get(client) for _, client in served]
    row = problem.row_of_client.tolist()
    if problem.is_one_row_each:
        pairs = zip(known, names, strict=True)
        known = [grant if grant and grant.alternative == name else None for grant, name in pairs]
    else:
        found = {(m, name): r for r, (m, name) in enumerate(zip(problem.client.tolist(), names, strict=True))}
        rows = [None if grant is None else found.get((m, grant.alternative)) for m, grant in enumerate(known)]
        known = [grant if r is not None else None for grant, r in zip(known, rows, strict=True)]
        row = [first if r is None else r for first, r in zip(row, rows, strict=True)]
    matched = [grant for grant in known if grant is not None]
    if not matched:
        return None
    middle = int(np.median([grant.tokens for grant in matched]))
    share_hz = float(np.mean([grant.bandwidth_hz for grant in matched]))
    tokens = [grant.tokens if grant else middle for grant in known]
    bandwidth_hz = [grant.bandwidth_hz if grant else share_hz for grant in known]
    power_w = [
        grant.power_w if grant else full
        for grant, full in zip(known, problem.max_power_w[row].tolist(), strict=True)
    ]
    if problem.is_plain:
        return Allocation(tokens, bandwidth_hz, power_w)
    tokens = np.clip(tokens, problem.min_tokens[row], problem.max_tokens[row]).tolist()
    for m, (_, client) in enumerate(served):
        if client in earlier.skipped and problem.may_skip[m]:
            row[m], tokens[m], bandwidth_hz[m], power_w[m] = SKIPPED, 0, 0.0, 0.0
    return Allocation(tokens, bandwidth_hz, power_w, row)


def _infeasible(problem: Problem, diagnosis: Diagnosis, names: Sequence[str | int | None]) -> Iterator[Loss]:
    """Who cannot be served, by a diagnosis of their problem."""
    if diagnosis.limit == "bandwidth":
        blocks = "" if problem.block_hz is None else f" in whole blocks of {problem.block_hz:.4g} Hz"
        reason = (
            f"all clients together need {diagnosis.needed[0]:.4g} Hz{blocks} to send min_tokens within their "
            f"deadlines, {diagnosis.available[0]:.4g} Hz is available; it is not among the "
            f"{len(diagnosis.clients_that_fit)} of least need, which fit."
        )
        yield from ((m, "bandwidth", reason) for m in diagnosis.clients)
        return
    for m in diagnosis.clients:
        rows = _rows_of(problem, [m])
        shortages = [_shortage(problem, row) for row in rows.tolist()]
        best = max(range(rows.size), key=lambda i: shortages[i][0])
        _, cause, reason = shortages[best]
        if rows.size > 1:
            closest = f"{names[rows.tolist()[best]]!r} comes closest"
            reason = f"of {rows.size} alternatives none can be sent, {closest}: {reason}"
        yield m, cause, reason


def _shortage(problem: Problem, row: int) -> tuple[float, str, str]:
    """What a row has of what sending the fewest tokens takes, as a share, the cause, and both in words."""
    round_s, overhead_s = problem.objective.longest_round_s, float(problem.overhead_s[row])
    deadline_s, budget_j = float(problem.deadline_s[row]), float(problem.max_energy_j[row])
    before_j = float(problem.before_j[row])
    slot_s = min(deadline_s, round_s - overhead_s)
    if not slot_s > 0.0:
        reason = f"it can send after {overhead_s:.4g} s only, the round is to end after {round_s:.4g} s."
        return -1.0, "round", reason
    if not budget_j > before_j:
        reason = f"it spends {before_j:.4g} J before it sends, the energy budget gives {budget_j:.4g} J."
        return -1.0, "energy", reason
    one = np.array([row])
    nats = float(problem.bits_of(one, problem.min_tokens[one])[0]) * math.log(2.0)
    needed_j = nats * problem.noise_w_per_hz / float(problem.gain[row])
    full_j = float(problem.max_power_w[row]) * slot_s
    if budget_j - before_j <= full_j:
        cause, source, available_j = "energy", "the energy budget", budget_j - before_j
    elif slot_s == deadline_s:
        cause, source, available_j = "deadline", "full power until the deadline", full_j
    else:
        cause, source, available_j = "round", "full power until the round is to end", full_j
    reason = (
        f"sending min_tokens takes more than {needed_j:.4g} J at any bandwidth, "
        f"{source} gives {available_j:.4g} J."
    )
    return available_j / needed_j if needed_j > 0.0 else math.inf, cause, reason


def _unreachable(problem: Problem, result: Result) -> tuple[str, str]:
    """Cause and reason where what the objective requires cannot be had, whoever is dropped."""
    objective = problem.objective
    if result.diagnosis is not None:
        (most,), (required,) = result.diagnosis.available, result.diagnosis.needed
        return "retained", f"all clients together can retain {most:.4g} at most, {required:.4g} is required."
    if objective.least_retained > 0.0:
        return "retained", (
            f"no allocation within all limits retains the {objective.least_retained:.4g} that are required."
        )
    return "round", f"no allocation ends within the {objective.longest_round_s:.4g} s of the round."


def _fallback(problem: Problem) -> str:
    """What stands in for a solver on a problem."""
    try:
        lookup(FALLBACK).check_problem(problem)
    except ProblemError:
        return GENERAL
    return FALLBACK


def _broken(problem: Problem, allocation: Allocation, evaluation: Evaluation, solver: str) -> Iterator[Loss]:
    """Whose energy budget, deadline or round time an allocation breaks.

    Raises:
        SolverFailedError: it breaks limits of another kind.
    """
    alone = {"energy", "deadline", "round", "rate"}
    broken = [name for name, excess in evaluation.violations.items() if excess > FEASIBILITY]
    if others := [name for name in broken if name not in alone]:
        raise SolverFailedError(
            f"solver {solver!r}",
            f"an allocation that breaks {', '.join(others)}",
            "one that breaks energy budgets and deadlines of single clients at most",
            "Take another",
        )
    row = allocation.rows_of(problem)
    slack, round_s = 1 + FEASIBILITY, problem.objective.longest_round_s
    uplink_s, energy_j, finish_s = evaluation.uplink_s, evaluation.energy_j, evaluation.totals.finish_s
    late = ~(uplink_s <= problem.deadline_s[row] * slack) | ~np.isfinite(uplink_s)
    costly = ~(energy_j <= problem.max_energy_j[row] * slack)
    over = ~(finish_s <= round_s * slack)
    for m in np.flatnonzero((late | costly | over) & (row >= 0)).tolist():
        if late[m]:
            cause, got = "deadline", f"{uplink_s[m]:.4g} s"
            limit = f"its deadline is {problem.deadline_s[row[m]]:.4g} s"
        elif costly[m]:
            cause, got = "energy", f"{energy_j[m]:.4g} J"
            limit = f"its energy budget is {problem.max_energy_j[row[m]]:.4g} J"
        else:
            cause, got = "round", f"{uplink_s[m]:.4g} s"
            limit = f"it ends after {finish_s[m]:.4g} s, the round is to end after {round_s:.4g} s"
        yield m, cause, f"solver {solver!r} lets its upload take {got}, {limit}."


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


def _grants(
    problem: Problem,
    allocation: Allocation,
    evaluation: Evaluation,
    rows: IntArray,
    names: Sequence[str | int | None],
) -> list[Grant]:
    """Client by client; row -1 for those that are skipped."""
    row = allocation.rows_of(problem)
    original = np.where(row >= 0, rows[row], SKIPPED).tolist()
    columns = (
        *(allocation.tokens, allocation.bandwidth_hz, allocation.power_w, evaluation.uplink_s),
        *(evaluation.totals.finish_s, evaluation.energy_j, evaluation.retained),
    )
    lists: list[list[Any]] = [*(column.tolist() for column in columns), original]
    lists.append([names[r] if r >= 0 else None for r in original])
    if problem.block_hz is not None:
        lists.append(np.round(allocation.bandwidth_hz / problem.block_hz).astype(np.int64).tolist())
    return [Grant(*values) for values in zip(*lists, strict=True)]
