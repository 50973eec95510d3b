r"""The inner loops of costs that are separable given a price of bandwidth: replies, dual function, shares.

Energy and time of an upload are convex functions of the bandwidth w that it gets, nonincreasing, on
w >= need. At a price :math:`\lambda` per hertz a client replies with the option and bandwidth of least

.. math:: \phi_j(\lambda) = \min_{w \ge \text{need}_j} [C_j(w) + \lambda w],

and by weak duality :math:`\sum_m \min_j [\phi_j - \nu u_j] - \lambda W + \nu U` bounds from below what any
choice within W hertz and of utility U costs, whatever the two prices (`docs/exact_priced.md`).

One text, compiled where numba is there and plain Python where not (`jit`). All loops live in this file, since
numba's cache does not see changes in another one; they fill no array of their caller.

**Rounding.** A reply that is off by a relative :math:`\delta` costs :math:`\delta^2` more: nothing, for the
roots here. What is left is the rounding of terms and sums: `UNITS` and the number of options, in units of
EPSILON, of the magnitudes in them.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..problem import FloatArray, IntArray
from ..tolerances import EPSILON
from .jit import compiled

PRICED: Final = np.dtype(
    [
        ("fixed", np.float64),
        ("utility", np.float64),
        ("low_hz", np.float64),
        ("high_hz", np.float64),
        ("rate", np.float64),
        ("joules", np.float64),
        ("seconds", np.float64),
        ("power_hz", np.float64),
        ("area", np.float64),
        ("area_below_hz", np.float64),
    ],
    align=True,
)
"""One option: what it costs whatever its bandwidth; its utility; least and largest bandwidth, Hz, 0 and 0 if
it needs none, inf and 0 if it cannot be sent. Energy (power_hz 0): joules w expm1(rate / w), with the rate
in nat/s. Time: seconds / (w log1p(power_hz / w)), or area / w below the last bandwidth."""

BooleanArray = NDArray[np.bool_]

UNITS: Final = 2048
"""Relative error of a term of the dual function, in units of EPSILON: that of exp(y) for y up to 700."""

HALLEY: Final = 1e-5
"""A cubically converging iteration ends after a step this short: the next would be its cube."""

NEWTON: Final = 1e-8
"""A quadratically converging iteration ends after a step this short: the next would be its square."""

MOST_STEPS: Final = 100
"""Evaluations of the dual function after which the price is good enough; any is valid."""

SMALL: Final = 0.1
"""Below, series: there differences cancel."""

LONGEST_STEP: Final = 60.0
"""Of the logarithm of a price."""

LARGEST: Final = 1e300
"""Prices end here."""


# 1. Options


@compiled
def slots(
    rows: NDArray[Any], row: IntArray, nats: FloatArray, round_s: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Slots of (J,) options in a round, s, their payloads and the energies over noise in them.

    Where there is nothing to upload the payload is 1 and the energy 2, so that areas can be computed; where
    it cannot be uploaded, the slot is -1.

    Args:
        rows: (R,) of `physics.options.ROW`.
        row: (J,) of the options, -1 for skipping.
        nats: (J,) payloads.
        round_s: tau, s.
    """
    count = row.shape[0]
    slot_s, sent, energy = np.zeros(count), np.ones(count), np.full(count, 2.0)
    for j in range(count):
        if row[j] >= 0:
            client = rows[row[j]]
            slot_s[j] = min(round_s - client["overhead_s"], client["deadline_s"])
            if nats[j] > 0.0:
                if slot_s[j] > 0.0 and client["energy_j"] > 0.0:
                    sent[j] = nats[j]
                    joules = min(client["max_power_w"] * slot_s[j], client["energy_j"])
                    energy[j] = joules * client["gain_over_noise"]
                else:
                    slot_s[j] = -1.0
            elif slot_s[j] < 0.0:
                slot_s[j] = -1.0
    return slot_s, sent, energy


@compiled
def energy_options(
    rows: NDArray[Any],
    row: IntArray,
    nats: FloatArray,
    utility: FloatArray,
    slot_s: FloatArray,
    area: FloatArray,
    bandwidth_hz: float,
    widest: float,
    per_joule: float,
    per_utility: float,
) -> NDArray[Any]:
    """(J,) of `PRICED`: per_joule x energy - per_utility x utility within a slot.

    Args:
        rows: (R,), as in `slots`.
        row: (J,), likewise.
        nats: (J,), likewise.
        utility: (J,).
        slot_s: (J,) of `slots`, s.
        area: (J,) least time-bandwidth products, Hz s.
        bandwidth_hz: W.
        widest: largest bandwidth of an option, shares of W.
        per_joule: > 0.
        per_utility: >= 0.
    """
    options = np.zeros(row.shape[0], PRICED)
    for j in range(row.shape[0]):
        options[j]["utility"] = utility[j]
        options[j]["fixed"] = -per_utility * utility[j]
        if row[j] < 0:
            continue
        client = rows[row[j]]
        options[j]["fixed"] += per_joule * client["before_j"]
        if nats[j] == 0.0 and slot_s[j] >= 0.0:
            continue
        need = math.inf
        if slot_s[j] > 0.0:
            need = max(area[j], nats[j] / client["nats_per_hz_s"]) / slot_s[j]
        options[j]["low_hz"] = need
        if need <= bandwidth_hz:
            options[j]["high_hz"] = widest * bandwidth_hz
            options[j]["rate"] = nats[j] / slot_s[j]
            options[j]["joules"] = per_joule * (slot_s[j] / client["gain_over_noise"])
    return options


