"""A cover keeps the largest bound of all its intervals, done with or not, and hands out the worst first."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver.bounds.intervals import (
    Interval,
    bound_of,
    close,
    leave_open,
    middle_of,
    new_cover,
    pop_worst,
    split,
    width_of,
)


@given(st.integers(0, 2**32 - 1))
def test_the_bound_is_the_largest_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cover, opened, closed = new_cover(), [], 0.0
    for _ in range(30):
        bound = float(rng.uniform(0, 10))
        if rng.random() < 0.5:
            leave_open(cover, 1.0, 2.0, bound, 1.5)
            opened.append(bound)
        elif opened and rng.random() < 0.5:
            assert -pop_worst(cover).minus_bound == max(opened)
            opened.remove(max(opened))
        else:
            close(cover, bound)
            closed = max(closed, bound)
        assert bound_of(cover) == max([closed, *opened])
    assert len(cover.open) == len(opened)


def test_halves_meet_in_the_middle_and_have_the_bound_of_the_whole() -> None:
    whole, cover = Interval(-7.0, 2.0, 8.0, 3.0), new_cover()
    assert (middle_of(whole), width_of(whole)) == (pytest.approx(4.0), 3.0)
    split(cover, whole, 6.0)
    first, second = sorted(cover.open, key=lambda interval: interval.low_s)
    assert (first.low_s, second.high_s) == (2.0, 8.0)
    assert first.high_s == second.low_s == middle_of(whole)
    assert bound_of(cover) == -first.minus_bound == -second.minus_bound == 6.0


def test_the_middle_of_extreme_round_times_is_finite() -> None:
    assert middle_of(Interval(0.0, 1e-200, 1e200, 1.0)) == pytest.approx(1.0)
    assert math.isfinite(middle_of(Interval(0.0, 1e300, 1.5e308, 1.0)))


def test_a_cover_of_nothing_bounds_nothing() -> None:
    assert bound_of(new_cover()) == 0.0
    assert new_cover().open == []
