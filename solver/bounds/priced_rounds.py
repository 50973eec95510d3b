r"""Branch and bound over round times and options: utilities less a price of time and of energy.

A node is an interval of round times and the options still allowed. Charged :math:`\mu (\tau - \omega)` per
hertz, what an option costs has an affine function below it on the interval (`price_loops.interval_costs`).
The least of every client add up to a concave function, whose ends bound the node; `docs/exact_priced.md` has
the proofs.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..objective import LEAST_SCALE, Weighted
from ..physics import price_loops
from ..physics.bracket import advance, new_bracket
from ..physics.loops import least_areas
from ..physics.option_loops import fastest_choice, least_round_of_choice
from ..physics.options import Options
from ..physics.price_loops import BooleanArray
from ..problem import FloatArray, IntArray
from ..result import Stop
from ..tolerances import EPSILON
from .goal import Monitor, record
from .priced_choices import (
    PROVED,
    TOLERANCE,
    Shared,
    division,
    most_steps,
    new_choice_search,
    search_priced_choices,
    share_band,
)
from .priced_menu import Menu, chosen_options, energy_menu

FIRST_ROUNDS: Final = 8
"""Round times at which choices are sought before intervals are bounded."""

ROUND_STEPS: Final = 40
"""Round times that are tried for one choice at most."""

CHOICE_NODES: Final = 16
"""Nodes for the best choice at one round time: a good one is enough."""

WIDEST: Final = 1e6
"""Largest bandwidth of an option, shares of W."""

MARGIN: Final = 20.0
"""Gaps beyond the target up to which a price is sought: enough for narrow intervals around it."""

EDGE: Final = 0.05
"""Share of an interval that is no interval of its own."""

NARROWEST: Final = 1e-13
"""Relative width of an interval that is not halved any further."""


class Priced(NamedTuple):
    """A choice with its best round time.

    Attributes:
        shared: what it costs, the price of time included, and its bandwidths.
        round_s: tau, s; 0 where nobody sends.
        utility: what it is worth.
    """

    shared: Shared
    round_s: float
    utility: float


class Interval(NamedTuple):
    """Round times and options, with the bound of what they cost.

    Attributes:
        bound: on all choices and round times in it.
        number: breaks ties.
        low_s: s.
        high_s: s.
        allowed: (J,).
        rent: mu, the price of bandwidth for which it was bounded, cost per Hz s.
        part: (J,) the options of one client that one child keeps; nobody's where the round times are divided.
        client: whose they are, -1 for nobody.
        middle_s: where round times are divided, s.
    """

    bound: float
    number: int
    low_s: float
    high_s: float
    allowed: BooleanArray
    rent: float
    part: BooleanArray
    client: int
    middle_s: float


@dataclass
class RoundSearch:
    """A branch and bound over round times and choices.

    Attributes:
        relaxed: options with limits raised beyond the tolerance: bounds are proved for them.
        permitted: the same with limits raised by what `evaluate` accepts: choices are sought among them.
        objective: prices of time and energy.
        gap: asked.
        origin_s: omega, s.
        monitor: clock and trace.
        best: the best known choice.
        closed: least bound of what was excluded or cannot be divided.
        nodes: bounded so far.
        heap: intervals that are open.
    """

    relaxed: Options
    permitted: Options
    objective: Weighted
    gap: float
    origin_s: float
    monitor: Monitor
    best: Priced
    closed: float = math.inf
    nodes: int = 0
    heap: list[Interval] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """What the gap refers to at least."""
        cost = self.best.shared.cost
        return LEAST_SCALE * (2.0 * self.best.utility + cost) if cost < math.inf else 0.0

    @property
    def target(self) -> float:
        """A bound from here on proves the asked gap."""
        cost = self.best.shared.cost
        return cost - PROVED * self.gap * max(abs(cost), self.scale) if cost < math.inf else math.inf

    @property
    def bound(self) -> float:
        """Proved for all round times and choices."""
        return min([self.closed, self.best.shared.cost, *(node.bound for node in self.heap[:1])])


def new_round_search(
    relaxed: Options, permitted: Options, objective: Weighted, gap: float, monitor: Monitor
) -> RoundSearch:
    """A search that knows what it costs when nobody sends, where that may be."""
    sends = relaxed.row >= 0
    origin_s = float(relaxed.rows["overhead_s"][relaxed.row[sends]].min()) if sends.any() else 0.0
    clients = relaxed.first.shape[0] - 1
    idle = np.full(clients, -1)
    owner = np.repeat(np.arange(clients), np.diff(relaxed.first))
    idle[owner[~sends]] = np.flatnonzero(~sends)
    cost = 0.0 if (idle >= 0).all() else math.inf
    nobody = Priced(Shared(idle, cost, np.zeros(clients), 0.0), 0.0, 0.0)
    return RoundSearch(relaxed, permitted, objective, gap, origin_s, monitor, nobody)


def round_menu(options: Options, objective: Weighted, round_s: float) -> Menu:
    """Energy less utility within a round.

    Bandwidths may exceed W: the price that keeps them to it is then the one at which intervals are bounded.
    """
    return energy_menu(options, round_s, objective.per_joule, 1.0, widest=WIDEST)


def price_choice(
    options: Options, objective: Weighted, choice: IntArray, guess_s: float, guess: float, tolerance: float
) -> Priced:
    """A choice in its best round: what it costs is convex in the round time up to the first deadline.

    Secant steps on its slope inside a bracket, on the scale of logarithms beyond the largest overhead.

    Args:
        options: with their limits.
        objective: prices of time and energy.
        choice: (M,).
        guess_s: of the round time, s.
        guess: of the price of bandwidth.
        tolerance: relative, of the cost.
    """
    chosen = chosen_options(options, choice)
    everyone = np.arange(choice.shape[0])
    utility = float(chosen.utility.sum())
    sends = chosen.row >= 0
    if not sends.any():
        return Priced(Shared(choice, -utility, np.zeros(choice.shape[0]), 0.0), 0.0, utility)
    rows = chosen.rows[chosen.row[sends]]
    origin_s = float(rows["overhead_s"].min())
    latest_s = float(rows["overhead_s"].max())
    low_s = least_round_of_choice(options, choice, guess_s)
    high_s = float((rows["overhead_s"] + rows["deadline_s"]).max())
    best = Priced(Shared(choice, math.inf, np.zeros(choice.shape[0]), 0.0), math.inf, utility)
    if low_s == math.inf:
        return best
    scale = LEAST_SCALE * utility
    round_s, price = min(max(guess_s, low_s), high_s), guess
    if not objective.per_second > 0.0:
        round_s = low_s = high_s  # slow is cheap
    bracket = new_bracket(longest=2.0)
    for _ in range(ROUND_STEPS):
        menu = round_menu(chosen, objective, round_s)
        shared = share_band(menu, everyone, price, 0.1 * tolerance, scale)
        cost = shared.cost + objective.per_second * round_s
        price = shared.price
        if cost < best.shared.cost:
            best = Priced(shared._replace(choice=choice, cost=cost), round_s, utility)
        rent = price / max(round_s - origin_s, 1e-300) if price > 0.0 else 0.0
        saved = rent * chosen.bandwidth_hz - round_slope(chosen, objective, round_s, origin_s, rent)
        if saved < objective.per_second:
            high_s = min(high_s, round_s)
        else:
            low_s = max(low_s, round_s)
        enough = tolerance * max(abs(best.shared.cost), scale)
        if (
            abs(saved - objective.per_second) * (high_s - low_s) <= enough
            or high_s - low_s <= 1e-14 * round_s
        ):
            break
        balance = math.log(saved / objective.per_second) if saved > 0.0 else -math.inf
        bracket, logarithm = advance(bracket, math.log(max(round_s - latest_s, 1e-12 * round_s)), balance)
        round_s = min(max(latest_s + math.exp(logarithm), low_s), high_s)
    return best


def round_slope(options: Options, objective: Weighted, round_s: float, origin_s: float, rent: float) -> float:
    """Right derivative of energy and rent of a choice in the round time, rent per Hz s."""
    slot_s, nats, energy = price_loops.slots(options.rows, options.row, options.nats, round_s)
    area, root = least_areas(nats, energy)
    return price_loops.slope_in_round(
        options.rows,
        options.row,
        options.nats,
        origin_s,
        objective.per_joule,
        rent,
        round_s,
        slot_s,
        area,
        root,
    )


def offer_choice(search: RoundSearch, choice: IntArray, round_s: float, price: float) -> None:
    """Consider a choice in its best round, near a given one."""
    found = price_choice(search.permitted, search.objective, choice, round_s, price, TOLERANCE * search.gap)
    if found.shared.cost < search.best.shared.cost:
        search.best = found


def offer_round(search: RoundSearch, round_s: float, price: float, allowed: BooleanArray) -> None:
    """Consider good choices for one round time."""
    menu = round_menu(search.permitted, search.objective, round_s)
    known = search.best.shared.cost - search.objective.per_second * round_s
    choices = new_choice_search(
        menu._replace(options=without(menu.options, allowed)),
        menu,
        lambda cost: TOLERANCE * search.gap * max(abs(cost), search.scale),
        search.gap,
        search.scale,
        Monitor(search.monitor.request),  # with a trace of its own
        known,
    )
    search_priced_choices(choices, CHOICE_NODES, price)
    if choices.best.choice.shape[0] > 0:
        offer_choice(search, choices.best.choice, round_s, choices.best.price)


def interval_bound(
    search: RoundSearch,
    low_s: float,
    high_s: float,
    touch_s: float,
    rent: float,
    allowed: BooleanArray,
) -> tuple[float, FloatArray]:
    """Lower bound on all choices with a round time in an interval, and with each option: (J,)."""
    options, objective = search.relaxed, search.objective
    slot_s, nats, energy = price_loops.slots(options.rows, options.row, options.nats, touch_s)
    area, root = least_areas(nats, energy)
    last_slot_s, nats, energy = price_loops.slots(options.rows, options.row, options.nats, high_s)
    last_area, last_root = least_areas(nats, energy)
    at_low, at_high = price_loops.interval_costs(
        options.rows,
        options.row,
        options.nats,
        options.utility,
        allowed,
        options.bandwidth_hz,
        search.origin_s,
        objective.per_joule,
        rent,
        (low_s, high_s),
        slot_s,
        area,
        root,
        last_slot_s,
        last_area,
        last_root,
    )
    bounds = []
    if not (np.minimum.reduceat(at_high, options.first[:-1]) < math.inf).all():  # a client can send nothing
        return math.inf, np.full(allowed.shape[0], math.inf)
    for value, round_s in ((at_low, low_s), (at_high, high_s)):
        least = np.minimum.reduceat(value, options.first[:-1])
        charge = rent * options.bandwidth_hz * (round_s - search.origin_s)
        spent = objective.per_second * round_s
        total = least.sum() + spent - charge
        total -= price_loops.UNITS * EPSILON * (np.abs(least).sum() + spent + charge)
        bounds.append((total, total + (value - np.repeat(least, np.diff(options.first)))))
    (low, low_each), (high, high_each) = bounds
    return min(low, high), np.minimum(low_each, high_each)


def add_interval(
    search: RoundSearch, low_s: float, high_s: float, allowed: BooleanArray, rent: float, known: float
) -> None:
    """Bound an interval, seek choices in it, and keep it where it is not closed.

    Args:
        search: gets the interval.
        low_s: a, s.
        high_s: b, s.
        allowed: (J,) options.
        rent: a guess of mu, cost per Hz s.
        known: a bound that is known.
    """
    search.nodes += 1
    if least_need(round_menu(search.relaxed, search.objective, high_s), allowed) > 1.0:
        return
    middle_s = middle_of(search, low_s, high_s)
    touch_s = search.best.round_s if low_s <= search.best.round_s <= high_s else middle_s
    menu = round_menu(search.relaxed, search.objective, touch_s)
    while touch_s > low_s and least_need(menu, allowed) > 1.0:
        low_s = touch_s  # needs fall: nothing fits before
        touch_s = middle_s = middle_of(search, low_s, high_s)
        menu = round_menu(search.relaxed, search.objective, touch_s)
    spent = search.objective.per_second * touch_s
    charged_s = max(touch_s - search.origin_s, 1e-12 * (high_s - search.origin_s), 1e-300)
    can = allowed & (menu.options["low_hz"] <= menu.options["high_hz"])
    margin = MARGIN * search.gap * max(abs(search.target), search.scale)
    found = price_loops.priced_bound(
        menu.options,
        menu.first,
        can,
        menu.bandwidth_hz,
        0.0,
        rent * charged_s,
        search.target - spent + margin,
        TOLERANCE * search.gap,
        search.scale,
        most_steps(search.monitor, can.shape[0]),
    )
    here = found.bound + spent
    if here < search.target:
        offer_round(search, touch_s, found.price, allowed)
    bound, each = -math.inf, np.full(allowed.shape[0], -math.inf)
    for tried in (found.price / charged_s, rent):
        if bound < search.target and tried < math.inf:
            lower, lower_each = interval_bound(search, low_s, high_s, touch_s, tried, allowed)
            if lower > bound:
                rent = tried
            bound, each = max(bound, lower), np.maximum(each, lower_each)
    bound = max(bound, known)
    if bound >= search.target:
        search.closed = min(search.closed, bound)
        return
    kept = allowed & (each < search.target)
    if (allowed & ~kept).any():
        search.closed = min(search.closed, search.target)
    nobody = np.zeros(kept.shape[0], np.bool_)
    off = EDGE * (high_s - low_s)
    if low_s + off < touch_s < high_s - off:
        middle_s = touch_s
    split = Interval(bound, search.nodes, low_s, high_s, kept, rent, nobody, -1, middle_s)
    narrow = high_s - low_s <= NARROWEST * high_s
    if here < search.target and (narrow or search.target - here > here - bound):
        client, part = division(menu, found, kept & can)
        if client >= 0:
            split = split._replace(client=client, part=part)
    if split.client < 0 and narrow:
        search.closed = min(search.closed, bound)
        return
    heapq.heappush(search.heap, split)


def least_need(menu: Menu, allowed: BooleanArray) -> float:
    """Least total need of the options allowed, shares of the band; a hair less, for rounding."""
    need = np.where(allowed, menu.options["low_hz"], math.inf)
    total = float(np.minimum.reduceat(need, menu.first[:-1]).sum())
    return total / menu.bandwidth_hz * (1.0 - price_loops.UNITS * EPSILON)


def middle_of(search: RoundSearch, low_s: float, high_s: float) -> float:
    """Where an interval is divided, s: half-way on the scale of logarithms beyond the least overhead."""
    high = high_s - search.origin_s
    low = max(low_s - search.origin_s, 1e-3 * high)
    return min(max(search.origin_s + math.sqrt(low * high), low_s), high_s)


def search_rounds(search: RoundSearch, max_nodes: int) -> Stop:
    """Find the best choice and round time and bound all; how the search ended."""
    relaxed, per_second = search.relaxed, search.objective.per_second
    least_s = fastest_choice(relaxed, math.inf)[1]
    choice, first_s = fastest_choice(search.permitted, math.inf)
    if first_s < math.inf:
        offer_choice(search, choice, 1.5 * first_s, 0.0)
    low_s = max(least_s * (1.0 - 1e-12), search.origin_s)
    sends = relaxed.row >= 0
    rows = relaxed.rows[relaxed.row[sends]]
    high_s = (
        float((rows["overhead_s"] + rows["deadline_s"]).max()) * (1.0 + 4.0 * EPSILON) if sends.any() else 0.0
    )
    most = float(np.maximum.reduceat(relaxed.utility, relaxed.first[:-1]).sum())
    if per_second > 0.0 and search.best.shared.cost < math.inf:
        # Longer rounds cost more than all utilities are worth.
        high_s = min(high_s, (most + search.best.shared.cost) / per_second * (1.0 + 1e-9))
    allowed = np.ones(relaxed.row.shape[0], np.bool_)
    if low_s <= high_s < math.inf:
        span = high_s - search.origin_s
        start = max(low_s - search.origin_s, 1e-3 * span)
        for i in range(FIRST_ROUNDS):
            if search.monitor.request.expired():
                break
            round_s = search.origin_s + start * (span / start) ** ((i + 0.5) / FIRST_ROUNDS)
            if round_s > low_s:
                offer_round(search, round_s, 0.0, allowed)
        charged_s = search.best.round_s - search.origin_s
        rent = search.best.shared.price / charged_s if charged_s > 0.0 else 0.0
        record(search.monitor, -search.best.shared.cost, math.inf)
        add_interval(search, low_s, high_s, allowed, rent, -math.inf)
    elif high_s == math.inf:  # no choice is known
        search.closed = -math.inf
    while search.heap and search.heap[0].bound < search.target:
        if search.monitor.request.expired():
            return Stop.TIME_LIMIT
        if search.nodes >= max_nodes:
            return Stop.ITERATION_LIMIT
        before = search.best.shared.cost
        node = heapq.heappop(search.heap)
        if node.client >= 0:
            mine = np.zeros(node.allowed.shape[0], np.bool_)
            mine[relaxed.first[node.client] : relaxed.first[node.client + 1]] = True
            for part in (node.part, ~node.part):
                add_interval(
                    search, node.low_s, node.high_s, node.allowed & (part | ~mine), node.rent, node.bound
                )
        else:
            add_interval(search, node.low_s, node.middle_s, node.allowed, node.rent, node.bound)
            add_interval(search, node.middle_s, node.high_s, node.allowed, node.rent, node.bound)
        if search.best.shared.cost < before:
            record(search.monitor, -search.best.shared.cost, -search.bound)
    return Stop.CONVERGED


def without(options: NDArray[Any], allowed: BooleanArray) -> NDArray[Any]:
    """Options of which only some can be sent."""
    fewer = options.copy()
    fewer["low_hz"][~allowed] = math.inf
    fewer["high_hz"][~allowed] = 0.0
    return fewer
