r"""Branch and bound over options whose costs are separable given a price of bandwidth.

A node allows some options of every client. Its bound is the dual function at its own two prices, of bandwidth
and of required utility (`physics.price_loops`); options whose loss exceeds what the best known choice leaves
are dropped, and the client about which the prices are least decided divides the node. `docs/exact_priced.md`
has the proofs.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from ..physics import price_loops
from ..physics.price_loops import BooleanArray, PricedBound
from ..problem import FloatArray, IntArray
from ..result import Stop
from ..tolerances import EPSILON
from .goal import Monitor, record
from .priced_menu import Menu

TOLERANCE: Final = 0.01
"""Share of the gap that the search for prices may leave."""

PROVED: Final = 0.97
"""A bound within this share of the gap proves it; the rest is for shares of the band within exact limits."""

REPLIES_PER_S: Final = 3e6
"""Replies of an option to a price in a second, about: how many prices are tried depends on the time left."""

PAIRS_PER_S: Final = 1e7
"""Partial choices times options that dominance weighs up in a second, about."""

MOST_STATES: Final = 20_000
"""Partial choices that dominance keeps at once before it is given up."""

REQUIRED_PRICES: Final = 6
"""Prices of bandwidth at which the utility asked is kept to exactly."""

HIDDEN: Final = 0.1
"""Share of the gap that dominance may hide."""

MOST_SWAPS: Final = 40
"""Single and double changes of the best known choice that are tried at a time."""

MOST_PAIRED: Final = 600
"""Up to so many options, changes of two clients at once are weighed up."""


class Shared(NamedTuple):
    """A choice with its best shares of the band.

    Attributes:
        choice: (M,) options.
        cost: of all clients; inf where they do not fit.
        bandwidth_hz: (M,).
        price: of bandwidth there, cost per hertz.
    """

    choice: IntArray
    cost: float
    bandwidth_hz: FloatArray
    price: float


class Node(NamedTuple):
    """Options still allowed, with the bound of what they cost.

    Attributes:
        bound: on all choices in it.
        number: breaks ties.
        allowed: (J,).
        price: of bandwidth, cost per hertz, where the bound was found.
        part: (J,) the options of one client that one child keeps, the other child those that are not in it.
        client: whose they are.
    """

    bound: float
    number: int
    allowed: BooleanArray
    price: float
    part: BooleanArray
    client: int


@dataclass
class ChoiceSearch:
    """A branch and bound over choices.

    Attributes:
        relaxed: with limits raised beyond the tolerance: bounds are proved for it.
        permitted: the same options with limits raised by what `evaluate` accepts: choices are sought in it.
        allowance: by how much a bound may miss a cost and prove it.
        gap: asked relative gap.
        scale: least cost that the gap refers to.
        monitor: clock and trace.
        best: the best known choice.
        closed: least bound of what was excluded or cannot be divided.
        nodes: bounded so far.
        heap: nodes that are open.
        tried: choices that have been offered.
        states: partial choices that dominance may keep at once, 0 once it has failed.
    """

    relaxed: Menu
    permitted: Menu
    allowance: Callable[[float], float]
    gap: float
    scale: float
    monitor: Monitor
    best: Shared
    closed: float = math.inf
    nodes: int = 0
    heap: list[Node] = field(default_factory=list)
    tried: set[bytes] = field(default_factory=set)
    states: int = MOST_STATES

    @property
    def target(self) -> float:
        """A bound from here on proves the asked gap."""
        return self.best.cost - self.allowance(self.best.cost) if self.best.cost < math.inf else math.inf

    @property
    def bound(self) -> float:
        """Proved for all choices."""
        return min([self.closed, self.best.cost, *(node.bound for node in self.heap[:1])])


def most_steps(monitor: Monitor, options: int) -> int:
    """How many prices there is time to try."""
    return max(1, int(min(price_loops.MOST_STEPS, monitor.request.remaining_s() * REPLIES_PER_S / options)))


def new_choice_search(
    relaxed: Menu,
    permitted: Menu,
    allowance: Callable[[float], float],
    gap: float,
    scale: float,
    monitor: Monitor,
    known: float = math.inf,
) -> ChoiceSearch:
    """A search that knows no choice, but a cost from which on none is wanted."""
    nobody = Shared(np.empty(0, np.int64), known, np.empty(0), 0.0)
    return ChoiceSearch(relaxed, permitted, allowance, gap, scale, monitor, nobody)


def share_band(menu: Menu, choice: IntArray, guess: float, tolerance: float, scale: float) -> Shared:
    """A choice with bandwidths within a relative tolerance of the best; a few replies per client."""
    chosen = menu.options[choice]
    clients = np.arange(choice.shape[0] + 1)
    found = price_loops.priced_bound(
        chosen,
        clients,
        np.ones(choice.shape[0], np.bool_),
        menu.bandwidth_hz,
        0.0,
        guess,
        math.inf,
        tolerance,
        scale,
        price_loops.MOST_STEPS,
    )
    bandwidth_hz, cost = price_loops.band_shares(
        chosen, menu.bandwidth_hz, found.cheap_price, found.dear_price
    )
    return Shared(choice, cost, bandwidth_hz, found.price)


def fits(menu: Menu, choice: IntArray) -> bool:
    """Whether a choice keeps within the band and has the utility asked."""
    chosen = menu.options[choice]
    return bool(chosen["low_hz"].sum() <= menu.bandwidth_hz and chosen["utility"].sum() >= menu.asked)


def offer(search: ChoiceSearch, choice: IntArray, guess: float) -> bool:
    """Consider a choice; whether it is the best so far."""
    key = choice.tobytes()
    if key in search.tried or not fits(search.permitted, choice):
        return False
    search.tried.add(key)
    shared = share_band(search.permitted, choice, guess, TOLERANCE * search.gap, search.scale)
    if shared.cost >= search.best.cost:
        return False
    search.best = shared
    return True


def add_node(search: ChoiceSearch, allowed: BooleanArray, guess: float, least: float = -math.inf) -> None:
    """Bound a node, offer what its prices suggest, and keep it where it is not closed.

    Args:
        search: gets the node.
        allowed: (J,) its options.
        guess: of the price of bandwidth; 0 for none.
        least: a bound that is known.
    """
    menu = search.relaxed
    search.nodes += 1
    need = price_loops.least_total_need(menu.options, menu.first, allowed, menu.asked)
    if need.value - price_loops.UNITS * EPSILON * need.magnitude > menu.bandwidth_hz:
        return
    found = price_loops.priced_bound(
        menu.options,
        menu.first,
        allowed,
        menu.bandwidth_hz,
        menu.asked,
        guess,
        search.target,
        TOLERANCE * search.gap,
        search.scale,
        most_steps(search.monitor, int(allowed.sum())),
    )
    bound = max(found.bound, least)
    if bound == math.inf:
        return
    if not found.bound >= search.target:
        for choice in suggested(search, found, need.above):
            if found.bound + found.loss[choice].sum() < search.best.cost:
                offer(search, choice, found.price)
    if menu.asked > 0.0 and bound < search.target and search.states > 0:
        bound = max(bound, required_bound(search, found, allowed))
    if bound >= search.target:
        search.closed = min(search.closed, bound)
        return
    kept = allowed & (found.loss <= search.target - found.bound)
    if (allowed & ~kept).any():
        search.closed = min(search.closed, search.target)
    client, part = division(menu, found, kept)
    if client < 0:
        if (kept != allowed).any():  # without those dropped the bound is better
            add_node(search, kept, found.price, bound)
        else:
            search.closed = min(search.closed, bound)
        return
    heapq.heappush(search.heap, Node(bound, search.nodes, kept, found.price, part, client))


def required_bound(search: ChoiceSearch, found: PricedBound, allowed: BooleanArray) -> float:
    """A bound by one price, the utility asked being kept to exactly; the choices met are offered.

    The price of the cheapest choice is the next one: where that stays the cheapest, its cost is the bound.
    """
    menu, price, best = search.relaxed, found.price, -math.inf
    utility = menu.options["utility"].copy()
    loss, charged, value = found.loss, found.charged, found.bound
    for _ in range(REQUIRED_PRICES):
        hidden = HIDDEN * search.gap * max(abs(value), search.scale)
        slack = search.target - value
        most_pairs = search.monitor.request.remaining_s() * PAIRS_PER_S
        complete, least, choice = price_loops.least_charge(
            utility, charged, loss, menu.first, menu.asked, slack, hidden, search.states, most_pairs
        )
        if not complete:
            search.states = 0
            return best
        if least == math.inf:
            return search.target
        rounding = price_loops.UNITS * EPSILON * (abs(least) + 2.0 * price * menu.bandwidth_hz)
        best = max(best, min(least - price * menu.bandwidth_hz - rounding, search.target))
        if best >= search.target or search.monitor.request.expired():
            return best
        offer(search, choice, price)
        shared = share_band(menu, choice, price, TOLERANCE * search.gap, search.scale)
        following = shared.price if shared.cost < math.inf else 4.0 * price
        if abs(following - price) <= 1e-12 * price or not following > 0.0:
            return best
        price = following
        _, charged = price_loops.replies(menu.options, allowed, price)
        relaxed = price_loops.utility_price(utility, charged, menu.first, menu.asked, found.utility_price)
        value = relaxed.value - price * menu.bandwidth_hz
        worth = np.where(allowed, charged - relaxed.price * utility, math.inf)
        least_worth = np.repeat(np.minimum.reduceat(worth, menu.first[:-1]), np.diff(menu.first))
        unit = price_loops.UNITS * EPSILON * (np.where(allowed, charged, 0.0) + relaxed.price * utility)
        loss = np.maximum(worth - least_worth - unit, 0.0)
        value -= price_loops.UNITS * EPSILON * (relaxed.magnitude + price * menu.bandwidth_hz)
    return best


def suggested(search: ChoiceSearch, found: PricedBound, least_need: IntArray) -> list[IntArray]:
    """Choices around the prices of a node, and mixtures that just have the utility asked or just fit."""
    options, asked = search.permitted.options, search.permitted.asked
    choices = [found.choices[i] for i in range(4)]
    mixed = [least_need]
    for below, above in ((0, 1), (2, 3)):
        mixed.append(mixture(options["utility"], choices[above], choices[below], asked))
    for cheap, dear in ((1, 3), (0, 2)):
        within = mixture(-found.hz, choices[dear], choices[cheap], -search.permitted.bandwidth_hz)
        mixed.append(within)
    mixed.append(mixture(options["utility"], mixed[-2], mixed[-1], asked))
    return [*choices, *mixed]


def mixture(amount: FloatArray, enough: IntArray, less: IntArray, asked: float) -> IntArray:
    """The choice that has enough of an amount, changed to the other while enough stays, largest first."""
    choice = enough.copy()
    spare = amount[enough].sum() - asked
    change = amount[enough] - amount[less]
    for m in np.argsort(-change, kind="stable"):
        if 0.0 < change[m] <= spare:
            spare -= change[m]
            choice[m] = less[m]
    return choice


def division(menu: Menu, found: PricedBound, kept: BooleanArray) -> tuple[int, BooleanArray]:
    """The client about which the prices are least decided, and the options of it that one child keeps.

    Returns:
        (client, (J,)); -1 where every client has one option left.
    """
    left = np.add.reduceat(kept, menu.first[:-1], dtype=np.int64)
    part = np.zeros(kept.shape[0], np.bool_)
    if (left <= 1).all():
        return -1, part
    utility = menu.options["utility"]
    one, other = found.choices[3], found.choices[3]
    worst = np.full(left.shape[0], -1.0)
    for i in range(3):
        apart = (
            np.abs(found.hz[found.choices[i]] - found.hz[one]) * found.price
            + np.abs(utility[found.choices[i]] - utility[one]) * found.utility_price
        )
        apart = np.where((found.choices[i] != one) & kept[found.choices[i]] & kept[one], apart, -1.0)
        other = np.where(apart > worst, found.choices[i], other)
        worst = np.maximum(worst, apart)
    m = int(np.argmax(worst))
    if worst[m] < 0.0:  # all prices agree
        loss = np.where(kept, found.loss, math.inf)
        second = [
            np.partition(loss[menu.first[c] : menu.first[c + 1]], 1)[1] if left[c] > 1 else math.inf
            for c in range(left.shape[0])
        ]
        m = int(np.argmin(second))
        mine = np.arange(menu.first[m], menu.first[m + 1])
        part[mine[np.argmin(loss[mine])]] = True
        return m, part
    mine = np.arange(menu.first[m], menu.first[m + 1])
    a, b = one[m], other[m]
    key = found.hz
    if abs(utility[a] - utility[b]) * found.utility_price > abs(found.hz[a] - found.hz[b]) * found.price:
        key = utility
    part[mine] = key[mine] <= 0.5 * (key[a] + key[b])
    if not (part[a] ^ part[b]):
        part[mine] = mine == a
    return m, part


def improve(search: ChoiceSearch) -> None:
    """Change the best known choice in one client or two while it gets better.

    At its own price its dual function is its cost, so a change that is charged no less there costs no less.
    """
    menu = search.permitted
    owner = np.repeat(np.arange(menu.first.shape[0] - 1), np.diff(menu.first))
    utility, need = menu.options["utility"], menu.options["low_hz"]
    allowed = need <= menu.options["high_hz"]
    better = search.best.choice.shape[0] > 0
    while better and not search.monitor.request.expired():
        best = search.best
        _, charged = price_loops.replies(menu.options, allowed, best.price)
        now = best.choice[owner]
        less = np.where(allowed, charged, np.inf) - charged[now]
        more, wider = utility - utility[now], np.where(allowed, need, np.inf) - need[now]
        spare = utility[best.choice].sum() - menu.asked
        room = menu.bandwidth_hz - need[best.choice].sum()
        negligible = -TOLERANCE * search.gap * max(abs(best.cost), search.scale)
        single = np.flatnonzero((less < negligible) & (more >= -spare) & (wider <= room))
        changes = [(less[j], j, j) for j in single[np.argsort(less[single])[:MOST_SWAPS]]]
        if menu.asked > 0.0 and owner.size <= MOST_PAIRED:
            both = less[:, None] + less
            good = (both < negligible) & (more[:, None] + more >= -spare) & (wider[:, None] + wider <= room)
            one, other = np.nonzero(good & (owner[:, None] < owner))
            order = np.argsort(both[one, other])[:MOST_SWAPS]
            changes += [(both[j, k], j, k) for j, k in zip(one[order], other[order], strict=True)]
        better = False
        for change, j, k in sorted(changes):
            if search.best.cost <= best.cost + change or search.monitor.request.expired():
                break
            choice = best.choice.copy()
            choice[owner[j]], choice[owner[k]] = j, k
            better |= offer(search, choice, best.price)


def search_priced_choices(search: ChoiceSearch, max_nodes: int, guess: float = 0.0) -> Stop:
    """Find the best choice and bound all, given a guess of the price; how the search ended."""
    menu = search.relaxed
    if menu.options.shape[0] == menu.first.shape[0] - 1:  # nothing to choose: its price proves it
        offer(search, menu.first[:-1].copy(), guess)
    guess = search.best.price if search.best.choice.shape[0] > 0 else guess
    add_node(search, menu.options["low_hz"] <= menu.options["high_hz"], guess)
    if search.heap:
        improve(search)
        record(search.monitor, search.best.cost, search.bound)
    while search.heap and search.heap[0].bound < search.target:
        if search.monitor.request.expired():
            return Stop.TIME_LIMIT
        if search.nodes >= max_nodes:
            return Stop.ITERATION_LIMIT
        before = search.best.cost
        node = heapq.heappop(search.heap)
        mine = np.zeros(node.allowed.shape[0], np.bool_)
        mine[menu.first[node.client] : menu.first[node.client + 1]] = True
        add_node(search, node.allowed & ~(mine & ~node.part), node.price, node.bound)
        add_node(search, node.allowed & ~(mine & node.part), node.price, node.bound)
        if search.best.cost < before:
            improve(search)
            record(search.monitor, search.best.cost, search.bound)
    return Stop.CONVERGED if search.best.choice.shape[0] > 0 else Stop.INFEASIBLE
