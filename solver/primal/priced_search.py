"""`exact` where costs are separable given a price of bandwidth: energy, sums of times, prices of joules."""

from __future__ import annotations

import math

import numpy as np

from ..allocation import SKIPPED, Allocation
from ..bounds.goal import Monitor
from ..bounds.priced_choices import (
    PROVED,
    TOLERANCE,
    fits,
    new_choice_search,
    search_priced_choices,
    share_band,
)
from ..bounds.priced_menu import Menu, chosen_options, menu_of
from ..bounds.priced_rounds import new_round_search, price_choice, round_menu, search_rounds
from ..method import Answer, Request
from ..objective import Weighted
from ..physics import price_loops
from ..physics.options import Options, options_of, with_limits_of
from ..problem import FloatArray, Problem
from ..tolerances import BOUND_SHARE, FEASIBILITY, PERMITTED_SHARE

SHARES = (0.0, 0.5 * FEASIBILITY, PERMITTED_SHARE)
"""By how much of themselves limits are exceeded in turn when a choice is delivered."""


def search_priced(problem: Problem, request: Request, max_nodes: int) -> Answer:
    """The best choice of options by branch and bound, with the best shares of the band.

    With one option per client, energy and sum of times are one convex problem of one price. `bound` holds for
    all that `evaluate` accepts, whenever the search ends.

    `stats` has nodes (bounded), options (of all clients), options_dominated (left out), and tolerance_used,
    the share by which the allocation exceeds its limits.
    """
    raised = problem.with_raised_limits(BOUND_SHARE)
    options = options_of(raised)
    permitted = with_limits_of(options, problem.with_raised_limits(PERMITTED_SHARE))
    stats = {"options": int(options.row.shape[0]), "options_dominated": options.dominated}
    if isinstance(problem.objective, Weighted):
        return _search_rounds(problem, problem.objective, options, permitted, request, max_nodes, stats)
    search = new_choice_search(
        menu_of(options, raised.objective),
        menu_of(permitted, problem.objective.relaxed(PERMITTED_SHARE)),
        lambda cost: cost - cost / (1.0 + PROVED * request.gap),
        request.gap,
        0.0,
        Monitor(request),
    )
    stop = search_priced_choices(search, max_nodes)
    stats["nodes"] = search.nodes
    trace = tuple(search.monitor.trace)
    if search.best.choice.shape[0] == 0:
        return Answer(None, stop, search.bound, stats=stats, trace=trace)
    enough = _enough(search.best.cost, search.bound, request.gap, 0.0)
    for share in SHARES:
        limited = problem.with_raised_limits(share) if share else problem
        chosen = chosen_options(with_limits_of(options, limited), search.best.choice)
        menu = menu_of(chosen, limited.objective)
        everyone = np.arange(problem.clients)
        shared = search.best._replace(cost=math.inf)
        if fits(menu, everyone):
            shared = share_band(menu, everyone, search.best.price, TOLERANCE * request.gap, 0.0)
        if shared.cost <= enough:
            break
    return Answer(
        allocation=allocation_of(problem, chosen, menu, shared.bandwidth_hz),
        stop=stop,
        bound=min(search.bound, shared.cost),
        stationary=True,
        claimed_value=shared.cost,
        trace=trace,
        stats=stats | {"tolerance_used": share},
    )


def _search_rounds(
    problem: Problem,
    objective: Weighted,
    relaxed: Options,
    permitted: Options,
    request: Request,
    max_nodes: int,
    stats: dict[str, int],
) -> Answer:
    """Utilities less a price of time and energy, over round times too."""
    search = new_round_search(relaxed, permitted, objective, request.gap, Monitor(request))
    stop = search_rounds(search, max_nodes)
    stats["nodes"] = search.nodes
    trace = tuple(search.monitor.trace)
    best = search.best
    if not best.shared.cost < math.inf:
        return Answer(None, stop, -search.bound, stats=stats, trace=trace)
    enough = _enough(best.shared.cost, search.bound, request.gap, search.scale)
    for share in SHARES:
        limits = with_limits_of(relaxed, problem.with_raised_limits(share) if share else problem)
        found = price_choice(
            limits, objective, best.shared.choice, best.round_s, best.shared.price, TOLERANCE * request.gap
        )
        if found.shared.cost <= enough:
            break
    chosen = chosen_options(limits, best.shared.choice)
    menu = round_menu(chosen, objective, found.round_s)
    return Answer(
        allocation=allocation_of(problem, chosen, menu, found.shared.bandwidth_hz),
        stop=stop,
        bound=max(-search.bound, -found.shared.cost),
        stationary=True,
        claimed_value=-found.shared.cost,
        trace=trace,
        stats=stats | {"tolerance_used": share},
    )


def _enough(cost: float, bound: float, gap: float, scale: float) -> float:
    """What exact limits may cost: what the bound proves, and where it proves nothing the gap more."""
    base = cost if bound + gap * max(abs(bound), scale) < cost else bound
    return base + gap * max(abs(base), scale)


def allocation_of(problem: Problem, chosen: Options, menu: Menu, bandwidth_hz: FloatArray) -> Allocation:
    """A choice on given bandwidths, with the powers that end each upload just in time."""
    power_w = price_loops.least_power(chosen.rows, chosen.row, chosen.nats, menu.options, bandwidth_hz)
    named = not problem.is_one_row_each or bool((chosen.row == SKIPPED).any())
    return Allocation(chosen.tokens, bandwidth_hz, power_w, chosen.row if named else None)
