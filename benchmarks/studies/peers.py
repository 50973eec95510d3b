"""Other solvers beside `exact` on the `paper` family, each at its best, for `speed`.

Clarabel gets this project's own program, scaled and centred at the known optimum, which it would not know:
through CVXPY as a compiled program solved again for new data, and by its own API from data that are ready.
SLSQP gets real token counts, smooth attention, scaled variables, gradients, and the rule `equal` as a start.
`relaxed` keeps its compiled programs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np

from ...solver import Problem, Quality, Result, solve
from ...solver.conic.data import Centre
from ...solver.conic.engines import CLARABEL_SETTINGS, ENGINES
from ...solver.conic.program import ConvexProgram, Programs, Solution
from ...solver.physics.demand import Demand
from ...solver.problem import FloatArray
from ..families import family
from .convex_forms import RIGHT
from .timing import Timed, fastest

PEER_COLUMNS: Final = ("peer", "clients", "ms", "/ `exact`", "value / optimum", "proves", "solved")

SCIP_LIMIT_S: Final = 60.0
TOKEN_UNIT: Final = 10.0
"""Of SLSQP's token variables: about what clients of the family send."""

Attempt = Callable[[], tuple[float, bool]]
"""Solves an instance: what it gives over the optimal STE, and whether the solver says that it is done."""


def peer_lines(sizes: Sequence[int], seeds: int, repeats: int) -> Iterator[tuple[str, ...]]:
    """Median time of every peer and how often it solved: proved to 1e-4, or else within `RIGHT`."""
    programs = Programs()
    for clients in sizes:
        peers = [peer for peer in PEERS if clients <= peer.most_clients]
        able = [peer for peer in peers if all(find_spec(package) for package in peer.packages)]
        outcomes = []
        for seed in range(seeds):
            problem = family("paper", clients, seed)
            best = solve(problem, gap=1e-6)
            attempts = [partial(_timed, peer.prepare(problem, best, programs)) for peer in able]
            outcomes.append(fastest(attempts, repeats))
        found = dict(zip((peer.name for peer in able), zip(*outcomes, strict=True), strict=True))
        exact_s = median(timed.seconds for timed in found["`exact`"])
        for peer in peers:
            if peer not in able:
                yield peer.name, str(clients), "–", "–", "–", peer.proves, "not installed"
                continue
            seconds = median(timed.seconds for timed in found[peer.name])
            value = median(timed.values[0] for timed in found[peer.name])
            solved = sum(timed.solved for timed in found[peer.name])
            ratios = f"{seconds / exact_s:.1f}", f"{value:.5f}"
            yield (
                peer.name,
                str(clients),
                f"{seconds * 1e3:.2f}",
                *ratios,
                peer.proves,
                f"{solved} of {seeds}",
            )


def _timed(attempt: Attempt) -> Timed:
    """The second of two attempts: the first warms up, as in `speed_worker`."""
    attempt()
    started = time.perf_counter()
    value, done = attempt()
    return Timed(time.perf_counter() - started, (value,), int(done and abs(value - 1.0) <= RIGHT))


def _registered(solver: str, problem: Problem, best: Result, programs: Programs, **options: Any) -> Attempt:
    """A solver of this project's list."""
    if solver == "relaxed":
        options["programs"] = programs

    def attempt() -> tuple[float, bool]:
        result = solve(problem, solver, **options)
        return result.ste / best.ste, result.quality is Quality.OPTIMAL

    return attempt


def _cvxpy(problem: Problem, best: Result, programs: Programs) -> Attempt:
    """The program with a free round time, compiled before."""
    _, solution_at = _centred(problem, best, programs)

    def attempt() -> tuple[float, bool]:
        solution = solution_at()
        if isinstance(solution, str):
            return math.nan, False
        return solution.ste / best.ste, solution.status == "optimal"

    return attempt


def _clarabel(problem: Problem, best: Result, programs: Programs) -> Attempt:
    """The same data without CVXPY; the program's unit is the optimum."""
    clarabel, sparse = import_module("clarabel"), import_module("scipy.sparse")
    program, solution_at = _centred(problem, best, programs)
    solution_at()  # fills in the data
    data = program.problem.get_problem_data("CLARABEL", enforce_dpp=True)[0]
    cones = [clarabel.NonnegativeConeT(data["dims"].nonneg)]
    cones += [clarabel.ExponentialConeT() for _ in range(data["dims"].exp)]
    settings = clarabel.DefaultSettings()
    for name, setting in (("verbose", False), *CLARABEL_SETTINGS):
        setattr(settings, name, setting)
    quadratic = sparse.csc_array((data["c"].size,) * 2)

    def attempt() -> tuple[float, bool]:
        engine = clarabel.DefaultSolver(quadratic, data["c"], data["A"], data["b"], cones, settings)
        solution = engine.solve()
        return -solution.obj_val, str(solution.status) == "Solved"

    return attempt


def _centred(
    problem: Problem, best: Result, programs: Programs
) -> tuple[ConvexProgram, Callable[[], Solution | str]]:
    """The program of `relaxed`, and what solves it around the optimum."""
    if best.allocation is None or best.evaluation is None:
        raise ValueError("the family `paper` is feasible")
    program = programs.get(problem.clients, ENGINES["clarabel"], "cone", True)
    centre = Centre(best.allocation.tokens.astype(np.float64), best.evaluation.round_s)
    most = np.full(problem.clients, problem.tokens)
    return program, partial(program.solve, Demand(problem), centre, most, math.inf)


