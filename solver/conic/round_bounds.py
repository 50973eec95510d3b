"""Bounds from the prices that an engine gives, for any objective: weak duality, at prices of any quality."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Final

import numpy as np

from ..bounds.priced_menu import energy_menu
from ..objective import Weighted
from ..physics.loops import least_areas
from ..physics.option_loops import needs
from ..physics.options import options_of
from ..physics.price_loops import UNITS, interval_costs, replies, slots
from ..problem import FloatArray, Problem
from ..tolerances import BOUND_SHARE, EPSILON

STEEP: Final = 0.5
"""Share of the wideband limit beyond which a tangent at the middle of an interval would be too steep."""

FINEST: Final = 1e-12
"""Relative width of a bracket or an interval that is not halved any further."""

NARROW: Final = 0.02
"""Relative width from which on an interval is left for a better price where one is needed."""

MOST_SPLITS: Final = 300
"""Intervals halved for one price; where that does not do, another price is needed."""


class RoundBounds:
    """The dual functions of a problem, with limits raised beyond the tolerance.

    Every option counts, whole tokens and no envelope, so that bounds are as tight as a price can make them.

    Args:
        problem: the instance; `Weighted` needs one overhead for all.

    Attributes:
        problem: with raised limits.
        options: of it.
        origin_s: omega, the least overhead of a sender, s.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem.with_raised_limits(BOUND_SHARE)
        self.options = options_of(self.problem)
        self.unit = self.options.unit + UNITS * EPSILON
        self.origin_s = float(problem.overhead_s.min())

    def most_utility(self, round_s: float, price: float) -> float:
        """Upper bound of the sum of utilities within a round, at a price per hertz; -inf if nothing fits.

        price x W + sum over clients of max (utility - price x need), raised by its rounding.
        """
        options = self.options
        need_hz, _ = needs(options, round_s)
        net = self._net(price, need_hz)
        best = np.maximum.reduceat(net, options.first[:-1])
        rented = price * options.bandwidth_hz
        magnitude = 2.0 * (rented + float(np.maximum.reduceat(options.utility, options.first[:-1]).sum()))
        return float(rented + best.sum() + self.unit * (magnitude + float(np.abs(best).sum())))

    def least_round(self, price: float, required: float, low_s: float, high_s: float) -> float:
        """No round shorter than this has the required utility, s, at a price per hertz; `low_s` at least.

        Args:
            price: per hertz.
            required: sum of utilities, lowered by the tolerance.
            low_s: a valid answer, s.
            high_s: the search ends there, s.
        """
        if not self.most_utility(high_s, price) >= required:
            return high_s
        while high_s - low_s > FINEST * high_s:
            middle_s = 0.5 * (low_s + high_s)
            if not low_s < middle_s < high_s:
                break
            if self.most_utility(middle_s, price) < required:
                low_s = middle_s
            else:
                high_s = middle_s
        return low_s

    def least_energy(self, round_s: float, required: float, price: float, utility_price: float) -> float:
        """Lower bound of the joules within a round, at prices per hertz and per required utility.

        sum over clients of min (joules + price x bandwidth - utility_price x utility), less price x W, plus
        utility_price x required; lowered by its rounding.
        """
        options = self.options
        priced = energy_menu(options, round_s, per_utility=utility_price).options
        can = priced["low_hz"] <= priced["high_hz"]
        width_hz, charged = replies(priced, can, price)
        begin = options.first[:-1]
        least = np.minimum.reduceat(charged, begin)
        given, rented = utility_price * required, price * options.bandwidth_hz
        worth = float(np.maximum.reduceat(utility_price * options.utility, begin).sum())
        widest = float(np.maximum.reduceat(price * width_hz, begin).sum())
        magnitude = given + rented + 2.0 * (worth + widest) + float(np.abs(least).sum())
        return float(least.sum() - rented + given - self.unit * magnitude)

    def net_value(self, low_s: float, high_s: float, price: float) -> tuple[float, float, float]:
        """A convex function above the net value in the rounds of an interval, at a price per Hz s.

        An option is charged price x (tau - omega) per hertz, and its energy: convex in tau, so that tangents
        are below it. The largest of the two ends bounds the net value of all choices in between; in the
        middle nothing is lost where tangents touch there.

        Returns:
            (at the lower end, in the middle, at the upper end).
        """
        objective, options = self.problem.objective, self.options
        assert isinstance(objective, Weighted)
        if objective.per_joule > 0.0:
            at_low, at_high = self._costs_with_energy(low_s, high_s, price, objective.per_joule)
        else:
            at_low, at_high = self._costs(low_s, high_s, price)
        ends = []
        middle = 0.5 * (low_s + high_s), 0.5 * (at_low + at_high)
        for round_s, cost in ((low_s, at_low), middle, (high_s, at_high)):
            least = np.minimum.reduceat(cost, options.first[:-1])
            rented = price * options.bandwidth_hz * (round_s - self.origin_s)
            charged = objective.per_second * round_s if objective.per_second > 0.0 else 0.0
            magnitude = rented + charged + float(np.abs(least).sum())
            ends.append(float(rented - least.sum() - charged + self.unit * magnitude))
        return ends[0], ends[1], ends[2]

    def _net(self, price: float, need_hz: FloatArray) -> FloatArray:
        """(J,) utility less what the need costs; -inf where an option cannot be sent."""
        can = np.isfinite(need_hz)
        return np.where(can, self.options.utility - price * np.where(can, need_hz, 0.0), -math.inf)

    def _costs(self, low_s: float, high_s: float, price: float) -> tuple[FloatArray, FloatArray]:
        """(J,) ends of tangents of price x (tau - omega) x need, less utility, lowered by their rounding."""
        options = self.options
        at_s = np.full(options.row.size, 0.5 * (low_s + high_s))
        need_hz, slope = needs(options, float(at_s[0]) if at_s.size else low_s)
        last_hz, last_slope = needs(options, high_s)
        # Far from the wideband limit a need falls no faster than twice as the slot grows.
        steep = ~(-slope * (at_s - self.origin_s) <= 2.0 / STEEP * need_hz)
        at_s = np.where(steep, high_s, at_s)
        need_hz, slope = np.where(steep, last_hz, need_hz), np.where(steep, last_slope, slope)
        can = np.isfinite(need_hz)
        need_hz, slope = np.where(can, need_hz, 0.0), np.where(can, slope, 0.0)
        charged_s = at_s - self.origin_s
        cost, rise = price * charged_s * need_hz, price * (need_hz + charged_s * slope)
        doubt = self.unit * (
            options.utility + cost + price * (need_hz - charged_s * slope) * (high_s - low_s)
        )
        low = np.where(can, cost + rise * (low_s - at_s) - options.utility - doubt, math.inf)
        high = np.where(can, cost + rise * (high_s - at_s) - options.utility - doubt, math.inf)
        return low, high

    def _costs_with_energy(
        self, low_s: float, high_s: float, price: float, per_joule: float
    ) -> tuple[FloatArray, FloatArray]:
        """The same with energy, `physics.price_loops.interval_costs`."""
        options, rows = self.options, self.options.rows

        def products(round_s: float) -> tuple[FloatArray, FloatArray, FloatArray]:
            slot_s, nats, energy = slots(rows, options.row, options.nats, round_s)
            area, root = least_areas(nats, energy)
            return slot_s, area, root

        return interval_costs(
            *(rows, options.row, options.nats, options.utility, np.ones(options.row.size, np.bool_)),
            *(options.bandwidth_hz, self.origin_s, per_joule, price, (low_s, high_s)),
            *products(0.5 * (low_s + high_s)),
            *products(high_s),
        )


