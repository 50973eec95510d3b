"""Gains from SNR and CQI, and margins: checked through the rate equation and by drawing fading."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import expon, ncx2

from stsflora.models.cell.fading import fading_power, scattered
from stsflora.solver import ProblemError, fading_margin_db, rayleigh_margin_db
from stsflora.solver.allocator.channel_state import (
    CQI_EFFICIENCY,
    gain_from_cqi,
    gain_from_snr_db,
    gain_with_margin,
)
from stsflora.solver.physics.uplink import rate_bps

NOISE = 4e-21

# Bits per symbol and code rate x 1024, the columns that table 5.2.2.1-2 derives its efficiency from.
MODULATION = (2, 2, 2, 2, 2, 2, 4, 4, 4, 6, 6, 6, 6, 6, 6)
CODE_RATE = (78, 120, 193, 308, 449, 602, 378, 490, 616, 466, 567, 666, 772, 873, 948)


def test_the_cqi_table_is_modulation_times_code_rate() -> None:
    assert CQI_EFFICIENCY[0] == 0
    derived = np.multiply(MODULATION, CODE_RATE) / 1024
    np.testing.assert_allclose(CQI_EFFICIENCY[1:], derived, atol=5.1e-5)


@pytest.mark.parametrize("snr_db", [-20.0, 0.0, 17.0, 60.0])
def test_an_snr_holds_at_its_reference(snr_db: float) -> None:
    gain = gain_from_snr_db(snr_db, 0.2, 3e6, NOISE)
    rate = 3e6 * np.log2(1 + 10 ** (snr_db / 10))
    np.testing.assert_allclose(rate_bps(3e6, 0.2, gain, NOISE), rate, rtol=1e-12)


def test_a_cqi_promises_its_efficiency_at_its_reference() -> None:
    gain = gain_from_cqi(np.arange(16), 0.2, 3e6, NOISE)
    np.testing.assert_allclose(rate_bps(3e6, 0.2, gain, NOISE), 3e6 * np.array(CQI_EFFICIENCY), rtol=1e-12)


@pytest.mark.parametrize(
    ("index", "got"), [(16, "got 16"), (-1, "got -1"), (1.5, "got 1.5"), ("7", "type <U1")]
)
def test_other_cqi_are_refused(index: object, got: str) -> None:
    with pytest.raises(ProblemError, match=got):
        gain_from_cqi(index, 0.2, 3e6, NOISE)  # type: ignore[arg-type]


def test_ten_decibels_are_a_tenth() -> None:
    np.testing.assert_allclose(gain_with_margin([1e-9, 1e-12], [10.0, 0.0]), [1e-10, 1e-12])


def test_the_rayleigh_margin_is_missed_as_often_as_said() -> None:
    outage = np.array([1e-6, 0.1, 0.5, 0.9])
    power = 10 ** (-rayleigh_margin_db(outage) / 10)
    np.testing.assert_allclose(expon.cdf(power), outage, rtol=1e-9)


@pytest.mark.parametrize("factor", [0.0, 4.0])
def test_margins_fit_the_fading_of_the_models(factor: float) -> None:
    law = ncx2(2, 2 * factor, scale=1 / (2 + 2 * factor))
    margin_db = fading_margin_db(0.1, law.ppf)
    drawn = fading_power(scattered(200_000, np.random.default_rng(3)), factor)
    assert np.mean(drawn < 10 ** (-margin_db / 10)) == pytest.approx(0.1, abs=0.004)


@pytest.mark.parametrize("outage", [0.0, 1.0, -0.1, np.nan])
def test_an_outage_is_a_probability(outage: float) -> None:
    with pytest.raises(ProblemError, match=r"outage: got .*\(0, 1\)"):
        rayleigh_margin_db(outage)


def test_a_quantile_function_returns_powers() -> None:
    with pytest.raises(ProblemError, match="finite and > 0"):
        fading_margin_db(0.1, lambda probability: -probability)
