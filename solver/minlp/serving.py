"""Bandwidth and power of chosen options, best by the problem's objective: convex, by bisection in numpy."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw

from ..allocation import Allocation
from ..objective import Energy, Retained, Totals, TotalTime, Weighted
from ..physics.bandwidth import least_area
from ..problem import FloatArray, Problem
from .choices import NEVER_S, Choices, allocation_of, needs_hz, slots_s

STEPS: Final = 100
"""Halvings of a bracket: to the last digit from any start."""

GRID: Final = 40
"""Round times tried before golden section where there are blocks."""

HAIR: Final = 5e-14
"""By how much whole blocks may exceed the band, relative: rounding."""


def fits(problem: Problem, chosen: Choices, round_s: float) -> bool:
    """Whether one option per client can be sent within a round, by the bandwidth and the slots there are."""
    need_hz = needs_hz(chosen, slots_s(chosen, round_s))
    if problem.block_hz is None:
        return bool(need_hz.sum() <= problem.bandwidth_hz)
    blocks = math.floor(problem.bandwidth_hz / problem.block_hz * (1.0 + HAIR))
    return bool(np.ceil(need_hz / problem.block_hz).sum() <= blocks)


def least_round_s(problem: Problem, chosen: Choices) -> float:
    """Least round time of one option per client, s; inf where none is long enough."""
    begin = float(chosen.overhead_s.max())
    if not (chosen.nats > 0.0).any():
        return begin if begin <= problem.objective.longest_round_s else math.inf
    end = min(problem.objective.longest_round_s, float((chosen.overhead_s + chosen.deadline_s).max()))
    if not fits(problem, chosen, end):
        return math.inf
    low, high = 0.0, min(1.0, end - begin)
    while not fits(problem, chosen, min(begin + high, end)):
        low, high = high, 4.0 * high
    if begin + high > end:
        high = end - begin
    while low == 0.0 and high > 1e-15 * begin and fits(problem, chosen, begin + high / 4.0):
        high /= 4.0
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (low, middle) if fits(problem, chosen, begin + middle) else (middle, high)
    return begin + high


def serve(problem: Problem, chosen: Choices) -> Allocation | None:
    """The best allocation of one option per client by the problem's objective, or None where none fits.

    Requirements on utilities are not looked at. In blocks `Weighted` with a price of energy is searched
    on a grid of round times and may be missed by a little; all else is exact.

    Args:
        problem: the instance.
        chosen: (M,) options within its limits, in the order of the clients.
    """
    fastest_s = least_round_s(problem, chosen)
    if not fastest_s < math.inf:
        return None
    objective = problem.objective
    if isinstance(objective, TotalTime):
        return _least_delays(problem, chosen, objective.weights(problem.clients))
    if isinstance(objective, Energy):
        return _least_joules(problem, chosen, objective.round_s)[1]
    if isinstance(objective, Weighted) and objective.per_joule > 0.0:
        return _least_cost(problem, chosen, objective, fastest_s)
    round_s = objective.round_s if isinstance(objective, Retained) else fastest_s
    slot_s = slots_s(chosen, round_s)
    return allocation_of(problem, chosen, widths_hz(problem, needs_hz(chosen, slot_s)), slot_s)


def optimistic(problem: Problem, choices: Choices) -> Totals:
    """What one option per client would add up to if each had the whole band for itself."""
    objective = problem.objective
    alone = np.full(choices.client.size, problem.bandwidth_hz)
    upload = upload_s(choices, alone)
    slot_s = np.maximum(slots_s(choices, objective.longest_round_s), upload)
    energy_j = choices.before_j
    if isinstance(objective, Energy) or (isinstance(objective, Weighted) and objective.per_joule > 0.0):
        energy_j = energy_j + joules(choices, alone, slot_s)
    finish_s = choices.overhead_s + upload
    return Totals(float(choices.utility.sum()), float(finish_s.max()), float(energy_j.sum()), finish_s)


def joules(chosen: Choices, width_hz: FloatArray, slot_s: FloatArray) -> FloatArray:
    """(J,) least energy of each upload on a bandwidth in a slot, J, without what is spent before."""
    sends = chosen.nats > 0.0
    area = np.where(sends, width_hz * slot_s, 1.0)
    with np.errstate(over="ignore"):
        received = area * np.expm1(chosen.nats / area)
    return np.where(sends, received / np.where(sends, chosen.over_noise, 1.0), 0.0)


def width_at_price(chosen: Choices, slot_s: FloatArray, price: float) -> FloatArray:
    """(J,) bandwidth that minimises energy plus price times bandwidth in a slot, Hz, limits apart.

    With y = s / (w t) the condition is 1 + (y - 1) e^y = price h / (N0 t): y - 1 is a Lambert W_0.
    """
    sends = chosen.nats > 0.0
    slot = np.where(sends, slot_s, 1.0)
    steepness = price * np.where(sends, chosen.over_noise, 1.0) / slot
    near = steepness < 1e-8  # at the branch point the series is more accurate
    argument = (np.where(near, 1.0, steepness) - 1.0) / math.e
    exact = 1.0 + np.real(lambertw(argument, 0))
    y = np.where(near, np.sqrt(2.0 * steepness), exact)
    return np.where(sends, chosen.nats / (slot * np.maximum(y, 1e-300)), 0.0)


def upload_s(chosen: Choices, width_hz: FloatArray) -> FloatArray:
    """(J,) shortest upload time on a bandwidth, s, whatever the deadline; 0 without bits."""
    sends = chosen.nats > 0.0
    width = np.where(sends, width_hz, 1.0)
    nats_per_s = np.where(sends, width * np.log1p(chosen.power_w * chosen.over_noise / width), 1.0)
    return np.where(sends, np.maximum(chosen.nats / nats_per_s, least_product(chosen) / width), 0.0)


def least_product(chosen: Choices) -> FloatArray:
    """(J,) least product of bandwidth and time, Hz s, by the energy budgets and the caps."""
    sends = chosen.nats > 0.0
    limited = sends & (chosen.energy_j < math.inf)
    received = np.where(limited, chosen.energy_j * chosen.over_noise, 1.0)
    area, _ = least_area(np.where(limited, chosen.nats, 0.5), received)
    return np.maximum(np.where(limited, area, 0.0), chosen.nats / chosen.efficiency)


def width_at_delay_price(
    chosen: Choices, weight: FloatArray, price: float, least_hz: FloatArray
) -> FloatArray:
    """(J,) bandwidth that minimises weight x upload time + price x bandwidth, Hz, from the least one on."""
    product, received = least_product(chosen), chosen.power_w * chosen.over_noise
    sends = chosen.nats > 0.0
    low, high = np.log(np.where(sends, least_hz, 1.0)), np.full(sends.shape, 300.0)
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        width = np.exp(middle)
        snr = received / width
        spectral = np.log1p(snr)
        by_power = chosen.nats / np.where(sends, width * spectral, 1.0)
        slope = np.where(
            by_power > product / width,
            by_power * (spectral - snr / (1.0 + snr)) / np.where(sends, width * spectral, 1.0),
            product / width**2,
        )
        falls = weight * slope > price
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return np.where(sends, np.exp(low), 0.0)


def widths_hz(problem: Problem, need_hz: FloatArray) -> FloatArray:
    """Bandwidths in whole blocks, where there are blocks."""
    if problem.block_hz is None:
        return need_hz
    return np.ceil(need_hz / problem.block_hz) * problem.block_hz


def _cleared(problem: Problem, least_hz: FloatArray, reply: Callable[[float], FloatArray]) -> FloatArray:
    """Bandwidths at the price at which they add up to the band."""
    width = least_hz
    low, high = -60.0, 60.0
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        wanted = np.maximum(reply(10.0**middle), least_hz)
        if wanted.sum() <= problem.bandwidth_hz:
            width, high = wanted, middle
        else:
            low = middle
    return width


def _in_blocks(
    problem: Problem, least_hz: FloatArray, sends: NDArray[np.bool_], cost: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Blocks one by one to whom they save most: best, for costs that are convex in bandwidth."""
    block_hz = float(problem.block_hz or 0.0)
    width = widths_hz(problem, least_hz)
    left = math.floor((problem.bandwidth_hz - float(width.sum())) / block_hz + HAIR)
    now, more = cost(width), cost(width + block_hz)
    queue = [(more[m] - now[m], m) for m in np.flatnonzero(sends)]
    heapq.heapify(queue)
    for _ in range(left if queue else 0):
        _, m = heapq.heappop(queue)
        width[m] += block_hz
        now[m], more[m] = more[m], cost(width + block_hz)[m]
        heapq.heappush(queue, (more[m] - now[m], m))
    return width


