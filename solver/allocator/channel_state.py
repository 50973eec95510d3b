r"""Channel gains from an SNR in dB or a CQI, less a margin for what the base station cannot know.

An SNR and a CQI speak of a reference power p and bandwidth W, those of the pilot they were measured on. The
gain that explains them there, :math:`h = \mathrm{SNR}\, N_0 W / p`, serves at any other power and bandwidth.

A margin lowers a gain by some dB. Whatever is planned at the lowered gain is met at every channel at least
that good: the rate grows with the gain, so uploads end sooner and cost less energy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..problem import FloatArray
from ..units import db_from_linear, linear_from_db

CQI_EFFICIENCY: Final = (
    *(0.0, 0.1523, 0.2344, 0.3770, 0.6016, 0.8770, 1.1758, 1.4766),
    *(1.9141, 2.4063, 2.7305, 3.3223, 3.9023, 4.5234, 5.1152, 5.5547),
)
"""Spectral efficiency of CQI 0 (out of range) to 15, bit/s/Hz (3GPP TS 38.214, table 5.2.2.1-2)."""


class Snr(NamedTuple):
    """A measured signal-to-noise ratio, in place of a gain.

    Attributes:
        snr_db: in dB.
        power_w: transmit power it was measured at; None for the client's `max_power_w`.
        bandwidth_hz: bandwidth it was measured over; None for the whole uplink band.

    Examples:
        >>> from stsflora.solver import Snr
        >>> Snr(21.0, power_w=0.1, bandwidth_hz=1e6)
        Snr(snr_db=21.0, power_w=0.1, bandwidth_hz=1000000.0)
    """

    snr_db: Any
    power_w: Any = None
    bandwidth_hz: Any = None


class Cqi(NamedTuple):
    """A channel quality indicator, in place of a gain.

    Attributes:
        index: 0 to 15; a client that reports 0 is out of range and cannot be served.
        power_w: as for `Snr`.
        bandwidth_hz: as for `Snr`.

    Examples:
        >>> from stsflora.solver import Allocator, Client, Cqi
        >>> weak, out = (Client(index, Cqi(index), [0.6, 0.4], 8e6, max_power_w=0.2) for index in (3, 0))
        >>> list(Allocator(bandwidth_hz=20e6).plan([weak, out]).grants)
        [3]
    """

    index: Any
    power_w: Any = None
    bandwidth_hz: Any = None


def gain_from_snr_db(
    snr_db: ArrayLike, power_w: ArrayLike, bandwidth_hz: ArrayLike, noise_w_per_hz: ArrayLike
) -> FloatArray:
    """Linear gain h = SNR N0 W / p that gives an SNR at power p over bandwidth W.

    Args:
        snr_db: dB, any shape.
        power_w: p, W, broadcast against it.
        bandwidth_hz: W, Hz, likewise.
        noise_w_per_hz: N0, W/Hz.
    """
    return _gain(linear_from_db(snr_db), power_w, bandwidth_hz, noise_w_per_hz)


def gain_from_cqi(
    index: ArrayLike, power_w: ArrayLike, bandwidth_hz: ArrayLike, noise_w_per_hz: ArrayLike
) -> FloatArray:
    """Linear gain at which Shannon's rate at power p over bandwidth W is what a CQI promises.

    A CQI is the highest spectral efficiency eta that the receiver decodes with at most 10 % block errors (TS
    38.214, table 5.2.2.1-2), so the SNR is taken as 2^eta - 1: the implementation's loss against
    Shannon is inside, and rates are right at the reference and extrapolated from there. CQI 0 gives 0.

    Args:
        index: whole numbers 0 to 15, any shape.
        power_w: p, W, broadcast against it.
        bandwidth_hz: W, Hz, likewise.
        noise_w_per_hz: N0, W/Hz.

    Raises:
        ProblemError: an index that is none.
    """
    indices = np.asarray(index)
    good = np.isin(indices, np.arange(len(CQI_EFFICIENCY)))
    if indices.dtype.kind not in "iuf" or not good.all():
        got = f"{indices[~good].flat[0]:g}" if indices.dtype.kind in "iuf" else f"type {indices.dtype}"
        raise ProblemError("cqi", got, "whole numbers from 0 to 15", "Map other CQI tables to an SNR first")
    snr = np.expm1(np.asarray(CQI_EFFICIENCY)[indices.astype(np.int64)] * np.log(2.0))
    return _gain(snr, power_w, bandwidth_hz, noise_w_per_hz)


def gain_with_margin(gain: ArrayLike, margin_db: ArrayLike) -> FloatArray:
    """The gain lowered by a margin in dB."""
    return np.asarray(gain, dtype=np.float64) * linear_from_db(-np.asarray(margin_db, dtype=np.float64))


def rayleigh_margin_db(outage: ArrayLike) -> FloatArray:
    """Margin on a mean gain that Rayleigh fading exceeds with a given probability: -10 log10(-ln(1 - q)).

    Args:
        outage: q in (0, 1), the share of rounds in which the channel may be worse. Negative margins, where
            q is above 0.63, are right.

    Raises:
        ProblemError: an outage outside (0, 1).

    Examples:
        >>> from stsflora.solver import rayleigh_margin_db
        >>> rayleigh_margin_db([0.01, 0.1]).round(1)
        array([20. ,  9.8])
    """
    return fading_margin_db(outage, lambda probability: -np.log1p(-probability))


def fading_margin_db(outage: ArrayLike, quantile: Callable[[FloatArray], ArrayLike]) -> FloatArray:
    """Margin on a mean gain for any law of fading.

    Args:
        outage: in (0, 1), any shape.
        quantile: from probabilities to values > 0 of the fading power, whose mean is 1.

    Raises:
        ProblemError: an outage outside (0, 1), or a quantile that is not finite and > 0.

    Examples:
        >>> from scipy.stats import gamma
        >>> from stsflora.solver import fading_margin_db
        >>> nakagami = gamma(a=4, scale=1 / 4)  # power of Nakagami fading with m = 4
        >>> round(float(fading_margin_db(0.1, nakagami.ppf)), 1)
        3.6
    """
    probability = np.asarray(outage, dtype=np.float64)
    if not ((probability > 0) & (probability < 1)).all():
        raise ProblemError(
            "outage", f"{outage!r:.40}", "probabilities in (0, 1)", "Use 0.1 for one round in ten"
        )
    power = np.asarray(quantile(probability), dtype=np.float64)
    if not ((power > 0) & (power < np.inf)).all():
        raise ProblemError(
            "fading_margin_db", f"quantile {power!r:.40}", "finite and > 0", "Pass a quantile of the power"
        )
    return -db_from_linear(power)


def _gain(
    snr: FloatArray, power_w: ArrayLike, bandwidth_hz: ArrayLike, noise_w_per_hz: ArrayLike
) -> FloatArray:
    noise_w = np.multiply(noise_w_per_hz, bandwidth_hz, dtype=np.float64)
    return np.asarray(snr * noise_w / np.asarray(power_w, dtype=np.float64))