@compiled
def time_options(
    rows: NDArray[Any],
    row: IntArray,
    nats: FloatArray,
    weight: FloatArray,
    slot_s: FloatArray,
    area: FloatArray,
    last_area: FloatArray,
    bandwidth_hz: float,
) -> NDArray[Any]:
    """(J,) of `PRICED`: weight x (overhead + upload time).

    Args:
        rows: (R,), as in `slots`.
        row: (J,), likewise.
        nats: (J,), likewise.
        weight: (J,) of the option's client.
        slot_s: (J,) deadlines, s, of `slots`.
        area: (J,) least time-bandwidth products within them, Hz s.
        last_area: (J,) with all of the energy, however long it takes.
        bandwidth_hz: W.
    """
    options = np.zeros(row.shape[0], PRICED)
    for j in range(row.shape[0]):
        client = rows[row[j]]
        options[j]["fixed"] = weight[j] * client["overhead_s"]
        if nats[j] == 0.0 and slot_s[j] >= 0.0:
            continue
        efficiency = client["nats_per_hz_s"]
        need = math.inf
        if slot_s[j] > 0.0:
            need = max(area[j], nats[j] / efficiency) / slot_s[j]
        options[j]["low_hz"] = need
        if need <= bandwidth_hz:
            power_hz = client["max_power_w"] * client["gain_over_noise"]
            options[j]["high_hz"] = bandwidth_hz
            options[j]["seconds"] = weight[j] * nats[j]
            options[j]["power_hz"] = power_hz
            # From E/P on energy limits the upload, or the efficiency does from another slot on.
            change_s, least = client["energy_j"] / client["max_power_w"], last_area[j]
            if efficiency < 700.0:
                capped_s = nats[j] / efficiency * (math.expm1(efficiency) / power_hz)
                if capped_s <= change_s:
                    change_s, least = capped_s, nats[j] / efficiency
            options[j]["area"] = weight[j] * least
            options[j]["area_below_hz"] = least / change_s if change_s < math.inf else 0.0
    return options


# 2. Replies of one option


@compiled
def energy_ratio(y: float) -> tuple[float, float]:
    """(y - 1) e^y + 1 to a few units, and its elasticity; y at most 700."""
    if y < SMALL:
        series = 0.0
        for k in range(11, 2, -1):  # sum of y^(k - 2) (k - 1) / k!
            series = (series + (k - 1.0)) * y / k
        series = 0.5 * (1.0 + series)
        return y * y * series, math.exp(y) / series
    less = math.expm1(y)
    value = y * less - (less - y)
    return value, y * y * (less + 1.0) / value


@compiled
def energy_root(ratio: float) -> float:
    """The root y >= 0 of (y - 1) e^y + 1 = ratio, that is 1 + W_0((ratio - 1) / e), to a few units.

    Halley's method on the log-log scale, where the left side is nearly a power for small y; no digits are
    lost at the branch point, ratio = 0. Ends at `LARGEST`.
    """
    if not ratio > 1.0 / LARGEST:
        return 0.0
    ratio = min(ratio, LARGEST)
    if ratio < 1.0:
        first = math.sqrt(2.0 * ratio)
        y = first * (1.0 - first / 3.0 * (1.0 - 11.0 / 24.0 * first * (1.0 - 0.5 * first)))
    else:
        level = math.log1p(ratio / math.e)
        y = 0.632 + level * (1.0 - math.log1p(level) / (2.0 + level))
    for _ in range(20):
        value, elasticity = energy_ratio(min(y, 700.0))
        step = math.log(ratio / value) / elasticity
        step /= max(1.0 + 0.5 * step * (2.0 + y - elasticity), 0.5)
        if abs(step) <= HALLEY:
            return y * (1.0 + step * (1.0 + 0.5 * step))
        y *= math.exp(min(max(step, -2.0), 2.0))
    return y