def _least_joules(problem: Problem, chosen: Choices, round_s: float) -> tuple[float, Allocation]:
    """The least energy in a round of given length that is long enough, and its allocation."""
    slot_s = slots_s(chosen, round_s)
    least_hz, sends = needs_hz(chosen, slot_s), chosen.nats > 0.0
    if problem.block_hz is None:
        width = _cleared(problem, least_hz, lambda price: width_at_price(chosen, slot_s, price))
    else:
        width = _in_blocks(problem, least_hz, sends, lambda hz: joules(chosen, hz, slot_s))
    return float(joules(chosen, width, slot_s).sum()), allocation_of(problem, chosen, width, slot_s)


def _least_delays(problem: Problem, chosen: Choices, weight: FloatArray) -> Allocation:
    least_hz, sends = needs_hz(chosen, np.minimum(chosen.deadline_s, NEVER_S)), chosen.nats > 0.0
    if problem.block_hz is None:
        width = _cleared(
            problem, least_hz, lambda price: width_at_delay_price(chosen, weight, price, least_hz)
        )
    else:
        width = _in_blocks(
            problem, least_hz, sends, lambda hz: weight * upload_s(chosen, np.where(hz > 0.0, hz, 1e-300))
        )
    return allocation_of(problem, chosen, width, upload_s(chosen, width))


