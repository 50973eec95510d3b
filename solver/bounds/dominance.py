r"""Exclude an interval of round times: dynamic programming with dominance over whole-token vectors.

Needs are convex in the round time, across deadlines and power limits too, so tangents bound them from
below: :math:`need_m(K; \tau) \ge \lambda_m(K) + s_m(K) (c - \tau)`, :math:`s_m \ge 0`, with contact at c. A
vector beats T in [a, b] only if, with :math:`f = \sum f_m`, :math:`N = \sum \lambda_m` and
:math:`x = c - \min(b, f / T)`,

.. math:: f \ge T a, \quad N + \min(S_{lo}\, x,\; S_{hi}\, x) \le W, \qquad S_{lo} \le \sum s_m \le S_{hi}.

Both improve with larger f and smaller N: of two partial vectors the one with more attention and less need
dominates the other. `docs/exact.md`, section 7, has the proofs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..gap_budget import HIDDEN
from ..physics import loops
from ..physics.instance import Instance
from ..physics.jit import compiled
from ..problem import FloatArray, IntArray
from .goal import STE, Goal, expired, offer, remaining_s, target

NARROWINGS: Final = 3
"""Rounds of leaving out counts; each uses the slopes of those left by the one before."""

MOST_STATES: Final = 100_000
"""Partial vectors kept at once; a search that needs more gives up."""

PAIRS_PER_S: Final = 1e7
"""Partial vectors times counts that are weighed up in a second, about: a search that needs more than is left
gives up."""

NEGLIGIBLE: Final = 1e-12
"""Share of the bandwidth, all clients together, by which needs may be understated to have fewer counts."""

MOST_VECTORS: Final = 20
"""Vectors handed back: those of most attention, of least need and between are enough as candidates."""

GOLDEN: Final = 0.6180339887498949

BooleanArray = NDArray[np.bool_]


def exclude(goal: Goal, low_s: float, high_s: float) -> tuple[bool, int]:
    """Whether no allocation with a round time in an interval beats the goal's target, and the vectors tried.

    What may beat it is offered to the goal, whose target rises, and the search is made again on the counts
    left.

    Args:
        goal: of the problem; improved in place.
        low_s: where the interval begins, s.
        high_s: where it ends, s.
    """
    instance = goal.relaxed
    middle_s = math.sqrt(low_s) * math.sqrt(high_s)
    fewest = instance.clients["min_tokens"]
    allowed = np.ones((goal.tokens.shape[0], instance.importance.shape[1] + 1), np.bool_)
    for m in range(allowed.shape[0]):
        allowed[m, : fewest[m]] = False
    contact_s, tried = high_s, 0
    while not expired(goal.monitor):
        before = goal.best[STE]
        most_pairs = PAIRS_PER_S * remaining_s(goal.monitor)
        complete, vectors = contenders(
            instance, low_s, high_s, target(goal), HIDDEN * goal.gap, contact_s, allowed, most_pairs
        )
        if not complete:
            break
        if vectors.shape[0] == 0:
            return True, tried
        tried += vectors.shape[0]
        for v in range(vectors.shape[0]):
            offer(goal, vectors[v].copy(), middle_s)
        if goal.best[STE] <= before:
            if contact_s == middle_s:
                break
            # On the counts left, tangents at the middle may exclude what those at the end do not.
            contact_s = middle_s
    return False, tried


def contenders(
    instance: Instance,
    low_s: float,
    high_s: float,
    target: float,
    hidden: float,
    contact_s: float,
    allowed: BooleanArray,
    most_pairs: float = math.inf,
) -> tuple[bool, IntArray]:
    """Token vectors that may beat a target with a round time in [low_s, high_s].

    Args:
        instance: of the problem.
        low_s: a, s.
        high_s: b, s.
        target: T, 1/s.
        hidden: share of T a that dominance may hide, all clients together; less than the gap.
        contact_s: c, where the tangents of the needs touch, s. At b, N is the true need there.
        allowed: (M, N + 1) counts that may be part of such a vector; narrowed in place.
        most_pairs: partial vectors times counts after which the search gives up.

    Returns:
        (whether the search was complete, (L, M) vectors). Complete and empty: no allocation with a round time
        in the interval has an STE above the target.

    Cost: M N closed forms, and the states kept times the counts left per client.
    """
    level, fall = loops.need_tangents(instance, contact_s, contact_s)
    if contact_s < high_s:  # counts that can be sent at the end only
        level_at_end, fall_at_end = loops.need_tangents(instance, high_s, contact_s)
        only_at_end = np.isinf(level) & np.isfinite(level_at_end)
        level = np.where(only_at_end, level_at_end, level)
        fall = np.where(only_at_end, fall_at_end, fall)
    return undominated(
        level,
        fall,
        loops.retained_table(instance),
        allowed,
        low_s,
        high_s,
        contact_s,
        target,
        hidden,
        instance.bandwidth_hz,
        instance.unit,
        most_pairs,
        0.0,
        0.0,
    )


@compiled
def undominated(
    level: FloatArray,
    fall: FloatArray,
    retained: FloatArray,
    allowed: BooleanArray,
    low_s: float,
    high_s: float,
    contact_s: float,
    target: float,
    hidden: float,
    bandwidth_hz: float,
    unit: float,
    most_pairs: float = math.inf,
    offset: float = 0.0,
    tilt: float = 0.0,
) -> tuple[bool, IntArray]:
    """`contenders`, given (M, N + 1) tangents and attention, for one interval.

    The columns may be any options of a client in the order of their levels. A vector is to have an attention
    of offset + target x round time. With a `tilt` above 0 falls are tilt x attention and a rest, so that only
    the rests count as unknown between vectors (`docs/exact.md`, section 14).
    """
    clients, counts = level.shape
    nobody = np.empty((0, clients), np.int64)
    for m in range(clients):
        for k in range(counts):
            allowed[m, k] = allowed[m, k] and level[m, k] < math.inf
    before_s, after_s = contact_s - low_s, high_s - contact_s
    least, enough = offset + target * low_s, offset + target * high_s
    most = 0.0
    for m in range(clients):
        highest = 0.0
        for k in range(counts):
            if allowed[m, k]:
                highest = max(highest, retained[m, k])
        most += highest
    slack = 0.0
    price = 0.0
    scale = 1.0
    slowest = fastest = 0.0
    for _ in range(NARROWINGS):
        slowest, fastest = total_falls(fall, retained, allowed, tilt)
        if fastest < slowest:
            return True, nobody
        if tilt > 0.0 and not tilt * least + slowest >= tilt * target * before_s:
            tilt = 0.0  # with it a larger attention would not be better, other things equal
            slowest, fastest = total_falls(fall, retained, allowed, tilt)
        # The least total fall is concave in the attention: its chord bounds it from below.
        at_low, at_high = (tilt * least + slowest) * before_s, -(tilt * enough + fastest) * after_s
        relief = 0.0
        if enough > least:
            relief = (at_low - at_high) / (enough - least)
        else:
            at_low = at_high
        budget = bandwidth_hz * (1.0 + unit) - at_low - relief * least
        # Golden section over the price that weighs need against attention: any is valid.
        middle = math.log(max(least, 1e-3 * most, 1e-300) / bandwidth_hz)
        low, high = middle - 20.0, middle + 12.0
        one, other = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        at_one = total_slack(level, retained, allowed, math.exp(one), relief, budget, least)
        at_other = total_slack(level, retained, allowed, math.exp(other), relief, budget, least)
        for _ in range(34):
            if at_one < at_other:
                high, other, at_other = other, one, at_one
                one = high - GOLDEN * (high - low)
                at_one = total_slack(level, retained, allowed, math.exp(one), relief, budget, least)
            else:
                low, one, at_one = one, other, at_other
                other = low + GOLDEN * (high - low)
                at_other = total_slack(level, retained, allowed, math.exp(other), relief, budget, least)
        price, slack = (math.exp(one), at_one) if at_one < at_other else (math.exp(other), at_other)
        scale = 1.0 + price * relief
        magnitude = price * (bandwidth_hz + abs(at_low) + relief * abs(least))
        slack += 4.0 * unit * (scale * max(abs(offset) + target * low_s, most) + magnitude)
        if slack < 0.0:
            return True, nobody
        dropped = 0
        for m in range(clients):
            best = highest_worth(level, retained, allowed, m, scale, price)
            for k in range(counts):
                if allowed[m, k] and best - scale * retained[m, k] + price * level[m, k] > slack:
                    allowed[m, k] = False
                    dropped += 1
        if dropped == 0:
            break
    # Counts whose needs hardly differ become one: the attention of the largest, the need of the smallest.
    # What is dropped from here on has a better one at this contact only.
    allowed = allowed.copy()
    negligible = NEGLIGIBLE * bandwidth_hz / clients
    for m in range(clients):
        smallest, before = math.inf, -1
        for k in range(counts):
            if allowed[m, k]:
                if before >= 0 and retained[m, k] <= retained[m, before]:
                    allowed[m, k] = False  # more need for no more attention
                    continue
                if before >= 0 and level[m, k] - smallest <= negligible:
                    level[m, k] = smallest
                    allowed[m, before] = False
                smallest, before = level[m, k], k
    # Clients with one count left are settled; the others follow, fewest counts first.
    left = np.zeros(clients, np.int64)
    only = np.zeros(clients, np.int64)
    attention, need = 0.0, 0.0
    for m in range(clients):
        for k in range(counts):
            if allowed[m, k]:
                left[m] += 1
                only[m] = k
        if left[m] == 1:
            attention += retained[m, only[m]]
            need += level[m, only[m]]
    order = [m for m in np.argsort(left, kind="mergesort") if left[m] > 1]
    rest = np.zeros(len(order) + 1)
    for place in range(len(order) - 1, -1, -1):
        lowest = math.inf
        for k in range(counts):
            if allowed[order[place], k]:
                lowest = min(lowest, level[order[place], k])
        rest[place] = rest[place + 1] + lowest
    hide = hidden * max(least, 0.0) if len(order) > 0 else 0.0
    delta = 0.5 * hide / max(len(order), 1)  # hidden twice per client
    limit = bandwidth_hz * (1.0 + unit) + (tilt * max(most + hide, enough) + fastest) * after_s
    f, n, lost = np.full(1, attention), np.full(1, need), np.zeros(1)
    parents, chosen = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    pairs = 0
    for place in range(len(order)):
        m = order[place]
        best = highest_worth(level, retained, allowed, m, scale, price)
        lowest, highest = math.inf, -math.inf
        for k in range(counts):
            if allowed[m, k]:
                lowest, highest = min(lowest, retained[m, k]), max(highest, retained[m, k])
        lowest, highest = lowest + f.min(), highest + f.max()
        size = f.shape[0] * left[m]
        pairs += size
        if pairs > most_pairs:
            return False, nobody
        # Many vectors: of those with attention in one range of length delta the one of least need stays.
        ranged = delta > 0.0 and (highest - lowest) / delta < size
        if ranged:
            size = int((highest - lowest) / delta) + 1
        more_f, more_n, more_lost = np.empty(size), np.full(size, math.inf), np.empty(size)
        parent, count = np.empty(size, np.int64), np.empty(size, np.int64)
        found = 0
        for k in range(counts):
            if allowed[m, k]:
                loss = best - scale * retained[m, k] + price * level[m, k]
                for i in range(f.shape[0]):
                    total = n[i] + level[m, k]
                    # A kept vector stands for others that lose less by what dominance hides.
                    if lost[i] + loss <= slack + scale * hide and total + rest[place + 1] <= limit:
                        j = found
                        if ranged:
                            j = min(int((f[i] + retained[m, k] - lowest) / delta), size - 1)
                        found += 1
                        if total < more_n[j]:
                            more_f[j], more_n[j], more_lost[j] = f[i] + retained[m, k], total, lost[i] + loss
                            parent[j], count[j] = i, k
        by_need = np.argsort(more_n, kind="mergesort")
        f, n, lost = np.empty(size), np.empty(size), np.empty(size)
        kept_parent, kept_count = np.empty(size, np.int64), np.empty(size, np.int64)
        keep, top = 0, -math.inf
        for i in by_need:
            if not more_n[i] < math.inf:
                break
            if more_f[i] > top + delta:
                top = more_f[i]
                f[keep], n[keep], lost[keep] = more_f[i], more_n[i], more_lost[i]
                kept_parent[keep], kept_count[keep] = parent[i], count[i]
                keep += 1
        f, n, lost = f[:keep].copy(), n[:keep].copy(), lost[:keep].copy()
        parents.append(kept_parent[:keep].copy())
        chosen.append(kept_count[:keep].copy())
        if keep == 0:
            return True, nobody
        if keep > MOST_STATES:
            return False, nobody
    passing = []
    for i in range(f.shape[0]):
        most_f = f[i] + hide
        longest_s = min((most_f - offset) / target, high_s) if target > 0.0 else high_s
        x = contact_s - longest_s
        beaten_need = n[i] + tilt * most_f * x + min(slowest * x, fastest * x)
        enough_f = least - unit * (abs(offset) + target * low_s)
        if most_f >= enough_f and beaten_need <= bandwidth_hz * (1.0 + unit):
            passing.append(i)
    vectors = np.empty((min(len(passing), MOST_VECTORS), clients), np.int64)
    for v in range(vectors.shape[0]):
        state = passing[
            v if vectors.shape[0] == len(passing) else v * (len(passing) - 1) // (MOST_VECTORS - 1)
        ]
        vectors[v] = only
        for place in range(len(order) - 1, -1, -1):
            vectors[v, order[place]] = chosen[place + 1][state]
            state = parents[place + 1][state]
    return True, vectors


@compiled
def total_falls(
    fall: FloatArray, retained: FloatArray, allowed: BooleanArray, tilt: float
) -> tuple[float, float]:
    """Least and largest sum of fall - tilt x attention of allowed counts; (inf, -inf) for none."""
    slowest = fastest = 0.0
    for m in range(fall.shape[0]):
        lowest, highest = math.inf, -math.inf
        for k in range(fall.shape[1]):
            if allowed[m, k]:
                rest = fall[m, k] - tilt * retained[m, k]
                lowest, highest = min(lowest, rest), max(highest, rest)
        if highest < lowest:
            return math.inf, -math.inf
        slowest, fastest = slowest + lowest, fastest + highest
    return slowest, fastest


@compiled
def highest_worth(
    level: FloatArray, retained: FloatArray, allowed: BooleanArray, m: int, scale: float, price: float
) -> float:
    """Largest scale x attention - price x need of the allowed counts of one client."""
    best = -math.inf
    for k in range(level.shape[1]):
        if allowed[m, k]:
            best = max(best, scale * retained[m, k] - price * level[m, k])
    return best


@compiled
def total_slack(
    level: FloatArray,
    retained: FloatArray,
    allowed: BooleanArray,
    price: float,
    fall: float,
    budget: float,
    least: float,
) -> float:
    """Largest excess over both conditions, weighed by a price, of any vector of allowed counts."""
    total = price * budget - least
    scale = 1.0 + price * fall
    for m in range(level.shape[0]):
        total += highest_worth(level, retained, allowed, m, scale, price)
    return total
