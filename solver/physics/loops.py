r"""The inner loops: closed form, needs, best replies, tangents, interval bounds, least round, fill.

One text, compiled where numba is there and plain Python where not (`jit`). All loops live in this file, since
numba's cache does not see changes in another one; they fill no array of their caller.

An upload of :math:`s` nats on :math:`g = e h / N_0` (energy over noise density) needs the time-bandwidth
product :math:`A = W t` that solves :math:`A \ln(1 + g / A) = s`. With :math:`\rho = s / g` and :math:`z > 0`
the root of :math:`z - \ln(1 + z) = \rho - 1 - \ln \rho`, it is :math:`A = s / (z + 1 - \rho)`; there is none
for :math:`\rho \ge 1`, the wideband limit (P2, `docs/exact.md`, section 2).

**Rounding.** A computed area is the exact one of an energy and a bandwidth that differ by less than 1e-13
of themselves, next to the wideband limit too: rounding is a change of the limits far below the tolerance, and
bounds are proved for limits raised beyond it (`docs/exact.md`, section 9). What is left is the rounding of
sums, `Instance.unit` of the magnitudes in them. Where areas of one client are subtracted from each other, as
in the sag of a chord, the condition 1 + 1/z of each counts in full.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from ..problem import FloatArray, IntArray
from ..tolerances import EPSILON
from .instance import Instance
from .jit import compiled

NEAR_LIMIT: Final = 0.01
"""Below this distance 1 - rho from the wideband limit the series is used: there Newton steps cancel."""

LIMIT_SERIES: Final = (1.0, 2 / 3, 4 / 9, 44 / 135, 104 / 405, 40 / 189, 7648 / 42525, 2848 / 18225)
"""z = d (c0 + c1 d + ...), d = 1 - rho, from z z' (1 - d) = d (1 + z)."""

NEWTON: Final = 1e-8
"""A quadratically converging iteration ends after a step this short: the next would be its square."""

LONGEST_S: Final = 1e100
"""Stands for no deadline: a slot in which the wideband limit is reached in float64."""

MOST_STEPS: Final = 300
"""Far beyond what a search for the least round time takes."""


class BestReplies(NamedTuple):
    """What each client would send at one round time and price: an evaluation of the dual function.

    Attributes:
        round_s: tau, s.
        price: mu, retained attention per Hz s.
        tokens: (M,) best counts, the larger of two equal ones.
        slot_s: (M,) slot t_m, s.
        area: (M,) time-bandwidth product of the tokens, Hz s; inf where not even `min_tokens` can be sent.
        root: (M,) z of the area.
        cost: (M,) c_m at the tokens, Hz s.
        value: (M,) v_m, retained attention less price x cost.
        need_hz: total bandwidth need of the tokens.
        lagrangian: L(tau), bounds the attention retained within the round time, before rounding.
    """

    round_s: float
    price: float
    tokens: IntArray
    slot_s: FloatArray
    area: FloatArray
    root: FloatArray
    cost: FloatArray
    value: FloatArray
    need_hz: float
    lagrangian: float


class AffineBound(NamedTuple):
    """An upper bound on the attention retained within any round time, from best replies at one of them.

    Attributes:
        round_s: round time of the replies, s.
        value: the bound there, before rounding; inf where a client has no plane.
        slope: how fast it rises with the round time, 1/s.
        rounding: bound of the floating-point error in `value`.
        rounding_per_s: likewise in `slope`, 1/s.
    """

    round_s: float
    value: float
    slope: float
    rounding: float
    rounding_per_s: float


class Tangent(NamedTuple):
    """Planes above the clients' terms, in contact at their best replies, and their sum.

    Attributes:
        value: (M,) at the replies' round time, raised by its rounding; inf where a client has none.
        slope: (M,) 1/s.
        affine: the sum, with the charge for the bandwidth.
    """

    value: FloatArray
    slope: FloatArray
    affine: AffineBound


