"""Conversions at the edges: decibels and dBm in, SI units inside."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

THERMAL_NOISE_W_PER_HZ: Final = 10.0 ** (-174.0 / 10.0) * 1e-3
"""Thermal noise density of -174 dBm/Hz, in W/Hz."""


def linear_from_db(decibel: ArrayLike) -> NDArray[np.float64]:
    """Power ratio of a value in dB."""
    return np.asarray(10.0 ** (np.asarray(decibel, dtype=np.float64) / 10.0))


def db_from_linear(ratio: ArrayLike) -> NDArray[np.float64]:
    """Value in dB of a power ratio (> 0)."""
    return np.asarray(10.0 * np.log10(np.asarray(ratio, dtype=np.float64)))


def watt_from_dbm(dbm: ArrayLike) -> NDArray[np.float64]:
    """Watts of a power in dBm."""
    return linear_from_db(dbm) * 1e-3
