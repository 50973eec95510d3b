"""P2 against mpmath at 50 digits, and round trips through the rate equation."""

from __future__ import annotations

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest

from stsflora.solver.physics.bandwidth import bandwidth_hz_for_rate, least_area, power_w_for_energy
from stsflora.solver.physics.loops import NEAR_LIMIT
from stsflora.solver.physics.uplink import rate_bps, uplink_s

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
    _, z = least_area(rho, 1.0)
    assert abs(float(z) / exact_excess(rho) - 1) < 2e-14


@pytest.mark.parametrize("rho", RHO)
def test_p2_least_area_solves_the_rate_equation(rho: float) -> None:
    nats, energy = rho, 1.0
    area, _ = least_area(nats, energy)
    with mpmath.workdps(50):
        exact = mpmath.mpf(nats) / (exact_excess(rho) + 1 - mpmath.mpf(rho))
        sent = exact * mpmath.log1p(energy / exact)
        assert abs(sent / nats - 1) < mpmath.mpf(10) ** -40  # the reference itself
    assert abs(float(area) / exact - 1) < 1e-12


@pytest.mark.parametrize("rho", [*RHO, 1.0 - 1e-12, 1.0 - 1e-15])
@pytest.mark.parametrize("energy", [1.0, 0.7, 3e17])
def test_a_computed_area_is_exact_for_nearly_the_same_energy_and_bandwidth(rho: float, energy: float) -> None:
    """Less than 1e-13 of either is rounding: bounds rest on it."""
    nats = rho * energy
    area = float(least_area(nats, energy)[0])
    with mpmath.workdps(50):
        for sign in (-1, 1):
            moved = mpmath.mpf(energy) * (1 + sign * mpmath.mpf("1e-13"))
            if mpmath.mpf(nats) >= moved:
                assert sign < 0
                continue
            ratio = mpmath.mpf(nats) / moved
            z = -1 - mpmath.re(mpmath.lambertw(-ratio * mpmath.exp(-ratio), -1))
            exact = nats / (z + 1 - ratio) * (1 - sign * mpmath.mpf("1e-13"))
            assert exact > area if sign < 0 else exact < area


@pytest.mark.parametrize("scale", [1e-90, 1e-20, 1.0, 1e20, 1e90])
def test_least_area_scales(scale: float) -> None:
    area, z = least_area(RHO * scale, scale)
    reference, reference_z = least_area(RHO, 1.0)
    # Dividing by the scale perturbs rho in its last bit, which 1 - rho magnifies.
    slack = 1e-14 + 1e-15 / (1 - RHO)
    np.testing.assert_array_less(np.abs(area / (reference * scale) - 1), slack)
    np.testing.assert_array_less(np.abs(z / reference_z - 1), slack)


def test_no_bandwidth_suffices_at_the_wideband_limit() -> None:
    area, z = least_area(np.array([1.0, 1.5, 1e200]), 1.0)
    assert np.isinf(area).all()
    assert (z == 0.0).all()


def test_arguments_are_broadcast_and_kept() -> None:
    nats, energy = np.array([[0.1], [0.5]]), np.array([1.0, 2.0, 0.3])
    before = nats.copy(), energy.copy()
    nats.flags.writeable = energy.flags.writeable = False
    area, z = least_area(nats, energy)
    assert area.shape == z.shape == (2, 3)
    assert np.isinf(area).tolist() == [[False] * 3, [False, False, True]]
    for i, j in np.ndindex(2, 3):
        assert (area[i, j], z[i, j]) == tuple(map(float, least_area(nats[i, 0], energy[j])))
    np.testing.assert_array_equal(nats, before[0])
    np.testing.assert_array_equal(energy, before[1])


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
        spent = power * uplink_s(bits, rate_bps(bandwidth, power, gain, noise))
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
