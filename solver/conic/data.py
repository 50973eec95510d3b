"""Coefficients of the relaxed program around a centre; `conic.program` has the formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from ..physics.bandwidth import least_area
from ..physics.demand import Demand
from ..problem import FloatArray, IntArray

PIECES: Final = np.array([-128, -64, -32, -16, -8, -5, -3, -2, -1, 0, 1, 2, 4, 7, 15, 31, 63, 127])
"""Pieces of f_m kept, counted from the one that begins at the centre."""

_STEPS: Final = 1e-3 * 3.0 ** np.arange(8)
TANGENTS: Final = np.exp(np.concatenate((-_STEPS[::-1], [0.0], _STEPS)))
"""Signal-to-noise ratios at which the rate is linearised, relative to the centre's."""

MEMORY: Final = 3
"""Earlier centres at which the program with a free round time stays exact too, lest the centres cycle."""

UNLIMITED: Final = 1e4
"""Stands for limits on power or energy that are that many times what the centre uses, or more."""


class Centre(NamedTuple):
    """Where the program is exact: (M,) tokens, fractional, and the round time, s."""

    tokens: FloatArray
    round_s: float


class Scale(NamedTuple):
    """Units of the program's value, 1/s, and of its budget's multiplier, retained attention per Hz s."""

    ste: float
    price: float


class _Point(NamedTuple):
    """(M,) slot (s), energy (J and over noise), least area (Hz s) and signal-to-noise ratio at a centre."""

    slot_s: FloatArray
    energy_j: FloatArray
    energy: FloatArray
    area: FloatArray
    snr: FloatArray


def least_snr(demand: Demand, centre: Centre) -> float:
    """Smallest signal-to-noise ratio over the clients at a centre."""
    return float(_point(demand, centre, joint=False).snr.min())


def coefficients(
    demand: Demand, centre: Centre, most: IntArray, joint: bool, earlier: Sequence[Centre] = ()
) -> tuple[dict[str, FloatArray], Scale]:
    """Data of the program by parameter name, and its units.

    Args:
        demand: of the problem.
        centre: its tokens can be sent within its round time.
        most: (M,) largest token counts.
        joint: whether the round time is free; deadlines are then left out.
        earlier: centres of programs solved before, for the joint form; the last `MEMORY` are used.
    """
    problem = demand.problem
    at = _point(demand, centre, joint)
    sent = centre.tokens + problem.extra_tokens
    if not joint:
        # At a fixed round time energy alone limits the tokens (P6).
        sendable = np.floor(at.energy * (1.0 - 1e-9) / demand.nats_per_token) - problem.extra_tokens
        most = np.clip(sendable, problem.min_tokens, most).astype(np.int64)
    data = {
        "share": at.area / at.slot_s / problem.bandwidth_hz,
        "fewest": (problem.min_tokens + problem.extra_tokens) / sent,
        "most": (most + problem.extra_tokens) / sent,
        "log_snr": np.log1p(at.snr),
        "noise_share": 1.0 / (1.0 + at.snr),
        "signal_share": at.snr / (1.0 + at.snr),
    }
    kept = retained(demand, centre.tokens)
    nearest = np.rint(centre.tokens).astype(np.int64)
    firsts = [nearest + offset for offset in PIECES]
    ratios = [at.snr * relative for relative in TANGENTS]
    origin_s = float(problem.overhead_s.min())
    if joint:
        for former in [centre, centre, centre, *earlier][-MEMORY:]:
            near = np.rint(former.tokens).astype(np.int64)
            firsts += [near - 1, near]
            ratios.append(_point(demand, former, joint).snr)
        for j, ratio in enumerate(ratios):
            data |= _tangent(at.snr, ratio, j)
        data |= _limits(demand, centre.round_s, origin_s, at)
    for j, first in enumerate(firsts):
        within = np.clip(first, problem.min_tokens, most)
        data |= _piece(demand, np.minimum(within, problem.tokens - 1), sent, float(kept.mean()), j)
        if not joint:
            data |= _chord(demand, within, most, sent, at, j)
    price = float(kept.sum()) / (problem.bandwidth_hz * (centre.round_s - origin_s))
    return data, Scale(ste=float(kept.sum()) / centre.round_s, price=price)


def retained(demand: Demand, tokens: FloatArray) -> FloatArray:
    """(M,) attention of fractional token counts: f_m interpolated."""
    whole = np.minimum(tokens.astype(np.int64), demand.problem.tokens - 1)
    importance = demand.problem.importance[np.arange(tokens.size), whole]
    return demand.utility(whole) + importance * (tokens - whole)


def _point(demand: Demand, centre: Centre, joint: bool) -> _Point:
    problem = demand.problem
    slot_s = centre.round_s - problem.overhead_s if joint else demand.slot_s(centre.round_s)
    energy_j = np.minimum(problem.max_power_w * slot_s, problem.max_energy_j)
    energy = energy_j * demand.gain_over_noise
    area, _ = least_area(demand.nats_per_token * (centre.tokens + problem.extra_tokens), energy)
    return _Point(slot_s, energy_j, energy, area, energy / area)


def _piece(demand: Demand, first: IntArray, sent: FloatArray, kept: float, j: int) -> dict[str, FloatArray]:
    """f_m from `first` tokens to the next, extended, as a line in r and t."""
    slope = demand.problem.importance[np.arange(first.size), first]
    start = demand.utility(first) - slope * (first + demand.problem.extra_tokens)
    return {f"piece_slope_{j}": slope * sent / kept, f"piece_start_{j}": start / kept}


def _tangent(snr: FloatArray, there: FloatArray, j: int) -> dict[str, FloatArray]:
    """Tangent of the rate w ln(1 + x q / w) where x q / w is `there`."""
    rate_per_area = np.log1p(there) - there / (1.0 + there)
    log_snr = np.log1p(snr)
    return {f"cut_area_{j}": rate_per_area / log_snr, f"cut_energy_{j}": snr / (1.0 + there) / log_snr}


def _chord(
    demand: Demand, first: IntArray, most: IntArray, sent: FloatArray, at: _Point, j: int
) -> dict[str, FloatArray]:
    """Chord of the area from `first` tokens to the next; a tangent where the next cannot be sent."""
    sent_first = first + demand.problem.extra_tokens
    area, root = least_area(demand.nats(first), at.energy)
    following, _ = least_area(demand.nats(first + 1), at.energy)
    rise = np.where(first < most, following - area, area / sent_first * (1.0 + 1.0 / root))
    return {f"cut_area_{j}": at.area / (rise * sent), f"cut_energy_{j}": (sent_first - area / rise) / sent}


def _limits(demand: Demand, round_s: float, origin_s: float, at: _Point) -> dict[str, FloatArray]:
    """Slot, power and energy limits as lines in t, relative to what the centre uses."""
    problem = demand.problem
    constant = np.array([round_s / (round_s - origin_s)])
    slope = np.array([-origin_s / (round_s - origin_s)])
    power = np.minimum(problem.max_power_w * at.slot_s / at.energy_j, UNLIMITED)
    return {
        "slot_constant": constant,
        "slot_slope": slope,
        "power_constant": power * constant,
        "power_slope": power * slope,
        "energy_limit": np.minimum(problem.max_energy_j / at.energy_j, UNLIMITED),
    }