@compiled
def with_raised_limits(instance: Instance, share: float) -> Instance:
    """The instance with bandwidth, power, energies and deadlines times 1 + share."""
    clients = instance.clients.copy()
    last_s, concave_until_s = 0.0, math.inf
    for m in range(clients.shape[0]):
        clients[m]["max_power_w"] *= 1.0 + share
        clients[m]["max_energy_j"] *= 1.0 + share
        clients[m]["deadline_s"] *= 1.0 + share
        deadline_round_s = clients[m]["overhead_s"] + clients[m]["deadline_s"]
        last_s, concave_until_s = max(last_s, deadline_round_s), min(concave_until_s, deadline_round_s)
    return Instance(
        clients,
        instance.importance,
        instance.payload_nats,
        instance.extra_tokens,
        instance.bandwidth_hz * (1.0 + share),
        instance.origin_s,
        instance.latest_origin_s,
        last_s * (1.0 + 4.0 * EPSILON),
        concave_until_s if instance.concave_until_s > -math.inf else -math.inf,
        instance.most_retained,
        instance.unit,
    )


# 1. Uploads


@compiled
def least_area(nats: float, energy_over_noise: float) -> tuple[float, float]:
    """Least time-bandwidth product of one upload, Hz s, and the root z behind it; (inf, 0) if none.

    Two steps of the fourth-order iteration of Fritsch, Shafer and Crowley (CACM 1973, algorithm 443) from
    sqrt(2u) + u (2/3 + ...); a series near the wideband limit. z errs by less than 2e-14, given rho. The
    area's elasticity in s is (1 + z) / z, in g it is -1 / z.
    """
    rho = nats / energy_over_noise
    if not rho < 1.0:
        return math.inf, 0.0
    distance = 1.0 - rho
    if distance < NEAR_LIMIT:
        z = 0.0
        for k in range(len(LIMIT_SERIES) - 1, -1, -1):
            z = z * distance + LIMIT_SERIES[k]
        z *= distance
    else:
        u = -math.log(rho) - distance
        root = math.sqrt(2.0 * u)
        z = root + u * (2.0 / 3.0 + root / (3.0 * root + 15.0))
        for _ in range(2):
            residual = z - math.log1p(z) - u
            q = 2.0 * z * (z - residual * (2.0 / 3.0))
            z = z - (1.0 + z) * (residual / z) * (q - residual) / (q - 2.0 * residual)
    return nats / (z + distance), z