def _least_cost(problem: Problem, chosen: Choices, objective: Weighted, fastest_s: float) -> Allocation:
    """Round time and energy at their prices: convex in the round time, but in blocks."""
    end_s = float((chosen.overhead_s + chosen.deadline_s).max())

    def cost(round_s: float) -> tuple[float, Allocation]:
        energy_j, allocation = _least_joules(problem, chosen, round_s)
        return objective.per_second * round_s + objective.per_joule * energy_j, allocation

    first, best = cost(fastest_s)
    if objective.per_second > 0.0:
        end_s = min(end_s, first / objective.per_second)
    span = max(end_s - fastest_s, 0.0)
    best_cost = first

    def at(share: float) -> float:
        nonlocal best_cost, best
        found, allocation = cost(fastest_s + share * span)
        if found < best_cost:
            best_cost, best = found, allocation
        return found

    low, high = 0.0, 1.0
    if problem.block_hz is not None:
        shares = np.concatenate(([0.0], np.geomspace(1e-6, 1.0, GRID)))
        peak = int(np.argmin([at(share) for share in shares]))
        low, high = shares[max(peak - 1, 0)], shares[min(peak + 1, shares.size - 1)]
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    inner = [high - golden * (high - low), low + golden * (high - low)]
    heights = [at(share) for share in inner]
    while high - low > max(1e-9 * high, 1e-12 * fastest_s / max(span, 1e-300)):
        if heights[0] <= heights[1]:
            high, inner = inner[1], [inner[1] - golden * (inner[1] - low), inner[0]]
            heights = [at(inner[0]), heights[0]]
        else:
            low, inner = inner[0], [inner[1], inner[0] + golden * (high - inner[0])]
            heights = [heights[1], at(inner[1])]
    return best