@compiled
def time_ratio(x: float) -> tuple[float, float]:
    """x^2 (ln(1 + x) - x / (1 + x)) / ln(1 + x)^2 to a few units, and its elasticity."""
    level = math.log1p(x)
    if x < SMALL:
        less = 0.0
        for k in range(20, 1, -1):  # sum of (-x)^(k - 2) (k - 1) / k
            less = (k - 1.0) / k - x * less
        less *= x * x
    else:
        less = level - x / (1.0 + x)
    share = x / (1.0 + x)
    return x / level * (x / level) * less, 2.0 + share * share / less - 2.0 * share / level


@compiled
def time_root(ratio: float) -> float:
    """The root x >= 0 of x^2 (ln(1 + x) - x / (1 + x)) / ln(1 + x)^2 = ratio, an SNR.

    Newton's method on the log-log scale, where the left side is nearly a square.
    """
    if not ratio > 1.0 / LARGEST:
        return 0.0
    ratio = min(ratio, LARGEST)
    x = math.sqrt(ratio * (2.0 + 0.5 * math.log1p(ratio)))
    for _ in range(30):
        value, elasticity = time_ratio(x)
        step = math.log(ratio / value) / elasticity
        x *= math.exp(min(max(step, -2.0), 2.0))
        if abs(step) <= NEWTON:
            break
    return x


@compiled
def cost_of(option: Any, bandwidth_hz: float) -> float:
    """C(w) without what is fixed; inf where the option cannot be sent."""
    if option["low_hz"] > option["high_hz"]:
        return math.inf
    if option["high_hz"] == 0.0:
        return 0.0
    if option["power_hz"] == 0.0:
        y = option["rate"] / bandwidth_hz
        return float(option["joules"] * (bandwidth_hz * math.expm1(y))) if y < 700.0 else math.inf
    if bandwidth_hz < option["area_below_hz"]:
        return float(option["area"] / bandwidth_hz)
    return float(option["seconds"] / (bandwidth_hz * math.log1p(option["power_hz"] / bandwidth_hz)))


@compiled
def bandwidth_at(option: Any, price: float) -> float:
    """The bandwidth of least C(w) + price w, Hz; one closed form."""
    low, high = float(option["low_hz"]), float(option["high_hz"])
    if low >= high:
        return high
    if not price > 0.0:
        return high
    if option["power_hz"] == 0.0:
        y = energy_root(price / option["joules"])
        bandwidth_hz = option["rate"] / y if y > 0.0 else high
    else:
        x = time_root(price * option["power_hz"] * (option["power_hz"] / option["seconds"]))
        bandwidth_hz = option["power_hz"] / x if x > 0.0 else high
        if bandwidth_hz < option["area_below_hz"]:
            bandwidth_hz = min(option["area_below_hz"], math.sqrt(option["area"] / price))
    return float(min(max(bandwidth_hz, low), high))


@compiled
def marginal_cost(option: Any, bandwidth_hz: float) -> float:
    """-C'(w): the price to which w is the reply, where it is no end."""
    if option["power_hz"] == 0.0:
        y = option["rate"] / bandwidth_hz
        return float(option["joules"] * energy_ratio(y)[0]) if y < 690.0 else LARGEST
    if bandwidth_hz < option["area_below_hz"]:
        return float(option["area"] / bandwidth_hz / bandwidth_hz)
    x = option["power_hz"] / bandwidth_hz
    return float(option["seconds"] / option["power_hz"] / option["power_hz"] * time_ratio(x)[0])


@compiled
def replies(options: NDArray[Any], allowed: BooleanArray, price: float) -> tuple[FloatArray, FloatArray]:
    """(J,) bandwidths in reply to a price, Hz, and C(w) + price w with what is fixed; inf if not allowed."""
    bandwidth_hz, charged = np.zeros(options.shape[0]), np.full(options.shape[0], math.inf)
    for j in range(options.shape[0]):
        if allowed[j]:
            option = options[j]
            w = bandwidth_at(option, price)
            bandwidth_hz[j] = w
            charged[j] = option["fixed"] + (cost_of(option, w) + price * w)
    return bandwidth_hz, charged


# 3. The dual function of all choices


class UtilityPrice(NamedTuple):
    """The price of utility at which choices of least charge have the utility asked.

    Attributes:
        value: sum of the least (charge - price x utility), plus price x the utility asked: a lower bound on
            the charge of any choice that has so much; inf where none has.
        magnitude: what was added up in it.
        price: nu.
        below: (M,) the choice just below the utility asked, option indices.
        above: (M,) the choice just above; the same as below where that has enough.
        share: of the choice above in the mixture that has just enough.
    """

    value: float
    magnitude: float
    price: float
    below: IntArray
    above: IntArray
    share: float