@compiled
def least_areas(nats: FloatArray, energy_over_noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`least_area` of (n,) uploads."""
    area, root = np.empty_like(nats), np.empty_like(nats)
    for i in range(nats.shape[0]):
        area[i], root[i] = least_area(nats[i], energy_over_noise[i])
    return area, root


@compiled
def nats_of(instance: Instance, m: int, tokens: float) -> float:
    """Payload of client m for a token count, nat; counts of tables are whole."""
    if instance.payload_nats.shape[0] == 0:
        return float(instance.clients[m]["nats_per_token"] * (tokens + instance.extra_tokens))
    return float(instance.payload_nats[m, min(int(tokens), instance.importance.shape[1])])


@compiled
def energy_over_noise(instance: Instance, m: int, slot_s: float) -> float:
    """What client m may spend in a slot, over noise: g = min(P t, E) h / N0."""
    client = instance.clients[m]
    return float(min(client["max_power_w"] * slot_s, client["max_energy_j"]) * client["gain_over_noise"])


@compiled
def kept(instance: Instance, m: int, tokens: int) -> float:
    """Retained attention f_m(K) of one client; four running sums, which a processor adds side by side."""
    one = two = three = four = 0.0
    n = 0
    while n + 3 < tokens:
        one += instance.importance[m, n]
        two += instance.importance[m, n + 1]
        three += instance.importance[m, n + 2]
        four += instance.importance[m, n + 3]
        n += 4
    while n < tokens:
        one += instance.importance[m, n]
        n += 1
    return (one + two) + (three + four)


@compiled
def retained(instance: Instance, tokens: IntArray) -> float:
    """Retained attention of (M,) tokens, all clients together."""
    total = 0.0
    for m in range(tokens.shape[0]):
        total += kept(instance, m, tokens[m])
    return total


# 2. Needs of given tokens, and the least round time that serves them


@compiled
def added(total: float, carry: float, value: float) -> tuple[float, float]:
    """A step of Kahan's sum, (total, carry): a million clients sum up to a few units all the same."""
    term = value - carry
    raised = total + term
    return raised, (raised - total) - term


@compiled
def total_and_slope(
    instance: Instance, tokens: IntArray | FloatArray, round_s: float
) -> tuple[float, float, float]:
    """Total need in Hz of (M,) counts, whole or not, its right derivative, and the steepest elasticity.

    Returns:
        (total, slope in the round time in Hz/s, largest elasticity of one client's need in its slot, sign
        turned); (inf, -inf, inf) where some upload cannot be made within the round.
    """
    total = carry = slope = steepest = 0.0
    for m in range(tokens.shape[0]):
        client = instance.clients[m]
        left_s = round_s - client["overhead_s"]
        slot_s = min(left_s, client["deadline_s"])
        if not slot_s > 0.0:
            return math.inf, -math.inf, math.inf
        area, root = least_area(nats_of(instance, m, tokens[m]), energy_over_noise(instance, m, slot_s))
        if not area < math.inf:
            return math.inf, -math.inf, math.inf
        total, carry = added(total, carry, area / slot_s)
        if left_s < client["deadline_s"]:
            power_limited = client["max_power_w"] * slot_s < client["max_energy_j"]
            elasticity = 1.0 + 1.0 / root if power_limited else 1.0
            slope -= area / slot_s * (elasticity / slot_s)
            steepest = max(steepest, elasticity)
    return total, slope, steepest


@compiled
def fits_eventually(instance: Instance, tokens: IntArray | FloatArray) -> bool:
    """Whether some round time serves these tokens: the limit of P6 as the round time grows."""
    total = carry = 0.0
    for m in range(tokens.shape[0]):
        slot_s = min(instance.clients[m]["deadline_s"], LONGEST_S)
        area, _ = least_area(nats_of(instance, m, tokens[m]), energy_over_noise(instance, m, slot_s))
        if not area < math.inf:
            return False
        total, carry = added(total, carry, area / slot_s)
    return total <= instance.bandwidth_hz


@compiled
def kink_between(instance: Instance, low_s: float, high_s: float) -> bool:
    """Whether a client changes from power to energy limit, or meets its deadline, between two rounds."""
    for m in range(instance.clients.shape[0]):
        client = instance.clients[m]
        low, high = (
            low_s - client["overhead_s"] * (1.0 + 1e-15),
            high_s - client["overhead_s"] * (1.0 - 1e-15),
        )
        if (
            low <= client["deadline_s"] <= high
            or low * client["max_power_w"] <= client["max_energy_j"] <= high * client["max_power_w"]
        ):
            return True
    return False


@compiled
def least_round(instance: Instance, tokens: IntArray | FloatArray, guess_s: float) -> tuple[float, float]:
    """Least round time tau(K) at which (M,) tokens fit, s, and the slope of the total need there, Hz/s.

    The total need falls in tau, is convex, and nearly a power of tau minus the largest overhead: Newton's
    method on that log-log scale, kept inside a bracket, until a step is so short that its square is beyond
    float64. Such a step is taken on trust only where no deadline and no change from power to energy limit
    lies on it: beyond one the need falls less. (inf, 0) when the tokens never fit.

    Args:
        instance: of the problem.
        tokens: (M,) counts, whole or not.
        guess_s: where to begin, s; inf for none.

    Cost: two to five evaluations.
    """
    budget, origin_s = instance.bandwidth_hz, instance.latest_origin_s
    longest = instance.last_s - origin_s
    if origin_s < guess_s < math.inf:
        step = guess_s - origin_s
    else:
        step = 0.0
        for m in range(tokens.shape[0]):
            client = instance.clients[m]
            fair_snr = client["max_power_w"] * client["gain_over_noise"] * (tokens.shape[0] / budget)
            step += nats_of(instance, m, tokens[m]) / math.log1p(fair_snr)
        step /= budget
    low, high, high_slope, slope = 0.0, math.inf, 0.0, 0.0
    for iteration in range(MOST_STEPS):
        step = min(step, longest)
        total, slope, steepest = total_and_slope(instance, tokens, origin_s + step)
        if total <= budget:
            high, high_slope = step, slope
        else:
            low = step
            hopeless = step >= longest or (iteration == 3 and high == math.inf)
            if hopeless and not fits_eventually(instance, tokens):
                return math.inf, 0.0
            if step >= longest:  # fits by the other formula, which rounds otherwise
                return instance.last_s, slope
        if total < math.inf and slope < 0.0:
            exponent = slope * step / total
            change = math.log(budget / total) / exponent
            # The next step would be about the square of this one times the elasticity of the steepest need.
            if abs(change) <= NEWTON / math.sqrt(steepest):
                # Some ulps up: next to a large overhead they are what a short slot needs to fit.
                found_s = (origin_s + step * (1.0 + change)) * (1.0 + 1e-15)
                here_s = origin_s + step
                if not kink_between(instance, min(here_s, found_s), max(here_s, found_s)):
                    return found_s, slope
            new = step * math.exp(min(max(change, -7.0), 7.0))
        else:
            new = step * (7.389056 if total > budget else 1.0 / 7.389056)
        if high - low <= 4e-14 * (origin_s + step):
            break
        if not low < new < high:
            new = math.sqrt(low) * math.sqrt(high) if low > 0.0 and high < math.inf else 0.5 * (low + high)
        step = new if new < math.inf else 2.0 * step
    if high == math.inf:
        return math.inf, 0.0
    return origin_s + high, high_slope


@compiled
def fastest_round(instance: Instance, tokens: IntArray, guess_s: float) -> tuple[float, float, float]:
    """Least round time of (M,) tokens, s, the STE in it, 1/s, and the slope there; (inf, 0, 0) if none."""
    round_s, slope = least_round(instance, tokens, guess_s)
    if not round_s < math.inf:
        return math.inf, 0.0, 0.0
    return round_s, retained(instance, tokens) / round_s, slope


@compiled
def allocate(instance: Instance, tokens: IntArray, round_s: float) -> tuple[FloatArray, FloatArray]:
    """(M,) bandwidths in Hz and powers in W that finish these tokens within a round at least bandwidth.

    Bandwidth left over is shared out in proportion, so no upload gets slower by it.
    """
    bandwidth_hz, power_w = np.empty(tokens.shape[0]), np.empty(tokens.shape[0])
    total = carry = 0.0
    for m in range(tokens.shape[0]):
        client = instance.clients[m]
        slot_s = min(round_s - client["overhead_s"], client["deadline_s"])
        area, _ = least_area(nats_of(instance, m, tokens[m]), energy_over_noise(instance, m, slot_s))
        bandwidth_hz[m] = area / slot_s
        power_w[m] = min(client["max_power_w"], client["max_energy_j"] / slot_s)
        total, carry = added(total, carry, bandwidth_hz[m])
    for m in range(tokens.shape[0]):
        bandwidth_hz[m] *= instance.bandwidth_hz / total
    return bandwidth_hz, power_w


# 3. Best replies to a price


@compiled
def best_count(
    instance: Instance, m: int, price: float, energy: float, guess: int
) -> tuple[int, float, float]:
    """The count K >= K_min of largest f_m(K) - price A(K), with its area (Hz s) and root.

    Args:
        instance: of the problem.
        m: the client.
        price: of its area, retained attention per Hz s, >= 0.
        energy: over noise, dimensionless.
        guess: where to begin; any value.

    Cost: one closed form when the guess is right, 2 log2 of the distance more otherwise.
    """
    if instance.payload_nats.shape[0] > 0:
        return best_count_of_table(instance, m, price, energy, guess)
    most, fewest = instance.importance.shape[1], instance.clients[m]["min_tokens"]
    b, extra = instance.clients[m]["nats_per_token"], instance.extra_tokens
    k = min(max(guess, fewest), most)
    area, root = least_area(b * (k + extra), energy)
    if area < math.inf:
        # The importances fall and the area is convex in K: a count is best whose marginal cost lies between
        # the importances of its own token and of the next.
        marginal = price * (area / (k + extra)) * (1.0 + 1.0 / root)
        if (k == fewest or instance.importance[m, k - 1] >= marginal) and (
            k == most or instance.importance[m, k] < marginal
        ):
            return k, area, root
    # Galloping. Invariant: token `low` pays or is the last forced one; token `high` does not pay or is none.
    low, high = fewest, most + 1
    low_area, low_root = (area, root) if k == low else (math.nan, math.nan)
    fresh, step, upwards, bracketed = k > low, 1, True, False
    while high - low > 1:
        k = max(k, low + 1)
        if not fresh:
            area, root = least_area(b * (k + extra), energy)
        fresh = False
        known = k == low + 1 and not math.isnan(low_area)
        before = low_area if known else least_area(b * (k - 1 + extra), energy)[0]
        pays = area < math.inf and instance.importance[m, k - 1] >= price * (area - before)
        if step == 1:
            upwards = pays
        if pays:
            low, low_area, low_root = k, area, root
            k = min(low + step, high - 1)
        else:
            high = k
            k = high - step
        bracketed = bracketed or pays != upwards
        if bracketed:
            k = (low + high) // 2
        step *= 2
    if math.isnan(low_area):
        low_area, low_root = least_area(b * (low + extra), energy)
    return low, low_area, low_root


@compiled
def best_count_of_table(
    instance: Instance, m: int, price: float, energy: float, guess: int
) -> tuple[int, float, float]:
    """`best_count` where payloads are a table: f_m is not concave in the payload, any count may be best.

    Areas are convex in the payload, so a tangent at one count bounds the values of all: the count of the
    highest ceiling is tried next, until no ceiling exceeds the best value. A few closed forms instead of N.
    """
    most, fewest = instance.importance.shape[1], instance.clients[m]["min_tokens"]
    ceiling = np.full(most + 1, math.inf)
    best, best_area, best_root, best_value = fewest, math.inf, 0.0, -math.inf
    k = min(max(guess, fewest), most)
    for _ in range(most + 1 - fewest):
        nats = instance.payload_nats[m, k]
        area, root = least_area(nats, energy)
        if area < math.inf:
            value = kept(instance, m, k) - price * area
            if value > best_value or (value == best_value and k > best):
                best, best_area, best_root, best_value = k, area, root, value
            slope = price * (area / nats) * (1.0 + 1.0 / root)
            attention = kept(instance, m, fewest)
            for n in range(fewest, most + 1):
                if n > fewest:
                    attention += instance.importance[m, n - 1]
                tangent_value = attention - price * area - slope * (instance.payload_nats[m, n] - nats)
                ceiling[n] = min(ceiling[n], tangent_value)
        else:
            ceiling[k:] = -math.inf  # what takes more bits cannot be sent either
        ceiling[k] = -math.inf
        k = fewest + int(np.argmax(ceiling[fewest:]))
        if not ceiling[k] >= best_value or ceiling[k] == -math.inf:
            break
    if not best_area < math.inf:
        best_area, best_root = least_area(instance.payload_nats[m, best], energy)
    return best, best_area, best_root


@compiled
def best_replies(instance: Instance, round_s: float, price: float, guess: IntArray) -> BestReplies:
    """Best replies of all clients at a round time above all overheads.

    Args:
        instance: of the problem.
        round_s: tau, s.
        price: mu, retained attention per Hz s, >= 0.
        guess: (M,) tokens to look at first; any values.

    Cost: one closed form per client with a good guess.
    """
    clients = guess.shape[0]
    tokens = np.empty(clients, np.int64)
    slot, areas, roots = np.empty(clients), np.empty(clients), np.empty(clients)
    cost, value = np.empty(clients), np.empty(clients)
    charged_s = round_s - instance.origin_s
    need_hz, lagrangian = 0.0, price * instance.bandwidth_hz * charged_s
    for m in range(clients):
        client = instance.clients[m]
        slot_s = min(round_s - client["overhead_s"], client["deadline_s"])
        energy = energy_over_noise(instance, m, slot_s)
        k, area, root = best_count(instance, m, price * charged_s / slot_s, energy, guess[m])
        tokens[m], slot[m], areas[m], roots[m] = k, slot_s, area, root
        cost[m] = charged_s * (area / slot_s)
        value[m] = kept(instance, m, k) - price * cost[m] if area < math.inf else -math.inf
        need_hz += area / slot_s
        lagrangian += value[m]
    return BestReplies(round_s, price, tokens, slot, areas, roots, cost, value, need_hz, lagrangian)


# 4. Upper bounds


@compiled
def tangent(instance: Instance, replies: BestReplies) -> Tangent:
    r"""Tangent planes of f_m(K) - mu A_m(K, tau) over continuous K >= K_min and tau (`docs/exact.md`, 6).

    The integer maximiser is continuous too when the marginal cost lies between the importances of its token
    and the next. Otherwise Newton's method finds the fractional one beside it, with
    A_K = b (1 + z) / (z (z + 1 - rho)) and A_KK = b^2 (1 + z) / (s z^3); what is left of the slope in K is
    charged over all K, so no convergence is assumed. Clients with another overhead, a past deadline or a
    table have no plane.
    """
    clients, most = replies.tokens.shape[0], instance.importance.shape[1]
    values, slopes = np.empty(clients), np.empty(clients)
    price, extra = replies.price, instance.extra_tokens
    idle_per_s = price * instance.bandwidth_hz
    total = idle_per_s * (replies.round_s - instance.origin_s)
    magnitude, total_slope = total, idle_per_s
    for m in range(clients):
        client = instance.clients[m]
        values[m], slopes[m] = math.inf, 0.0
        deadline_round_s = client["overhead_s"] + client["deadline_s"]
        planar = client["overhead_s"] == instance.origin_s and replies.round_s <= deadline_round_s
        area, root = replies.area[m], replies.root[m]
        if instance.payload_nats.shape[0] == 0 and planar and area < math.inf:
            k, b, slot_s = replies.tokens[m], client["nats_per_token"], replies.slot_s[m]
            marginal = price * (area / (k + extra)) * (1.0 + 1.0 / root)
            here = instance.importance[m, k - 1] if k > client["min_tokens"] else math.inf
            following = instance.importance[m, k] if k < most else -math.inf
            # A supergradient of f at k, as near to the marginal cost as there is one.
            target = min(max(marginal, following), here)
            value, residual = replies.value[m], 0.0
            if target != marginal:
                energy = energy_over_noise(instance, m, slot_s)
                count, residual = float(k), target - marginal
                for _ in range(3):
                    curvature = price * b * (1.0 + root) / ((count + extra) * root * root * root)
                    count = min(max(count + residual / curvature, k - 1.0), k + 1.0)
                    area, root = least_area(b * (count + extra), energy)
                    if not area < math.inf:  # a step beyond the wideband limit
                        break
                    residual = target - price * (area / (count + extra)) * (1.0 + 1.0 / root)
                    if abs(residual) <= 1e-13 * target:
                        break
                value = kept(instance, m, k) + target * (count - k) - price * area
            if area < math.inf:
                cost = price * area
                # A residual as computed errs by some units of the marginal cost itself, over all counts.
                doubt = abs(value) + 2.0 * cost + most * price * (area / (k + extra)) * (1.0 + 1.0 / root)
                values[m] = value + abs(residual) * most + instance.unit * doubt
                if client["max_power_w"] * slot_s < client["max_energy_j"]:
                    slopes[m] = cost / (root * slot_s)
        total += values[m]
        magnitude += abs(values[m])
        total_slope += slopes[m]
    affine = AffineBound(
        replies.round_s, total, total_slope, instance.unit * magnitude, instance.unit * total_slope
    )
    return Tangent(values, slopes, affine)


# The next four are a handful of operations each: a call of a compiled loop would take longer.


def no_affine_bound() -> AffineBound:
    """An affine bound that bounds nothing."""
    return AffineBound(1.0, math.inf, 0.0, 0.0, 0.0)


def bound_at(affine: AffineBound, round_s: float) -> float:
    """Upper bound on the attention retained within a round time, rounding included; convex in it."""
    span_s = round_s - affine.round_s
    bound = affine.value + affine.slope * span_s + affine.rounding + affine.rounding_per_s * abs(span_s)
    return bound if bound < math.inf else math.inf


def affine_bound(affine: AffineBound, other_s: float) -> float:
    """Upper bound on the STE between the replies' round time and another one, 1/s."""
    return max(bound_at(affine, affine.round_s) / affine.round_s, bound_at(affine, other_s) / other_s)


def bound_everywhere(one: AffineBound, other: AffineBound) -> float:
    """Upper bound on the STE at all round times: the steeper bound where it is lower, else the flatter.

    inf unless the steeper one is below 0 at round time 0; divided by the round time it is then largest
    where it meets the flatter one, and that one there or towards infinity (`docs/exact.md`, (5)).
    """
    steep, flat = (one, other) if one.slope >= other.slope else (other, one)
    if not bound_at(steep, 0.0) <= 0.0:
        return math.inf
    meet_s = steep.round_s
    if steep.slope > flat.slope:
        apart = flat.value - steep.value + steep.slope * steep.round_s - flat.slope * flat.round_s
        meet_s = apart / (steep.slope - flat.slope)
        if not 0.0 < meet_s < math.inf:
            meet_s = steep.round_s
    return max(
        bound_at(steep, meet_s) / meet_s, bound_at(flat, meet_s) / meet_s, flat.slope + flat.rounding_per_s
    )


@compiled
def sag(
    instance: Instance, m: int, tokens: int, low_s: float, high_s: float, price: float
) -> tuple[float, float]:
    """By how much, at two round times, the tangent of -price c_m(K; .) at their middle exceeds it, at most.

    Every count up to K exceeds by less (`docs/exact.md`, section 5). Not finite where K cannot be sent.
    """
    client, nats, half_s = instance.clients[m], nats_of(instance, m, tokens), 0.5 * (high_s - low_s)
    middle_s = low_s + half_s
    slot_s = min(low_s - client["overhead_s"], client["deadline_s"])
    area, root = least_area(nats, energy_over_noise(instance, m, slot_s))
    if not area < math.inf:
        return math.inf, math.inf
    low_cost = (low_s - instance.origin_s) * (area / slot_s)
    doubt = low_cost * (1.0 + 1.0 / root)
    slot_s = min(high_s - client["overhead_s"], client["deadline_s"])
    area, root = least_area(nats, energy_over_noise(instance, m, slot_s))
    high_cost = (high_s - instance.origin_s) * (area / slot_s)
    doubt += high_cost * (1.0 + 1.0 / root)
    left_s, charged_s = middle_s - client["overhead_s"], middle_s - instance.origin_s
    slot_s = min(left_s, client["deadline_s"])
    area, root = least_area(nats, energy_over_noise(instance, m, slot_s))
    need_hz, condition = area / slot_s, 1.0 + 1.0 / root
    slope = need_hz
    if left_s < client["deadline_s"]:
        power_limited = client["max_power_w"] * slot_s < client["max_energy_j"]
        slope -= charged_s * need_hz * ((condition if power_limited else 1.0) / slot_s)
    doubt += condition * need_hz * (2.0 * charged_s + half_s * (1.0 + charged_s * condition / slot_s))
    doubt *= instance.unit
    at_low = max(low_cost - charged_s * need_hz + half_s * slope, 0.0) + doubt
    at_high = max(high_cost - charged_s * need_hz - half_s * slope, 0.0) + doubt
    return price * at_low, price * at_high


@compiled
def interval_bound(
    instance: Instance, low: BestReplies, high: BestReplies, planes: Tangent, anchored_high: bool
) -> float:
    """Upper bound on the STE of all round times between those of two replies to one price, 1/s.

    Each client's term gets the lowest of three convex majorants: its plane, the tangents at the middle raised
    by the sag of the largest count that may be best there, or its peak (`docs/exact.md`, section 5).

    Args:
        instance: of the problem.
        low: best replies at the lower end.
        high: best replies at the upper end, same price.
        planes: of one of the two.
        anchored_high: whether of `high`.

    Cost: three closed forms per client without a low plane, an inner loop more where a deadline lies between.
    """
    if not low.need_hz < math.inf:
        return math.inf
    width_s, price, unit = high.round_s - low.round_s, low.price, instance.unit
    idle_low = price * instance.bandwidth_hz * (low.round_s - instance.origin_s)
    idle_high = price * instance.bandwidth_hz * (high.round_s - instance.origin_s)
    at_low, at_high, error_low, error_high = idle_low, idle_high, idle_low, idle_high
    for m in range(low.tokens.shape[0]):
        client = instance.clients[m]
        rise = planes.slope[m] * width_s
        plane_low = planes.value[m] - (rise * (1.0 - unit) if anchored_high else 0.0)
        plane_high = planes.value[m] + (0.0 if anchored_high else rise * (1.0 + unit))
        chord_low, chord_high = low.value[m], high.value[m]
        doubt_low = abs(chord_low) + 2.0 * price * low.cost[m] * (1.0 + 1.0 / low.root[m])
        doubt_high = abs(chord_high) + 2.0 * price * high.cost[m] * (1.0 + 1.0 / high.root[m])
        if not (plane_low <= chord_low and plane_high <= chord_high):
            widest, peak = max(low.tokens[m], high.tokens[m]), max(chord_low, chord_high)
            deadline_round_s = client["overhead_s"] + client["deadline_s"]
            if low.round_s < deadline_round_s < high.round_s:
                # There the best count and the term have their peaks.
                charge = price * (deadline_round_s - instance.origin_s) / client["deadline_s"]
                energy = energy_over_noise(instance, m, client["deadline_s"])
                k, area, root = best_count(instance, m, charge, energy, high.tokens[m])
                widest, peak = max(widest, k), max(peak, kept(instance, m, k) - charge * area)
                doubt_high = max(doubt_high, abs(peak) + 2.0 * charge * area * (1.0 + 1.0 / root))
            sag_low, sag_high = sag(instance, m, widest, low.round_s, high.round_s, price)
            if not sag_low + sag_high <= 2.0 * peak - chord_low - chord_high:
                # Flat. So too where such counts cannot be sent at the lower end at all.
                sag_low, sag_high = peak - chord_low, peak - chord_high
                doubt_low = doubt_high = max(doubt_low, doubt_high)
            chord_low, chord_high = chord_low + sag_low, chord_high + sag_high
        if (
            plane_low / low.round_s + plane_high / high.round_s
            < chord_low / low.round_s + chord_high / high.round_s
        ):
            at_low, at_high = at_low + plane_low, at_high + plane_high
            error_low, error_high = error_low + abs(plane_low), error_high + abs(plane_high)
        else:
            at_low, at_high = at_low + chord_low, at_high + chord_high
            error_low, error_high = error_low + doubt_low, error_high + doubt_high
    bound = max((at_low + unit * error_low) / low.round_s, (at_high + unit * error_high) / high.round_s)
    return bound if bound < math.inf else math.inf


# 5. Whole tokens


@compiled
def filled(instance: Instance, within: BestReplies, beyond: BestReplies) -> IntArray:
    """(M,) tokens between two replies of one round time that fill the bandwidth, by gain per hertz.

    However many clients tie at the clearing price, they miss the linear relaxation by less than one token's
    gain (`docs/exact.md`, section 3).

    Args:
        instance: of the problem.
        within: replies whose need is within the bandwidth.
        beyond: replies to a lower price, whose need is not.

    Cost: two closed forms per token between the two, and a sort of these.
    """
    tokens = within.tokens.copy()
    apart = 0
    for m in range(tokens.shape[0]):
        apart += max(beyond.tokens[m] - tokens[m], 0)
    client_of, cost, worth = np.empty(apart, np.int64), np.empty(apart), np.empty(apart)
    i = 0
    for m in range(tokens.shape[0]):
        slot_s = within.slot_s[m]
        energy = energy_over_noise(instance, m, slot_s)
        before = within.area[m]
        for k in range(tokens[m] + 1, beyond.tokens[m] + 1):
            area, _ = least_area(nats_of(instance, m, k), energy)
            client_of[i] = m
            cost[i] = (area - before) / slot_s if area < math.inf else math.inf
            worth[i] = -instance.importance[m, k - 1] / cost[i] if cost[i] > 0.0 else -math.inf
            before = area
            i += 1
    left_hz = instance.bandwidth_hz - within.need_hz
    for i in np.argsort(worth, kind="mergesort"):
        if cost[i] > left_hz:
            break
        left_hz -= cost[i]
        tokens[client_of[i]] += 1
    return tokens


@compiled
def need_tangents(instance: Instance, at_s: float, about_s: float) -> tuple[FloatArray, FloatArray]:
    """(M, N + 1) tangents of all needs in the round time: levels at `about_s`, Hz, and how they fall, Hz/s.

    need_m(K; tau) >= level + fall (about_s - tau), with contact at `at_s`; inf and 0 where K cannot be sent.
    """
    clients, most = instance.importance.shape
    level, fall = np.full((clients, most + 1), math.inf), np.zeros((clients, most + 1))
    for m in range(clients):
        client = instance.clients[m]
        left_s = at_s - client["overhead_s"]
        slot_s = min(left_s, client["deadline_s"])
        if slot_s > 0.0:
            energy = energy_over_noise(instance, m, slot_s)
            power_limited = client["max_power_w"] * slot_s < client["max_energy_j"]
            for k in range(client["min_tokens"], most + 1):
                area, root = least_area(nats_of(instance, m, k), energy)
                if not area < math.inf:
                    break
                if left_s < client["deadline_s"]:
                    fall[m, k] = area / slot_s * ((1.0 + 1.0 / root if power_limited else 1.0) / slot_s)
                level[m, k] = area / slot_s + fall[m, k] * (at_s - about_s)
    return level, fall


@compiled
def retained_table(instance: Instance) -> FloatArray:
    """(M, N + 1) retained attention f_m(K) for K = 0..N."""
    clients, most = instance.importance.shape
    table = np.zeros((clients, most + 1))
    for m in range(clients):
        for k in range(most):
            table[m, k + 1] = table[m, k] + instance.importance[m, k]
    return table
