"""Intervals that cover every round time worth considering, with an upper bound on the STE in each (P4)."""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np

from ..problem import FloatArray


class Interval(NamedTuple):
    """Round times with an upper bound on their STE; the one of largest bound comes first in order.

    Attributes:
        minus_bound: the bound with the sign turned, 1/s.
        low_s: where it begins, s.
        high_s: where it ends, s.
        peak_s: where the STE seems largest, s.
    """

    minus_bound: float
    low_s: float
    high_s: float
    peak_s: float


class Cover(NamedTuple):
    """Round times done with, and open intervals, largest bound first.

    `bound_of` holds at any moment for every allocation whose round time lies in the cover.

    Attributes:
        open: the intervals that are not done with, a heap.
        closed: (1,) largest bound of those that are; 0 before the first.
    """

    open: list[Interval]
    closed: FloatArray


def new_cover() -> Cover:
    """A cover of nothing."""
    intervals = [Interval(0.0, 0.0, 0.0, 0.0)]
    intervals.pop()  # an empty list has no type that could be compiled
    return Cover(intervals, np.zeros(1))


def bound_of(cover: Cover) -> float:
    """Upper bound on the STE over all round times in the cover, 1/s."""
    bound = cover.closed[0]
    for interval in cover.open:
        bound = max(bound, -interval.minus_bound)
    return float(bound)


def close(cover: Cover, bound: float) -> None:
    """An interval with this bound is done with."""
    cover.closed[0] = max(cover.closed[0], bound)


def leave_open(cover: Cover, low_s: float, high_s: float, bound: float, peak_s: float) -> None:
    """An interval needs more work."""
    heapq.heappush(cover.open, Interval(-bound, low_s, high_s, peak_s))


def split(cover: Cover, interval: Interval, bound: float) -> None:
    """Leave both halves open, with a bound that holds for the whole."""
    middle_s = middle_of(interval)
    leave_open(cover, interval.low_s, middle_s, bound, middle_s)
    leave_open(cover, middle_s, interval.high_s, bound, middle_s)


def middle_of(interval: Interval) -> float:
    """Geometric middle, s."""
    return math.sqrt(interval.low_s) * math.sqrt(interval.high_s)


def width_of(interval: Interval) -> float:
    """Relative width."""
    return interval.high_s / interval.low_s - 1.0


def pop_worst(cover: Cover) -> Interval:
    """Take the open interval of largest bound out of the cover."""
    return heapq.heappop(cover.open)
