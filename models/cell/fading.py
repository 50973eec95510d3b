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

from ...solver.checks import nonnegative_numbers, numbers_in_range, positive_numbers, whole_number
from ...solver.problem import FloatArray

ComplexArray = NDArray[np.complex128]

SPEED_OF_LIGHT_M_PER_S: Final = 299_792_458.0


def scattered(clients: int, rng: Generator) -> ComplexArray:
    """(M,) scattered amplitudes x of Rayleigh fading: independent circular complex normal, E|x|^2 = 1.

    Raises:
        OptionError: `clients` is no whole number >= 1.
    """
    whole_number("scattered", "clients", clients, 1)
    parts = rng.standard_normal((clients, 2)) * np.sqrt(0.5)
    return np.asarray(parts[:, 0] + 1j * parts[:, 1])


def fading_power(scattered_amplitude: ArrayLike, rician_factor: ArrayLike = 0.0) -> FloatArray:
    """Power |h|^2 of Rician or Rayleigh fading, mean 1, from scattered amplitudes.

    Args:
        scattered_amplitude: x, complex, any shape, unit mean power.
        rician_factor: ratio of the steady to the scattered power, linear, >= 0, broadcast against x;
            0 gives Rayleigh fading (exponential power), inf none (power 1).

    Raises:
        ProblemError: a negative Rician factor.
    """
    scattered_share = 1.0 / (1.0 + numbers_in_range("fading_power", "rician_factor", rician_factor, 0.0))
    amplitude = np.sqrt(1.0 - scattered_share) + np.sqrt(scattered_share) * np.asarray(scattered_amplitude)
    return np.asarray(amplitude.real**2 + amplitude.imag**2)


def doppler_hz(speed_m_per_s: ArrayLike, carrier_hz: float) -> FloatArray:
    """Largest Doppler shift v f_c / c in Hz.

    Args:
        speed_m_per_s: v, m/s, >= 0, any shape.
        carrier_hz: f_c, Hz, > 0.

    Raises:
        ProblemError: a value out of range.
    """
    speed = nonnegative_numbers("doppler_hz", "speed_m_per_s", speed_m_per_s)
    positive_numbers("doppler_hz", "carrier_hz", carrier_hz)
    return speed * (carrier_hz / SPEED_OF_LIGHT_M_PER_S)


def jakes_correlation(largest_doppler_hz: ArrayLike, interval_s: ArrayLike) -> FloatArray:
    """Correlation J0(2 pi f_D dt) of x over an interval under isotropic scattering (Clarke, Jakes).

    Args:
        largest_doppler_hz: f_D, Hz, >= 0, any shape.
        interval_s: dt, s, >= 0, broadcast against it.

    Raises:
        ProblemError: a value out of range.
    """
    doppler = nonnegative_numbers("jakes_correlation", "largest_doppler_hz", largest_doppler_hz)
    interval = nonnegative_numbers("jakes_correlation", "interval_s", interval_s)
    return np.asarray(j0(2.0 * np.pi * doppler * interval))


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
    a = numbers_in_range("gauss_markov_step", "correlation", correlation, -1.0, 1.0)
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
        clients: M >= 1.
        rng: source of angles and phases.
        waves: plane waves per client, >= 1.

    Returns:
        (T, M) amplitudes of unit mean power.

    Raises:
        OptionError: no client or no wave.
        ProblemError: a negative Doppler shift.

    Cost: O(T M) memory, O(T M waves) time.
    """
    whole_number("jakes_scattered", "clients", clients, 1)
    whole_number("jakes_scattered", "waves", waves, 1)
    time = np.atleast_1d(np.asarray(time_s, dtype=np.float64))[:, None]
    turn = 2.0 * np.pi * nonnegative_numbers("jakes_scattered", "largest_doppler_hz", largest_doppler_hz)
    total = np.zeros((time.shape[0], clients), dtype=np.complex128)
    for wave in range(waves):
        angle = 2.0 * np.pi * (wave + rng.random(clients)) / waves
        phase = 2.0 * np.pi * rng.random(clients)
        total += np.exp(1j * (turn * np.cos(angle) * time + phase))
    return np.asarray(total / np.sqrt(waves))
