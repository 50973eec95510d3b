r"""Bandwidth in whole blocks: the multiple-choice knapsack of one round time, relaxed and exact.

On n blocks, w = n B hertz, an upload of s nats is over at the earliest after

.. math:: t(n) = \max\Bigl(\frac{s}{w \ln(1 + P h / (N_0 w))},\; \frac{\max(A_E,\, s / \eta)}{w}\Bigr),

with A_E the area of the whole energy budget: no root is sought. What an option needs within a round is the
least n that ends by then, and F, the most utility of a round, a knapsack of whole blocks in which every
client takes one option. `docs/exact_blocks.md` has the proofs.

One text, compiled where numba is there and plain Python where not (`jit`). All loops live in this file, since
numba's cache does not see changes in another one; they fill no array of their caller.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..physics import loops
from ..physics.jit import compiled_on
from ..physics.loops import LONGEST_S, least_areas
from ..physics.options import Options
from ..problem import FloatArray, IntArray
from ..tolerances import EPSILON

compiled = compiled_on(loops)

BooleanArray = NDArray[np.bool_]

NEVER: Final = 2**60
"""In place of a number of blocks where none is enough."""

MOST_BLOCKS: Final = 2**52
"""Counts beyond are no longer whole in float64."""

MOST_PRICES: Final = 200
"""Far beyond what the search for the price of a block takes: each step meets another pair of replies."""

MOST_FILLS: Final = 16
"""Options exchanged to use up what the relaxation leaves idle."""

MOST_STATES: Final = 20_000_000
"""Numbers of blocks times clients that the exact knapsack keeps in memory at once."""


class BlockOptions(NamedTuple):
    """What clients may send, as the knapsack reads it.

    Attributes:
        first: (M + 1,) client m has the options first[m] to first[m + 1] - 1.
        utility: (J,) their worth.
        nats: (J,) payload, nat.
        overhead_s: (J,) s.
        deadline_s: (J,) s.
        floor_hz_s: (J,) least time-bandwidth product for its energy and its cap, Hz s; inf where none is.
        power_hz: (J,) P h / N0, the received power over the noise density, Hz.
        block_hz: B.
        blocks: how many there are.
        unit: relative rounding error of a sum over clients.
    """

    first: IntArray
    utility: FloatArray
    nats: FloatArray
    overhead_s: FloatArray
    deadline_s: FloatArray
    floor_hz_s: FloatArray
    power_hz: FloatArray
    block_hz: float
    blocks: int
    unit: float


class Candidates(NamedTuple):
    """The options of which a better allocation may be made.

    Attributes:
        first: (M + 1,) client m has the places first[m] to first[m + 1] - 1.
        option: (S,) which options.
        blocks: (S,) about what they need; any values, where to look first.
    """

    first: IntArray
    option: IntArray
    blocks: IntArray


class Relaxation(NamedTuple):
    """The linear relaxation of the knapsack of one round time.

    Attributes:
        bound: of the utility of all choices, raised by its rounding; -inf where nothing fits.
        price: utility per block at which it is tight.
        blocks: (S,) what each candidate needs; `NEVER` where it does not end in time.
        loss: (S,) by how much the bound falls when a candidate is forced in.
        choice: (M,) places of candidates that fit together.
        value: their utility; -inf where nothing fits.
    """

    bound: float
    price: float
    blocks: IntArray
    loss: FloatArray
    choice: IntArray
    value: float


def block_options(options: Options, block_hz: float, blocks: float) -> BlockOptions:
    """The knapsack's view of options.

    Args:
        options: within their limits.
        block_hz: what a block is worth, Hz.
        blocks: how many there are.

    Cost: one closed form per option.
    """
    sends = options.row >= 0
    rows = options.rows[np.maximum(options.row, 0)]
    budget = np.where(sends, rows["energy_j"], 1.0) * rows["gain_over_noise"]
    charged = sends & (options.nats > 0.0) & (budget < np.inf) & (budget > 0.0)
    area = np.where(sends & (options.nats > 0.0) & (budget <= 0.0), np.inf, 0.0)
    area[charged] = least_areas(options.nats[charged], budget[charged])[0]
    floor = np.where(sends, np.maximum(area, options.nats / rows["nats_per_hz_s"]), 0.0)
    return BlockOptions(
        options.first,
        options.utility,
        options.nats,
        np.where(sends, rows["overhead_s"], 0.0),
        np.where(sends, rows["deadline_s"], np.inf),
        floor,
        rows["max_power_w"] * rows["gain_over_noise"],
        float(block_hz),
        int(min(blocks, MOST_BLOCKS)),
        options.unit,
    )


def all_of(options: BlockOptions) -> Candidates:
    """All options as candidates."""
    count = options.utility.shape[0]
    return Candidates(options.first, np.arange(count), np.zeros(count, np.int64))


# 1. Times of whole blocks


@compiled
def upload_s(options: BlockOptions, j: int, blocks: int) -> float:
    """Least upload time of an option on that many blocks, s; inf where there is none."""
    nats = float(options.nats[j])
    if nats == 0.0:
        return 0.0
    if blocks <= 0:
        return math.inf
    width_hz = blocks * options.block_hz
    nats_per_s = width_hz * math.log1p(float(options.power_hz[j]) / width_hz)
    if not nats_per_s > 0.0:
        return math.inf
    return max(nats / nats_per_s, float(options.floor_hz_s[j]) / width_hz)


@compiled
def finish_s(options: BlockOptions, j: int, blocks: int) -> float:
    """Least round time of an option on that many blocks, s; inf where it misses its deadline."""
    seconds = upload_s(options, j, blocks)
    return float(options.overhead_s[j]) + seconds if seconds <= options.deadline_s[j] else math.inf


@compiled
def least_blocks(options: BlockOptions, j: int, round_s: float, guess: int) -> int:
    """The fewest blocks on which an option ends within a round, `NEVER` if none do.

    Cost: two logarithms with the right guess, twice the binary logarithm of its distance more otherwise.
    """
    round_s = min(round_s, LONGEST_S)  # what never ends takes inf
    if options.nats[j] == 0.0:
        return 0 if options.overhead_s[j] <= round_s else NEVER
    left_s = min(round_s - options.overhead_s[j], options.deadline_s[j])
    if not left_s > 0.0 or not options.floor_hz_s[j] < math.inf or options.blocks < 1:
        return NEVER
    most = options.blocks
    k = min(max(guess, 1), most)
    if finish_s(options, j, k) <= round_s:
        high, step = k, 1
        low = 0
        while high > 1:
            k = max(high - step, 1)
            if not finish_s(options, j, k) <= round_s:
                low = k
                break
            high, step = k, 2 * step
    else:
        low, step = k, 1
        high = most + 1
        while low < most:
            k = min(low + step, most)
            if finish_s(options, j, k) <= round_s:
                high = k
                break
            low, step = k, 2 * step
        if high > most:
            return NEVER
    while high - low > 1:
        k = (low + high) // 2
        if finish_s(options, j, k) <= round_s:
            high = k
        else:
            low = k
    return high


@compiled
def fastest_round(options: BlockOptions, choice: IntArray, guess_s: float) -> tuple[float, IntArray]:
    """Least round time of (M,) chosen options, s, and the (M,) blocks that each needs for it.

    Both ends of the bracket move to round times at which some number of blocks changes, so the answer is one
    of them, exactly. What is left over would not shorten the round and stays idle. (inf, none) if never.

    Cost: some twenty to forty evaluations of all needs.
    """
    clients = choice.shape[0]
    blocks = np.zeros(clients, np.int64)
    low_s, total = 0.0, 0
    for m in range(clients):
        low_s = max(low_s, finish_s(options, choice[m], options.blocks))
        blocks[m] = least_blocks(options, choice[m], math.inf, 1)
        total += min(blocks[m], options.blocks + 1)
    if total > options.blocks or not low_s < math.inf:
        return math.inf, blocks
    high_s = 0.0
    for m in range(clients):
        high_s = max(high_s, finish_s(options, choice[m], blocks[m]))
    tried, tried_s = blocks.copy(), guess_s
    while low_s < high_s:
        if not low_s < tried_s < high_s:
            tried_s = low_s
        total, reached_s, next_s = 0, 0.0, math.inf
        for m in range(clients):
            tried[m] = least_blocks(options, choice[m], tried_s, tried[m])
            total += min(tried[m], options.blocks + 1)
            if tried[m] <= options.blocks:
                reached_s = max(reached_s, finish_s(options, choice[m], tried[m]))
            if tried[m] > 1:
                fewer = min(tried[m] - 1, options.blocks)
                next_s = min(next_s, finish_s(options, choice[m], fewer))
        if total <= options.blocks:
            high_s = reached_s
            blocks[:] = tried
        else:
            low_s = next_s  # nothing changes before
            if total <= options.blocks + 2:
                tried_s = low_s
                continue
        tried_s = 0.5 * (low_s + high_s) if high_s < 4.0 * low_s else math.sqrt(low_s) * math.sqrt(high_s)
    return high_s, blocks


# 2. The knapsack of one round time


@compiled
def relaxed(options: BlockOptions, candidates: Candidates, round_s: float) -> Relaxation:
    """The linear relaxation at a round time: a client mixes two options at most, all others choose one.

    Its dual is the least value over prices p >= 0 of p N + sum of max (u - p n), convex and piecewise linear;
    the intersection of the pieces found so far is tried next (Kelley), which ends at the least value.

    Cost: a few logarithms and comparisons per candidate.
    """
    first, option = candidates.first, candidates.option
    clients, size, most = first.shape[0] - 1, option.shape[0], options.blocks
    blocks, loss = np.empty(size, np.int64), np.full(size, math.inf)
    hull, ends = np.empty(size, np.int64), np.zeros(clients + 1, np.int64)
    choice = np.full(clients, -1)
    nothing = Relaxation(-math.inf, 0.0, blocks, loss, choice, -math.inf)
    filled, before = 0, 1
    missing = False
    for m in range(clients):
        rising = True
        for i in range(first[m], first[m + 1]):
            guess = candidates.blocks[i]
            blocks[i] = least_blocks(options, option[i], round_s, before if guess == 0 else guess)
            if blocks[i] <= most:
                before = blocks[i]
            rising = rising and (i == first[m] or blocks[i - 1] <= blocks[i])
        order = np.arange(first[m], first[m + 1])
        if not rising:
            order = first[m] + np.argsort(blocks[first[m] : first[m + 1]], kind="mergesort")
        begin = filled
        for i in order:
            if blocks[i] > most:
                break
            worth = options.utility[option[i]]
            if filled > begin:
                last = hull[filled - 1]
                if worth <= options.utility[option[last]]:
                    continue
                if blocks[i] == blocks[last]:
                    filled -= 1
            while filled - begin >= 2:
                one, two = hull[filled - 2], hull[filled - 1]
                rise = options.utility[option[two]] - options.utility[option[one]]
                more = worth - options.utility[option[two]]
                if rise * float(blocks[i] - blocks[two]) > more * float(blocks[two] - blocks[one]):
                    break
                filled -= 1
            hull[filled] = i
            filled += 1
        missing = missing or filled == begin
        ends[m + 1] = filled
    if missing:
        return nothing
    # The cheapest and the best options of all: prices of infinity and of zero.
    used, value, many, top = 0, 0.0, 0, 0.0
    for m in range(clients):
        cheap, best = hull[ends[m]], hull[ends[m + 1] - 1]
        choice[m] = cheap
        used, value = used + blocks[cheap], value + options.utility[option[cheap]]
        many, top = many + blocks[best], top + options.utility[option[best]]
    if used > most:
        return nothing
    price = 0.0
    if many <= most:
        for m in range(clients):
            choice[m] = hull[ends[m + 1] - 1]
        used, value = many, top
    else:
        low_used, low_value = many, top
        reply = choice.copy()
        for _ in range(MOST_PRICES):
            price = (low_value - value) / float(low_used - used)
            line = value - price * used
            reply_used, reply_value = 0, 0.0
            for m in range(clients):
                low, high = ends[m], ends[m + 1] - 1
                while low < high:
                    k = (low + high + 1) // 2
                    one, two = hull[k - 1], hull[k]
                    rise = options.utility[option[two]] - options.utility[option[one]]
                    if rise > price * float(blocks[two] - blocks[one]):
                        low = k
                    else:
                        high = k - 1
                reply[m] = hull[low]
                reply_used += blocks[reply[m]]
                reply_value += options.utility[option[reply[m]]]
            if reply_used <= most and reply_used > used:
                choice[:] = reply
            if reply_value - price * reply_used <= line + 8.0 * EPSILON * (abs(line) + reply_value):
                break
            if reply_used <= most:
                used, value = reply_used, reply_value
            else:
                low_used, low_value = reply_used, reply_value
    bound, scale = price * most, price * most
    for m in range(clients):
        highest = -math.inf
        for k in range(ends[m], ends[m + 1]):
            highest = max(highest, options.utility[option[hull[k]]] - price * blocks[hull[k]])
        bound, scale = bound + highest, scale + abs(highest)
        for i in range(first[m], first[m + 1]):
            if blocks[i] <= most:
                loss[i] = highest - (options.utility[option[i]] - price * blocks[i])
    used = 0
    for m in range(clients):
        used += blocks[choice[m]]
    for _ in range(MOST_FILLS):
        gain, who, what = 0.0, -1, -1
        for m in range(clients):
            now = choice[m]
            for i in range(first[m], first[m + 1]):
                if blocks[i] - blocks[now] <= most - used:
                    more = options.utility[option[i]] - options.utility[option[now]]
                    if more > gain:
                        gain, who, what = more, m, i
        if who < 0:
            break
        used += blocks[what] - blocks[choice[who]]
        choice[who] = what
    value = 0.0
    for m in range(clients):
        value += options.utility[option[choice[m]]]
    return Relaxation(bound + 2.0 * options.unit * scale, price, blocks, loss, choice, value)


@compiled
def chosen(candidates: Candidates, keep: BooleanArray) -> Candidates:
    """Some of the candidates, (S,)."""
    clients, size = candidates.first.shape[0] - 1, 0
    kept, ends = np.empty(candidates.option.shape[0], np.int64), np.zeros(clients + 1, np.int64)
    for m in range(clients):
        for i in range(candidates.first[m], candidates.first[m + 1]):
            if keep[i]:
                kept[size] = i
                size += 1
        ends[m + 1] = size
    return Candidates(ends, candidates.option[kept[:size]], candidates.blocks[kept[:size]])


@compiled
def survivors(candidates: Candidates, relaxation: Relaxation, least: float) -> Candidates:
    """The candidates that choices of some least utility may hold, in this round and in shorter ones.

    In a shorter round every candidate needs as many blocks or more, so its loss at the same price is no less.
    """
    now = Candidates(candidates.first, candidates.option, relaxation.blocks)
    return chosen(now, relaxation.bound - relaxation.loss >= least)


@compiled
def best_choice(
    options: BlockOptions, candidates: Candidates, relaxation: Relaxation, least: float, most_pairs: float
) -> tuple[bool, float, IntArray]:
    """The knapsack solved exactly: the choice of most utility in a round, if that exceeds a least utility.

    Dynamic programming over the blocks used, client by client, on what is lost against the relaxation's
    bound: partial choices that lose too much end there, so few are left.

    Args:
        options: of the problem.
        candidates: which of them count.
        relaxation: of the same candidates.
        least: utility that is no news.
        most_pairs: numbers of blocks times options after which it is not begun.

    Returns:
        (whether it was solved; a bound of the utility, rounding included, `least` if nothing exceeds that;
        (M,) places of candidates, empty if nothing does).

    Cost: at most the numbers of blocks left to distribute, times the options left.
    """
    first, option = candidates.first, candidates.option
    clients, most, price = first.shape[0] - 1, options.blocks, relaxation.price
    none = np.empty(0, np.int64)
    spare = relaxation.bound - least
    if not spare >= 0.0:
        return True, least, none
    # Undominated candidates within the loss allowed, by blocks.
    item, ends = np.empty(option.shape[0], np.int64), np.zeros(clients + 1, np.int64)
    filled = 0
    for m in range(clients):
        begin = filled
        order = first[m] + np.argsort(relaxation.blocks[first[m] : first[m + 1]], kind="mergesort")
        for i in order:
            if relaxation.loss[i] > spare:
                continue
            if filled > begin:
                last = item[filled - 1]
                if options.utility[option[i]] <= options.utility[option[last]]:
                    continue
                if relaxation.blocks[i] == relaxation.blocks[last]:
                    filled -= 1
            item[filled] = i
            filled += 1
        if filled == begin:
            return True, least, none
        ends[m + 1] = filled
    count = ends[1:] - ends[:-1]
    order = np.argsort(count, kind="mergesort")
    # What the clients from a place on use at least and at most.
    rest_low, rest_high = np.zeros(clients + 1, np.int64), np.zeros(clients + 1, np.int64)
    for place in range(clients - 1, -1, -1):
        m = order[place]
        rest_low[place] = rest_low[place + 1] + relaxation.blocks[item[ends[m]]]
        rest_high[place] = rest_high[place + 1] + relaxation.blocks[item[ends[m + 1] - 1]]
    if rest_low[0] > most:
        return True, least, none
    idle = most if price * most <= spare else int(spare / price) + 1  # more idle blocks lose too much
    low, high = np.zeros(clients + 1, np.int64), np.zeros(clients + 1, np.int64)
    states, pairs = 0, 0.0
    for place in range(clients):
        m = order[place]
        lowest, highest = relaxation.blocks[item[ends[m]]], relaxation.blocks[item[ends[m + 1] - 1]]
        low[place + 1] = max(low[place] + lowest, most - idle - rest_high[place + 1])
        high[place + 1] = min(high[place] + highest, most - rest_low[place + 1])
        if high[place + 1] < low[place + 1]:
            return True, least, none
        pairs += float(high[place] - low[place] + 1) * count[m]
        states += high[place + 1] - low[place + 1] + 1
    if states > MOST_STATES or pairs > most_pairs:
        return False, relaxation.bound, none
    start = np.zeros(clients + 1, np.int64)
    taken = np.empty(states, np.int32)
    lost = np.zeros(1)
    for place in range(clients):
        m = order[place]
        width = high[place + 1] - low[place + 1] + 1
        start[place + 1] = start[place] + width
        more = np.full(width, math.inf)
        for k in range(ends[m], ends[m + 1]):
            loss = relaxation.loss[item[k]]
            shift = low[place] + relaxation.blocks[item[k]] - low[place + 1]
            limit = spare - loss
            for d in range(max(0, -shift), min(lost.shape[0], width - shift)):
                if lost[d] <= limit and lost[d] + loss < more[d + shift]:
                    more[d + shift] = lost[d] + loss
                    taken[start[place] + d + shift] = k - ends[m]
        lost = more
    at, least_loss = -1, math.inf
    for d in range(lost.shape[0]):
        total = lost[d] + price * float(most - low[clients] - d)
        if total < least_loss:
            at, least_loss = d, total
    if at < 0 or relaxation.bound - least_loss <= least:
        return True, least, none
    choice = np.empty(clients, np.int64)
    for place in range(clients - 1, -1, -1):
        m = order[place]
        choice[m] = item[ends[m] + taken[start[place] + at]]
        at += low[place + 1] - low[place] - relaxation.blocks[choice[m]]
    return True, relaxation.bound - least_loss, choice


@compiled
def last_change_s(options: BlockOptions, candidates: Candidates) -> float:
    """The latest round time at which a candidate came to need as few blocks as it is said to, s."""
    since_s = 0.0
    for i in range(candidates.option.shape[0]):
        if candidates.blocks[i] <= options.blocks:
            since_s = max(since_s, finish_s(options, candidates.option[i], candidates.blocks[i]))
    return since_s


@compiled
def extent(options: BlockOptions) -> tuple[float, float]:
    """(round time below which nothing fits or nothing is worth anything, s; utility of all best options)."""
    earliest_s, worthy_s, top = 0.0, math.inf, 0.0
    for m in range(options.first.shape[0] - 1):
        least_s, best = math.inf, 0.0
        for j in range(options.first[m], options.first[m + 1]):
            alone_s = finish_s(options, j, options.blocks)
            least_s = min(least_s, alone_s)
            if alone_s < math.inf and options.utility[j] > 0.0:
                best = max(best, options.utility[j])
                worthy_s = min(worthy_s, alone_s)
        earliest_s, top = max(earliest_s, least_s), top + best
    return max(earliest_s, worthy_s) if top > 0.0 else earliest_s, top * (1.0 + options.unit)
