"""The whole proof, against an independent solver of the knapsack at fixed round times."""

from __future__ import annotations

import pytest
from helpers.conformance import check_against_highs

from stsflora.benchmarks.families import families, family

FEASIBLE = [name for name in families() if name != "infeasible"]


@pytest.mark.parametrize("name", FEASIBLE)
def test_bound_and_optimum_against_highs_at_fixed_round_times(name: str) -> None:
    check_against_highs(family(name, 4, seed=1, tokens=24))
