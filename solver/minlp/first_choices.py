"""Choices to begin with: multiple-choice knapsacks at given round times or prices, by HiGHS (scipy)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from ..objective import Energy, Retained, TotalTime, Weighted
from ..problem import STE, FloatArray, IntArray, Problem
from .choices import Choices, needs_hz, slots_s
from .serving import joules, least_round_s, upload_s, width_at_delay_price, width_at_price, widths_hz

ROUND_TIMES: Final = 16
"""Round times, or prices, at which a knapsack is solved."""

HIGHS_S: Final = 5.0
"""Longest time for one knapsack, s."""

CERTAIN: Final = 1e-6
"""By how much more than the band the least need must be before HiGHS is believed that nothing fits."""


class UnservableError(Exception):
    """No choice fulfils what the objective requires."""


def knapsack(
    problem: Problem, choices: Choices, cost: FloatArray, need_hz: FloatArray, within_band: bool
) -> tuple[IntArray | None, float]:
    """The choice of least total cost that reaches the required utility, and a lower bound on that cost.

    Args:
        problem: the instance.
        choices: the options.
        cost: (J,).
        need_hz: (J,) Hz; options of infinite need are not taken.
        within_band: whether the needs must fit into the band.

    Returns:
        ((M,) indices of options or None, bound; inf where there is no such choice).
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    count, clients = choices.client.size, problem.clients
    can = np.isfinite(need_hz) & np.isfinite(cost)
    unit = float(np.max(np.abs(cost[can]), initial=0.0)) or 1.0
    rows = [(choices.client == np.arange(clients)[:, None]).astype(float)]
    low, high = [np.ones(clients)], [np.ones(clients)]

    def add(row: FloatArray, least: float, most: float) -> None:
        rows.append(row[None, :])
        low.append(np.array([least]))
        high.append(np.array([most]))

    if within_band:
        add(np.where(can, need_hz, 0.0) / problem.bandwidth_hz, -math.inf, 1.0)
    required = problem.objective.least_retained
    if required > 0.0:
        add(choices.utility / required, 1.0, math.inf)
    if problem.objective == STE:
        add((choices.row >= 0).astype(float), 1.0, math.inf)
    found = milp(
        np.where(can, cost, 0.0) / unit,
        integrality=np.ones(count, dtype=np.int64),
        bounds=Bounds(0.0, can.astype(float)),
        constraints=LinearConstraint(np.vstack(rows), np.concatenate(low), np.concatenate(high)),
        options={"time_limit": HIGHS_S},
    )
    if found.status == 2:
        return None, math.inf
    bound = -math.inf if found.mip_dual_bound is None else float(found.mip_dual_bound) * unit
    if found.x is None:
        return None, bound
    chosen = np.flatnonzero(found.x > 0.5)
    return (chosen if np.array_equal(choices.client[chosen], np.arange(clients)) else None), bound


def first_choices(problem: Problem, choices: Choices, expired: Callable[[], bool]) -> Iterator[IntArray]:
    """Choices that may be good, the one that is easiest to serve first.

    Raises:
        UnservableError: even the least bandwidths in the longest slots are more than there is, or the
            required utility is out of reach.
    """
    objective = problem.objective
    longest = widths_hz(problem, needs_hz(choices, slots_s(choices, objective.longest_round_s)))
    easiest, least_hz = knapsack(problem, choices, longest, longest, within_band=False)
    if least_hz > problem.bandwidth_hz * (1.0 + CERTAIN):
        raise UnservableError
    if easiest is None:
        return
    yield easiest
    if isinstance(objective, Retained):
        yield from _chosen(problem, choices, -choices.utility, longest)
        return
    round_s = least_round_s(problem, choices.take(easiest))
    if not round_s < math.inf:
        return
    if isinstance(objective, Energy | TotalTime):
        yield from _priced(problem, choices, longest, expired)
    else:
        yield from _timed(problem, choices, round_s, expired)


def _chosen(problem: Problem, choices: Choices, cost: FloatArray, need_hz: FloatArray) -> Iterator[IntArray]:
    chosen, _ = knapsack(problem, choices, cost, need_hz, within_band=True)
    if chosen is not None:
        yield chosen


