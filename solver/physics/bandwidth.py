"""Closed forms of the rate equation (P1, P2) as arrays: bandwidth for a rate, power for an energy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..problem import FloatArray
from . import loops


def least_area(nats: ArrayLike, energy_over_noise: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Least time-bandwidth product for uploads, and the root z behind it (`loops.least_area`).

    Args:
        nats: s = S ln 2 > 0, any shape.
        energy_over_noise: g = e h / N0 > 0, dimensionless, broadcast against `nats`.

    Returns:
        (area in Hz s, inf where s >= g; z, 0 there). The area's elasticity in s is (1 + z) / z, in g it is
        -1 / z.
    """
    one, other = np.broadcast_arrays(
        np.asarray(nats, dtype=np.float64), np.asarray(energy_over_noise, dtype=np.float64)
    )
    # Copies: one compiled signature serves all calls.
    area, root = loops.least_areas(np.array(one).ravel(), np.array(other).ravel())
    return area.reshape(one.shape), root.reshape(one.shape)


def bandwidth_hz_for_rate(
    rate_bps: ArrayLike, power_w: ArrayLike, gain: ArrayLike, noise_w_per_hz: float
) -> FloatArray:
    """Least bandwidth W with W log2(1 + p h / (N0 W)) = rate, Hz; inf when none suffices (P2).

    Args:
        rate_bps: wanted rate, bit/s, > 0.
        power_w: transmit power, W, > 0.
        gain: linear channel power gain, > 0.
        noise_w_per_hz: noise density, W/Hz.
    """
    received = np.asarray(power_w, dtype=np.float64) * np.asarray(gain, dtype=np.float64) / noise_w_per_hz
    return least_area(np.asarray(rate_bps, dtype=np.float64) * np.log(2.0), received)[0]


def power_w_for_energy(
    bits: ArrayLike, bandwidth_hz: ArrayLike, gain: ArrayLike, energy_j: ArrayLike, noise_w_per_hz: float
) -> FloatArray:
    """Largest power whose upload of S bits spends at most E joules, W; 0 when none does (P1, P6).

    p T = E says that the area A of S bits on E joules is W T, so the SNR p h / (N0 W) is g / A. An
    infinite budget gives inf.
    """
    noise_over_gain = noise_w_per_hz / np.asarray(gain, dtype=np.float64)
    energy = np.asarray(energy_j, dtype=np.float64)
    nats = np.asarray(bits, dtype=np.float64) * np.log(2.0)
    finite = np.where(np.isinf(energy), 1.0, energy) / noise_over_gain
    area, _ = least_area(nats, finite)
    power = np.where(area < np.inf, finite / area * noise_over_gain * np.asarray(bandwidth_hz), 0.0)
    return np.where(np.isinf(energy), np.inf, power)
