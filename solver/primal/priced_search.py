"""`exact` where costs are separable given a price of bandwidth: `Energy` and `TotalTime`."""

from __future__ import annotations

import math

import numpy as np

from ..allocation import SKIPPED, Allocation
from ..bounds.goal import Monitor
from ..bounds.priced_choices import (
    PROVED,
    TOLERANCE,
    ChoiceSearch,
    Menu,
    fits,
    new_choice_search,
    search_priced_choices,
    share_band,
)
from ..method import Answer, Request
from ..objective import TotalTime
from ..physics import price_loops
from ..physics.loops import LONGEST_S, least_areas
from ..physics.options import Options, options_of, rows_of
from ..problem import FloatArray, IntArray, Problem
from ..tolerances import BOUND_SHARE, FEASIBILITY, PERMITTED_SHARE


def search_priced(problem: Problem, request: Request, max_nodes: int) -> Answer:
    """The best choice of options by branch and bound, with the best shares of the band.

    With one option per client this is one convex problem of one price. `bound` holds for all that `evaluate`
    accepts, whenever the search ends.

    `stats` has nodes (bounded), options (choices of all clients), and tolerance_used, the share by which the
    allocation exceeds its limits.
    """
    options = options_of(problem.with_raised_limits(BOUND_SHARE))
    search = new_choice_search(
        menu_of(problem, options, BOUND_SHARE),
        menu_of(problem, options, PERMITTED_SHARE),
        lambda cost: cost - cost / (1.0 + PROVED * request.gap),
        request.gap,
        0.0,
        Monitor(request),
    )
    stop = search_priced_choices(search, max_nodes)
    stats = {"nodes": search.nodes, "options": int(options.row.shape[0])}
    if search.best.cost == math.inf:
        return Answer(None, stop, search.bound, stats=stats, trace=tuple(search.monitor.trace))
    allocation, cost, share = deliver_choice(problem, options, search)
    return Answer(
        allocation=allocation,
        stop=stop,
        bound=min(search.bound, cost),
        stationary=True,
        claimed_value=cost,
        trace=tuple(search.monitor.trace),
        stats=stats | {"tolerance_used": share},
    )


def menu_of(problem: Problem, options: Options, share: float) -> Menu:
    """What the options cost with limits raised by a share of themselves."""
    raised = problem.with_raised_limits(share) if share else problem
    rows, objective, bandwidth_hz = rows_of(raised), raised.objective, raised.bandwidth_hz
    if isinstance(objective, TotalTime):
        slot_s, nats, energy = price_loops.slots(rows, options.row, options.nats, LONGEST_S)
        area, _ = least_areas(nats, energy)
        sender = rows[options.row]
        most_j = np.minimum(sender["max_power_w"] * LONGEST_S, sender["energy_j"])
        last_area, _ = least_areas(nats, most_j * sender["gain_over_noise"])
        weight = np.repeat(objective.weights(problem.clients), np.diff(options.first))
        priced = price_loops.time_options(
            rows, options.row, options.nats, weight, slot_s, area, last_area, bandwidth_hz
        )
    else:
        slot_s, nats, energy = price_loops.slots(rows, options.row, options.nats, objective.longest_round_s)
        area, _ = least_areas(nats, energy)
        priced = price_loops.energy_options(
            rows, options.row, options.nats, options.utility, slot_s, area, bandwidth_hz, 1.0, 0.0
        )
    return Menu(priced, options.first, bandwidth_hz, objective.least_retained)


def deliver_choice(
    problem: Problem, options: Options, search: ChoiceSearch
) -> tuple[Allocation, float, float]:
    """The best known choice as an allocation, what it costs, and what tolerance that uses.

    The limits are met exactly where the choice fits so and it costs no more than the gap. Else by half of the
    tolerance, or all of it.
    """
    choice, bound = search.best.choice, search.bound
    chosen = chosen_options(options, choice)
    enough = bound * (1.0 + search.gap)
    if enough < search.best.cost:  # not proved: what exact limits cost shall be within the gap all the same
        enough = search.best.cost * (1.0 + search.gap)
    for share in (0.0, 0.5 * FEASIBILITY, PERMITTED_SHARE):
        menu = menu_of(problem, chosen, share)
        alone = np.arange(choice.shape[0])
        if fits(menu, alone):
            shared = share_band(menu, alone, search.best.price, TOLERANCE * search.gap, search.scale)
            if shared.cost <= enough or share == PERMITTED_SHARE:
                break
    power_w = least_power(problem, chosen, menu, shared.bandwidth_hz, share)
    row = None if problem.is_one_row_each and not (chosen.row == SKIPPED).any() else chosen.row
    return Allocation(chosen.tokens, shared.bandwidth_hz, power_w, row), shared.cost, share


def chosen_options(options: Options, choice: IntArray) -> Options:
    """Those of a choice only, one per client."""
    return options._replace(
        first=np.arange(choice.shape[0] + 1),
        row=options.row[choice],
        tokens=options.tokens[choice],
        utility=options.utility[choice],
        nats=options.nats[choice],
    )


def least_power(
    problem: Problem, chosen: Options, menu: Menu, bandwidth_hz: FloatArray, share: float
) -> FloatArray:
    """(M,) powers that finish just in time on given bandwidths, W, within the limits of the menu."""
    rows = rows_of(problem.with_raised_limits(share))
    return price_loops.least_power(rows, chosen.row, chosen.nats, menu.options, bandwidth_hz)
