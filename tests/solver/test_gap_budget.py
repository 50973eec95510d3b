"""Every share of the gap is a share, and the target leaves room for rounding."""

from __future__ import annotations

import pytest
from helpers.instances import small_problem

from stsflora.solver import Request, gap_budget
from stsflora.solver.bounds.goal import STE, new_goal, target

SHARES = {name: value for name, value in vars(gap_budget).items() if name.isupper()}
NAMES = """
    PROOF ASCENT ASCENT_DONE CLEARING HIDDEN NARROWEST RECENTRING RELAXATION STALLED PIECES BRANCHING ENGINE
"""


def test_shares_stay_within_the_gap() -> None:
    assert set(NAMES.split()) == set(SHARES)
    assert all(0.0 < share < 1.0 for share in SHARES.values()), SHARES
    assert gap_budget.ASCENT_DONE < gap_budget.ASCENT


@pytest.mark.parametrize("gap", [1e-9, 1e-4, 1.0])
def test_the_target_leaves_room_for_rounding(gap: float) -> None:
    goal = new_goal(small_problem(), Request(gap=gap))
    assert target(goal) == 0.0
    goal.best[STE] = 10.0
    assert 10.0 < target(goal) < 10.0 * (1.0 + gap)
    assert 10.0 * (1.0 + gap) - target(goal) == pytest.approx(0.01 * gap, rel=1e-3, abs=4e-15)
