"""Piecewise-linear upper approximation: a concave sequence as the minimum of few lines."""

from __future__ import annotations

import numpy as np

from ..problem import FloatArray


def pieces(values: FloatArray, low: int, high: int, error: float) -> list[tuple[float, float]]:
    """Lines whose minimum is a concave sequence, interpolated, or barely above it.

    Args:
        values: (N + 1,) concave in the index.
        low: first index.
        high: last index, >= low.
        error: how far the minimum of the lines may exceed the interpolated sequence.

    Returns:
        (slope, level) of each line slope x K + level. Every line is the chord of two neighbours, so none is
        below the sequence anywhere. One flat line where low = high.

    Cost: O((high - low) log(high - low)).
    """
    if low == high:
        return [(0.0, float(values[low]))]
    counts = np.arange(low, high + 1)
    slopes = np.diff(values[low : high + 1])
    levels = values[low:high] - slopes * counts[:-1]

    def can_follow(first: int, second: int) -> bool:
        """Whether the lines between two may go: the room above is largest where the two cross."""
        bend = slopes[first] - slopes[second]
        if bend <= 0.0:
            return True
        crossing = (levels[second] - levels[first]) / bend
        room = levels[first] + slopes[first] * crossing - np.interp(crossing, counts, values[low : high + 1])
        return bool(room <= error)

    chosen = [0]
    while chosen[-1] < slopes.size - 1:
        here, step = chosen[-1], 1
        nearest = here + 1
        while nearest + step < slopes.size and can_follow(here, nearest + step):
            nearest, step = nearest + step, 2 * step
        while step > 1:
            step //= 2
            if nearest + step < slopes.size and can_follow(here, nearest + step):
                nearest += step
        chosen.append(nearest)
    return [(float(slopes[k]), float(levels[k])) for k in chosen]
