"""The drop-in: a cell that is set up once and plans one round after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ..allocation import Allocation
from ..checks import real_number, whole_number
from ..errors import OptionError
from ..evaluation import Evaluation, evaluate
from ..problem import Problem
from ..result import Diagnosis, Quality, Result, Stop, relative_gap
from ..solve import solve
from ..units import THERMAL_NOISE_W_PER_HZ
from .admission import read_clients
from .client import Client, ClientId, Row, build_problem
from .plan import Dropped, Grant, Plan

STAND_IN: Final = "shi"
"""The rule whose allocation is granted when the solver has no feasible one: it needs no engine, and its first
candidate, the fewest tokens, fits every feasible round."""

LEAST_TIME_S: Final = 1e-9
"""Given to a solver when reading the clients took the whole time budget: it still makes its first point."""


@dataclass(frozen=True, kw_only=True)
class Allocator:
    """Plans uplink rounds of one cell: who sends how many tokens, with what bandwidth and power.

    It holds no state between rounds: a plan depends on the arguments of `plan` alone, whichever thread
    asks and whatever was planned before, unless the clock ends it (`stop` is then time_limit). One
    allocator serves any number of threads.

    The constructor solves a tiny round, which checks all settings, compiles and imports what the solver
    needs: seconds at most, once.

    Attributes:
        bandwidth_hz: the shared uplink band, Hz.
        noise_w_per_hz: noise density, W/Hz.
        extra_tokens: tokens sent besides the kept ones.
        solver: a name of `solvers()`.
        options: the solver's own options.
        gap: relative optimality gap asked for, see `solve`.
        time_limit_s: wall time of one `plan`, s; None for none. What is over the limit is at most the reading
            of the clients and one step of the solver; foreign engines obey as they do.
        seed: for solvers that draw random numbers.
        strict: raise on malformed clients instead of dropping them.
        most_tokens: largest N taken from a client.
        most_clients: largest number of clients taken in a round; memory is some 50 bytes
            x clients x the largest N among them.

    Raises:
        ProblemError, OptionError, UnknownNameError, MissingDependencyError: a setting is wrong.
    """

    bandwidth_hz: float
    noise_w_per_hz: float = THERMAL_NOISE_W_PER_HZ
    extra_tokens: int = 2
    solver: str = "exact"
    options: Mapping[str, Any] = field(default_factory=dict)
    gap: float = 1e-4
    time_limit_s: float | None = None
    seed: int = 0
    strict: bool = False
    most_tokens: int = 4096
    most_clients: int = 100_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", dict(self.options))
        whole_number("Allocator", "most_tokens", self.most_tokens, 1)
        whole_number("Allocator", "most_clients", self.most_clients, 1)
        if self.time_limit_s is not None:
            real_number("Allocator", "time_limit_s", self.time_limit_s, LEAST_TIME_S)
        tiny = Problem(
            gain=1.0,
            importance=[[2.0, 1.0], [1.0, 0.5]],
            bits_per_token=1.0,
            bandwidth_hz=self.bandwidth_hz,
            max_power_w=1.0,
            max_energy_j=math.inf,
            extra_tokens=self.extra_tokens,
            noise_w_per_hz=self.noise_w_per_hz,
        )
        self._solve(tiny)

    def plan(
        self, clients: Mapping[ClientId, Client] | Iterable[Client], *, start: Plan | None = None
    ) -> Plan:
        """Allocate one round: the clients that can be served, optimally, and the reasons why others cannot.

        Malformed clients are dropped first, all bearers of a repeated id among them; then those that cannot
        send `min_tokens` at all; then, where deadlines compete for the band, those outside the largest
        set that fits (P6). What is granted is feasible by `evaluate`.

        Args:
            clients: by id, or in a sequence.
            start: an earlier plan, to start from where ids agree. It saves time, and the plan may be another
                one within the gap; pass the same one and the plan is the same.

        Returns:
            The plan; empty when there is nobody to serve.

        Raises:
            ProblemError: no collection of clients, more than `most_clients`, or, if `strict`, a malformed
                client.
            OptionError: `start` is no plan.

        Cost: some ten microseconds per client beside the solver's own time; at most three solves.
        """
        started = time.perf_counter()
        if not (start is None or isinstance(start, Plan)):
            raise OptionError(
                "Allocator.plan", f"start of type {type(start).__name__}", "a Plan", "Pass the last"
            )
        rows, dropped = read_clients(
            clients,
            self.bandwidth_hz,
            self.noise_w_per_hz,
            most_tokens=self.most_tokens,
            most_clients=self.most_clients,
            strict=self.strict,
        )
        solver_seconds, result, problem = 0.0, None, None
        while rows:
            problem = build_problem(rows, self.bandwidth_hz, self.noise_w_per_hz, self.extra_tokens)
            result = self._solve(problem, self._left_s(started), _start(rows, problem, start))
            solver_seconds += result.seconds
            if result.diagnosis is None:
                break
            dropped += _infeasible(rows, problem, result.diagnosis)
            gone = set(result.diagnosis.clients)
            rows = [row for m, row in enumerate(rows) if m not in gone]
        if result is None or problem is None or not rows:
            return self._empty(dropped, started, solver_seconds)
        stop, bound, message, answer = result.stop, result.bound, result.message, result
        if not _feasible(result):
            answer = solve(problem, STAND_IN, time_limit_s=self._left_s(started))
            solver_seconds += answer.seconds
            message = _stand_in_message(result, answer)
            if not _feasible(answer):
                dropped += [
                    Dropped(row.position, row.id, "solver", f"{_who(row)}: {message}") for row in rows
                ]
                return self._empty(dropped, started, solver_seconds, stop, message)
        allocation, evaluation = _without_padding(rows, answer)
        gap = relative_gap(evaluation.ste, bound)
        return Plan(
            grants=_grants(rows, allocation, evaluation),
            dropped=_ordered(dropped),
            ste=evaluation.ste,
            bound=bound,
            gap=gap,
            round_s=evaluation.round_s,
            stop=stop,
            quality=Quality.OPTIMAL if gap <= result.asked_gap else answer.quality,
            solver=answer.solver,
            seconds=time.perf_counter() - started,
            solver_seconds=solver_seconds,
            message=message,
        )

    def _solve(
        self, problem: Problem, time_limit_s: float | None = None, start: Allocation | None = None
    ) -> Result:
        return solve(
            problem,
            self.solver,
            time_limit_s=time_limit_s,
            gap=self.gap,
            seed=self.seed,
            start=start,
            **self.options,
        )

    def _left_s(self, started: float) -> float | None:
        if self.time_limit_s is None:
            return None
        return max(self.time_limit_s - (time.perf_counter() - started), LEAST_TIME_S)

    def _empty(
        self,
        dropped: list[Dropped],
        started: float,
        solver_seconds: float,
        stop: Stop = Stop.CONVERGED,
        message: str = "",
    ) -> Plan:
        failed = bool(message)
        return Plan(
            grants={},
            dropped=_ordered(dropped),
            ste=0.0,
            bound=math.inf if failed else 0.0,
            gap=math.inf if failed else 0.0,
            round_s=0.0,
            stop=stop,
            quality=Quality.NONE if failed else Quality.OPTIMAL,
            solver=self.solver,
            seconds=time.perf_counter() - started,
            solver_seconds=solver_seconds,
            message=message,
        )


def _who(row: Row) -> str:
    return f"client {row.id!r}"


def _ordered(dropped: list[Dropped]) -> tuple[Dropped, ...]:
    return tuple(sorted(dropped, key=lambda client: client.position))


def _start(rows: list[Row], problem: Problem, earlier: Plan | None) -> Allocation | None:
    """The earlier plan for these clients; newcomers get median tokens, mean bandwidth and full power."""
    known = [earlier.grants.get(row.id) for row in rows] if earlier is not None else []
    matched = [grant for grant in known if grant is not None]
    if not matched:
        return None
    tokens = int(np.median([grant.tokens for grant in matched]))
    share_hz = float(np.mean([grant.bandwidth_hz for grant in matched]))
    grants = [
        grant or Grant(tokens, share_hz, power_w, math.nan)
        for grant, power_w in zip(known, problem.max_power_w.tolist(), strict=True)
    ]
    return Allocation(
        tokens=[grant.tokens for grant in grants],
        bandwidth_hz=[grant.bandwidth_hz for grant in grants],
        power_w=[grant.power_w for grant in grants],
    )


def _infeasible(rows: list[Row], problem: Problem, diagnosis: Diagnosis) -> list[Dropped]:
    """Who cannot be served, by a diagnosis of their problem."""
    dropped = []
    for place, m in enumerate(diagnosis.clients):
        row = rows[m]
        if diagnosis.limit == "bandwidth":
            cause = "bandwidth"
            reason = (
                f"all clients together need {diagnosis.needed[0]:.4g} Hz to send min_tokens within their "
                f"deadlines, {diagnosis.available[0]:.4g} Hz is available; it is not among the "
                f"{len(diagnosis.clients_that_fit)} of least need, which fit"
            )
        else:
            needed, available = diagnosis.needed[place], diagnosis.available[place]
            by_budget = problem.max_energy_j[m] <= problem.max_power_w[m] * problem.deadline_s[m]
            cause = "energy" if by_budget else "deadline"
            source = "the energy budget" if by_budget else "full power until the deadline"
            reason = (
                f"sending min_tokens takes more than {needed:.4g} J at any bandwidth, "
                f"{source} gives {available:.4g} J"
            )
        dropped.append(Dropped(row.position, row.id, cause, f"{_who(row)}: {reason}."))
    return dropped


def _feasible(result: Result) -> bool:
    return result.quality not in {Quality.NONE, Quality.INFEASIBLE}


def _stand_in_message(result: Result, answer: Result) -> str:
    """What happened when the solver's stand-in had to work."""
    detail = f": {result.message}" if result.message else ""
    outcome = "this is its allocation" if _feasible(answer) else "which found none either"
    return (
        f"Solver {result.solver!r} ended with {result.stop} and no feasible allocation{detail}; "
        f"the rule {answer.solver!r} stood in, {outcome}."
    )


def _without_padding(rows: list[Row], result: Result) -> tuple[Allocation, Evaluation]:
    """The allocation without tokens that a client does not have; uploads only get shorter by it."""
    allocation, evaluation = result.allocation, result.evaluation
    assert allocation is not None
    assert evaluation is not None
    owned = np.array([row.importance.size for row in rows])
    if (allocation.tokens <= owned).all():
        return allocation, evaluation
    tokens = np.minimum(allocation.tokens, owned)
    allocation = Allocation(tokens, allocation.bandwidth_hz, allocation.power_w)
    return allocation, evaluate(result.problem, allocation)


def _grants(rows: list[Row], allocation: Allocation, evaluation: Evaluation) -> dict[ClientId, Grant]:
    columns = (allocation.tokens, allocation.bandwidth_hz, allocation.power_w, evaluation.uplink_s)
    values = zip(*(column.tolist() for column in columns), strict=True)
    return {row.id: Grant(*grant) for row, grant in zip(rows, values, strict=True)}
