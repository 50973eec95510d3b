r"""Closed forms of the rate equation (P1, P2): least bandwidth for a rate, largest power for an energy.

Everything rests on one scalar function. An upload of :math:`s = S \ln 2` nats on :math:`g = e h / N_0`
(energy over noise density, dimensionless) needs the time-bandwidth product :math:`A = W t` that solves
:math:`A \ln(1 + g / A) = s`. With :math:`\rho = s / g` and :math:`z > 0` the root of
:math:`z - \ln(1 + z) = \rho - 1 - \ln \rho`, it is :math:`A = s / (z + 1 - \rho)`; none exists for
:math:`\rho \ge 1`, the wideband limit. In terms of Lambert's W, :math:`z = -1 - W_{-1}(-\rho e^{-\rho})`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..problem import FloatArray

NEAR_LIMIT: Final = 0.01
"""Below this distance 1 - rho from the wideband limit the series is used: there Newton steps cancel."""

LIMIT_SERIES: Final = (1.0, 2 / 3, 4 / 9, 44 / 135, 104 / 405, 40 / 189, 7648 / 42525, 2848 / 18225)
"""z = eps (c0 + c1 eps + ...), eps = 1 - rho, from z z' (1 - eps) = eps (1 + z)."""


def excess(rho: ArrayLike) -> FloatArray:
    r"""Root z > 0 of z - ln(1 + z) = rho - 1 - ln(rho), for 0 < rho < 1; 0 for rho >= 1 (P2).

    Two steps of the fourth-order iteration of Fritsch, Shafer and Crowley (CACM 1973, algorithm 443)
    from sqrt(2u) + u (2/3 + ...); a series near the wideband limit. Relative error below 2e-14 for rho
    from 1e-300 to 1 - 1e-15, given rho exactly. Cost: three logarithms per element.
    """
    rho = np.asarray(rho, dtype=np.float64)
    distance = 1.0 - rho
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        u = -np.log(rho) - distance
        root = np.sqrt(2.0 * u)
        z = root + u * (2.0 / 3.0 + root / (3.0 * root + 15.0))
        for _ in range(2):
            residual = z - np.log1p(z) - u
            q = 2.0 * z * (z - residual * (2.0 / 3.0))
            z = z - (1.0 + z) * (residual / z) * (q - residual) / (q - 2.0 * residual)
    near = distance < NEAR_LIMIT
    if near.any():
        inside = np.clip(distance, 0.0, NEAR_LIMIT)
        z = np.where(near, inside * np.polyval(LIMIT_SERIES[::-1], inside), z)
    return np.asarray(z)


def least_area(nats: ArrayLike, energy_over_noise: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Least time-bandwidth product for an upload, and the root z behind it.

    Args:
        nats: s = S ln 2 > 0, any shape.
        energy_over_noise: g = e h / N0 > 0, dimensionless, broadcast against `nats`.

    Returns:
        (area in Hz s, inf where s >= g; z). The area's elasticity in s is (1 + z) / z, in g it is -1 / z.
    """
    nats = np.asarray(nats, dtype=np.float64)
    rho = nats / energy_over_noise
    z = excess(rho)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = np.where(rho < 1.0, nats / (z + (1.0 - rho)), np.inf)
    return area, z


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

    p T = E reads ln(1 + x) / x = rho with x = p h / (N0 W) and rho = S N0 ln2 / (E h), the same
    equation as `excess` solves: x = (z + 1 - rho) / rho. An infinite budget gives inf.
    """
    noise_over_gain = noise_w_per_hz / np.asarray(gain, dtype=np.float64)
    energy = np.asarray(energy_j, dtype=np.float64)
    rho = np.asarray(bits, dtype=np.float64) * np.log(2.0) * noise_over_gain / energy
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        snr = (excess(rho) + (1.0 - rho)) / rho
    power = np.where(rho < 1.0, snr * noise_over_gain * bandwidth_hz, 0.0)
    return np.where(np.isinf(energy), np.inf, power)
