"""The drop-in: a cell that is set up once and plans one round after the other."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..checks import real_number, whole_number
from ..errors import OptionError, ProblemError
from ..objective import OBJECTIVES, Energy, Objective, RoundTime, TotalTime, Weighted
from ..problem import STE, Problem
from ..registry import lookup
from ..result import Quality, Stop
from ..solve import solve
from ..units import THERMAL_NOISE_W_PER_HZ
from .admission import validate_clients
from .client import Client, ClientId
from .client_record import Cell, build_problem
from .plan import Plan
from .plan_problem import (
    FALLBACK,
    GENERAL,
    LEAST_TIME_S,
    NO_OPTIONS,
    left_s,
    plan_problem,
    with_retained,
)
from .validation import Most


@dataclass(frozen=True, kw_only=True)
class Allocator:
    """Plans uplink rounds of one cell: who sends how many tokens, with what bandwidth and power.

    It holds no state between rounds: a plan depends on the arguments of `plan` alone, whichever thread
    asks and whatever was planned before, unless the clock ends it (`stop` is then time_limit). One
    allocator serves any number of threads.

    The constructor solves a tiny round, which checks all settings, compiles and imports what the solver
    needs: seconds at most, once. It warns, by the solver's name, where that round fails. What only rounds
    of other kinds need, say the first one in which clients have alternatives, is compiled there, once per
    installation.

    Attributes:
        bandwidth_hz: the shared uplink band, Hz.
        noise_w_per_hz: noise density, W/Hz.
        extra_tokens: tokens sent besides the kept ones.
        objective: what is wanted. The `retained` of `RoundTime` and `Energy` is a sum over all clients, in
            the units of their utilities; the weights of `TotalTime` are in `Client.weight`.
        retained_share: in place of that `retained`, a share of all that the clients of a round have to offer,
            above 0 and up to 1. Who is dropped offers nothing.
        block_hz: bandwidth is granted in whole resource blocks of so many Hz; None for any share.
        solver: a name of `solvers()`. Where a round is not for it, say because a client has alternatives,
            `exact` stands in and the plan says so.
        options: the solver's own options.
        gap: relative optimality gap asked for, see `solve`.
        time_limit_s: wall time of one `plan`, s; None for none. What is over the limit is at most the reading
            of the clients and one step of the solver; foreign engines obey as they do.
        seed: for solvers that draw random numbers.
        strict: raise on malformed clients instead of dropping them.
        most_tokens: largest N taken from a client.
        most_clients: largest number of clients taken in a round; memory is some 50 bytes
            x clients (all alternatives counted) x the largest N among them.
        most_alternatives: largest number of alternatives taken from a client.

    Raises:
        ProblemError, OptionError, UnknownNameError, MissingDependencyError: a setting is wrong.

    Examples:
        >>> from stsflora.solver import Allocator, Client, Snr
        >>> clients = [
        ...     Client("ada", Snr(21.0), [0.4, 0.3, 0.2, 0.1], bits_per_token=8e6, max_power_w=0.2),
        ...     Client("bob", Snr(9.5), [0.7, 0.1, 0.1, 0.1], bits_per_token=8e6, max_power_w=0.2),
        ... ]
        >>> plan = Allocator(bandwidth_hz=20e6).plan(clients)
        >>> list(plan.grants), plan.dropped, plan.gap <= 1e-4
        (['ada', 'bob'], (), True)
    """

    bandwidth_hz: float
    noise_w_per_hz: float = THERMAL_NOISE_W_PER_HZ
    extra_tokens: int = 2
    objective: Objective = STE
    retained_share: float | None = None
    block_hz: float | None = None
    solver: str = "exact"
    options: Mapping[str, Any] = field(default_factory=dict)
    gap: float = 1e-4
    time_limit_s: float | None = None
    seed: int = 0
    strict: bool = False
    most_tokens: int = 4096
    most_clients: int = 100_000
    most_alternatives: int = 256

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", dict(self.options))
        whole_number("Allocator", "most_tokens", self.most_tokens, 1)
        whole_number("Allocator", "most_clients", self.most_clients, 1)
        whole_number("Allocator", "most_alternatives", self.most_alternatives, 1)
        if self.time_limit_s is not None:
            real_number("Allocator", "time_limit_s", self.time_limit_s, LEAST_TIME_S)
        if not isinstance(self.objective, Objective):
            raise OptionError(
                "Allocator",
                f"objective={self.objective!r:.60}",
                ", ".join(OBJECTIVES),
                "Pass Ste() or another",
            )
        if self.retained_share is not None:
            _check_share(self.retained_share, self.objective)
        if isinstance(self.objective, TotalTime) and isinstance(self.objective.weight, tuple):
            raise OptionError(
                "Allocator", "TotalTime with several weights", "one for all", "Set Client.weight for others"
            )
        trial_round = self._trial_round()
        trial = solve(trial_round, self.solver, gap=self.gap, seed=self.seed, **self.options)
        if trial.stop is Stop.ERROR or trial.quality in {Quality.NONE, Quality.INFEASIBLE}:
            reason = trial.message or f"stop = {trial.stop}, quality = {trial.quality}"
            warnings.warn(
                f"Allocator: solver {self.solver!r} failed its trial round ({reason}); where it fails again, "
                f"the rule {FALLBACK!r} stands in and plans say so. Mend the cause, or name another solver.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _trial_round(self) -> Problem:
        """A round of two clients, or one where there is one block, that every setting should allow."""
        wanted = self._cell().objective
        if self.block_hz is not None and self.block_hz > self.bandwidth_hz > 0.0:
            words = f"at most bandwidth_hz={self.bandwidth_hz!r:.60}"
            raise OptionError("Allocator", f"block_hz={self.block_hz!r:.60}", words, "Make it smaller")
        clients = 2 if self.block_hz is None or 2.0 * self.block_hz <= self.bandwidth_hz else 1
        round_s = min(wanted.longest_round_s, 1.0)
        bits = 1.0 if round_s == 1.0 else 1e-3 * round_s * self.bandwidth_hz
        importance = np.array([[2.0, 1.0], [1.0, 0.5]])[:clients] * max(1.0, wanted.least_retained)
        return Problem(
            gain=1.0,
            importance=importance,
            bits_per_token=bits,
            bandwidth_hz=self.bandwidth_hz,
            max_power_w=1.0,
            max_energy_j=math.inf,
            deadline_s=1e3 if isinstance(wanted, Weighted) and wanted.per_second == 0.0 else math.inf,
            extra_tokens=self.extra_tokens,
            noise_w_per_hz=self.noise_w_per_hz,
            block_hz=self.block_hz,
            objective=wanted,
        )

    def _cell(self) -> Cell:
        """What clients share; a required share of what they offer is any number > 0 until they are known."""
        objective = self.objective
        if self.retained_share is not None:
            objective = with_retained(objective, self.retained_share)
        return Cell(self.bandwidth_hz, self.noise_w_per_hz, self.extra_tokens, self.block_hz, objective)

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
        cell = self._cell()
        records, dropped = validate_clients(
            clients,
            cell,
            most=Most(self.most_tokens, self.most_alternatives),
            most_clients=self.most_clients,
            strict=self.strict,
        )
        if not records:
            return Plan(
                solver=self.solver,
                dropped=tuple(dropped),
                objective=self.objective,
                seconds=time.perf_counter() - started,
            )
        problem = build_problem(records, cell)
        positions = list(dict.fromkeys(record.position for record in records))
        ids = list(dict.fromkeys(record.id for record in records))
        solver, options, message = self.solver, self.options, ""
        if not problem.is_plain:
            try:
                lookup(solver).check_problem(problem)
            except ProblemError as refusal:
                if self.strict:
                    raise
                solver, options, message = GENERAL, NO_OPTIONS, f"{GENERAL!r} stands in. {refusal}"
        plan = plan_problem(
            problem,
            ids,
            solver=solver,
            options=options,
            gap=self.gap,
            time_limit_s=left_s(self.time_limit_s, started),
            seed=self.seed,
            start=start,
            available_tokens=np.array([record.tokens for record in records]) if problem.is_plain else None,
            alternatives=[record.alternative for record in records],
            retained_share=self.retained_share,
        )
        dropped += [client._replace(position=positions[client.position]) for client in plan.dropped]
        return replace(
            plan,
            dropped=tuple(dropped),
            seconds=time.perf_counter() - started,
            message=f"{message} {plan.message}".strip(),
        )


def _check_share(share: float, objective: Objective) -> None:
    words = "above 0 and up to 1"
    if not real_number("Allocator", "retained_share", share, open_low=True, allowed=words) <= 1.0:
        raise OptionError("Allocator", f"retained_share={share!r:.60}", words, "Ask for less")
    if not isinstance(objective, RoundTime | Energy) or objective.retained > 0.0:
        raise OptionError(
            "Allocator",
            f"retained_share={share!r:.60} with {objective!r:.60}",
            "RoundTime or Energy without retained",
            "Say one of the two",
        )
