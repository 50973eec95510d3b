"""`nlp`: scipy's SLSQP on fractional tokens, bandwidths and powers, then rounding: what most papers do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..allocation import Allocation
from ..checks import whole_number
from ..evaluation import Evaluation, evaluate
from ..method import Answer, Request
from ..objective import OBJECTIVES, Energy, Retained, Ste, TotalTime, Weighted
from ..physics.bandwidth import power_w_for_energy
from ..problem import FloatArray, IntArray, Problem
from ..random_streams import random_stream
from ..registry import EVERYTHING, register
from ..result import Stop, TracePoint

WHO: Final = "solver 'nlp'"

MARGIN: Final = 1e-6
"""Share of every limit that is kept back: SLSQP meets constraints to about a tenth of that."""

FTOL: Final = 1e-9
"""SLSQP's own tolerance on the objective, which is near 1."""

LEAST_SHARE: Final = 1e-9
"""Least share of the band, of a power, and of the longest payload that logarithms are taken of."""


@register(
    "nlp",
    always_feasible=False,
    takes=dict.fromkeys(OBJECTIVES, EVERYTHING - {"alternatives", "skip", "blocks"}),
)
def nlp(problem: Problem, request: Request, *, starts: int = 3, maxiter: int = 200) -> Answer:
    """SLSQP of scipy on fractional tokens, bandwidths and powers, rounded: what most published code does.

    The continuous problem is nonconvex as written, so SLSQP may end anywhere, or fail. Utilities and payloads
    between whole counts are interpolated. Tokens are then rounded down and to the nearest count, raised where
    utility is required, and SLSQP runs once more on bandwidths and powers. Of all answers the best feasible
    one is returned, or the one that breaks its limits least. Nothing is proved.

    `stats["starts"]` has a row for each start: SLSQP's own message, whether it succeeded, its iterations, and
    the value after rounding, None where limits are broken. `stats["failed"]` counts starts where SLSQP said
    that it failed; `message` says so too.

    Args:
        problem: the instance.
        request: its start is tried first; its seed feeds the random starts.
        starts: how many points to begin at: fewest tokens, all tokens, then random ones; >= 1.
        maxiter: of SLSQP, >= 1.

    Cost: O(M^3) per iteration.
    """
    starts = whole_number(WHO, "starts", starts, 1)
    maxiter = whole_number(WHO, "maxiter", maxiter, 1)
    rows: list[dict[str, Any]] = []
    trace: list[TracePoint] = []
    best: _Rounded | None = None
    expired = False
    for name, tokens in _starts(problem, request, starts):
        if best is not None and request.expired():
            expired = True
            break
        relaxed = _Program(problem, tokens, True).solve(None, maxiter, request)
        found = relaxed
        for whole in _rounded(problem, relaxed.tokens):
            found = _Program(problem, whole.astype(np.float64), False).solve(relaxed.shares, maxiter, request)
            tried = _scored(problem, whole, found)
            if best is None or tried.better(problem, best):
                best = tried
            if tried.score.feasible:
                trace.append(
                    TracePoint(request.elapsed_s(), len(trace), best.score.value, problem.objective.unproved)
                )
        assert best is not None
        rows.append(
            {
                "start": name,
                "success": relaxed.success,
                "message": relaxed.message,
                "iterations": relaxed.iterations,
                "value": best.score.value if best.score.feasible else None,
            }
        )
    assert best is not None
    failed = sum(not row["success"] for row in rows)
    return Answer(
        allocation=best.allocation,
        stop=Stop.TIME_LIMIT
        if expired or request.expired()
        else Stop.CONVERGED
        if failed < len(rows)
        else Stop.ITERATION_LIMIT,
        claimed_value=best.score.value,
        trace=tuple(trace),
        stats={"iterations": sum(row["iterations"] for row in rows), "failed": failed, "starts": rows},
        message=_message(best.score, rows, failed),
    )


def _message(score: Evaluation, rows: list[dict[str, Any]], failed: int) -> str:
    """What went wrong, in words."""
    said = []
    if failed:
        reason = next(row["message"] for row in rows if not row["success"])
        said.append(f"SLSQP failed from {failed} of {len(rows)} starts ({reason}).")
    if not score.feasible:
        broken = max(score.violations, key=lambda name: score.violations[name])
        said.append(f"The best answer breaks {broken} by {score.violations[broken]:.2g} of its limit.")
    return " ".join(said)