@compiled
def least_charges(
    utility: FloatArray, charged: FloatArray, first: IntArray, price: float
) -> tuple[float, float, IntArray]:
    """Sum of the least charge - price x utility, that choice's utility, and the choice; of ties the most."""
    clients = first.shape[0] - 1
    choice = np.zeros(clients, np.int64)
    value = total = 0.0
    for m in range(clients):
        best, at = math.inf, -1
        for j in range(first[m], first[m + 1]):
            if charged[j] < math.inf:
                worth = charged[j] - price * utility[j]
                if at < 0 or worth < best or (worth == best and utility[j] > utility[at]):
                    best, at = worth, j
        if at < 0:
            return math.inf, 0.0, choice
        choice[m] = at
        value, total = value + best, total + utility[at]
    return value, total, choice


@compiled
def utility_price(
    utility: FloatArray, charged: FloatArray, first: IntArray, asked: float, guess: float
) -> UtilityPrice:
    """The utility's price that bounds best what choices of at least the utility asked are charged.

    The dual function is concave and piecewise linear in the price: where two of its lines meet is the next
    price, until it is on both.

    Args:
        utility: (J,).
        charged: (J,) inf where not allowed.
        first: (M + 1,) client m has options first[m] up to first[m + 1].
        asked: U.
        guess: of the price; 0 for none.
    """
    value, total, below = least_charges(utility, charged, first, 0.0)
    above, price, share = below, 0.0, 0.0
    if value < math.inf and total < asked:
        most = charge = 0.0
        for m in range(first.shape[0] - 1):
            at = below[m]
            for j in range(first[m], first[m + 1]):
                if charged[j] < math.inf and utility[j] > utility[at]:
                    at = j
            most, charge = most + utility[at], charge + charged[at]
        if most < asked:
            return UtilityPrice(math.inf, 0.0, 0.0, below, above, 0.0)
        low, low_value, low_slope = 0.0, value, asked - total
        high = guess if guess > 0.0 else max((charge - value) / (most - total), 1.0 / LARGEST)
        high_value, high_slope = value, 0.0
        while high < LARGEST:
            least, total, above = least_charges(utility, charged, first, high)
            high_value, high_slope = least + high * asked, asked - total
            if high_value > value:
                price, value = high, high_value
            if high_slope <= 0.0:
                break
            low, low_value, low_slope, below = high, high_value, high_slope, above
            high *= 8.0
        for _ in range(MOST_STEPS):
            middle = (high_value - low_value + low_slope * low - high_slope * high) / (low_slope - high_slope)
            if not low < middle < high:
                break
            least, total, choice = least_charges(utility, charged, first, middle)
            found, slope = least + middle * asked, asked - total
            if found > value:
                price, value = middle, found
            height = low_value + low_slope * (middle - low)
            if found >= height - 4.0 * EPSILON * (abs(least) + middle * asked):
                break
            if slope <= 0.0:
                high, high_value, high_slope, above = middle, found, slope, choice
            else:
                low, low_value, low_slope, below = middle, found, slope, choice
        share = low_slope / (low_slope - high_slope)
    magnitude = price * asked if price > 0.0 else 0.0
    for m in range(first.shape[0] - 1):
        magnitude += abs(charged[above[m]]) + price * utility[above[m]]
    return UtilityPrice(value, magnitude, price, below, above, share)


@compiled
def least_total_need(
    options: NDArray[Any], first: IntArray, allowed: BooleanArray, asked: float
) -> UtilityPrice:
    """A lower bound on the bandwidth of all choices of the utility asked, Hz, and choices around it."""
    utility, need = np.empty(options.shape[0]), np.full(options.shape[0], math.inf)
    for j in range(options.shape[0]):
        utility[j] = options[j]["utility"]
        if allowed[j] and options[j]["low_hz"] <= options[j]["high_hz"]:
            need[j] = options[j]["low_hz"]
    return utility_price(utility, need, first, asked, 0.0)


class PricedBound(NamedTuple):
    """A lower bound on the cost of all choices of some options, by two prices.

    Attributes:
        bound: lowered by its rounding; inf where no choice has the utility asked.
        price: lambda of bandwidth, cost per hertz.
        utility_price: nu, cost per utility.
        loss: (J,) by how much the bound rises at least where an option is chosen; inf where not allowed.
        charged: (J,) at the price, before utility's.
        hz: (J,) the bandwidths in reply to the price.
        choices: (4, M) choices around the budget and the utility asked: at the cheap price (below, above), at
            the dear one.
        cheap_price: at which more than the band is asked for, 0 where none was found.
        dear_price: at which the mixture keeps within the band.
        evaluations: of the dual function.
    """

    bound: float
    price: float
    utility_price: float
    loss: FloatArray
    charged: FloatArray
    hz: FloatArray
    choices: IntArray
    cheap_price: float
    dear_price: float
    evaluations: int


