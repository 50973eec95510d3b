"""Figure 8: convergence, ablation, tokens against limits."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from stsflora.experiments.paper.figure8 import figure8a, figure8b, figure8c
from stsflora.experiments.paper.figures import UPLOAD, drawn_attention


@pytest.fixture(scope="module")
def attention():
    return drawn_attention(0, 64)


def test_the_loop_stays_below_the_certified_optimum_and_never_falls(attention):
    report = figure8a(attention, seeds=1)
    curves = {}
    for row in report.data:
        curves.setdefault((row["metric"], row["start"]), []).append(row)
    assert len(curves) == 6
    for rows in curves.values():
        ste = [row["ste_per_s"] for row in rows]
        assert ste == sorted(ste)
        assert ste[-1] <= rows[0]["certified_bound_per_s"] * (1 + 1e-9)
    assert {entry["paper"] for entry in report.compared} == {5}


def test_holding_a_block_is_told_as_a_share_of_the_optimum(attention):
    report = figure8b(attention, seeds=1)
    assert all(0 < row["share_of_optimum_percent"] <= 100 + 1e-6 for row in report.data)
    by_variant = {
        row["variant"]: row["share_of_optimum_percent"] for row in report.data if row["metric"] == UPLOAD
    }
    assert by_variant["without token selection"] < by_variant["all three optimised"]
    assert {entry["agrees"] for entry in report.compared} == {"grade C, not judged"}
    paper = {row["paper_grade_c_share_of_its_best_percent"] for row in report.data}
    assert paper == {100.0, 100 * 40.5 / 43.45, 100 * 38.1 / 43.45, 100 * 35.2 / 43.45}


def test_tokens_against_limits(attention):
    report = figure8c(attention, seeds=1, points=2)
    assert len(report.data) == len(report.statements) * 2 == 16
    assert all(np.isnan(row["mean_tokens"]) or 64 <= row["mean_tokens"] <= 196 for row in report.data)