class _Rounded(NamedTuple):
    """An answer with whole tokens."""

    allocation: Allocation
    score: Evaluation

    def better(self, problem: Problem, than: _Rounded) -> bool:
        """Feasible first, then by value, or by violation."""
        if self.score.feasible != than.score.feasible:
            return self.score.feasible
        if self.score.feasible:
            return problem.objective.better(self.score.value, than.score.value)
        return self.score.violation < than.score.violation


class _Point(NamedTuple):
    """Where SLSQP ended.

    Attributes:
        tokens: (M,) fractional.
        shares: (2 M + 1,) logarithms of shares of the band, of powers, and of the round time.
        success: whether SLSQP says so.
        message: its words.
        iterations: its number.
    """

    tokens: FloatArray
    shares: FloatArray
    success: bool
    message: str
    iterations: int


class _OutOfTimeError(Exception):
    """The time limit has passed."""


def _starts(problem: Problem, request: Request, count: int) -> list[tuple[str, FloatArray]]:
    """Names, and tokens to begin at."""
    least, most = problem.min_tokens.astype(np.float64), problem.max_tokens.astype(np.float64)
    points: list[tuple[str, FloatArray]] = []
    if request.start is not None:
        points.append(("given", np.clip(request.start.tokens, least, most)))
    points += [("min_tokens", least), ("full", most)]
    for k in range(len(points), count):
        rng = random_stream(f"nlp start, seed {request.seed}, {k}")
        points.append(("random", least + rng.random(least.size) * (most - least)))
    return points[:count]


def _rounded(problem: Problem, tokens: FloatArray) -> list[IntArray]:
    """Whole counts near fractional ones, raised by utility per bit as far as the objective requires."""
    near: dict[tuple[int, ...], IntArray] = {}
    for part in (np.floor(tokens + 1e-6), np.rint(tokens)):
        whole = np.clip(part.astype(np.int64), problem.min_tokens, problem.max_tokens)
        required, rows = problem.objective.least_retained, np.arange(problem.clients)
        while (now := problem.worth_of(rows, whole)).sum() < required:
            more = np.minimum(whole + 1, problem.max_tokens)
            bits = problem.bits_of(rows, more) - problem.bits_of(rows, whole)
            gain = problem.worth_of(rows, more) - now
            per_bit = np.where(more > whole, gain / np.where(bits > 0.0, bits, 1.0), -math.inf)
            best = int(np.argmax(per_bit))
            if per_bit[best] == -math.inf:
                break
            whole[best] += 1
        near[tuple(whole.tolist())] = whole
    return list(near.values())


def _scored(problem: Problem, tokens: IntArray, point: _Point) -> _Rounded:
    clients = problem.clients
    share, power = np.exp(point.shares[:clients]), np.exp(point.shares[clients : 2 * clients])
    allocation = Allocation(tokens, share * problem.bandwidth_hz, power * problem.max_power_w)
    return _Rounded(allocation, evaluate(problem, allocation))


