"""`exact`: the global optimum with a proof, by dual prices and branch and bound over the round time."""

from __future__ import annotations

import math

from ..bounds.certificate import Certificate
from ..bounds.interval_search import IntervalSearch
from ..bounds.round_time import search_round_time
from ..checks import whole_number
from ..method import Answer, Request
from ..physics.demand import Demand
from ..physics.kernel_choice import select_kernel
from ..primal.dinkelbach import dinkelbach
from ..primal.incumbent import Incumbent, fastest_point, fastest_round, shadow_price
from ..primal.warm_start import reoptimise, start_point
from ..problem import Problem
from ..registry import register
from ..result import Stop, TracePoint


@register("exact", proves="optimum")
def exact(
    problem: Problem,
    request: Request,
    *,
    kernel: str = "auto",
    max_nodes: int = 2000,
    max_combinations: int = 100_000,
) -> Answer:
    """Global optimum with a proved gap: price ascent, interval certificates, branching on what is left.

    0. Reoptimise (`primal.warm_start`): where the caller gives a start, a few evaluations of the dual
       function next to it often find and prove the optimum at once, and nothing else is done.
    1. Ascend (`primal.dinkelbach`): the clients reply a few times to their bandwidth's own price.
    2. Certify (`bounds.interval_search`): cover the round times outwards from the incumbent's by intervals
       whose Lagrangian bound stays below (1 + gap) x STE, as far as any better allocation could lie.
    3. Branch: where an interval fails, find the clearing price there, list the token vectors that could
       still win (`bounds.knapsack`), or halve the interval.

    `bound` holds for every allocation: each interval's bound is a Lagrangian one, true at any price,
    raised by a first-order bound of its rounding errors, and the intervals cover all round times from
    the least possible one to (all attention) / STE, beyond which nothing can win. It never rests on the
    start: what an earlier result says is a guess of where to evaluate this problem.

    Args:
        problem: the instance.
        request: gap, time limit and start; a start from nearly the same instance saves steps 1 to 3.
        kernel: "auto", "numpy" or "numba" (see `kernel_choice.select_kernel`).
        max_nodes: give up branching after this many intervals.
        max_combinations: largest list of token vectors at 10 clients; fewer with more clients.

    Raises:
        OptionError: an option is out of range. MissingDependencyError: numba is asked for and absent.

    Cost: O(M) per evaluation of the dual function with a good guess, O(M log N) without; about five to
        ascend, two to forty to certify, more where deadlines bind; two in all for a good start without
        overheads of several lengths. Memory: two (M, N) tables.
    """
    max_nodes = whole_number("solver 'exact'", "max_nodes", max_nodes, 1)
    max_combinations = whole_number("solver 'exact'", "max_combinations", max_combinations, 1)
    demand = Demand(problem, select_kernel(kernel, problem.clients))
    certificate = Certificate(demand)

    first, least_s, bound = None, None, math.inf
    near = start_point(demand, request)
    if near is not None:
        first, bound = reoptimise(certificate, near, request)
        first = first or fastest_point(demand, near.tokens, near.round_s)
    if first is None:
        first = fastest_round(demand)
        least_s = first.round_s
    incumbent = Incumbent(demand, request, first)
    search = IntervalSearch(
        certificate,
        incumbent,
        max_nodes=max_nodes,
        most_vectors=max(1000, 10 * max_combinations // problem.clients),
        least_s=least_s,
    )
    stop, reoptimised = Stop.CONVERGED, math.isfinite(bound)
    if not reoptimised:
        replies = dinkelbach(certificate, incumbent)
        if replies is None:
            price = shadow_price(certificate, incumbent.best)
            ends = search.least_round_s, search.most_round_s
            replies = search_round_time(certificate, incumbent, incumbent.best.round_s, price, *ends)
        search.certify(replies)
        stop = search.branch(replies.price)
        bound = search.bound
    bound = max(bound, incumbent.value)
    incumbent.trace.append(TracePoint(request.elapsed_s(), len(incumbent.trace), incumbent.value, bound))
    return Answer(
        allocation=demand.allocation(incumbent.tokens, incumbent.best.round_s),
        stop=stop,
        bound=bound,
        claimed_ste=incumbent.value,
        stationary=True,
        trace=tuple(incumbent.trace),
        stats={
            "kernel": demand.kernel.name,
            "reoptimised": reoptimised,
            "intervals": search.intervals,
            "nodes": search.nodes,
            "vectors": search.vectors,
        },
    )
