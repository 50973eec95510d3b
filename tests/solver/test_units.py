"""Decibels at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from stsflora.solver.units import THERMAL_NOISE_W_PER_HZ, db_from_linear, linear_from_db, watt_from_dbm


def test_conversions() -> None:
    assert linear_from_db(3.0) == pytest.approx(1.9952623)
    assert watt_from_dbm(23.0) == pytest.approx(0.19952623)
    assert watt_from_dbm(-174.0) == pytest.approx(THERMAL_NOISE_W_PER_HZ, rel=1e-12)
    ratios = np.geomspace(1e-12, 1e12, 25)
    np.testing.assert_allclose(linear_from_db(db_from_linear(ratios)), ratios, rtol=1e-12)
