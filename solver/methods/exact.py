"""`exact`: the global optimum with a proof, by dual prices and branch and bound over the round time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ..allocation import Allocation
from ..bounds.goal import STE, new_goal, offer, record
from ..bounds.interval_search import CONVERGED, INTERVALS, NODES, VECTORS, proved_bound
from ..checks import whole_number
from ..method import Answer, Request
from ..objective import Energy, TotalTime, Weighted
from ..physics.instance import instance_of
from ..primal.block_search import search_blocks
from ..primal.choice_optimum import search_choices
from ..primal.delivery import deliver
from ..primal.optimum import search_optimum
from ..primal.priced_search import search_priced
from ..primal.warm_start import MANY, reoptimise, sample_point, start_point
from ..primal.whole_search import Found, whole_search
from ..problem import IntArray, Problem
from ..registry import EVERYTHING, register
from ..result import Stop, TracePoint

MAX_NODES: Final = 2000
"""Intervals branched on before the search gives up, unless asked otherwise."""

MOST_CLIENTS: Final = 256
"""Up to so many the search runs compiled as a whole, once it is; with more, calls of loops take little."""

CLOSED_FORMS: Final = 50_000
"""How many that may take, about: some 5 ms without a clock. Then the search starts anew by its text."""

LEAST_TIME_S: Final = 0.01
"""Where less is left, the clock is asked all along."""

STOPS: Final = (Stop.CONVERGED, Stop.TIME_LIMIT, Stop.ITERATION_LIMIT)
"""By how `bounds.interval_search.branch` ends."""


SHARED_BAND: Final = EVERYTHING - {"blocks"}

TAKES: Final = dict.fromkeys(("ste", "retained", "round_time"), EVERYTHING) | dict.fromkeys(
    ("weighted", "energy", "total_time"), SHARED_BAND
)
"""Everything; with a price of energy, or a sum over clients, not the band in whole blocks."""


@register("exact", proves="optimum", takes=TAKES)
def exact(problem: Problem, request: Request, *, max_nodes: int = MAX_NODES) -> Answer:
    """Global optimum with a proved gap: price ascent, interval certificates, branching on what is left.

    0. Reoptimise (`primal.warm_start`): where the caller gives a start, a few evaluations of the dual
       function next to it often find and prove the optimum at once, and nothing else is done. Among very many
       clients a sample of them gives the start.
    1. Ascend (`primal.dinkelbach`): the clients reply a few times to their bandwidth's own price. Where that
       settles nowhere, clear the market at some round times (`bounds.round_time`).
    2. Certify (`bounds.interval_search`): cover the round times outwards from the incumbent's by intervals
       whose Lagrangian bound stays below (1 + gap) x STE, as far as any better allocation could lie.
    3. Branch: where an interval fails, find the clearing price there, exclude the token vectors in it by
       dominance (`bounds.dominance`), or halve the interval.

    `bound` holds for every allocation that `evaluate` accepts: it is proved for limits raised by more than
    the tolerance (`docs/exact.md`). Each interval's bound is a Lagrangian one, true at any price, raised by a
    bound of its rounding errors, and the intervals cover all round times from the least possible one to (all
    attention) / STE, beyond which nothing can win. It never rests on the start.

    Problems beyond tokens and the STE (alternatives, skipping, free utilities, caps, another objective) have
    a list of options per client instead (`physics.options`), and go by the same steps with fewer options in
    every part of the axis (`bounds.choice_search`, `primal.choice_optimum`); whole blocks, and objectives
    that are sums over clients or count joules, have searches of their own (`primal.block_search`,
    `primal.priced_search`).

    Args:
        problem: the instance.
        request: gap, time limit and start; a start from nearly the same instance saves steps 1 to 3.
        max_nodes: give up branching after this many intervals.

    `stats` has reoptimised, intervals, nodes, vectors (tried in the interval search), and tolerance_used, the
    share by which the allocation exceeds its limits: 0 nearly always (`primal.delivery`). With options there
    are options, options_dominated (left out at once) and given_up (intervals that stayed open) besides.

    Raises:
        OptionError: an option is out of range.

    Once compiled as a whole (`precompile`, `solve_many`), small instances are searched so: the same answer in
    about half the time.

    Cost: O(M) per evaluation of the dual function with a good guess, O(M log N) without; about five to
        ascend, two to forty to certify, more where deadlines bind; two in all for a good start without
        overheads of several lengths. Memory: some ten arrays of M.
    """
    max_nodes = whole_number("solver 'exact'", "max_nodes", max_nodes, 1)
    if not problem.is_plain:
        return general_search(problem)(problem, request, max_nodes)
    small = problem.clients <= MOST_CLIENTS and request.remaining_s() >= LEAST_TIME_S
    if small and request.start is None and whole_search().is_ready():
        steps = np.array([CLOSED_FORMS // problem.clients])
        found = whole_search()(instance_of(problem), request.gap, max_nodes, steps)
        if steps[0] >= 0:
            seconds = request.elapsed_s()
            trace = TracePoint(seconds, 0, found.ste), TracePoint(seconds, 1, found.ste, found.bound)
            return answer_of(found, allocation_of(found), trace)
    goal = new_goal(problem, request)
    if request.start is None and problem.clients >= MANY:
        near = sample_point(problem, goal, request)
    else:
        near = start_point(problem, goal, request)
    bound = math.inf
    if near is not None:
        bound = reoptimise(goal, near)
        if goal.best[STE] == 0.0:
            offer(goal, near.tokens, near.round_s)
    counts, stop, reoptimised = np.zeros(3, np.int64), CONVERGED, math.isfinite(bound)
    if not reoptimised:
        search, stop = search_optimum(goal, max_nodes)
        bound, counts = proved_bound(search), search.counts
    bound = max(bound, float(goal.best[STE]))
    bandwidth_hz, power_w, share = deliver(goal, bound)
    record(goal.monitor, float(goal.best[STE]), bound)
    found = Found(goal.tokens, bandwidth_hz, power_w, share, float(goal.best[STE]), bound, stop, counts)
    return answer_of(found, allocation_of(found), tuple(goal.monitor.trace), reoptimised)


def general_search(problem: Problem) -> Callable[[Problem, Request, int], Answer]:
    """The search for a problem beyond tokens and the STE: by what it wants and what the air costs."""
    objective = problem.objective
    if problem.block_hz is not None:
        return search_blocks
    if isinstance(objective, Energy | TotalTime) or (
        isinstance(objective, Weighted) and objective.per_joule > 0.0
    ):
        return search_priced
    return search_choices


def allocation_of(found: Found) -> Allocation:
    """The allocation that a search has found."""
    return Allocation(found.tokens, found.bandwidth_hz, found.power_w)


def answer_of(
    found: Found, allocation: Allocation, trace: tuple[TracePoint, ...] = (), reoptimised: bool = False
) -> Answer:
    """What a search has found, as an answer."""
    return Answer(
        allocation=allocation,
        stop=STOPS[found.stop],
        bound=found.bound,
        claimed_value=found.ste,
        stationary=True,
        trace=trace,
        stats=stats_of(found.counts, found.share) | {"reoptimised": reoptimised},
    )


def stats_of(counts: IntArray, share: float) -> dict[str, Any]:
    """`Result.stats` of an interval search with these counts, delivered with a share of the tolerance."""
    return {
        "intervals": int(counts[INTERVALS]),
        "nodes": int(counts[NODES]),
        "vectors": int(counts[VECTORS]),
        "tolerance_used": share,
    }
