r"""Small-scale fading: Rayleigh, Rician or none, independent or correlated over rounds.

A channel is :math:`h = \sqrt{\kappa / (\kappa + 1)} + x / \sqrt{\kappa + 1}` with a scattered part x, complex
normal of unit power, and the Rician factor :math:`\kappa`: 0 is Rayleigh, inf no fading. Its power
:math:`|h|^2` has mean 1. Only x changes over time, so every process here makes or moves x.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import j0

from ...solver.problem import FloatArray
from ..arguments import require_range, require_whole

ComplexArray = NDArray[np.complex128]

SPEED_OF_LIGHT_M_PER_S: Final = 299_792_458.0


def scattered(clients: int, rng: Generator) -> ComplexArray:
    """(M,) independent scattered amplitudes x, circular complex normal with E|x|^2 = 1."""
    require_whole("scattered", "clients", clients)
    parts = rng.standard_normal((clients, 2)) * np.sqrt(0.5)
    return np.asarray(parts[:, 0] + 1j * parts[:, 1])


def fading_power(scattered_amplitude: ArrayLike, rician_factor: ArrayLike = 0.0) -> FloatArray:
    """Fading power |h|^2 of mean 1 from scattered amplitudes.

    Args:
        scattered_amplitude: x, complex, any shape, unit mean power.
        rician_factor: ratio of the steady to the scattered power, linear, >= 0, broadcast against x;
            0 gives Rayleigh fading (exponential power), inf none (power 1).

    Raises:
        ProblemError: a negative Rician factor.
    """
    require_range("fading_power", "rician_factor", rician_factor, 0.0)
    scattered_share = 1.0 / (1.0 + np.asarray(rician_factor, dtype=np.float64))
    amplitude = np.sqrt(1.0 - scattered_share) + np.sqrt(scattered_share) * np.asarray(scattered_amplitude)
    return np.asarray(amplitude.real**2 + amplitude.imag**2)


def doppler_hz(speed_m_per_s: ArrayLike, carrier_hz: float) -> FloatArray:
    """Largest Doppler shift v f_c / c in Hz of a client at a speed >= 0 m/s."""
    require_range("doppler_hz", "speed_m_per_s", speed_m_per_s, 0.0, open_high=True)
    require_range("doppler_hz", "carrier_hz", carrier_hz, 0.0, open_low=True, open_high=True)
    return np.asarray(speed_m_per_s, dtype=np.float64) * (carrier_hz / SPEED_OF_LIGHT_M_PER_S)


def jakes_correlation(largest_doppler_hz: ArrayLike, interval_s: ArrayLike) -> FloatArray:
    """Correlation J0(2 pi f_D dt) of x over an interval under isotropic scattering (Clarke, Jakes)."""
    require_range("jakes_correlation", "largest_doppler_hz", largest_doppler_hz, 0.0, open_high=True)
    require_range("jakes_correlation", "interval_s", interval_s, 0.0, open_high=True)
    return np.asarray(j0(2.0 * np.pi * np.asarray(largest_doppler_hz) * np.asarray(interval_s)))


def gauss_markov_step(
    scattered_amplitude: ComplexArray, correlation: ArrayLike, rng: Generator
) -> ComplexArray:
    """The next x of a Gauss-Markov process: x' = a x + sqrt(1 - a^2) w, w independent.

    The power stays 1 on average and the correlation over n steps is a^n.

    Args:
        scattered_amplitude: (M,) x now.
        correlation: a in [-1, 1], scalar or (M,), for example from `jakes_correlation`.
        rng: source of w.

    Raises:
        ProblemError: a correlation outside [-1, 1].
    """
    require_range("gauss_markov_step", "correlation", correlation, -1.0, 1.0)
    a = np.asarray(correlation, dtype=np.float64)
    return np.asarray(
        a * scattered_amplitude + np.sqrt(1.0 - a**2) * scattered(len(scattered_amplitude), rng)
    )


def jakes_scattered(
    time_s: ArrayLike, largest_doppler_hz: ArrayLike, clients: int, rng: Generator, waves: int = 32
) -> ComplexArray:
    """Scattered amplitudes x at given times as sums of plane waves with random angles and phases.

    The autocorrelation over the ensemble is exactly J0(2 pi f_D dt), which no first-order process has;
    the distribution tends to complex normal as `waves` grows. After Xiao, Zheng and Beaulieu, IEEE
    Trans. Wireless Commun. 2006 (angles of arrival stratified around the circle).

    Args:
        time_s: (T,) times, s.
        largest_doppler_hz: scalar or (M,), Hz, >= 0.
        clients: M.
        rng: source of angles and phases.
        waves: plane waves per client.

    Returns:
        (T, M) amplitudes of unit mean power.

    Cost: O(T M) memory, O(T M waves) time.
    """
    require_whole("jakes_scattered", "clients", clients)
    require_whole("jakes_scattered", "waves", waves)
    require_range("jakes_scattered", "largest_doppler_hz", largest_doppler_hz, 0.0, open_high=True)
    time = np.atleast_1d(np.asarray(time_s, dtype=np.float64))[:, None]
    turn = 2.0 * np.pi * np.asarray(largest_doppler_hz, dtype=np.float64)
    total = np.zeros((time.shape[0], clients), dtype=np.complex128)
    for wave in range(waves):
        angle = 2.0 * np.pi * (wave + rng.random(clients)) / waves
        phase = 2.0 * np.pi * rng.random(clients)
        total += np.exp(1j * (turn * np.cos(angle) * time + phase))
    return np.asarray(total / np.sqrt(waves))