@compiled
def priced_bound(
    options: NDArray[Any],
    first: IntArray,
    allowed: BooleanArray,
    bandwidth_hz: float,
    asked: float,
    guess: float,
    enough: float,
    tolerance: float,
    scale: float,
    most_steps: int,
) -> PricedBound:
    """The prices of bandwidth and utility that bound best what choices cost.

    The dual function is concave in the price of bandwidth, with slope (total reply) - W: two of its tangents
    bound it from above, and where they meet, or where the log-log secant of the total reply meets W, is the
    next price. It ends where the tangents leave less than the tolerance, or the bound is enough.

    Args:
        options: (J,) of `PRICED`.
        first: (M + 1,) client m has options first[m] up to first[m + 1].
        allowed: (J,).
        bandwidth_hz: W.
        asked: U, 0 for none.
        guess: of the price; 0 for none.
        enough: a bound up to here is all that is wanted.
        tolerance: relative, of the bound.
        scale: what the tolerance is relative to at least.
        most_steps: evaluations of the dual function at most.
    """
    clients, count = first.shape[0] - 1, options.shape[0]
    unit = (count + UNITS) * EPSILON
    utility = np.empty(count)
    for j in range(count):
        utility[j] = options[j]["utility"]
    price, logarithm, some = guess, 0.0, 0
    if not price > 0.0:
        for j in range(count):
            if allowed[j] and options[j]["low_hz"] < options[j]["high_hz"]:
                w = min(max(bandwidth_hz / clients, options[j]["low_hz"]), options[j]["high_hz"])
                marginal = marginal_cost(options[j], w)
                if marginal > 0.0:
                    logarithm, some = logarithm + math.log(marginal), some + 1
        price = math.exp(logarithm / some) if some > 0 else 0.0
    choices = np.zeros((4, clients), np.int64)
    cheap, dear = 0.0, 0.0
    cheap_value = dear_value = cheap_slope = dear_slope = cheap_hz = dear_hz = 0.0
    some_cheap = some_dear = False
    best_value, best_price, best_nu, best_bound = -math.inf, 0.0, 0.0, -math.inf
    best_charged, best_hz = np.full(count, math.inf), np.zeros(count)
    steps, step, nu = 0, 0.0, 0.0
    while steps < most_steps:
        steps += 1
        hz, charged = replies(options, allowed, price)
        found = utility_price(utility, charged, first, asked, nu)
        if not found.value < math.inf:
            best_bound = math.inf
            break
        nu = found.price
        total = 0.0
        for m in range(clients):
            total += (1.0 - found.share) * hz[found.below[m]] + found.share * hz[found.above[m]]
        value, slope = found.value - price * bandwidth_hz, total - bandwidth_hz
        if value > best_value:
            best_value, best_price, best_nu, best_charged, best_hz = value, price, nu, charged, hz
            best_bound = value - unit * (found.magnitude + price * bandwidth_hz)
        if slope > 0.0:
            cheap, cheap_value, cheap_slope, cheap_hz, some_cheap = price, value, slope, total, True
        else:
            dear, dear_value, dear_slope, dear_hz, some_dear = price, value, slope, total, True
        for m in range(clients):
            if slope > 0.0 or not some_cheap:
                choices[0, m], choices[1, m] = found.below[m], found.above[m]
            if slope <= 0.0 or not some_dear:
                choices[2, m], choices[3, m] = found.below[m], found.above[m]
        if best_bound >= enough:
            break
        if not (some_cheap and some_dear):
            if (
                price == 0.0
                or price >= LARGEST
                or (some_dear and price * -dear_slope <= tolerance * max(abs(best_value), scale))
            ):
                break
            # Totals fall like a power of the price between -1/2 and 0; farther each time.
            away = 2.2 * abs(math.log(total / bandwidth_hz)) if total > 0.0 else LONGEST_STEP
            farther = 16.0 * step if step < 0.25 else 2.0 * step
            step = min(max(away, farther, 4.0 * EPSILON), LONGEST_STEP)
            price = min(price * math.exp(step), LARGEST) if some_cheap else price / math.exp(step)
            if price < 1.0 / LARGEST:
                price = 0.0
            continue
        # From the cheap price on, where the dear tangent is there; far away it is known to few digits.
        there = dear_value - dear_slope * (dear - cheap)
        noise = 4.0 * EPSILON * (abs(dear_value) - dear_slope * dear)
        meet = cheap + (there - cheap_value) / (cheap_slope - dear_slope)
        height = cheap_value + cheap_slope * (meet - cheap)
        left = tolerance * max(abs(best_value), scale)
        if height + noise - best_value <= left or dear - cheap <= 4.0 * EPSILON * dear:
            break
        following = meet
        if steps % 3 != 0 and cheap > 0.0 and dear_hz > 0.0:
            part = math.log(cheap_hz / bandwidth_hz) / math.log(cheap_hz / dear_hz)
            following = cheap * math.exp(part * math.log(dear / cheap))
        if steps % 7 == 0 or (noise > left and cheap > 0.0 and dear > 2.0 * cheap):
            following = math.sqrt(cheap) * math.sqrt(dear)
        if not cheap < following < dear:
            following = meet if cheap < meet < dear else 0.5 * (cheap + dear)
        if not cheap < following < dear:
            break
        price = following
    loss = np.full(count, math.inf)
    if -math.inf < best_bound < math.inf:
        for m in range(clients):
            least = math.inf
            for j in range(first[m], first[m + 1]):
                if best_charged[j] < math.inf:
                    loss[j] = best_charged[j] - best_nu * utility[j]
                    least = min(least, loss[j])
            for j in range(first[m], first[m + 1]):
                if best_charged[j] < math.inf:
                    rounding = unit * (abs(best_charged[j]) + best_nu * utility[j])
                    loss[j] = max(loss[j] - least - rounding, 0.0)
    if not some_dear:
        dear = cheap
    return PricedBound(
        best_bound, best_price, best_nu, loss, best_charged, best_hz, choices, cheap, dear, steps
    )


