"""What a proof works towards: the best known tokens, the asked gap, and when to end."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from ..gap_budget import PROOF
from ..method import Request
from ..physics import loops
from ..physics.instance import Instance, instance_of
from ..problem import FloatArray, IntArray, Problem
from ..result import TracePoint
from ..tolerances import BOUND_SHARE, PERMITTED_SHARE

ROUND_S: Final = 0
STE: Final = 1
SLOPE: Final = 2
"""Places in `Goal.best`."""


class Point(NamedTuple):
    """Tokens with their least round time.

    Attributes:
        tokens: (M,) counts.
        round_s: least round time, s; inf where they never fit.
        ste: STE there, 1/s; 0 where they never fit.
        slope_hz_per_s: derivative of their bandwidth need in the round time, Hz/s; 0 when deadlines bind all.
    """

    tokens: IntArray
    round_s: float
    ste: float
    slope_hz_per_s: float


class Monitor:
    """The clock of a search and the trace of its progress.

    Attributes:
        request: for the time limit.
        trace: improvements so far.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.trace: list[TracePoint] = []


def expired(monitor: Monitor | IntArray) -> bool:
    """Whether the time is up; without a clock, whether the (1,) steps allowed are: each call counts one."""
    return monitor.request.expired() if isinstance(monitor, Monitor) else used_up(monitor)


def used_up(steps: IntArray) -> bool:
    """`expired` where it is compiled."""
    steps[0] -= 1
    return bool(steps[0] < 0)


def remaining_s(monitor: Monitor | IntArray) -> float:
    """Time left, s; inf without a clock."""
    return monitor.request.remaining_s() if isinstance(monitor, Monitor) else math.inf


def no_end(steps: IntArray) -> float:
    """`remaining_s` where it is compiled."""
    return math.inf


def record(monitor: Monitor | IntArray, ste: float, bound: float) -> None:
    """A line of the trace, if one is kept."""
    if isinstance(monitor, Monitor):
        monitor.trace.append(TracePoint(monitor.request.elapsed_s(), len(monitor.trace), ste, bound))


def keep_nothing(monitor: IntArray, ste: float, bound: float) -> None:
    """`record` where it is compiled."""


class Goal(NamedTuple):
    """What a search works towards. The arrays are overwritten in place.

    Attributes:
        given: the problem.
        relaxed: the problem with limits raised beyond the tolerance: bounds are proved for it.
        permitted: with limits raised by what `evaluate` accepts: allocations are sought in it.
        gap: asked relative gap.
        tokens: (M,) of the best known allocation.
        best: (3,) its least round time, s, its STE, 1/s, and the slope of its need, Hz/s.
        monitor: a `Monitor`, or (1,) steps allowed: compiled searches have no clock.
    """

    given: Instance
    relaxed: Instance
    permitted: Instance
    gap: float
    tokens: IntArray
    best: FloatArray
    monitor: Any


def new_goal(problem: Problem, request: Request) -> Goal:
    """A goal without a known allocation."""
    return goal_of(instance_of(problem), request.gap, Monitor(request))


def goal_of(given: Instance, gap: float, monitor: Monitor | IntArray) -> Goal:
    """`new_goal` for an instance."""
    return Goal(
        given,
        loops.with_raised_limits(given, BOUND_SHARE),
        loops.with_raised_limits(given, PERMITTED_SHARE),
        gap,
        given.clients["min_tokens"].copy(),
        np.array([math.inf, 0.0, 0.0]),
        monitor,
    )


def best_point(goal: Goal) -> Point:
    """The best known point."""
    return Point(
        goal.tokens.copy(), float(goal.best[ROUND_S]), float(goal.best[STE]), float(goal.best[SLOPE])
    )


def target(goal: Goal) -> float:
    """A bound up to here proves the asked gap, 1/s."""
    return float(goal.best[STE]) * (1.0 + PROOF * goal.gap)


def fastest_point(instance: Instance, tokens: IntArray, guess_s: float = math.inf) -> Point:
    """The fastest round for given (M,) tokens; cost: a few closed forms per client."""
    round_s, ste, slope = loops.fastest_round(instance, tokens, guess_s)
    return Point(tokens, round_s, ste, slope)


def offer(goal: Goal, tokens: IntArray, guess_s: float) -> Point:
    """Consider (M,) tokens, given a guess of their round time, s; their point."""
    point = fastest_point(goal.permitted, tokens, guess_s)
    consider(goal, point)
    return point


def consider(goal: Goal, point: Point) -> None:
    """Take up a point if it is better."""
    if point.ste > goal.best[STE]:
        goal.tokens[:] = point.tokens
        goal.best[ROUND_S] = point.round_s
        goal.best[STE] = point.ste
        goal.best[SLOPE] = point.slope_hz_per_s
        record(goal.monitor, point.ste, math.inf)


def shadow_price(instance: Instance, point: Point) -> float:
    """Price mu at which the bandwidth that a point uses is worth its STE; inf when time buys nothing."""
    if not point.slope_hz_per_s < 0.0:
        return math.inf
    return point.ste / (-point.slope_hz_per_s * (point.round_s - instance.origin_s))
