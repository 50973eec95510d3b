"""Every share of the gap is a share, and the target leaves room for rounding."""

from __future__ import annotations

import pytest

from stsflora.solver.gap_budget import GapBudget


@pytest.mark.parametrize("gap", [1e-9, 1e-4, 1.0])
def test_shares_stay_within_the_gap(gap: float) -> None:
    budget = GapBudget(gap)
    assert 10.0 < budget.target(10.0) < 10.0 * (1.0 + gap)
    for share in (
        "ascent",
        "ascent_done",
        "clearing",
        "recentring",
        "relaxation",
        "stalled",
        "pieces",
        "engine",
    ):
        assert 0 < getattr(budget, share) < gap
    assert budget.ascent_done < budget.ascent


def test_errors_of_second_order_have_square_roots() -> None:
    assert GapBudget(1e-4).price == pytest.approx(1e-2)
    assert GapBudget(1e-4).branching == pytest.approx(0.5e-2)
