"""P2 against mpmath at 50 digits, and round trips through the rate equation."""

from __future__ import annotations

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest

from stsflora.solver.physics.bandwidth import (
    NEAR_LIMIT,
    bandwidth_hz_for_rate,
    excess,
    least_area,
    power_w_for_energy,
)
from stsflora.solver.physics.uplink import energy_j, rate_bps, uplink_s

RHO = np.unique(
    np.concatenate(
        [
            np.geomspace(1e-15, 0.5, 60),
            1.0 - np.geomspace(1e-9, 0.5, 60),
            1.0 - NEAR_LIMIT * (1.0 + np.array([-1e-12, 0.0, 1e-12])),
        ]
    )
)


def exact_excess(rho: float) -> mpmath.mpf:
    """z = -1 - W_{-1}(-rho exp(-rho)), by Lambert's function."""
    with mpmath.workdps(50):
        rho = mpmath.mpf(rho)
        return -1 - mpmath.re(mpmath.lambertw(-rho * mpmath.exp(-rho), -1))


@pytest.mark.parametrize("rho", RHO)
def test_p2_root_agrees_with_lambert(rho: float) -> None:
    assert abs(float(excess(rho)) / exact_excess(rho) - 1) < 1e-12


@pytest.mark.parametrize("rho", RHO)
def test_p2_least_area_solves_the_rate_equation(rho: float) -> None:
    nats, energy = rho, 1.0
    area, z = least_area(nats, energy)
    with mpmath.workdps(50):
        exact = mpmath.mpf(nats) / (exact_excess(rho) + 1 - mpmath.mpf(rho))
        sent = exact * mpmath.log1p(energy / exact)
        assert abs(sent / nats - 1) < mpmath.mpf(10) ** -40  # the reference itself
    assert abs(float(area) / exact - 1) < 1e-12
    assert float(z) == float(excess(rho))


@pytest.mark.parametrize("scale", [1e-90, 1e-20, 1.0, 1e20, 1e90])
def test_least_area_scales(scale: float) -> None:
    area, z = least_area(RHO * scale, scale)
    reference, reference_z = least_area(RHO, 1.0)
    # Dividing by the scale perturbs rho in its last bit, which 1 - rho magnifies.
    slack = 1e-14 + 1e-15 / (1 - RHO)
    np.testing.assert_array_less(np.abs(area / (reference * scale) - 1), slack)
    np.testing.assert_array_less(np.abs(z / reference_z - 1), slack)


def test_no_bandwidth_suffices_at_the_wideband_limit() -> None:
    area, _ = least_area(np.array([1.0, 1.5, 1e200]), 1.0)
    assert np.isinf(area).all()
    assert float(excess(1.0)) == 0.0


def test_elasticities_of_the_area() -> None:
    nats, energy, step = RHO[(RHO > 1e-12) & (RHO < 0.99)], 1.0, 1e-6
    area, z = least_area(nats, energy)
    in_nats = np.log(least_area(nats * (1 + step), energy)[0] / least_area(nats * (1 - step), energy)[0])
    in_energy = np.log(least_area(nats, energy * (1 + step))[0] / least_area(nats, energy * (1 - step))[0])
    np.testing.assert_allclose(in_nats / (2 * step), (1 + z) / z, rtol=1e-5)
    np.testing.assert_allclose(in_energy / (2 * step), -1 / z, rtol=1e-5)
    assert (area > 0).all()


def test_bandwidth_brings_the_rate_over_twelve_orders_of_gain() -> None:
    gain = np.geomspace(1e-16, 1e-4, 200)
    noise, power = 4e-21, 0.2
    for share in (1e-6, 0.1, 0.9, 0.999):
        rate = share * power * gain / noise / np.log(2.0)  # of the wideband limit
        bandwidth = bandwidth_hz_for_rate(rate, power, gain, noise)
        np.testing.assert_allclose(rate_bps(bandwidth, power, gain, noise), rate, rtol=1e-12)


def test_power_spends_the_energy_over_twelve_orders_of_gain() -> None:
    gain = np.geomspace(1e-16, 1e-4, 200)
    noise, bandwidth, bits = 4e-21, 1e5, 1e6
    for share in (1e-12, 1e-3, 0.5, 0.99):
        energy = bits * noise * np.log(2.0) / gain / share  # over the least of P6
        power = power_w_for_energy(bits, bandwidth, gain, energy, noise)
        spent = energy_j(power, uplink_s(bits, rate_bps(bandwidth, power, gain, noise)))
        np.testing.assert_allclose(spent, energy, rtol=1e-12)


@pytest.mark.parametrize("rho", RHO)
def test_p2_power_agrees_with_mpmath(rho: float) -> None:
    with mpmath.workdps(50):
        bits = 1.0 / float(mpmath.log(2))  # one nat
        exact_rho = mpmath.mpf(bits) * mpmath.log(2) / (2 * mpmath.mpf(0.5 / rho))
        snr = (exact_excess(exact_rho) + 1 - exact_rho) / exact_rho
    power = float(power_w_for_energy(bits, 8.0, 2.0, 0.5 / rho, 1.0))
    # The arguments fix rho to its last bit only, which 1 - rho magnifies.
    assert abs(power / float(snr * 4) - 1) < 1e-12 + 1e-15 / (1 - rho)


def test_power_at_the_limits() -> None:
    least = np.log(2.0)  # joules per bit at unit gain and noise
    assert float(power_w_for_energy(1.0, 1.0, 1.0, least * 0.999, 1.0)) == 0.0
    assert float(power_w_for_energy(1.0, 1.0, 1.0, np.inf, 1.0)) == np.inf
    assert float(power_w_for_energy(1.0, 0.0, 1.0, 1.0, 1.0)) == 0.0
    assert 0 < float(power_w_for_energy(1.0, 1.0, 1.0, least * 1.001, 1.0)) < 0.01
