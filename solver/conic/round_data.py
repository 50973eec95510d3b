"""Data of the relaxed program of one round time; `conic.round_program` has the formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from ..physics.bandwidth import least_area
from ..physics.option_loops import needs
from ..physics.options import Options
from ..physics.price_loops import slots
from ..problem import FloatArray, IntArray
from .data import PIECES, TANGENTS, UNLIMITED

DUMMY: Final = 1e-6
"""Area and payload, relative, of a client that can send nothing in the round: it has no say."""


@dataclass(frozen=True)
class Hulls:
    """Upper concave envelopes of utility over payload, of what can be sent within a round.

    Attributes:
        round_s: tau, s.
        slot_s: (M,) upload times, s; 1 for a client that sends nothing.
        nats: (M, H) payloads of the corners, rising, the last one repeated.
        utility: (M, H) their utilities.
        last: (M,) index of the last corner.
        area: (M, H) least time-bandwidth products of the corners, Hz s.
        energy: (M,) most energy over noise in the slot.
        nats_per_hz_s: (M,) most nats per Hz s; inf without a cap.
        joules: (M,) W times the noise over gain: energy over noise to joules.
    """

    round_s: float
    slot_s: FloatArray
    nats: FloatArray
    utility: FloatArray
    last: IntArray
    area: FloatArray
    energy: FloatArray
    nats_per_hz_s: FloatArray
    joules: FloatArray


class RoundCentre(NamedTuple):
    """Where the program is exact.

    Attributes:
        nats: (M,) payloads.
        area: (M,) time-bandwidth products, Hz s; only read where energy has a price.
    """

    nats: FloatArray
    area: FloatArray


class RoundScale(NamedTuple):
    """Units: (M,) payload, nat; (M,) area, Hz s; of utility; of the objective."""

    nats: FloatArray
    area: FloatArray
    utility: float
    objective: float


def hulls_of(options: Options, round_s: float) -> Hulls | None:
    """The envelopes at a round time; None where some client can send none of its options.

    Args:
        options: one row per client, which may be skipped.
        round_s: tau, s.
    """
    clients = options.first.shape[0] - 1
    need_hz, _ = needs(options, round_s)
    corners = []
    for m in range(clients):
        part = np.arange(options.first[m], options.first[m + 1])
        part = part[np.isfinite(need_hz[part])]
        if part.size == 0:
            return None
        corners.append(_envelope(options, part))
    last = np.array([part.size - 1 for part in corners])
    padded = np.stack([np.pad(part, (0, last.max() - part.size + 1), "edge") for part in corners])
    sender = padded[np.arange(clients), last]
    row = np.where(options.row[sender] >= 0, options.row[sender], 0)
    rows = options.rows[row]
    slot_s, _, energy = slots(options.rows, options.row[sender], options.nats[sender], round_s)
    slot_s = np.where(slot_s > 0.0, slot_s, 1.0)
    return Hulls(
        round_s,
        slot_s,
        options.nats[padded],
        options.utility[padded],
        last,
        need_hz[padded] * slot_s[:, None],
        energy,
        rows["nats_per_hz_s"],
        1.0 / rows["gain_over_noise"],
    )


def _envelope(options: Options, part: IntArray) -> IntArray:
    """Those options of one client that are corners of the envelope, by rising payload and utility."""
    order = part[np.lexsort((-options.utility[part], options.nats[part]))]
    nats, utility = options.nats, options.utility
    kept: list[int] = []
    for j in order:
        if kept and (nats[j] <= nats[kept[-1]] or utility[j] <= utility[kept[-1]]):
            continue
        while len(kept) > 1 and (
            (utility[kept[-1]] - utility[kept[-2]]) * (nats[j] - nats[kept[-1]])
            <= (utility[j] - utility[kept[-1]]) * (nats[kept[-1]] - nats[kept[-2]])
        ):
            kept.pop()
        kept.append(int(j))
    return np.array(kept)


def retained_at(hulls: Hulls, nats: FloatArray) -> FloatArray:
    """(M,) utility of payloads, by the envelope."""
    rows = zip(nats, hulls.nats, hulls.utility, strict=True)
    return np.array([np.interp(at, payload, worth) for at, payload, worth in rows])


def round_coefficients(
    hulls: Hulls,
    centre: RoundCentre,
    bandwidth_hz: float,
    per_joule: float,
    required: float,
    counts_utility: bool,
) -> tuple[dict[str, FloatArray], RoundScale]:
    """Data of the program around a centre by parameter name, and its units.

    Args:
        hulls: at the round time.
        centre: payloads within the envelopes, areas that carry them.
        bandwidth_hz: W.
        per_joule: what a joule costs; 0 for nothing.
        required: sum of utilities; 0 for none.
        counts_utility: whether utilities are wanted (and not only required).
    """
    clients = np.arange(hulls.last.size)
    least, most = hulls.nats[:, 0], hulls.nats[clients, hulls.last]
    first_sent = np.where(least > 0.0, least, hulls.nats[clients, np.minimum(1, hulls.last)])
    sends = first_sent > 0.0
    unit = np.where(sends, np.clip(centre.nats, first_sent, most), DUMMY)
    budget = bandwidth_hz * hulls.slot_s
    least_unit, _ = least_area(np.where(sends, unit, 1.0), np.where(sends, hulls.energy, 2.0))
    least_unit = np.maximum(least_unit, unit / hulls.nats_per_hz_s)
    area = np.where(sends, least_unit, DUMMY * budget)
    energy = np.where(sends, hulls.energy, area)
    if per_joule > 0.0:
        wide = np.minimum(np.maximum(centre.area, least_unit), budget)
        area = np.where(sends, np.maximum(wide, least_unit), area)
        with np.errstate(over="ignore"):
            used = area * np.expm1(unit / area)
        energy = np.where(sends, np.minimum(used, hulls.energy), area)
    snr = energy / area
    worth = retained_at(hulls, np.where(sends, unit, 0.0))
    worth_unit = float(worth.mean()) or 1.0
    spent = np.where(sends, energy * hulls.joules, 0.0)
    objective_unit = worth_unit * clients.size if counts_utility else float(spent.sum()) or 1.0
    edge = np.clip(
        np.array([np.searchsorted(row, s, "right") - 1 for row, s in zip(hulls.nats, unit, strict=True)]),
        0,
        np.maximum(hulls.last - 1, 0),
    )
    data = {
        "share": np.where(sends, area / budget, DUMMY),
        "fewest": np.where(sends, least / unit, 0.0),
        "most": np.where(sends, most / unit, 0.0),
        "load": unit / area,
        "log_snr": np.log1p(snr),
        "noise_share": 1.0 / (1.0 + snr),
        "signal_share": snr / (1.0 + snr),
        "cap": np.minimum(hulls.nats_per_hz_s * area / unit, UNLIMITED),
        "utility_weight": np.array([1.0 if counts_utility else 0.0]),
        "required": np.array([required / (worth_unit * clients.size)]),
        "joule_share": per_joule * spent / objective_unit,
        "energy_limit": np.minimum(np.where(sends, hulls.energy / energy, 1.0), UNLIMITED),
    }
    for j, offset in enumerate(PIECES):
        at = np.clip(edge + offset, 0, np.maximum(hulls.last - 1, 0))
        data |= _edge(hulls, clients, at, unit, area, worth_unit, j)
    for j, relative in enumerate(TANGENTS):
        there = snr * relative
        slope = np.log1p(there) - there / (1.0 + there)
        data[f"tangent_area_{j}"] = slope / data["load"]
        data[f"tangent_energy_{j}"] = snr / (1.0 + there) / data["load"]
    return data, RoundScale(unit, area, worth_unit * clients.size, objective_unit)


def _edge(
    hulls: Hulls,
    clients: IntArray,
    at: IntArray,
    unit: FloatArray,
    area: FloatArray,
    worth_unit: float,
    j: int,
) -> dict[str, FloatArray]:
    """One edge of the envelope, extended, as a line in r; and the chord of the area between its corners."""
    last = np.minimum(at + 1, hulls.last)
    nats, more = hulls.nats[clients, at], hulls.nats[clients, last] - hulls.nats[clients, at]
    worth = hulls.utility[clients, at]
    has = more > 0.0
    more = np.where(has, more, 1.0)
    slope = np.where(has, hulls.utility[clients, last] - worth, 0.0) / more
    here = hulls.area[clients, at]
    rise = np.where(has, hulls.area[clients, last] - here, np.where(here > 0.0, here, 1.0)) / np.where(
        has, more, np.where(nats > 0.0, nats, 1.0)
    )
    return {
        f"piece_slope_{j}": slope * unit / worth_unit,
        f"piece_start_{j}": (worth - slope * nats) / worth_unit,
        f"chord_area_{j}": area / (rise * unit),
        f"chord_start_{j}": np.where(has, nats - here / rise, 0.0) / unit,
    }
