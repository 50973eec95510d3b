"""Uplink formulas: payload, Shannon rate, upload time, retained attention. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..problem import FloatArray


def payload_bits(tokens: ArrayLike, bits_per_token: ArrayLike, extra_tokens: int) -> FloatArray:
    """Upload size S = beta (K + e) in bit (paper eq. 4).

    Args:
        tokens: K, any shape.
        bits_per_token: beta in bit, broadcast against `tokens`.
        extra_tokens: e, tokens sent besides the kept ones.
    """
    return np.asarray(bits_per_token, dtype=np.float64) * (
        np.asarray(tokens, dtype=np.float64) + extra_tokens
    )


def rate_bps(
    bandwidth_hz: ArrayLike, power_w: ArrayLike, gain: ArrayLike, noise_w_per_hz: float
) -> FloatArray:
    """Shannon rate R = W log2(1 + p h / (N0 W)) in bit/s (paper eq. 3); 0 where W or p is 0."""
    bandwidth = np.asarray(bandwidth_hz, dtype=np.float64)
    received = np.asarray(power_w, dtype=np.float64) * np.asarray(gain, dtype=np.float64) / noise_w_per_hz
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rate = bandwidth * np.log1p(received / bandwidth) / np.log(2.0)
    return np.where((bandwidth > 0) & (received > 0), rate, 0.0)


def uplink_s(bits: ArrayLike, rate: ArrayLike) -> FloatArray:
    """Upload time T = S / R in s; inf where the rate is 0."""
    bits, rate = np.asarray(bits, dtype=np.float64), np.asarray(rate, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(rate > 0, bits / rate, np.inf)


def retained(importance: ArrayLike, tokens: ArrayLike) -> FloatArray:
    """Retained attention f_m(K_m), the sum of the K_m largest importances (paper eq. 19).

    Args:
        importance: (M, N), sorted descending along the tokens.
        tokens: (M,) counts; beyond N nothing more is retained.

    Cost: O(M max K).
    """
    tokens = np.asarray(tokens)
    importance = np.asarray(importance, dtype=np.float64)[:, : int(tokens.max())]
    kept = np.arange(importance.shape[1]) < tokens[:, None]
    return np.asarray(np.sum(importance, axis=1, where=kept))
