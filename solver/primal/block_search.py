"""Search for the best allocation in whole blocks of bandwidth, for the STE, utility and round time.

`docs/exact_blocks.md` has the proofs. The most utility F of a round is a knapsack in whole blocks
(`bounds.block_knapsack`) and a step function of the round time that rises:

* `Retained` is one knapsack;
* `RoundTime` bisects for the first round time at which F reaches what is required;
* `Ste` covers the axis by intervals [a, b], on which F / tau is at most F(b) / a, and refines the worst one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..allocation import Allocation
from ..bounds.block_knapsack import (
    BlockOptions,
    Candidates,
    Relaxation,
    all_of,
    best_choice,
    block_options,
    chosen,
    extent,
    fastest_round,
    last_change_s,
    relaxed,
    survivors,
    upload_s,
)
from ..bounds.choice_loops import visit
from ..gap_budget import CLEARING, PROOF
from ..method import Answer, Request
from ..objective import Objective, Retained, Ste
from ..physics.loops import LONGEST_S
from ..physics.option_loops import taken
from ..physics.options import SKIP, Options, options_of, with_limits_of
from ..problem import IntArray, Problem
from ..result import Stop, TracePoint
from ..tolerances import BOUND_SHARE, EPSILON, FEASIBILITY, PERMITTED_SHARE, ROUNDING

GROWTH: Final = 1.25
"""Ratio of the ends of the first intervals of round times."""

PAIRS_PER_S: Final = 2e8
"""Blocks times options of a knapsack that are weighed up in a second, about."""

MOST_PAIRS: Final = 1e9
"""A knapsack that needs more is not solved: its relaxation has to do."""

NARROWEST: Final = 0.1
"""Relative width of an interval, as a share of the gap, that is not split where a knapsack is too large."""

PATIENCE: Final = 150
"""Steps after which intervals are also held against a band that is shared at will."""

HALVED: Final = 4.0
"""An interval so many times longer than what was cut off is halved."""

NODES_PER_INTERVAL: Final = 50
"""Steps of this search that cost about as much as an interval of the search without blocks."""


@dataclass
class BlockSearch:
    """The state of a search.

    Attributes:
        objective: with its limits as in `permitted`.
        bounding: the options within limits raised beyond the tolerance: bounds are proved for them.
        shared: the same, with all blocks together as a band that is shared at will.
        permitted: within limits raised by what `evaluate` accepts: choices are judged there.
        sends: (J,) whether an option is more than skipping.
        request: for the gap and the clock.
        most_steps: knapsacks and relaxations allowed.
        choice: (M,) options of the best known choice; None before one is known.
        value: its value, -inf or inf before.
        round_s: its least round time, s.
        steps: knapsacks and relaxations so far.
        knapsacks: those solved exactly.
        trace: improvements so far.
    """

    objective: Objective
    bounding: BlockOptions
    shared: Options
    permitted: BlockOptions
    sends: NDArray[np.bool_]
    request: Request
    most_steps: int
    choice: IntArray | None = None
    value: float = -math.inf
    round_s: float = math.inf
    steps: int = 0
    knapsacks: int = 0
    trace: list[TracePoint] = field(default_factory=list)

    def offer(self, choice: IntArray, guess_s: float) -> None:
        """Take up (M,) options if they are better in their least round."""
        retained = float(self.permitted.utility[choice].sum())
        nobody = isinstance(self.objective, Ste) and not self.sends[choice].any()
        if retained < self.objective.least_retained or nobody:
            return
        round_s, _ = fastest_round(self.permitted, choice, guess_s)
        if not round_s <= self.objective.longest_round_s or round_s == math.inf:
            return
        value = value_of(self.objective, retained, round_s)
        if self.choice is None or self.objective.better(value, self.value):
            self.choice, self.value, self.round_s = choice, value, round_s
            self.trace.append(
                TracePoint(self.request.elapsed_s(), self.steps, value, self.objective.unproved)
            )

    def record(self, bound: float) -> None:
        """A line of the trace."""
        self.trace.append(TracePoint(self.request.elapsed_s(), self.steps, self.value, bound))

    def ended(self) -> Stop | None:
        """Why the search has to end now, or None."""
        if self.request.expired():
            return Stop.TIME_LIMIT
        return Stop.ITERATION_LIMIT if self.steps >= self.most_steps else None

    def relaxed(self, candidates: Candidates, round_s: float) -> Relaxation:
        """The relaxation of a round."""
        self.steps += 1
        return relaxed(self.bounding, candidates, round_s)

    def most_utility(
        self, candidates: Candidates, relaxation: Relaxation, least: float
    ) -> tuple[bool, float, IntArray]:
        """`best_choice` in the time that is left, as (M,) options."""
        self.steps += 1
        self.knapsacks += 1
        most_pairs = min(MOST_PAIRS, PAIRS_PER_S * self.request.remaining_s())
        solved, bound, places = best_choice(self.bounding, candidates, relaxation, least, most_pairs)
        return solved, bound, candidates.option[places]


def value_of(objective: Objective, retained: float, round_s: float) -> float:
    """Value of a sum of utilities within a round."""
    if isinstance(objective, Ste):
        return retained / round_s if round_s > 0.0 else 0.0
    return retained if isinstance(objective, Retained) else round_s


def search_blocks(problem: Problem, request: Request, max_nodes: int) -> Answer:
    """Optimum in whole blocks with a proved bound, for `Ste`, `Retained` and `RoundTime`.

    Args:
        problem: with `block_hz`.
        request: gap, time limit and start.
        max_nodes: limit of steps, in intervals of the search without blocks.

    `stats` has blocks, options, options_dominated, steps (relaxations and knapsacks), knapsacks (solved
    exactly) and tolerance_used.
    """
    assert problem.block_hz is not None
    raised = problem.with_raised_limits(BOUND_SHARE)
    options = options_of(raised)
    bounding, permitted = level_of(options, problem, BOUND_SHARE), level_of(options, problem, PERMITTED_SHARE)
    shared = with_limits_of(options, raised)._replace(bandwidth_hz=bounding.blocks * bounding.block_hz)
    objective = problem.objective.relaxed(PERMITTED_SHARE)
    search = BlockSearch(
        objective,
        bounding,
        shared,
        permitted,
        options.row != SKIP,
        request,
        max_nodes * NODES_PER_INTERVAL,
        value=-objective.unproved,
    )
    start = None if request.start is None else _as_choice(problem, options, request.start)
    if start is not None:
        search.offer(start, math.inf)
    bound, stop = _search(search, raised.objective)
    if stop is Stop.CONVERGED and not _proved(search, bound):
        # A billionth of a limit decides: what is delivered is sought within the tolerance itself.
        band_hz = permitted.blocks * permitted.block_hz
        search.bounding, search.shared = permitted, shared._replace(bandwidth_hz=band_hz)
        _search(search, objective)
    stats = {
        "blocks": permitted.blocks,
        "options": int(options.row.shape[0]),
        "options_dominated": options.dominated,
        "steps": search.steps,
        "knapsacks": search.knapsacks,
    }
    if search.choice is None:
        if isinstance(objective, Ste) and bound == 0.0:
            return _worthless(problem, request, max_nodes)
        if bound == -problem.objective.unproved:
            stop = Stop.INFEASIBLE
        return Answer(None, stop=stop, bound=bound, stats=stats, message="No choice was found.")
    if stop is Stop.CONVERGED and not _proved(search, bound):
        stop = Stop.ITERATION_LIMIT
    allocation, share, value = deliver(problem, options, search, bound)
    search.record(bound)
    return Answer(
        allocation=allocation,
        stop=stop,
        bound=bound,
        claimed_value=value,
        trace=tuple(search.trace),
        stats=stats | {"tolerance_used": share},
    )


def _as_choice(problem: Problem, options: Options, allocation: Allocation) -> IntArray | None:
    """(M,) the options that an allocation takes; None where another option beats one of them."""
    rows = allocation.rows_of(problem)
    choice = np.empty(problem.clients, np.int64)
    for m in range(problem.clients):
        own = slice(options.first[m], options.first[m + 1])
        named = (options.row[own] == rows[m]) & (options.tokens[own] == allocation.tokens[m])
        if not named.any():
            return None
        choice[m] = options.first[m] + int(np.argmax(named))
    return choice


def _worthless(problem: Problem, request: Request, max_nodes: int) -> Answer:
    """An answer where nothing that can be sent is worth anything: the STE is 0, but somebody has to send."""
    for m in np.flatnonzero(problem.may_skip):
        sends = problem.may_skip.copy()
        sends[m] = False
        answer = search_blocks(replace(problem, may_skip=sends), request, max_nodes)
        if answer.allocation is not None:
            return answer
    return Answer(None, stop=Stop.INFEASIBLE, bound=-math.inf, message="Nobody can send.")


def level_of(options: Options, problem: Problem, share: float) -> BlockOptions:
    """The options within limits raised by a share, with as many blocks as `evaluate` accepts there.

    Bounds allow blocks that are narrower by the tolerance in the sum and wider in the rates. What is
    permitted are blocks of one width, wider than asked where the whole band allows. Within less than the
    tolerance blocks are as given.
    """
    limits = problem.with_raised_limits(share)
    within = with_limits_of(options, limits)
    block_hz = float(problem.block_hz or math.inf)
    ratio = limits.bandwidth_hz / block_hz
    if share == BOUND_SHARE:
        return block_options(within, block_hz * (1.0 + share), math.floor(ratio / (1.0 - share)))
    if share < PERMITTED_SHARE:
        return block_options(within, block_hz, math.floor(ratio * (1.0 + ROUNDING)))
    blocks = math.floor(ratio)
    widest_hz = limits.bandwidth_hz / max(blocks, 1)
    return block_options(within, min(block_hz * (1.0 + share), widest_hz), blocks)


def _search(search: BlockSearch, objective: Objective) -> tuple[float, Stop]:
    """A bound for the options in `search.bounding` and the limits of an objective, and why it ended."""
    if isinstance(objective, Ste):
        return best_ratio(search)
    if isinstance(objective, Retained):
        return most_retained(search, objective.round_s)
    return shortest_round(search, objective.least_retained)


def _proved(search: BlockSearch, bound: float) -> bool:
    if search.choice is None:
        return False
    high, low = (bound, search.value) if search.objective.maximises else (search.value, bound)
    return high <= low * (1.0 + search.request.gap)


# 1. Utility within a round


def most_retained(search: BlockSearch, round_s: float) -> tuple[float, Stop]:
    """Bound of the utility within a round: one knapsack."""
    candidates = all_of(search.bounding)
    relaxation = search.relaxed(candidates, round_s)
    if relaxation.bound == -math.inf:
        return -math.inf, Stop.CONVERGED
    search.offer(candidates.option[relaxation.choice], round_s)
    if relaxation.bound <= search.value * (1.0 + PROOF * search.request.gap):
        return relaxation.bound, Stop.CONVERGED
    solved, bound, choice = search.most_utility(candidates, relaxation, relaxation.value)
    if choice.shape[0] > 0:
        search.offer(choice, round_s)
    if solved:
        return bound + EPSILON * abs(bound), Stop.CONVERGED
    return bound, Stop.TIME_LIMIT if search.request.expired() else Stop.ITERATION_LIMIT


# 2. The shortest round for a required utility


def shortest_round(search: BlockSearch, required: float) -> tuple[float, Stop]:
    """Lower bound of the round time: bisection, since F rises."""
    options = search.bounding
    low_s, _ = extent(options._replace(utility=np.zeros_like(options.utility)))
    reached, choice, candidates = _reaches(search, all_of(options), math.inf, required)
    if reached is None:
        return low_s, search.ended() or Stop.ITERATION_LIMIT
    if not reached:
        return math.inf, Stop.CONVERGED
    # All rounds below `low_s` are excluded, and a choice ends by `high_s`.
    high_s, _ = fastest_round(options, choice, math.inf)
    tried_s = low_s
    while low_s < high_s and search.round_s > low_s * (1.0 + PROOF * search.request.gap):
        stop = search.ended()
        if stop is not None:
            return low_s, stop
        if not low_s < tried_s < high_s:
            tried_s = low_s
        reached, choice, fewer = _reaches(search, candidates, tried_s, required)
        if reached is None:
            return low_s, search.ended() or Stop.ITERATION_LIMIT
        if reached:
            candidates = fewer
            high_s, _ = fastest_round(options, choice, tried_s)
        else:
            low_s = math.nextafter(tried_s, math.inf)
        tried_s = 0.5 * (low_s + high_s) if high_s < 4.0 * low_s else math.sqrt(low_s) * math.sqrt(high_s)
    return min(low_s, high_s), Stop.CONVERGED


def _reaches(
    search: BlockSearch, candidates: Candidates, round_s: float, required: float
) -> tuple[bool | None, IntArray, Candidates]:
    """Whether F reaches what is required in a round, with whom, and what counts in shorter ones.

    None where a knapsack is too large to tell.
    """
    relaxation = search.relaxed(candidates, round_s)
    none = np.empty(0, np.int64)
    if relaxation.bound < required:
        return False, none, candidates
    fewer = survivors(candidates, relaxation, required)
    if relaxation.value >= required:
        choice = candidates.option[relaxation.choice]
        search.offer(choice, round_s)
        return True, choice, fewer
    least = math.nextafter(required, -math.inf)
    solved, _, choice = search.most_utility(candidates, relaxation, least)
    if choice.shape[0] > 0:
        search.offer(choice, round_s)
        return True, choice, fewer
    return (False if solved else None), none, candidates


# 3. Utility per second


class Interval(NamedTuple):
    """Round times [low_s, high_s] in which a better allocation may lie.

    Attributes:
        low_s: a, s.
        high_s: b, s.
        candidates: options that count in it.
        relaxation: at b.
        seen: its length as a share of b when it was last held against a band that is shared at will.
    """

    low_s: float
    high_s: float
    candidates: Candidates
    relaxation: Relaxation
    seen: float


class RatioSearch:
    """Intervals of round times, the one of the highest bound first.

    Attributes:
        search: with the best known choice.
        heap: (minus bound, number, interval).
        open: bound of the intervals that are given up, 1/s.
    """

    def __init__(self, search: BlockSearch) -> None:
        self.search = search
        self.heap: list[tuple[float, int, Interval]] = []
        self.open = 0.0

    def target(self) -> float:
        """A bound up to here proves the asked gap, or is none above that of what is given up, 1/s."""
        return max(self.search.value * (1.0 + PROOF * self.search.request.gap), self.open)

    def bound(self) -> float:
        """Of the STE, 1/s, over all intervals."""
        return max(self.target(), -self.heap[0][0] if self.heap else 0.0)

    def add(self, low_s: float, high_s: float, candidates: Candidates, seen: float = math.inf) -> Relaxation:
        """An interval, unless the relaxation at its end excludes it."""
        relaxation = self.search.relaxed(candidates, high_s)
        if relaxation.value > self.search.value * high_s:
            self.search.offer(candidates.option[relaxation.choice], high_s)
        if relaxation.bound > self.target() * low_s:
            interval = Interval(low_s, high_s, candidates, relaxation, seen)
            heappush(self.heap, (-relaxation.bound / low_s, self.search.steps, interval))
        return relaxation

    def cover(self, candidates: Candidates) -> Stop | None:
        """Intervals for all round times at which a better allocation may lie; why it ended early, or None."""
        low_s, top = extent(self.search.bounding)
        grown = GROWTH
        while top > self.target() * low_s and low_s < LONGEST_S:
            stop = self.search.ended()
            if stop is not None:
                self.open = max(self.open, top / low_s)
                return stop
            relaxation = self.add(low_s, low_s * grown, candidates)
            low_s *= grown
            # Where nothing fits yet, and where all does and yet nothing is known, hurry on.
            grown = GROWTH if relaxation.bound > -math.inf and self.search.choice is not None else 2.0 * grown
        return None

    def divide(self, low_s: float, high_s: float, candidates: Candidates, seen: float) -> None:
        """Both halves of an interval, or itself where it is too short."""
        middle_s = math.sqrt(low_s) * math.sqrt(high_s)
        if low_s < middle_s < high_s:
            self.add(low_s, middle_s, candidates, seen)
            low_s = middle_s
        self.add(low_s, high_s, candidates, seen)

    def shorten(self, interval: Interval) -> Interval | None:
        """What a band that is shared at will leaves of an interval for whole blocks; None where nothing.

        Its bound is convex in the round time, so one price serves a whole interval. Where the band has to be
        shared in whole blocks to exclude it, that is left to do.
        """
        search, target = self.search, self.target()
        low_s, high_s, candidates = interval.low_s, interval.high_s, interval.candidates
        named = np.zeros(search.sends.shape[0], np.bool_)
        named[candidates.option] = True
        options, _ = taken(search.shared, named)
        search.steps += 1
        found = visit(options, low_s, high_s, 0.0, target, 0.0, CLEARING * search.request.gap)
        if found.low_s > found.high_s:
            return None
        length = 1.0 - low_s / high_s
        hopeless = found.clearing.bound > target * found.contact_s
        if found.high_s < high_s or not hopeless:
            fewer = chosen(candidates, found.keep)
            if hopeless:
                self.add(found.low_s, found.high_s, fewer, length)
            else:
                self.divide(found.low_s, found.high_s, fewer, length)
            return None
        interval.relaxation.loss[~found.keep] = math.inf
        return interval._replace(low_s=found.low_s, seen=length)

    def refine(self, interval: Interval) -> None:
        """Solve the knapsack at the end of an interval where that pays, cut off what it excludes, halve."""
        length = 1.0 - interval.low_s / interval.high_s
        resists = self.search.steps > PATIENCE and self.target() > 0.0
        if resists and 0.0 < length <= 0.5 * interval.seen:
            shortened = self.shorten(interval)
            if shortened is None:
                return
            interval = shortened
        search, relaxation, seen = self.search, interval.relaxation, interval.seen
        low_s, high_s, bound = interval.low_s, interval.high_s, relaxation.bound
        target, solved, tried = self.target(), False, False
        doubt = bound - max(relaxation.value, 0.0)
        if bound > (target * high_s) - doubt:  # the relaxation cuts off less than it is off by
            tried = True
            least = max(relaxation.value, target * low_s)
            solved, bound, choice = search.most_utility(interval.candidates, relaxation, least)
            if choice.shape[0] > 0:
                search.offer(choice, high_s)
        target = self.target()
        candidates = survivors(interval.candidates, relaxation, target * low_s)
        end_s = min(high_s, bound / target) if target > 0.0 else high_s
        if solved:
            since_s = max(last_change_s(search.bounding, candidates), low_s)
            if bound > target * since_s:  # attained beyond the tolerance of what is permitted only
                self.open = max(self.open, bound / since_s)
            end_s = min(end_s, math.nextafter(since_s, 0.0))
        if end_s < low_s:
            return
        if tried and not solved and high_s <= low_s * (1.0 + NARROWEST * search.request.gap):
            self.open = max(self.open, bound / low_s)
            return
        if end_s == high_s or end_s / low_s - 1.0 > HALVED * (high_s / end_s - 1.0):
            self.divide(low_s, end_s, candidates, seen)
        else:
            self.add(low_s, end_s, candidates, seen)


def best_ratio(search: BlockSearch) -> tuple[float, Stop]:
    """Bound of the STE: intervals of round times, refined where the bound is highest."""
    ratios = RatioSearch(search)
    low_s, top = extent(search.bounding)
    if top == 0.0 or not low_s < math.inf:
        relaxation = search.relaxed(all_of(search.bounding), math.inf)
        if relaxation.bound == -math.inf:
            return -math.inf, Stop.CONVERGED
        search.offer(relaxation.choice, math.inf)
        return 0.0, Stop.CONVERGED
    stop = ratios.cover(all_of(search.bounding))
    if stop is not None:
        return ratios.bound(), stop
    while ratios.heap and -ratios.heap[0][0] > ratios.target():
        stop = search.ended()
        if stop is not None:
            return ratios.bound(), stop
        ratios.refine(heappop(ratios.heap)[2])
    return ratios.bound(), Stop.CONVERGED


# 4. Delivery


def deliver(
    problem: Problem, options: Options, search: BlockSearch, bound: float
) -> tuple[Allocation, float, float]:
    """The allocation of the best known choice, the share of the tolerance that it uses, and its value.

    Limits are met exactly where the choice fits so and it costs no more than the gap, as in
    `primal.delivery`.
    """
    assert search.choice is not None
    objective, gap = problem.objective, search.request.gap
    enough = bound / (1.0 + gap) if objective.maximises else bound * (1.0 + gap)
    if objective.better(enough, search.value):  # not proved: what exact limits cost shall be within the gap
        enough = search.value / (1.0 + gap) if objective.maximises else search.value * (1.0 + gap)
    retained = float(options.utility[search.choice].sum())
    for share in (0.0, 0.5 * FEASIBILITY, PERMITTED_SHARE):
        level, limits = level_of(options, problem, share), objective.relaxed(share)
        round_s, blocks = fastest_round(level, search.choice, search.round_s)
        fits = round_s <= limits.longest_round_s and retained >= limits.least_retained and round_s < math.inf
        value = value_of(objective, retained, round_s)
        if share == PERMITTED_SHARE or (fits and not objective.better(enough, value)):
            break
    return allocate_blocks(problem, options, level, search.choice, blocks, round_s), share, value


def allocate_blocks(
    problem: Problem,
    options: Options,
    level: BlockOptions,
    choice: IntArray,
    blocks: IntArray,
    round_s: float,
) -> Allocation:
    """Whole blocks, and the least powers that end within the round."""
    row = options.row[choice]
    rows = options.rows[np.maximum(row, 0)]
    bandwidth_hz, power_w = blocks * level.block_hz, np.zeros(choice.shape[0])
    for m in np.flatnonzero(blocks > 0):
        j = choice[m]
        least_s = upload_s(level, j, int(blocks[m]))
        slot_s = max(least_s, min(round_s - level.overhead_s[j], level.deadline_s[j]))
        snr = math.expm1(level.nats[j] / (slot_s * bandwidth_hz[m]))
        received_hz = min(snr * bandwidth_hz[m], level.power_hz[j])
        power_w[m] = received_hz / rows["gain_over_noise"][m]
    tokens = options.tokens[choice]
    named = None if problem.is_one_row_each and bool((row != SKIP).all()) else row
    return Allocation(tokens, bandwidth_hz, power_w, named)
