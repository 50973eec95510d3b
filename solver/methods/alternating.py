"""`alternating`: the paper's scheme (Algorithm 4) with every block solved exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ..allocation import Allocation
from ..checks import choice, choices, real_number, whole_number
from ..errors import OptionError
from ..feasibility import within_tolerance
from ..method import Answer, Request
from ..physics.payload import payload_of
from ..physics.uplink import rate_bps, retained, uplink_s
from ..primal.blocks import bandwidth_block, largest_tokens, power_block, token_block
from ..primal.initial_points import STARTS, repair, start
from ..problem import FloatArray, IntArray, Problem
from ..registry import register
from ..result import Stop, TracePoint

SOLVER: Final = "solver 'alternating'"
BLOCKS: Final = ("power", "bandwidth", "tokens")
TOKEN_RULES: Final = ("exact", "paper")


@dataclass(frozen=True)
class _Rules:
    """The checked options of a run."""

    hold: frozenset[str]
    token_rule: str
    max_iterations: int
    tolerance: float


@dataclass(frozen=True)
class _Run:
    """Where one start led."""

    allocation: Allocation
    ste: float
    stop: Stop
    trace: tuple[TracePoint, ...]


@register("alternating")
def alternating(
    problem: Problem,
    request: Request,
    *,
    starts: str | Iterable[str] | None = None,
    hold: str | Iterable[str] = (),
    token_rule: str = "exact",
    max_iterations: int = 100,
    tolerance: float = 1e-6,
) -> Answer:
    """Alternate power, bandwidth and tokens, each block solved exactly (the paper's Algorithm 4).

    The STE never decreases from one sweep to the next, yet a point that no block improves alone need
    not be optimal: nothing is proved. Of several starts the best end is returned, with its trace.

    Args:
        problem: the instance.
        request: `start` is an allocation to begin at (made feasible first); `seed` feeds "random".
        starts: names out of "min_tokens", "full" and "random" (equal bandwidth but for the last), to
            be tried in turn, after `request.start`. By default that start alone, or without one
            "min_tokens" and "full".
        hold: blocks out of "power", "bandwidth" and "tokens" that stay as they start (ablation of
            the paper's figure 8b).
        token_rule: "exact" maximises the STE over all tokens at fixed rates; "paper" takes the most
            tokens that fit the current round time (eq. 41).
        max_iterations: sweeps per start, >= 1.
        tolerance: stop when a sweep gains less than this share of the STE, >= 0.

    Cost: O(M N) per sweep.
    """
    rules = _Rules(
        frozenset(choices(SOLVER, "hold", hold, BLOCKS)),
        choice(SOLVER, "token_rule", token_rule, TOKEN_RULES),
        whole_number(SOLVER, "max_iterations", max_iterations, 1),
        real_number(SOLVER, "tolerance", tolerance),
    )
    given = () if request.start is None else ("given",)
    if starts is None:
        starts = () if given else STARTS[:2]
    queue = given + choices(SOLVER, "starts", starts, STARTS)
    if not queue:
        raise OptionError(SOLVER, "starts=() and no start", ", ".join(STARTS), "Name one")
    problem = within_tolerance(problem)
    runs: list[_Run] = []
    rows: list[dict[str, object]] = []
    for index, name in enumerate(queue):
        if runs and request.expired():
            break
        if name == "given" and request.start is not None:
            wanted = request.start
            point, replaced = repair(problem, wanted.tokens, wanted.bandwidth_hz, wanted.power_w)
        else:
            point, replaced = start(problem, name, (request.seed, index))
        run = _alternate(problem, request, point, rules)
        runs.append(run)
        rows.append(
            {
                "start": name,
                "bandwidth_replaced": replaced,
                "ste": run.ste,
                "iterations": len(run.trace) - 1,
                "stop": str(run.stop),
            }
        )
    best = max(runs, key=lambda run: run.ste)
    return Answer(
        allocation=best.allocation,
        stop=Stop.TIME_LIMIT if len(runs) < len(queue) else best.stop,
        stationary=best.stop is Stop.CONVERGED,
        claimed_value=best.ste,
        trace=best.trace,
        stats={"iterations": sum(len(run.trace) - 1 for run in runs), "starts": rows},
    )


def _alternate(problem: Problem, request: Request, point: Allocation, rules: _Rules) -> _Run:
    ste = _ste(problem, point)
    trace = [TracePoint(request.elapsed_s(), 0, ste)]
    stop = Stop.ITERATION_LIMIT
    for iteration in range(1, rules.max_iterations + 1):
        if request.expired():
            stop = Stop.TIME_LIMIT
            break
        swept = _sweep(problem, point, rules)
        swept_ste = _ste(problem, swept)
        before = ste
        if swept_ste > ste:  # in exact arithmetic never less
            point, ste = swept, swept_ste
        trace.append(TracePoint(request.elapsed_s(), iteration, ste))
        if ste <= before * (1 + rules.tolerance):
            stop = Stop.CONVERGED
            break
    return _Run(point, ste, stop, tuple(trace))


def _sweep(problem: Problem, point: Allocation, rules: _Rules) -> Allocation:
    """Power, bandwidth and tokens in turn, but for those held."""
    tokens, bandwidth, power = point.tokens, point.bandwidth_hz, point.power_w
    if "power" not in rules.hold:
        block = power_block(problem, tokens, bandwidth)
        power = np.where(block > 0, block, power)  # next to the wideband limit rounding may leave none
    if "bandwidth" not in rules.hold:
        now_s = _round_s(problem, tokens, bandwidth, power)
        candidate = bandwidth_block(problem, tokens, power, now_s)
        if candidate is not None and _round_s(problem, tokens, candidate, power) < now_s:
            bandwidth = candidate
    if "tokens" not in rules.hold:
        rate = rate_bps(bandwidth, power, problem.gain, problem.noise_w_per_hz)
        if rules.token_rule == "exact":
            tokens = token_block(problem, rate, power)
        else:
            now_s = _round_s(problem, tokens, bandwidth, power)
            tokens = np.maximum(tokens, largest_tokens(problem, rate, power, now_s))
    return replace(point, tokens=tokens, bandwidth_hz=bandwidth, power_w=power)


def _round_s(problem: Problem, tokens: IntArray, bandwidth_hz: FloatArray, power_w: FloatArray) -> float:
    rate = rate_bps(bandwidth_hz, power_w, problem.gain, problem.noise_w_per_hz)
    return float((problem.overhead_s + uplink_s(payload_of(problem).bits(tokens), rate)).max())


def _ste(problem: Problem, point: Allocation) -> float:
    kept = float(retained(problem.importance, point.tokens).sum())
    return kept / _round_s(problem, point.tokens, point.bandwidth_hz, point.power_w)