def _slsqp(problem: Problem, best: Result, _: Programs) -> Attempt:
    """SLSQP of scipy; its token counts are rounded, and their least round time gives the STE."""
    minimize = import_module("scipy.optimize").minimize
    model, demand = _RealTokens(problem, solve(problem, "equal")), Demand(problem)

    def attempt() -> tuple[float, bool]:
        constraint = {"type": "ineq", "fun": model.slacks, "jac": model.slack_slopes}
        found = minimize(
            *(model.cost, model.start),
            jac=True,
            method="SLSQP",
            bounds=model.bounds,
            constraints=[constraint],
            options={"maxiter": 1000, "ftol": 1e-9},
        )
        rounded = np.rint(found.x[: problem.clients] * TOKEN_UNIT).astype(np.int64)
        tokens = np.clip(rounded, problem.min_tokens, problem.tokens)
        ste = float(demand.utility(tokens).sum()) / demand.least_round_s(tokens)
        return ste / best.ste, bool(found.success)

    return attempt


class _RealTokens:
    """The problem over real token counts, in units of a feasible point; no overheads, slack deadlines.

    The variables are K / `TOKEN_UNIT`, W in fair shares, p in full powers, and tau in the point's.
    """

    def __init__(self, problem: Problem, at: Result) -> None:
        if at.allocation is None or at.evaluation is None:
            raise ValueError("the rule `equal` answers always")
        interpolator = import_module("scipy.interpolate").PchipInterpolator
        self.clients, self.extra = problem.clients, problem.extra_tokens
        self.rows = np.arange(problem.clients)
        share_hz, round_s = problem.bandwidth_hz / problem.clients, at.evaluation.round_s
        kept = np.cumsum(problem.importance.T, axis=0)
        kept = np.concatenate((np.zeros((1, problem.clients)), kept)) / (at.ste * round_s)
        self.kept = interpolator(np.arange(problem.tokens + 1), kept)
        self.kept_slope = self.kept.derivative()
        self.snr = problem.max_power_w * problem.gain / (problem.noise_w_per_hz * share_hz)
        self.energy = problem.max_power_w * round_s / problem.max_energy_j
        nats = problem.bits_per_token * math.log(2.0) / (share_hz * round_s)
        tokens = at.allocation.tokens
        self.weight = 1.0 / (nats * (tokens + self.extra))
        self.nats = nats * self.weight
        power = at.allocation.power_w / problem.max_power_w
        self.start = np.concatenate(
            (tokens / TOKEN_UNIT, at.allocation.bandwidth_hz / share_hz, power, [1.0])
        )
        counts = [(fewest / TOKEN_UNIT, problem.tokens / TOKEN_UNIT) for fewest in problem.min_tokens]
        shares = [(1e-3, float(self.clients))] * self.clients
        self.bounds = [*counts, *shares, *[(1e-6, 1.0)] * self.clients, (1e-3, 10.0)]

    def cost(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Negative STE, 1 at the start, and its gradient."""
        tokens, _, _, round_time = self._parts(x)
        kept = float(self.kept(tokens)[self.rows, self.rows].sum())
        gradient = np.zeros_like(x)
        gradient[: self.clients] = -self.kept_slope(tokens)[self.rows, self.rows] * TOKEN_UNIT / round_time
        gradient[-1] = kept / round_time**2
        return -kept / round_time, gradient

    def slacks(self, x: FloatArray) -> FloatArray:
        """(2 M + 1,) what the uploads leave, then the energy budgets, then the band; none below zero."""
        tokens, shares, power, round_time = self._parts(x)
        sent = round_time * shares * np.log1p(self.snr * power / shares) * self.weight
        uploads = sent - self.nats * (tokens + self.extra)
        return np.concatenate((uploads, 1.0 - self.energy * power * round_time, [1.0 - shares.mean()]))

    def slack_slopes(self, x: FloatArray) -> FloatArray:
        """(2 M + 1, 3 M + 1) derivatives of the slacks."""
        _, shares, power, round_time = self._parts(x)
        rows, clients = self.rows, self.clients
        snr = self.snr * power / shares
        slopes = np.zeros((2 * clients + 1, 3 * clients + 1))
        slopes[rows, rows] = -self.nats * TOKEN_UNIT
        slopes[rows, clients + rows] = round_time * (np.log1p(snr) - snr / (1.0 + snr)) * self.weight
        slopes[rows, 2 * clients + rows] = round_time * self.snr / (1.0 + snr) * self.weight
        slopes[rows, -1] = shares * np.log1p(snr) * self.weight
        slopes[clients + rows, 2 * clients + rows] = -self.energy * round_time
        slopes[clients + rows, -1] = -self.energy * power
        slopes[-1, clients : 2 * clients] = -1.0 / clients
        return slopes

    def _parts(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        tokens, shares, power = x[:-1].reshape(3, self.clients)
        return tokens * TOKEN_UNIT, shares, power, float(x[-1])


class Peer(NamedTuple):
    """Another solver: how it prepares, what it proves, and the most clients on which it is asked."""

    name: str
    packages: tuple[str, ...]
    prepare: Callable[[Problem, Result, Programs], Attempt]
    proves: str
    most_clients: float = math.inf


PEERS: Final = (
    Peer("`exact`", (), partial(_registered, "exact"), "optimum"),
    Peer("Clarabel, own API", ("cvxpy", "clarabel"), _clarabel, "continuous value"),
    Peer("Clarabel, CVXPY", ("cvxpy", "clarabel"), _cvxpy, "continuous value"),
    Peer("`relaxed`", ("cvxpy", "clarabel"), partial(_registered, "relaxed"), "optimum"),
    Peer("SLSQP", (), _slsqp, "nothing"),
    Peer(
        "SCIP",
        ("pyomo", "pyscipopt"),
        partial(_registered, "minlp", time_limit_s=SCIP_LIMIT_S),
        "optimum",
        5,
    ),
)