class _Program:
    """The problem in logarithms of shares, with its gradients.

    Variables: K (only where tokens are free), ln w, ln p, and ln tau in units of a typical time where the
    objective needs a round time. Every limit is the logarithm of what is allowed over what is used.
    """

    def __init__(self, problem: Problem, tokens: FloatArray, free: bool) -> None:
        self.problem, self.objective = problem, problem.objective
        self.first_tokens = tokens
        self.free = (
            free and self.objective.counts_utility and bool((problem.max_tokens > problem.min_tokens).any())
        )
        if not self.objective.counts_utility:
            self.first_tokens = problem.min_tokens.astype(np.float64)
        clients = problem.clients
        rows, counts = np.arange(clients), np.arange(problem.tokens + 1)
        grid = np.repeat(rows[:, None], counts.size, axis=1)
        shape = grid.shape
        flat = np.broadcast_to(counts, shape).ravel()
        self.worth = problem.worth_of(grid.ravel(), flat).reshape(shape)
        bits = problem.bits_of(grid.ravel(), flat).reshape(shape)
        self.bits = np.maximum(bits, LEAST_SHARE * bits.max())
        self.snr = problem.max_power_w * problem.gain / (problem.noise_w_per_hz * problem.bandwidth_hz)
        self.left_j = problem.max_energy_j - problem.before_j
        self.timed = not isinstance(self.objective, Energy | Retained | TotalTime)
        self.slot_s = np.minimum(self.objective.longest_round_s - problem.overhead_s, problem.deadline_s)
        self.unit = 1.0
        self.unit_s = 1.0

    def _at(self, table: FloatArray, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Interpolated entries of a table (M, N + 1) and their slopes."""
        low = np.clip(np.floor(tokens).astype(np.int64), 0, max(self.problem.tokens - 1, 0))
        high = np.minimum(low + 1, self.problem.tokens)
        rows = np.arange(tokens.size)
        slope = table[rows, high] - table[rows, low]
        return table[rows, low] + slope * (tokens - low), slope

    def _split(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        clients = self.problem.clients
        tokens = x[:clients] if self.free else self.first_tokens
        rest = x[clients:] if self.free else x
        return tokens, rest[:clients], rest[clients : 2 * clients], float(rest[-1])

    def _rates(self, width: FloatArray, power: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Logarithms of the rates in bit/s, and their slopes in ln w and ln p."""
        snr = self.snr * np.exp(power - width)
        nats = np.log1p(snr)
        elasticity = snr / ((1.0 + snr) * nats)
        capped = nats > self.problem.max_bps_per_hz * math.log(2.0)
        spectral = np.where(capped, self.problem.max_bps_per_hz, nats / math.log(2.0))
        rate = math.log(self.problem.bandwidth_hz) + width + np.log(spectral)
        elasticity = np.where(capped, 0.0, elasticity)
        return rate, 1.0 - elasticity, elasticity

    def _uploads(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(M,) logarithms of the upload times, and (M, 3) their slopes in K, ln w, ln p."""
        tokens, width, power, _ = self._split(x)
        bits, slope = self._at(self.bits, tokens)
        rate, in_width, in_power = self._rates(width, power)
        return np.log(bits) - rate, np.stack((slope / bits, -in_width, -in_power), axis=1)

    def _spread(self, gradient: FloatArray, last: float = 0.0) -> FloatArray:
        """(M, 3) slopes in K, ln w, ln p as one row of all variables."""
        columns = gradient if self.free else gradient[:, 1:]
        return np.append(columns.T.ravel(), last)

    def value(self, x: FloatArray) -> tuple[float, FloatArray]:
        """What SLSQP minimises, near 1, and its gradient."""
        tokens, _, power, log_round = self._split(x)
        kept, slope = self._at(self.worth, tokens)
        zero = np.zeros((tokens.size, 3))
        gain = zero.copy()
        gain[:, 0] = slope
        objective, total = self.objective, float(kept.sum())
        round_s = math.exp(log_round) * self.unit_s
        if isinstance(objective, Ste):
            floor = max(total, LEAST_SHARE * float(self.worth.max()))
            return log_round - math.log(floor), self._spread(-gain / floor, 1.0)
        if isinstance(objective, Retained):
            return -total / self.unit, self._spread(-gain / self.unit)
        if isinstance(objective, TotalTime):
            upload, slopes = self._uploads(x)
            time_s = objective.weights(tokens.size) * np.exp(upload)
            return float(time_s.sum()) / self.unit, self._spread(slopes * time_s[:, None] / self.unit)
        if isinstance(objective, Energy | Weighted):
            joule = 1.0 if isinstance(objective, Energy) else objective.per_joule
            value, gradient, last = 0.0, zero, 0.0
            if joule > 0.0:
                upload, slopes = self._uploads(x)
                slopes[:, 2] += 1.0
                spent = joule * self.problem.max_power_w * np.exp(power + upload)
                value, gradient = float(spent.sum()), slopes * spent[:, None]
            if isinstance(objective, Weighted):
                charge = objective.per_second * round_s
                value, gradient, last = value + charge - total, gradient - gain, charge
            return value / self.unit, self._spread(gradient / self.unit, last / self.unit)
        return log_round, self._spread(zero, 1.0)

    def limits(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Logarithms of limits over use, >= 0, and their gradients (one row each)."""
        problem, clients = self.problem, self.problem.clients
        tokens, width, power, log_round = self._split(x)
        upload, slopes = self._uploads(x)
        values: list[FloatArray] = []
        gradients: list[FloatArray] = []

        def add(which: NDArray[np.bool_], value: FloatArray, slope: FloatArray, last: FloatArray) -> None:
            own = np.flatnonzero(which)
            block = np.zeros((own.size, x.size))
            place = np.arange(own.size)
            for column in range(3) if self.free else range(1, 3):
                block[place, own + (column if self.free else column - 1) * clients] = slope[own, column]
            block[:, -1] = last[own]
            values.append(value[own] - MARGIN)
            gradients.append(block)

        def add_sum(value: float, column: int, slope: FloatArray) -> None:
            one = np.zeros((clients, 3))
            one[:, column] = slope
            values.append(np.atleast_1d(value))
            gradients.append(self._spread(one)[None, :])

        none = np.zeros(clients)
        slot_s = self.slot_s
        add(np.isfinite(slot_s), np.log(np.where(np.isfinite(slot_s), slot_s, 1.0)) - upload, -slopes, none)
        if self.timed:
            round_s = math.exp(log_round) * self.unit_s
            left_s = np.maximum(round_s - problem.overhead_s, LEAST_SHARE * round_s)
            add(np.ones(clients, dtype=bool), np.log(left_s) - upload, -slopes, round_s / left_s)
        finite = np.isfinite(self.left_j)
        spent = slopes.copy()
        spent[:, 2] += 1.0
        budget = np.log(np.where(finite, self.left_j, 1.0) / problem.max_power_w)
        add(finite, budget - power - upload, -spent, none)
        dense = np.isfinite(problem.max_psd_w_per_hz)
        cap = np.where(dense, problem.max_psd_w_per_hz, 1.0) * problem.bandwidth_hz / problem.max_power_w
        add(dense, np.log(cap) + width - power, np.tile([0.0, 1.0, -1.0], (clients, 1)), none)
        share = np.exp(width)
        add_sum(float(1.0 - MARGIN - share.sum()), 1, -share)
        required = self.objective.least_retained
        if required > 0.0 and self.free:
            kept, slope = self._at(self.worth, tokens)
            add_sum(float(kept.sum()) / required - 1.0, 0, slope / required)
        return np.concatenate(values), np.concatenate(gradients)

    def solve(self, shares: FloatArray | None, maxiter: int, request: Request) -> _Point:
        """Run SLSQP from some shares, or from an equal split of the band."""
        from scipy import optimize

        minimize: Any = optimize.minimize
        problem, clients = self.problem, self.problem.clients
        if shares is None:
            shares = self._equal_shares()
        upload, _ = self._uploads(np.append(self.first_tokens, shares) if self.free else shares)
        self.unit_s = float(np.max(problem.overhead_s + np.exp(upload)))
        low = np.full(2 * clients, math.log(LEAST_SHARE))
        high = np.zeros(2 * clients)
        ends = (np.append(low, -30.0), np.append(high, 30.0))
        x = np.clip(np.append(shares[:-1], 0.0), *ends)
        if self.free:
            x = np.append(self.first_tokens, x)
            ends = (np.append(problem.min_tokens, ends[0]), np.append(problem.max_tokens, ends[1]))
        self.unit = abs(self.value(x)[0]) or 1.0
        last, count = x, 0

        def watched(point: FloatArray) -> None:
            nonlocal last, count
            last, count = point.copy(), count + 1
            if request.expired():
                raise _OutOfTimeError

        wrong: Mapping[str, Any] = {"divide": "ignore", "over": "ignore", "invalid": "ignore"}
        try:
            with np.errstate(**wrong):
                found = minimize(
                    self.value,
                    x,
                    jac=True,
                    method="SLSQP",
                    bounds=list(zip(*ends, strict=True)),
                    constraints={
                        "type": "ineq",
                        "fun": lambda point: self.limits(point)[0],
                        "jac": lambda point: self.limits(point)[1],
                    },
                    options={"maxiter": maxiter, "ftol": FTOL},
                    callback=watched,
                )
            at, success, message, iterations = (
                found.x,
                bool(found.success),
                str(found.message),
                int(found.nit),
            )
        except _OutOfTimeError:
            at, success, message, iterations = last, False, "Time limit reached", count
        if not np.isfinite(at).all():
            at, success, message = last, False, f"{message}; its point is no number"
        at = np.clip(at, *ends)
        tokens, width, power, log_round = self._split(at)
        return _Point(tokens, np.concatenate((width, power, [log_round])), success, message, iterations)

    def _equal_shares(self) -> FloatArray:
        """Equal bandwidths, and the largest powers within the energy budgets and the limits on density."""
        problem, clients = self.problem, self.problem.clients
        width = np.full(clients, problem.bandwidth_hz / clients)
        bits, _ = self._at(self.bits, self.first_tokens)
        allowed = power_w_for_energy(
            bits, width, problem.gain, np.maximum(self.left_j, 1e-300), problem.noise_w_per_hz
        )
        power = np.where(allowed > 0.0, np.minimum(problem.max_power_w, allowed), problem.max_power_w)
        power = np.minimum(power, problem.max_psd_w_per_hz * width)
        share = np.full(clients, -math.log(clients) - MARGIN)
        return np.concatenate((share, np.log(power / problem.max_power_w), [0.0]))