@compiled
def least_charge(
    utility: FloatArray,
    charged: FloatArray,
    loss: FloatArray,
    first: IntArray,
    asked: float,
    slack: float,
    hidden: float,
    most_states: int,
    most_pairs: float,
) -> tuple[bool, float, IntArray]:
    """The least charge of any choice of the utility asked, which is kept to exactly, client by client.

    Of two partial choices the one with no less utility and no more charge dominates the other; here a charge
    that is more by a hair is no more. Choices that lose more than the slack are left out.

    Args:
        utility: (J,).
        charged: (J,) at a price of bandwidth.
        loss: (J,) at a price of utility too; inf where not allowed.
        first: (M + 1,).
        asked: U.
        slack: the largest loss of a choice that matters.
        hidden: what dominance may hide of the charge, all clients together.
        most_states: partial choices kept at once; with more it gives up.
        most_pairs: partial choices times options after which it gives up.

    Returns:
        (whether the search was complete; a lower bound on the charge of all choices that matter, inf without
        one; a choice that is hardly charged more, (0,) without one).
    """
    clients = first.shape[0] - 1
    nobody = np.empty(0, np.int64)
    rest = np.zeros(clients + 1)
    for m in range(clients - 1, -1, -1):
        most = -math.inf
        for j in range(first[m], first[m + 1]):
            if loss[j] <= slack and charged[j] < math.inf:
                most = max(most, utility[j])
        rest[m] = rest[m + 1] + most
    delta = hidden / clients
    worth, charge, lost = np.zeros(1), np.zeros(1), np.zeros(1)
    parents, chosen = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    pairs = 0
    for m in range(clients):
        size = worth.shape[0] * (first[m + 1] - first[m])
        pairs += size
        if pairs > most_pairs:
            return False, -math.inf, nobody
        more, cost, gone = np.empty(size), np.empty(size), np.empty(size)
        parent, option = np.empty(size, np.int64), np.empty(size, np.int64)
        found = 0
        for j in range(first[m], first[m + 1]):
            if loss[j] <= slack and charged[j] < math.inf:
                for i in range(worth.shape[0]):
                    enough = worth[i] + utility[j] + rest[m + 1] >= asked
                    # A kept choice stands for others that lose less by what dominance hides.
                    if enough and lost[i] + loss[j] <= slack + hidden:
                        more[found], cost[found] = worth[i] + utility[j], charge[i] + charged[j]
                        gone[found] = lost[i] + loss[j]
                        parent[found], option[found] = i, j
                        found += 1
        by_worth = np.argsort(-more[:found], kind="mergesort")
        kept, least = 0, math.inf
        places = np.empty(found, np.int64)
        for i in by_worth:
            if cost[i] < least - delta:
                least = cost[i]
                places[kept] = i
                kept += 1
        if kept == 0:
            return True, math.inf, nobody
        if kept > most_states:
            return False, -math.inf, nobody
        places = places[:kept]
        worth, charge, lost = more[places], cost[places], gone[places]
        parents.append(parent[places])
        chosen.append(option[places])
    # The last one kept is the cheapest.
    choice, state = np.empty(clients, np.int64), worth.shape[0] - 1
    for m in range(clients, 0, -1):
        choice[m - 1] = chosen[m][state]
        state = parents[m][state]
    return True, charge[worth.shape[0] - 1] - hidden, choice


# 4. Shares of the band for a fixed choice


