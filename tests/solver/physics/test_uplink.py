"""The physics against mpmath and plain loops."""

from __future__ import annotations

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest

from stsflora.solver.physics.uplink import payload_bits, rate_bps, retained, uplink_s


def test_payload_of_the_paper() -> None:
    beta = 64 * 768 * 32
    assert payload_bits(196, beta, 2) == beta * 198
    np.testing.assert_array_equal(payload_bits([0, 3], [1.0, 10.0], 2), [2.0, 50.0])


@pytest.mark.parametrize("snr", [1e-18, 1e-9, 1.0, 1e9, 1e18])
@pytest.mark.parametrize("bandwidth", [1e-3, 1.0, 1e9])
def test_rate_is_shannons(snr: float, bandwidth: float) -> None:
    noise, power = 4e-21, 0.2
    gain = snr * noise * bandwidth / power
    with mpmath.workdps(50):
        ratio = mpmath.mpf(power) * mpmath.mpf(gain) / (mpmath.mpf(noise) * mpmath.mpf(bandwidth))
        exact = bandwidth * mpmath.log1p(ratio) / mpmath.log(2)
    assert abs(float(rate_bps(bandwidth, power, gain, noise)) / exact - 1) < 1e-14


def test_nothing_is_sent_without_bandwidth_or_power() -> None:
    np.testing.assert_array_equal(rate_bps([0.0, 1.0, 0.0], [1.0, 0.0, 0.0], 1.0, 1.0), [0.0, 0.0, 0.0])
    assert uplink_s(1.0, 0.0) == np.inf
    assert uplink_s(0.0, 0.0) == np.inf


def test_time_is_payload_over_rate() -> None:
    assert uplink_s(6.0, 2.0) == 3.0


def test_p1_slow_is_cheap() -> None:
    """For fixed bandwidth p / R(p) increases, so the energy of an upload falls with its duration."""
    power = np.geomspace(1e-12, 1e3, 500)
    for snr_per_watt in (1e-6, 1.0, 1e6):
        energy_per_bit = power / rate_bps(1.0, power, snr_per_watt, 1.0)
        assert (np.diff(energy_per_bit) >= -1e-14 * energy_per_bit[1:]).all()
        assert energy_per_bit[-1] > energy_per_bit[0]
        assert energy_per_bit[0] >= np.log(2.0) / snr_per_watt * (1 - 1e-14)  # P6 in the limit


def test_retained_sums_the_largest() -> None:
    importance = np.sort(np.random.default_rng(0).random((20, 9)), axis=1)[:, ::-1]
    tokens = np.arange(20) % 11
    plain = [sum(row[:count]) for row, count in zip(importance.tolist(), tokens, strict=True)]
    np.testing.assert_allclose(retained(importance, tokens), plain, rtol=1e-15)
