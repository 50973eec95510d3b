r"""The inner loops over options: needs with caps, least rounds, delivery, clearing prices, interval bounds.

A row's spectral efficiency is capped at :math:`\eta`, so that the need of :math:`s` nats in a slot :math:`t`
is :math:`\max(A(s, g(t)),\; s / (\eta \ln 2)) / t`: convex and nonincreasing in the round time, with one
more kink, where the other form takes over (`docs/exact.md`, section 13). A sender of 0 bits needs no
bandwidth once its overhead has passed; who skips needs none ever.

A choice is (M,) indices of options, one of each client.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..problem import FloatArray, IntArray
from . import loops
from . import options as option_lists
from .jit import compiled_on
from .loops import LONGEST_S, MOST_STEPS, NEWTON, added, least_area
from .options import SKIP, Options

compiled = compiled_on(loops, option_lists)

BooleanArray = NDArray[np.bool_]


# 1. Needs


@compiled
def option_need(options: Options, j: int, round_s: float) -> tuple[float, float]:
    """Need of one option in a round, Hz, and its right derivative, Hz/s; (inf, 0) where it cannot be sent."""
    need_hz, slope, _, _ = need_and_condition(options, j, round_s)
    return need_hz, slope


@compiled
def need_and_condition(options: Options, j: int, round_s: float) -> tuple[float, float, float, float]:
    """Need of one option, Hz, its right derivative, Hz/s, its elasticity in the slot (sign turned), and rho.

    (inf, 0, 0, 1) where it cannot be sent; rho = s / g is 0 for those who send nothing.
    """
    r = options.row[j]
    if r == SKIP:
        return 0.0, 0.0, 0.0, 0.0
    row, nats = options.rows[r], options.nats[j]
    left_s = round_s - row["overhead_s"]
    slot_s = min(left_s, row["deadline_s"])
    if nats == 0.0 and left_s >= 0.0:
        return 0.0, 0.0, 0.0, 0.0
    if not slot_s > 0.0:
        return math.inf, 0.0, 0.0, 1.0
    full_j = row["max_power_w"] * slot_s
    over_noise = min(full_j, row["energy_j"]) * row["gain_over_noise"]
    rho = nats / over_noise
    if not rho < 1.0:
        return math.inf, 0.0, 0.0, 1.0
    elasticity = 1.0
    if rho <= row["capped_below"]:
        area = nats / row["nats_per_hz_s"]
    else:
        area, root = least_area(nats, over_noise)
        if full_j < row["energy_j"]:
            elasticity = 1.0 + 1.0 / root
    need_hz = area / slot_s
    if not left_s < row["deadline_s"]:
        return need_hz, 0.0, 0.0, rho
    return need_hz, -need_hz * (elasticity / slot_s), elasticity, rho


@compiled
def needs(options: Options, round_s: float) -> tuple[FloatArray, FloatArray]:
    """(J,) needs within a round, Hz, and their right derivatives, Hz/s; inf and 0 where not sendable."""
    need_hz, slope = np.empty(options.row.shape[0]), np.empty(options.row.shape[0])
    for j in range(options.row.shape[0]):
        need_hz[j], slope[j], _, _ = need_and_condition(options, j, round_s)
    return need_hz, slope


@compiled
def chosen_total_and_slope(options: Options, choice: IntArray, round_s: float) -> tuple[float, float, float]:
    """Total need in Hz of a choice, its right derivative in Hz/s, and the steepest elasticity of one need.

    (inf, -inf, inf) where some upload cannot be made within the round.
    """
    total = carry = slope = steepest = 0.0
    for m in range(choice.shape[0]):
        need_hz, fall, elasticity, _ = need_and_condition(options, choice[m], round_s)
        if not need_hz < math.inf:
            return math.inf, -math.inf, math.inf
        total, carry = added(total, carry, need_hz)
        slope += fall
        steepest = max(steepest, elasticity)
    return total, slope, steepest


@compiled
def chosen_utility(options: Options, choice: IntArray) -> float:
    """Sum of the utilities of a choice."""
    total = carry = 0.0
    for m in range(choice.shape[0]):
        total, carry = added(total, carry, options.utility[choice[m]])
    return total


# 2. Least rounds


@compiled
def kinked_between(options: Options, choice: IntArray, low_s: float, high_s: float) -> bool:
    """Whether a need changes its form between two rounds: deadline, power or energy limit, cap."""
    for m in range(choice.shape[0]):
        r = options.row[choice[m]]
        if r == SKIP:
            continue
        row, nats = options.rows[r], options.nats[choice[m]]
        low = low_s - row["overhead_s"] * (1.0 + 1e-15)
        high = high_s - row["overhead_s"] * (1.0 - 1e-15)
        if low <= row["deadline_s"] <= high:
            return True
        if low * row["max_power_w"] <= row["energy_j"] <= high * row["max_power_w"]:
            return True
        if row["capped_below"] > 0.0:
            # rho falls in the slot and passes the cap's where power, not energy, limits.
            switch_s = nats / (row["capped_below"] * row["max_power_w"] * row["gain_over_noise"])
            if low * (1.0 - 1e-13) <= switch_s <= high * (1.0 + 1e-13):
                return True
    return False


@compiled
def extent_of_choice(options: Options, choice: IntArray) -> tuple[float, float, float, bool]:
    """Where to look for the least round of a choice.

    Returns:
        (largest overhead, s; the last deadline, s; an estimate by payload, s; whether the first may be it,
        where all who send bits have begun before).
    """
    origin_s = last_s = effort = latest_s = 0.0
    senders = 0
    for m in range(choice.shape[0]):
        if options.row[choice[m]] != SKIP:
            senders += 1
    for m in range(choice.shape[0]):
        r = options.row[choice[m]]
        if r != SKIP:
            row, nats = options.rows[r], options.nats[choice[m]]
            origin_s = max(origin_s, row["overhead_s"])
            last_s = max(last_s, row["overhead_s"] + row["deadline_s"])
            fair_snr = row["max_power_w"] * row["gain_over_noise"] * (senders / options.bandwidth_hz)
            effort += nats / min(math.log1p(fair_snr), row["nats_per_hz_s"])
            if nats > 0.0:
                latest_s = max(latest_s, row["overhead_s"])
    instant = senders == 0 or latest_s < origin_s or effort == 0.0
    return origin_s, last_s, origin_s + effort / options.bandwidth_hz, instant


@compiled
def choice_fits(options: Options, choice: IntArray, round_s: float) -> bool:
    """Whether a choice fits into the band within a round."""
    total, _, _ = chosen_total_and_slope(options, choice, round_s)
    return total <= options.bandwidth_hz


@compiled
def least_round_of_choice(options: Options, choice: IntArray, guess_s: float) -> float:
    """Least round time of a choice, s; inf when it never fits, 0 where nobody sends.

    As `loops.least_round`: Newton's method on the log-log scale, kept inside a bracket. The last step is
    taken on trust only where no need changes its form on it.

    Args:
        options: all of them.
        choice: (M,).
        guess_s: where to begin, s; inf for none.

    Cost: two to five evaluations.
    """
    budget = options.bandwidth_hz
    origin_s, last_s, estimate_s, instant = extent_of_choice(options, choice)
    last_s = min(last_s * (1.0 + 1e-15), LONGEST_S)
    if instant:
        total, _, _ = chosen_total_and_slope(options, choice, origin_s)
        if total <= budget:
            return origin_s
    longest = last_s - origin_s
    start_s = guess_s if origin_s < guess_s < math.inf else estimate_s
    step = start_s - origin_s
    if not step > 0.0:  # next to a large overhead
        step = 1e-15 * origin_s
    low, high = 0.0, math.inf
    for iteration in range(MOST_STEPS):
        step = min(step, longest)
        total, slope, steepest = chosen_total_and_slope(options, choice, origin_s + step)
        if total <= budget:
            high = step
        else:
            low = step
            hopeless = step >= longest or (iteration == 3 and high == math.inf)
            if hopeless and not choice_fits(options, choice, last_s):
                return math.inf
            if step >= longest:  # fits by the other sum, which rounds otherwise
                return last_s
        if total < math.inf and slope < 0.0:
            exponent = slope * step / total
            change = math.log(budget / total) / exponent
            if abs(change) <= NEWTON / math.sqrt(steepest):
                # Some ulps up: next to a large overhead they are what a short slot needs to fit.
                found_s = (origin_s + step * (1.0 + change)) * (1.0 + 1e-15)
                here_s = origin_s + step
                if not kinked_between(options, choice, min(here_s, found_s), max(here_s, found_s)):
                    return min(found_s, last_s)
            new = step * math.exp(min(max(change, -7.0), 7.0))
        else:
            new = step * (7.389056 if total > budget else 1.0 / 7.389056)
        if high - low <= 4e-15 * (origin_s + step):
            break
        if not low < new < high:
            new = math.sqrt(low) * math.sqrt(high) if low > 0.0 and high < math.inf else 0.5 * (low + high)
            if not low < new < high:
                new = 0.5 * (low + high)
        step = new if new < math.inf else 2.0 * step
    return origin_s + high


@compiled
def least_needs(options: Options, round_s: float) -> tuple[IntArray, float]:
    """The choice of least need within a round, of equal needs the first, and its total need in Hz."""
    clients = options.first.shape[0] - 1
    choice = np.empty(clients, np.int64)
    total = carry = 0.0
    for m in range(clients):
        least, choice[m] = math.inf, options.first[m]
        for j in range(options.first[m], options.first[m + 1]):
            need_hz, _, _, _ = need_and_condition(options, j, round_s)
            if need_hz < least:
                least, choice[m] = need_hz, j
        if not least < math.inf:
            return choice, math.inf
        total, carry = added(total, carry, least)
    return choice, total


@compiled
def fastest_choice(options: Options, guess_s: float) -> tuple[IntArray, float]:
    """The choice of least round time whatever its utility, and that round, s; inf when nothing fits.

    The least need of a client over its options falls in the round time, and a choice of least needs bounds
    all others there. From a round that is long enough, go to the least one of the choice of least needs,
    and again, until that is the same choice: as Newton's method for the largest of several functions.

    Args:
        options: all of them.
        guess_s: where to begin, s; inf for none.
    """
    last_s, effort = 0.0, 0.0
    clients = options.first.shape[0] - 1
    if clients == options.row.shape[0]:
        choice = np.arange(clients)
        return choice, least_round_of_choice(options, choice, guess_s)
    for m in range(clients):
        if options.first[m] == options.first[m + 1]:
            return np.zeros(clients, np.int64), math.inf
        easiest = math.inf
        for j in range(options.first[m], options.first[m + 1]):
            if options.row[j] == SKIP:
                easiest = 0.0
            else:
                row = options.rows[options.row[j]]
                fair_snr = row["max_power_w"] * row["gain_over_noise"] * (clients / options.bandwidth_hz)
                hertz_s = options.nats[j] / min(math.log1p(fair_snr), row["nats_per_hz_s"])
                easiest = min(easiest, row["overhead_s"] + clients * hertz_s / options.bandwidth_hz)
                last_s = max(last_s, row["overhead_s"] + row["deadline_s"])
        effort = max(effort, easiest)
    last_s = min(last_s * (1.0 + 1e-15), LONGEST_S)
    round_s = min(guess_s if guess_s < math.inf else 2.0 * effort, last_s)
    choice, total = least_needs(options, round_s)
    while not total <= options.bandwidth_hz and round_s < last_s:
        round_s = min(8.0 * round_s, last_s) if round_s > 0.0 else min(1e-6, last_s)
        choice, total = least_needs(options, round_s)
    if not total <= options.bandwidth_hz:
        return choice, math.inf
    for _ in range(MOST_STEPS):
        faster_s = least_round_of_choice(options, choice, round_s)
        if not faster_s < round_s:  # where that rounds up, the choice is its own best reply
            break
        round_s = faster_s
        # A sender of 0 bits needs nothing from its overhead on and cannot be served before: look just below.
        following, total = least_needs(options, round_s * (1.0 - 4e-15))
        if not total <= options.bandwidth_hz:
            following, total = least_needs(options, round_s)
        if not total <= options.bandwidth_hz:
            break
        choice = following
    return choice, round_s


@compiled
def fastest_sender(options: Options) -> tuple[int, float]:
    """The option of positive utility that alone in the band takes the least round time, and that, s.

    (-1, inf) where there is none. Cost: a closed form per option, and a least round for those that are faster
    than all before.
    """
    found, best_s = -1, math.inf
    clients = options.first.shape[0] - 1
    for m in range(clients):
        for j in range(options.first[m], options.first[m + 1]):
            if not options.utility[j] > 0.0:
                continue
            if best_s < math.inf:
                need_hz, _, _, _ = need_and_condition(options, j, best_s)
                if not need_hz <= options.bandwidth_hz:
                    continue
            round_s = least_round_of_choice(options, np.full(1, j), best_s)
            if round_s < best_s:
                found, best_s = j, round_s
    return found, best_s


# 3. Delivery


@compiled
def allocate_choice(options: Options, choice: IntArray, round_s: float) -> tuple[FloatArray, FloatArray]:
    """(M,) bandwidths in Hz and powers in W that finish a choice within a round.

    Every sender gets its least bandwidth and a share in proportion of what is left over; with that it sends
    as slowly as it may, at the least power that ends on time. Wider is then weaker: no limit of power,
    energy, power density or bits per hertz that the least bandwidth meets is exceeded.
    """
    clients = choice.shape[0]
    bandwidth_hz, power_w = np.zeros(clients), np.zeros(clients)
    total = carry = 0.0
    for m in range(clients):
        bandwidth_hz[m], _, _, _ = need_and_condition(options, choice[m], round_s)
        total, carry = added(total, carry, bandwidth_hz[m])
    share = options.bandwidth_hz / total if total > 0.0 else 1.0
    for m in range(clients):
        nats = options.nats[choice[m]]
        if options.row[choice[m]] == SKIP or nats == 0.0:
            continue
        row = options.rows[options.row[choice[m]]]
        slot_s = min(round_s - row["overhead_s"], row["deadline_s"])
        bandwidth_hz[m] *= share
        hertz = bandwidth_hz[m]
        least_w = hertz / row["gain_over_noise"] * math.expm1(nats / (hertz * slot_s))
        power_w[m] = min(least_w, row["max_power_w"], row["energy_j"] / slot_s)
    return bandwidth_hz, power_w


# 4. Lists of options


@compiled
def taken(options: Options, keep: BooleanArray) -> tuple[Options, IntArray]:
    """The options that are kept, and which they were."""
    clients = options.first.shape[0] - 1
    first = np.zeros(clients + 1, np.int64)
    left = 0
    for m in range(clients):
        for j in range(options.first[m], options.first[m + 1]):
            left += 1 if keep[j] else 0
        first[m + 1] = left
    row, tokens, source = np.empty(left, np.int64), np.empty(left, np.int64), np.empty(left, np.int64)
    utility, nats = np.empty(left), np.empty(left)
    i = 0
    for j in range(keep.shape[0]):
        if keep[j]:
            row[i], tokens[i], utility[i], nats[i] = (
                options.row[j],
                options.tokens[j],
                options.utility[j],
                options.nats[j],
            )
            source[i] = j
            i += 1
    kept = Options(
        options.rows,
        first,
        row,
        tokens,
        utility,
        nats,
        options.bandwidth_hz,
        options.unit,
        options.dominated,
    )
    return kept, source