def _timed(
    problem: Problem, choices: Choices, round_s: float, expired: Callable[[], bool]
) -> Iterator[IntArray]:
    """The best choices at several round times."""
    objective = problem.objective
    if objective.least_retained > 0.0 or not objective.counts_utility:  # shorten the round while one fits
        low, high = float(choices.overhead_s.min()), round_s
        for _ in range(2 * ROUND_TIMES):
            if expired() or high - low <= 1e-6 * high:
                return
            middle = 0.5 * (low + high)
            need_hz = widths_hz(problem, needs_hz(choices, slots_s(choices, middle)))
            chosen, least_hz = knapsack(problem, choices, need_hz, need_hz, within_band=False)
            if chosen is not None and least_hz <= problem.bandwidth_hz:
                yield chosen
                high = min(middle, least_round_s(problem, choices.take(chosen)))
            else:
                low = middle
        return
    most = choices.take(np.array([_best(choices, m) for m in range(problem.clients)]))
    longest_s = least_round_s(problem, most)
    senders = choices.take(choices.senders)
    share = np.full(senders.nats.size, problem.bandwidth_hz / problem.clients)
    typical_s = float(np.median(senders.overhead_s + upload_s(senders, share))) if share.size else 0.0
    round_s = round_s or typical_s
    if not round_s > 0.0:
        return
    first_s = float(np.min(choices.overhead_s[choices.row >= 0], initial=round_s))
    begin = first_s + 0.1 * (round_s - first_s)
    end = min(max(longest_s, 2.0 * begin), 1e4 * begin) if longest_s < math.inf else 30.0 * round_s
    joule = objective.per_joule if isinstance(objective, Weighted) else 0.0
    for tried_s in np.geomspace(max(begin, 1e-3 * end), end, ROUND_TIMES):
        if expired():
            return
        slot_s = slots_s(choices, float(tried_s))
        need_hz = widths_hz(problem, needs_hz(choices, slot_s))
        cost = -choices.utility
        if joule > 0.0:
            share = np.maximum(
                np.where(np.isfinite(need_hz), need_hz, 1.0), problem.bandwidth_hz / problem.clients
            )
            spent = joules(choices, share, np.where(slot_s > 0.0, slot_s, 1.0)) + choices.before_j
            cost = cost + joule * spent
        yield from _chosen(problem, choices, cost, need_hz)


def _best(choices: Choices, client: int) -> int:
    own = choices.of_client(client)
    return int(own[np.argmax(choices.utility[own])])


def _priced(
    problem: Problem, choices: Choices, least_hz: FloatArray, expired: Callable[[], bool]
) -> Iterator[IntArray]:
    """The best choices at several prices of bandwidth."""
    objective = problem.objective
    can = np.isfinite(least_hz)
    least_hz = np.where(can, least_hz, 1.0)
    share = np.maximum(least_hz, problem.bandwidth_hz / problem.clients)
    longest_s = slots_s(choices, objective.longest_round_s)
    slot_s = np.where(longest_s > 0.0, longest_s, 1.0)
    if isinstance(objective, TotalTime):
        weight = objective.weights(problem.clients)[choices.client]

    def cost_of(width_hz: FloatArray) -> FloatArray:
        if isinstance(objective, TotalTime):
            return weight * (choices.overhead_s + upload_s(choices, np.maximum(width_hz, 1e-300)))
        return joules(choices, width_hz, slot_s) + choices.before_j

    centre = float(cost_of(share)[can].mean()) / problem.bandwidth_hz or 1.0
    for price in centre * np.geomspace(1e-3, 1e2, ROUND_TIMES):
        if expired():
            return
        if isinstance(objective, TotalTime):
            width = width_at_delay_price(choices, weight, float(price), least_hz)
        else:
            width = width_at_price(choices, slot_s, float(price))
        width = np.maximum(width, least_hz)
        cost = np.where(can, cost_of(width) + price * width, math.inf)
        yield from _chosen(problem, choices, cost, np.where(can, least_hz, math.inf))
