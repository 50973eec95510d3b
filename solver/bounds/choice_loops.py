r"""The bounds over options: clearing price, fill, interval bounds by tangents, tables for dominance.

What a choice must have to beat a value is a line in the round time, offset + slope x tau: (0, STE) for the
STE, (value, price of a second) for a net value, (sum of utilities, 0) within a given round.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from ..physics import loops, option_loops
from ..physics import options as option_lists
from ..physics.jit import compiled_on
from ..physics.option_loops import BooleanArray, need_and_condition
from ..physics.options import SKIP, Options
from ..problem import FloatArray, IntArray

compiled = compiled_on(loops, option_lists, option_loops)

MOST_PRICES: Final = 200
"""Far beyond what the search for a clearing price takes."""

MOST_ADJUSTMENTS: Final = 12
"""Prices tried for the tangents of one interval."""

CLOSE: Final = 1.1
"""Ratio of prices between which the best one is close enough."""

STEEP: Final = 0.5
"""Share of the wideband limit, or fall of the need over an interval as a share of the need, beyond which a
tangent at its middle would be too steep: next to its own overhead an option would seem to cost nothing."""


class Clearing(NamedTuple):
    """Replies on both sides of the budget at a fixed round time: a multiple-choice knapsack's relaxation.

    Attributes:
        price: of a hertz, at which the bound is least.
        bound: on the sum of utilities within the round, before rounding; -inf where nothing fits.
        within: (M,) choice that fits.
        beyond: (M,) choice at a lower price; the same where all of the best fits.
        need_hz: of `within`.
    """

    price: float
    bound: float
    within: IntArray
    beyond: IntArray
    need_hz: float


class Visit(NamedTuple):
    """What one price says of an interval of round times.

    Attributes:
        most_low: bound on the sum of utilities at its lower end, rounding included.
        most_high: at its upper end; between them it is convex.
        keep: (J,) options that may be part of a choice that beats the line.
        low_s: no such choice ends earlier, s.
        high_s: nor later, s; below `low_s` where there is none.
        contact_s: round time of the clearing.
        clearing: there.
        choice: (M,) what fits there, filled up; empty where nothing does.
    """

    most_low: float
    most_high: float
    keep: BooleanArray
    low_s: float
    high_s: float
    contact_s: float
    clearing: Clearing
    choice: IntArray


@compiled
def reply(
    first: IntArray, utility: FloatArray, need_hz: FloatArray, price: float
) -> tuple[IntArray, float, float]:
    """(M,) best replies to a price per hertz, of equal ones the one of less need; their utility and need."""
    clients = first.shape[0] - 1
    choice = np.empty(clients, np.int64)
    total_utility = total_need = 0.0
    for m in range(clients):
        best, least, chosen = -math.inf, math.inf, first[m]
        for j in range(first[m], first[m + 1]):
            if need_hz[j] < math.inf:
                worth = utility[j] - price * need_hz[j]
                if worth > best or (worth == best and need_hz[j] < least):
                    best, least, chosen = worth, need_hz[j], j
        choice[m] = chosen
        total_utility += utility[chosen]
        total_need += least
    return choice, total_utility, total_need


@compiled
def cleared(
    first: IntArray,
    utility: FloatArray,
    need_hz: FloatArray,
    bandwidth_hz: float,
    guess: float,
    tolerance: float,
) -> Clearing:
    """The clearing price at given needs: the least dual bound of the multiple-choice knapsack.

    Every reply is a line in the price, and the dual function the largest of them. Between a reply beyond the
    budget and one within it the two lines meet at the next price to try; where that is slow, the price is
    bisected.

    Args:
        first: (M + 1,) where each client's options begin.
        utility: (J,).
        need_hz: (J,) Hz; inf where one cannot be sent.
        bandwidth_hz: W.
        guess: of the price; of any magnitude.
        tolerance: relative distance from the least bound at which the search may end.

    Cost: five to twenty passes over the options.
    """
    beyond, beyond_f, beyond_n = reply(first, utility, need_hz, 0.0)
    if beyond_n <= bandwidth_hz:
        return Clearing(0.0, beyond_f, beyond, beyond, beyond_n)
    low, high = 0.0, guess if 0.0 < guess < math.inf else beyond_f / bandwidth_hz + 1e-300
    within, within_f, within_n = reply(first, utility, need_hz, high)
    while not within_n <= bandwidth_hz:
        low, beyond, beyond_f, beyond_n = high, within, within_f, within_n
        if not (beyond_n < math.inf and high < 1e290):
            return Clearing(high, -math.inf, within, within, within_n)
        high *= 16.0
        within, within_f, within_n = reply(first, utility, need_hz, high)
    best_price, best = high, within_f + high * (bandwidth_hz - within_n)
    at_low = beyond_f + low * (bandwidth_hz - beyond_n)
    if at_low < best:
        best_price, best = low, at_low
    for step in range(MOST_PRICES):
        meet = (beyond_f - within_f) / (beyond_n - within_n)
        least = within_f + meet * (bandwidth_hz - within_n)
        if best - least <= tolerance * abs(best) or not low < meet < high:
            break
        if step % 4 == 3:
            meet = math.sqrt(low * high) if low > 0.0 else high / 16.0
            if not low < meet < high:
                break
        choice, f, n = reply(first, utility, need_hz, meet)
        value = f + meet * (bandwidth_hz - n)
        if value < best:
            best_price, best = meet, value
        if n <= bandwidth_hz:
            stuck = n == within_n and f == within_f and step % 4 != 3
            high, within, within_f, within_n = meet, choice, f, n
        else:
            stuck = n == beyond_n and f == beyond_f and step % 4 != 3
            low, beyond, beyond_f, beyond_n = meet, choice, f, n
        if stuck:
            break
    return Clearing(best_price, best, within, beyond, within_n)


@compiled
def filled_choice(
    first: IntArray, utility: FloatArray, need_hz: FloatArray, bandwidth_hz: float, clearing: Clearing
) -> IntArray:
    """(M,) a choice that fits, between the two replies of a clearing: by gain per hertz, then what fits."""
    clients = first.shape[0] - 1
    choice = clearing.within.copy()
    left_hz = bandwidth_hz - clearing.need_hz
    order = np.empty(clients)
    for m in range(clients):
        cost = need_hz[clearing.beyond[m]] - need_hz[choice[m]]
        gain = utility[clearing.beyond[m]] - utility[choice[m]]
        order[m] = -gain / cost if cost > 0.0 else 0.0
    for m in np.argsort(order, kind="mergesort"):
        cost = need_hz[clearing.beyond[m]] - need_hz[choice[m]]
        if order[m] < 0.0 and cost <= left_hz:
            left_hz -= cost
            choice[m] = clearing.beyond[m]
    for m in np.argsort(order, kind="mergesort"):
        room = need_hz[choice[m]] + left_hz
        best = choice[m]
        for j in range(first[m], first[m + 1]):
            if need_hz[j] <= room and utility[j] > utility[best]:
                best = j
        left_hz = room - need_hz[best]
        choice[m] = best
    return choice


@compiled
def clear_choices(
    options: Options, round_s: float, guess: float, tolerance: float
) -> tuple[Clearing, IntArray, float]:
    """The clearing at a round time, what it fills up to (empty if nothing fits), and how fast its need falls.

    The last, Hz/s, is minus the derivative of the need of the choice within the budget.
    """
    need_hz, fall = option_loops.needs(options, round_s)
    clearing = cleared(options.first, options.utility, need_hz, options.bandwidth_hz, guess, tolerance)
    if not clearing.bound > -math.inf:
        return clearing, np.empty(0, np.int64), 0.0
    falls = 0.0
    for m in range(clearing.within.shape[0]):
        falls -= fall[clearing.within[m]]
    choice = filled_choice(options.first, options.utility, need_hz, options.bandwidth_hz, clearing)
    return clearing, choice, falls


@compiled
def excess(
    first: IntArray, utility: FloatArray, cost: FloatArray, budget: float, price: float, unit: float
) -> tuple[float, float]:
    """The dual bound at some costs and a price, rounding included, and its slope: what is idle."""
    total, idle, magnitude = price * budget, budget, price * budget
    for m in range(first.shape[0] - 1):
        best, chosen = -math.inf, -1
        for j in range(first[m], first[m + 1]):
            if cost[j] < math.inf:
                worth = utility[j] - price * cost[j]
                if worth > best:
                    best, chosen = worth, j
        if chosen < 0:
            return -math.inf, budget
        total += best
        magnitude += utility[chosen] + price * abs(cost[chosen])
        idle -= cost[chosen]
    return total + unit * magnitude, idle


@compiled
def visit(
    options: Options,
    low_s: float,
    high_s: float,
    offset: float,
    slope: float,
    guess: float,
    tolerance: float,
) -> Visit:
    """Bound an interval of round times at its clearing price, and leave out options that cannot win in it.

    Charged mu (tau - omega) per hertz, a bound on the sum of utilities is convex in the round time where
    every option has a tangent: at the middle, or at the upper end where it cannot be sent or is too steep at
    the middle (`docs/exact.md`, section 12). So is what a given option leaves of it: where that is short of
    the line at both ends, the option is left out.

    Args:
        options: all that may still be part of a choice that beats the line, limits raised.
        low_s: where the interval begins, s.
        high_s: where it ends, s.
        offset: sum of utilities to beat, at round time 0.
        slope: how it rises, 1/s.
        guess: of the price per hertz.
        tolerance: of the price, see `cleared`.

    Cost: one or two closed forms per option.
    """
    count, clients = options.row.shape[0], options.first.shape[0] - 1
    middle_s, width_s = 0.5 * (low_s + high_s), high_s - low_s
    at_s, need_hz, fall = np.empty(count), np.empty(count), np.empty(count)
    middle_hz = np.empty(count)
    origin_s = low_s
    for j in range(count):
        need, change, _, rho = need_and_condition(options, j, middle_s)
        at_s[j], need_hz[j], fall[j], middle_hz[j] = middle_s, need, change, need
        if rho > STEEP or -change * width_s > STEEP * need:
            need, change, _, _ = need_and_condition(options, j, high_s)
            at_s[j], need_hz[j], fall[j] = high_s, need, change
        if need < math.inf and options.row[j] != SKIP and options.nats[j] > 0.0:
            origin_s = min(origin_s, options.rows[options.row[j]]["overhead_s"])
    contact_s, at_contact = middle_s, middle_hz
    clearing = cleared(options.first, options.utility, middle_hz, options.bandwidth_hz, guess, tolerance)
    if not clearing.bound > -math.inf:
        contact_s, at_contact = high_s, np.empty(count)
        for j in range(count):
            at_contact[j] = need_and_condition(options, j, high_s)[0]
        clearing = cleared(options.first, options.utility, at_contact, options.bandwidth_hz, guess, tolerance)
    keep = np.zeros(count, np.bool_)
    nothing = np.empty(0, np.int64)
    if not clearing.bound > -math.inf:
        return Visit(-math.inf, -math.inf, keep, high_s, low_s, contact_s, clearing, nothing)
    choice = filled_choice(options.first, options.utility, at_contact, options.bandwidth_hz, clearing)
    mu = clearing.price / (contact_s - origin_s) if contact_s > origin_s else 0.0
    cost_low, cost_high = np.empty(count), np.empty(count)
    for j in range(count):
        cost_low[j] = cost_high[j] = math.inf
        if need_hz[j] < math.inf:
            charged_s = at_s[j] - origin_s
            cost, rise = charged_s * need_hz[j], need_hz[j] + charged_s * fall[j]
            doubt = options.unit * (cost + 4.0 * (need_hz[j] - charged_s * fall[j]) * width_s)
            cost_low[j] = cost + rise * (low_s - at_s[j]) - doubt
            cost_high[j] = cost + rise * (high_s - at_s[j]) - doubt
    wanted_low, wanted_high = offset + slope * low_s, offset + slope * high_s
    margin = 4.0 * options.unit * (abs(offset) + slope * high_s)
    budget_low = options.bandwidth_hz * (low_s - origin_s)
    budget_high = options.bandwidth_hz * (high_s - origin_s)
    # The clearing price is best in the middle; for the tangents at the ends it is searched.
    low_mu, high_mu = 0.0, math.inf
    best_excess, best_mu = math.inf, mu
    for _ in range(MOST_ADJUSTMENTS):
        over_low, idle_low = excess(options.first, options.utility, cost_low, budget_low, mu, options.unit)
        over_high, idle_high = excess(
            options.first, options.utility, cost_high, budget_high, mu, options.unit
        )
        over_low, over_high = over_low - wanted_low, over_high - wanted_high
        larger, idle = max(over_low, over_high), idle_low if over_low > over_high else idle_high
        if larger < best_excess:
            best_excess, best_mu = larger, mu
        if larger + margin < 0.0 or mu == 0.0:
            break
        if idle < 0.0:  # more is wanted than there is: a higher price bounds better
            low_mu = mu
            mu = 4.0 * mu if high_mu == math.inf else math.sqrt(mu * high_mu)
        else:
            high_mu = mu
            mu = 0.25 * mu if low_mu == 0.0 else math.sqrt(mu * low_mu)
        if high_mu <= CLOSE * low_mu:
            break
    mu = best_mu
    most_low, _ = excess(options.first, options.utility, cost_low, budget_low, mu, options.unit)
    most_high, _ = excess(options.first, options.utility, cost_high, budget_high, mu, options.unit)
    over_low, over_high = most_low - wanted_low + margin, most_high - wanted_high + margin
    if over_low < 0.0 and over_high < 0.0:
        return Visit(most_low, most_high, keep, high_s, low_s, contact_s, clearing, choice)
    for m in range(clients):
        best_low = best_high = -math.inf
        for j in range(options.first[m], options.first[m + 1]):
            if cost_low[j] < math.inf:
                best_low = max(best_low, options.utility[j] - mu * cost_low[j])
                best_high = max(best_high, options.utility[j] - mu * cost_high[j])
        for j in range(options.first[m], options.first[m + 1]):
            if cost_low[j] < math.inf:
                loss_low = best_low - (options.utility[j] - mu * cost_low[j])
                loss_high = best_high - (options.utility[j] - mu * cost_high[j])
                keep[j] = not (loss_low > over_low + margin and loss_high > over_high + margin)
    # Between the ends the excess is below its chord: nothing wins where that is below 0.
    from_s, to_s = low_s, high_s
    if over_low < 0.0:
        from_s = min(low_s + width_s * (-over_low / (over_high - over_low)) * (1.0 - 1e-9), high_s)
    if over_high < 0.0:
        to_s = max(high_s - width_s * (-over_high / (over_low - over_high)) * (1.0 - 1e-9), low_s)
    return Visit(most_low, most_high, keep, from_s, to_s, contact_s, clearing, choice)


@compiled
def dominance_tables(
    options: Options, contact_s: float, otherwise_s: float
) -> tuple[FloatArray, FloatArray, FloatArray, BooleanArray, IntArray, float]:
    """Options side by side for `dominance.undominated`, each client's in the order of its levels.

    need_j(tau) >= level + fall (contact_s - tau), by a tangent there, or at `otherwise_s` where an option
    cannot be sent at the contact.

    Returns:
        (M, n) levels, Hz, falls, Hz/s, utilities, which are options, and their indices; the tilt: how falls
        rise with the utility, 1/s Hz.
    """
    clients, most = options.first.shape[0] - 1, 1
    for m in range(clients):
        most = max(most, options.first[m + 1] - options.first[m])
    level, fall = np.full((clients, most), math.inf), np.zeros((clients, most))
    utility, allowed = np.zeros((clients, most)), np.zeros((clients, most), np.bool_)
    source = np.zeros((clients, most), np.int64)
    together = spread = 0.0
    for m in range(clients):
        begin, count = options.first[m], options.first[m + 1] - options.first[m]
        levels, falls = np.empty(count), np.empty(count)
        for i in range(count):
            need_hz, change, _, _ = need_and_condition(options, begin + i, contact_s)
            at_s = contact_s
            if not need_hz < math.inf and otherwise_s > contact_s:
                need_hz, change, _, _ = need_and_condition(options, begin + i, otherwise_s)
                at_s = otherwise_s
            levels[i], falls[i] = need_hz, -change
            if need_hz < math.inf:
                levels[i] = need_hz + change * (contact_s - at_s)
        column = 0
        mean_u = mean_fall = 0.0
        for i in np.argsort(levels, kind="mergesort"):
            if not levels[i] < math.inf:
                break
            level[m, column], fall[m, column] = levels[i], falls[i]
            utility[m, column], source[m, column] = options.utility[begin + i], begin + i
            allowed[m, column] = True
            mean_u += utility[m, column]
            mean_fall += falls[i]
            column += 1
        for i in range(column):
            apart = utility[m, i] - mean_u / column
            together += apart * (fall[m, i] - mean_fall / column)
            spread += apart * apart
    return level, fall, utility, allowed, source, (max(together / spread, 0.0) if spread > 0.0 else 0.0)