@compiled
def band_shares(
    options: NDArray[Any], bandwidth_hz: float, cheap_price: float, dear_price: float
) -> tuple[FloatArray, float]:
    """(M,) bandwidths between the replies to two prices that use up W, Hz, and what they cost; inf if none.

    The mixture costs at most what the two tangents of the dual function there leave (`priced_bound`).
    """
    clients = options.shape[0]
    dear, cheap = np.empty(clients), np.empty(clients)
    dear_hz = cheap_hz = low_hz = carry = 0.0
    for m in range(clients):
        dear[m], cheap[m] = bandwidth_at(options[m], dear_price), bandwidth_at(options[m], cheap_price)
        term = dear[m] - carry
        raised = dear_hz + term
        dear_hz, carry = raised, (raised - dear_hz) - term
        cheap_hz, low_hz = cheap_hz + cheap[m], low_hz + options[m]["low_hz"]
    part = 0.0
    if dear_hz > bandwidth_hz:  # by rounding: towards the needs
        if not low_hz < bandwidth_hz:
            return dear, math.inf
        for m in range(clients):
            cheap[m] = options[m]["low_hz"]
        part = min((dear_hz - bandwidth_hz) / (dear_hz - low_hz) * (1.0 + 1e-9), 1.0)
    elif cheap_hz > dear_hz:  # a hair less than all: sums round
        part = min((bandwidth_hz - dear_hz) / (cheap_hz - dear_hz) * (1.0 - 1e-9), 1.0)
    for m in range(clients):
        dear[m] += part * (cheap[m] - dear[m])
    total = carry = 0.0
    for m in range(clients):
        term = options[m]["fixed"] + cost_of(options[m], dear[m]) - carry
        raised = total + term
        total, carry = raised, (raised - total) - term if raised < math.inf else 0.0
    return dear, total


@compiled
def least_power(
    rows: NDArray[Any], row: IntArray, nats: FloatArray, options: NDArray[Any], bandwidth_hz: FloatArray
) -> FloatArray:
    """(M,) powers in W that end each upload of a choice just in time on its bandwidth.

    Args:
        rows: (R,), as in `slots`.
        row: (M,), likewise, of the choice.
        nats: (M,), likewise.
        options: (M,) of `PRICED`.
        bandwidth_hz: (M,).
    """
    power_w = np.zeros(row.shape[0])
    for m in range(row.shape[0]):
        option, w = options[m], bandwidth_hz[m]
        if option["high_hz"] > 0.0:
            client = rows[row[m]]
            limit_w, rate = client["max_power_w"], option["rate"]
            if option["power_hz"] > 0.0:
                upload_s = cost_of(option, w) * (nats[m] / option["seconds"])
                limit_w, rate = min(limit_w, client["energy_j"] / upload_s), nats[m] / upload_s
            power_w[m] = min(limit_w, w / client["gain_over_noise"] * math.expm1(rate / w))
    return power_w


# 5. Intervals of round times


@compiled
def rent_and_energy(nats: float, area: float, rent: float, joules: float) -> tuple[float, float, float]:
    """Least energy x its price + rent x time-bandwidth product within a slot.

    Args:
        nats: s.
        area: least time-bandwidth product, Hz s.
        rent: per Hz s.
        joules: N0/h per joule's price: cost of an energy over noise of 1.

    Returns:
        (cost, product of least cost, Hz s, inf at no rent; derivative of the cost in the least product).
    """
    y = energy_root(rent / joules)
    least = nats / area
    if y > least:
        slope = rent - joules * energy_ratio(least)[0] if least < 690.0 else -LARGEST
        energy = joules * (area * math.expm1(least)) if least < 700.0 else math.inf
        return energy + rent * area, area, max(slope, 0.0)
    if y <= 0.0:
        return joules * nats, math.inf, 0.0
    wide = nats / y
    return joules * (wide * math.expm1(y)) + rent * wide, wide, 0.0


@compiled
def tangent_of_cost(
    client: Any,
    nats: float,
    slot_s: float,
    area: float,
    root: float,
    price: float,
    joules: float,
    delay_s: float,
) -> tuple[float, float]:
    """Energy and rent of one upload in a slot, and their slope in the slot, without a deadline.

    Args:
        client: of `physics.options.ROW`.
        nats: s.
        slot_s: t, s.
        area: least time-bandwidth product, Hz s, before caps.
        root: its z.
        price: mu, cost per Hz s.
        joules: N0/h per joule's price.
        delay_s: overhead less omega, s.
    """
    least = nats / client["nats_per_hz_s"]
    cost, wide, gain = rent_and_energy(nats, max(area, least), price * (1.0 + delay_s / slot_s), joules)
    slope = 0.0
    if delay_s > 0.0 and wide < math.inf:
        slope = -price * wide * (delay_s / slot_s / slot_s)
    if gain > 0.0 and area >= least and client["max_power_w"] * slot_s < client["energy_j"]:
        slope -= gain * area / (root * slot_s)
    return cost, slope


