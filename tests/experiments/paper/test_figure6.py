"""Figure 6: where the STE peaks, and what moves the peak."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("matplotlib")

from stsflora.experiments.paper.figure6 import evenness_for_peak, figure6, fixed_time_for_peak, peak_of
from stsflora.experiments.paper.figures import UPLOAD, drawn_attention


@given(st.lists(st.floats(0.01, 1.0), min_size=8, max_size=40, unique=True), st.data())
def test_the_fixed_time_and_the_evenness_that_put_the_peak_anywhere(weights, data):
    profile = np.sort(np.array(weights))[::-1]
    profile /= profile.sum()
    count = data.draw(st.integers(2, len(profile) - 2))
    assume(profile[count - 1] - profile[count] > 1e-6)
    fixed, share = fixed_time_for_peak(profile, count), evenness_for_peak(profile, count)
    if fixed is None or share is None:
        assert fixed is share is None
        assert peak_of(profile, 0.0) >= count
        return
    assert peak_of(profile, fixed) == count
    assert 0 <= share < 1
    assert peak_of((1 - share) * profile + share / len(profile), 0.0) == count


def test_even_attention_peaks_at_the_end_and_steep_attention_early():
    even, steep = np.full(50, 0.02), np.eye(1, 50)[0]
    assert peak_of(even, 0.0) == 50
    assert peak_of(steep, 1000.0) == 1


def test_figure_6_says_where_the_peak_is():
    report = figure6(drawn_attention(0, 64), seeds=1, step=49)
    assert {row["tokens"] for row in report.data} == {1, 49, 98, 147, 196}
    best = max(
        (row["ste_per_s"], row["tokens"])
        for row in report.data
        if row["clients"] == 10 and row["metric"] == UPLOAD
    )
    compared = {(entry["row"], entry["column"]): entry for entry in report.compared}
    assert compared["10 clients", "peak by upload time"]["ours"] == best[1]
    assert compared["10 clients", "STE there, upload time"]["agrees"] == "grade C, not judged"
    assert report.figure is not None
