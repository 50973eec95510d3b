"""Rounds of the paper's cell with given attention."""

from __future__ import annotations

import numpy as np

from stsflora.experiments.paper.figures import UPLOAD, WHOLE, Attention, cell_round, drawn_attention


def test_whole_time_counts_what_comes_before_the_upload():
    importance = drawn_attention(0, 64).importance(4, 0)
    alone, whole = (cell_round(4, 0, importance, metric=metric) for metric in (UPLOAD, WHOLE))
    assert (alone.overhead_s == 0).all()
    assert (whole.overhead_s > 0.3).all()
    assert (whole.deadline_s == alone.deadline_s).all()
    assert (alone.min_tokens == 64).all()
    np.testing.assert_allclose(importance.sum(axis=1), 64)


def test_importance_is_of_whole_batches():
    attention = Attention("two images", "x", {"x": np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])})
    importance = attention.importance(2, 0)
    assert importance.shape == (2, 3)
    assert (np.diff(importance, axis=1) <= 0).all()
    np.testing.assert_allclose(importance.sum(axis=1), 64)