@compiled
def slope_in_round(
    rows: NDArray[Any],
    row: IntArray,
    nats: FloatArray,
    origin_s: float,
    per_joule: float,
    price: float,
    round_s: float,
    slot_s: FloatArray,
    area: FloatArray,
    root: FloatArray,
) -> float:
    """Right derivative in the round time of what a choice costs, charged mu (tau - omega) per hertz.

    Args:
        rows: (R,), as in `slots`.
        row: (M,), likewise, of the choice.
        nats: (M,), likewise.
        origin_s: omega, s.
        per_joule: > 0.
        price: mu, cost per Hz s.
        round_s: tau, s.
        slot_s: (M,) slots there, s.
        area: (M,) least time-bandwidth products, Hz s, before caps.
        root: (M,) their z.
    """
    total = 0.0
    for m in range(row.shape[0]):
        if row[m] >= 0 and nats[m] > 0.0:
            client = rows[row[m]]
            joules = per_joule / client["gain_over_noise"]
            delay_s = max(client["overhead_s"] - origin_s, 0.0)
            if round_s - client["overhead_s"] < client["deadline_s"]:
                total += tangent_of_cost(
                    client, nats[m], slot_s[m], area[m], root[m], price, joules, delay_s
                )[1]
            elif price > 0.0:
                least = max(area[m], nats[m] / client["nats_per_hz_s"])
                rent = price * ((round_s - origin_s) / slot_s[m])
                total += price * (rent_and_energy(nats[m], least, rent, joules)[1] / slot_s[m])
    return total


@compiled
def interval_costs(
    rows: NDArray[Any],
    row: IntArray,
    nats: FloatArray,
    utility: FloatArray,
    allowed: BooleanArray,
    bandwidth_hz: float,
    origin_s: float,
    per_joule: float,
    price: float,
    ends_s: tuple[float, float],
    slot_s: FloatArray,
    area: FloatArray,
    root: FloatArray,
    last_slot_s: FloatArray,
    last_area: FloatArray,
    last_root: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """(J,) ends of affine functions below what options cost within the rounds of an interval.

    An option is charged price x (tau - omega) per hertz. That is convex in tau up to its deadline, and what
    it were without one is below it throughout; from the deadline on it is concave, and at the deadline least
    (`docs/exact_priced.md`). Lowered by their rounding; inf where an option cannot be sent or is not allowed.

    Args:
        rows: (R,), as in `slots`.
        row: (J,), likewise.
        nats: (J,), likewise.
        utility: (J,).
        allowed: (J,).
        bandwidth_hz: W.
        origin_s: omega, no later than any sender's overhead, s.
        per_joule: > 0.
        price: mu, cost per Hz s, >= 0.
        ends_s: a and b, s.
        slot_s: (J,) slots where tangents touch, s, of `slots`.
        area: (J,) least time-bandwidth products there, Hz s, before caps.
        root: (J,) their z.
        last_slot_s: (J,) slots at b, s.
        last_area: (J,) products at b, Hz s.
        last_root: (J,) their z.
    """
    count = row.shape[0]
    unit = (count + UNITS) * EPSILON
    at_low, at_high = np.full(count, math.inf), np.full(count, math.inf)
    low_s, high_s = ends_s
    for j in range(count):
        if not allowed[j]:
            continue
        fixed, magnitude = -utility[j], utility[j]
        low = high = 0.0
        if row[j] >= 0:
            client = rows[row[j]]
            fixed += per_joule * client["before_j"]
            magnitude += per_joule * client["before_j"]
            if last_slot_s[j] < 0.0:
                continue
            if nats[j] > 0.0:
                if not last_slot_s[j] > 0.0:
                    continue
                last = max(last_area[j], nats[j] / client["nats_per_hz_s"])
                if not last / last_slot_s[j] <= bandwidth_hz:
                    continue
                joules = per_joule / client["gain_over_noise"]
                deadline_s = client["overhead_s"] + client["deadline_s"]
                if low_s >= deadline_s:
                    low, _, _ = rent_and_energy(
                        nats[j], last, price * (low_s - origin_s) / last_slot_s[j], joules
                    )
                    high, _, _ = rent_and_energy(
                        nats[j], last, price * (high_s - origin_s) / last_slot_s[j], joules
                    )
                    magnitude += max(low, high)
                else:
                    t, a, z = slot_s[j], area[j], root[j]
                    if not (t > 0.0 and a < math.inf):
                        t, a, z = last_slot_s[j], last_area[j], last_root[j]
                    delay_s = max(client["overhead_s"] - origin_s, 0.0)
                    cost, slope = tangent_of_cost(client, nats[j], t, a, z, price, joules, delay_s)
                    touch_s = client["overhead_s"] + t
                    low, high = cost + slope * (low_s - touch_s), cost + slope * (high_s - touch_s)
                    magnitude += cost - slope * (high_s + touch_s)
                    if high_s > deadline_s:
                        flat, _, _ = rent_and_energy(
                            nats[j], last, price * (deadline_s - origin_s) / last_slot_s[j], joules
                        )
                        if 2.0 * flat > low + high:
                            low = high = flat
        at_low[j] = fixed + low - unit * magnitude
        at_high[j] = fixed + high - unit * magnitude
    return at_low, at_high
