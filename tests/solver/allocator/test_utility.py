"""A concave table of utilities is a list of importances, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver import ProblemError
from stsflora.solver.allocator.utility import importance_from_utility


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=12).filter(any),
    st.integers(1, 12),
    st.integers(0, 1),
    st.floats(-5, 5),
)
def test_sums_of_importances_are_the_table(steps: list[float], fewest: int, first: int, shift: float) -> None:
    """Concave from `fewest` on and anything before: every f(K) from there on is met."""
    fewest = min(fewest, len(steps))
    steps = sorted(steps, reverse=True)
    table = np.concatenate(([shift], np.cumsum(steps)))
    table[1:fewest] = np.linspace(-1, table[fewest] / 3, fewest - 1)
    importance = importance_from_utility(table[first:], first, fewest)
    assert importance.shape == (len(steps),)
    sums = np.cumsum(np.sort(importance)[::-1])
    np.testing.assert_allclose(sums[fewest - 1 :], table[fewest:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("table", "first", "min_tokens", "words"),
    [
        ([0, 1, 3], 0, 1, "token 2 adds 2, the one before 1"),
        ([1, 3], 1, 1, "token 2 adds 2, the one before 1"),
        ([0, 3, 4, 7], 0, 2, "token 3 adds 3, the one before 2"),
        ([0, 3, 2], 0, 1, r"f\(2\) = 2 after 3"),
        ([0, -3], 0, 1, r"f\(1\) = -3"),
        ([0, np.nan], 0, 1, "not finite"),
        ([[0, 1]], 0, 1, r"shape \(1, 2\)"),
        ([0, 1], 2, 1, "first=2"),
        ([0, 1], 0, 2, "min_tokens=2"),
        ([0], 0, 1, "N = 0"),
    ],
)
def test_other_tables_are_refused_with_the_place(
    table: list[float], first: int, min_tokens: int, words: str
) -> None:
    with pytest.raises(ProblemError, match=words):
        importance_from_utility(table, first, min_tokens)


def test_rounded_sums_still_count_as_concave() -> None:
    table = np.cumsum(np.full(200, 0.1))
    importance = importance_from_utility(table, first=1)
    np.testing.assert_allclose(importance, 0.1, rtol=1e-9)