class NetCover:
    """A cover of all round times that matter to a net value, closed price by price.

    Args:
        bounds: the dual functions.
        low_s: no round is shorter, s.
        high_s: no longer one matters, s.
        most: a bound on the net value.
    """

    def __init__(self, bounds: RoundBounds, low_s: float, high_s: float, most: float) -> None:
        self.bounds = bounds
        self.closed = -math.inf
        self._open: list[tuple[float, float, float]] = [(-most, low_s, high_s)]
        self.evaluations = 0

    @property
    def bound(self) -> float:
        """Upper bound on the net value of all choices in the rounds covered."""
        return max(self.closed, -self._open[0][0] if self._open else -math.inf)

    def is_open(self, target: float) -> bool:
        """Whether the bound exceeds a target."""
        return self.bound > target

    @property
    def worst(self) -> tuple[float, float]:
        """The interval of largest bound, s."""
        return self._open[0][1:]

    def tighten(self, price: float, target: float, expired: Callable[[], bool]) -> None:
        """Bound the open intervals anew at one price per Hz s, worst first, halving them until it is no use.

        An interval in whose middle this price is beyond the target is left for another one.
        """
        pending, left, splits = self._open, [], 0
        while pending and -pending[0][0] > target and splits <= MOST_SPLITS and not expired():
            minus_bound, low_s, high_s = heapq.heappop(pending)
            self.evaluations += 1
            at_low, at_middle, at_high = self.bounds.net_value(low_s, high_s, price)
            bound = max(at_low, at_high)
            bound = -minus_bound if math.isnan(bound) else min(bound, -minus_bound)
            if bound <= target:
                self.closed = max(self.closed, bound)
                continue
            narrow = high_s - low_s <= NARROW * high_s
            if (narrow and at_middle > target) or high_s - low_s <= FINEST * high_s:
                left.append((-bound, low_s, high_s))
                continue
            splits += 1
            middle_s = 0.5 * (low_s + high_s)
            if high_s > 4.0 * low_s > 0.0:
                middle_s = math.sqrt(low_s) * math.sqrt(high_s)
            heapq.heappush(pending, (-bound, low_s, middle_s))
            heapq.heappush(pending, (-bound, middle_s, high_s))
        self._open = [*pending, *left]
        heapq.heapify(self._open)
