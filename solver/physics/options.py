"""Options: what each client may send, one of which is chosen: a row with a token count, or nothing.

The general form of a problem: alternatives, tokens within them, caps and skipping are one flat list. Options
that another one of the same client beats in every respect are left out (`docs/exact.md`, section 12).
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..problem import FloatArray, IntArray, Problem
from ..tolerances import EPSILON
from . import loops
from .instance import CLOSED_FORM_UNITS, NO_TABLE
from .jit import compiled_on
from .loops import LONGEST_S

ROW: Final = np.dtype(
    [
        ("max_power_w", np.float64),
        ("energy_j", np.float64),
        ("before_j", np.float64),
        ("overhead_s", np.float64),
        ("deadline_s", np.float64),
        ("gain_over_noise", np.float64),
        ("nats_per_hz_s", np.float64),
        ("capped_below", np.float64),
    ],
    align=True,
)
"""One row: limits, with the energy that is left for the upload, h / N0 in 1/W, eta ln 2, and the rho up to
which this cap and not power sets the need."""

SKIP: Final = -1
"""In place of a row where nothing is sent."""

compiled = compiled_on(loops)


class Options(NamedTuple):
    """What clients may send.

    Attributes:
        rows: (R,) of `ROW`.
        first: (M + 1,) client m has the options first[m] to first[m + 1] - 1.
        row: (J,) which row; -1 for nothing sent.
        tokens: (J,) how many.
        utility: (J,) their worth; 0 where the objective counts none.
        nats: (J,) payload, nat; may be 0.
        bandwidth_hz: W.
        unit: relative rounding error of a sum over clients of sums over tokens.
        dominated: how many options were left out.
    """

    rows: NDArray[Any]
    first: IntArray
    row: IntArray
    tokens: IntArray
    utility: FloatArray
    nats: FloatArray
    bandwidth_hz: float
    unit: float
    dominated: int


def options_of(problem: Problem) -> Options:
    """All options that can be sent at all within the problem's limits and that no other one beats.

    Cost: one pass over the tables, and over pairs of rows of a client with all their options.
    """
    rows = rows_of(problem)
    clients, tokens = problem.clients, problem.tokens
    first, row, count, utility, nats, dominated = _listed(
        rows,
        _uniform(_order(problem)),
        _uniform(problem.client),
        clients,
        _uniform(problem.may_skip),
        _uniform(problem.min_tokens),
        _uniform(problem.max_tokens),
        _uniform(problem.bits_per_token),
        float(problem.extra_tokens),
        NO_TABLE if problem.payload_bits is None else _uniform(problem.payload_bits),
        _uniform(problem.importance),
        NO_TABLE if problem.utility is None else _uniform(problem.utility),
        problem.objective.counts_utility,
        _uniform(problem.max_energy_j),
        _uniform(problem.max_psd_w_per_hz),
        _uniform(problem.max_bps_per_hz),
    )
    unit = (clients + tokens + CLOSED_FORM_UNITS) * EPSILON
    return Options(rows, first, row, count, utility, nats, problem.bandwidth_hz, unit, int(dominated))


def with_limits_of(options: Options, problem: Problem) -> Options:
    """The same options within the limits of the same problem with raised ones, or of it as given."""
    return options._replace(rows=rows_of(problem), bandwidth_hz=problem.bandwidth_hz)


def rows_of(problem: Problem) -> NDArray[Any]:
    """(R,) of `ROW`."""
    return _gathered(
        _uniform(problem.max_power_w),
        _uniform(problem.max_energy_j),
        _uniform(problem.before_j),
        _uniform(problem.overhead_s),
        _uniform(problem.deadline_s),
        _uniform(problem.gain),
        problem.noise_w_per_hz,
        _uniform(problem.max_psd_w_per_hz),
        _uniform(problem.max_bps_per_hz),
    )


def _uniform(array: NDArray[Any]) -> NDArray[Any]:
    """The array, contiguous and read-only: loops are compiled for each kind of array that they meet."""
    flags = array.flags
    if flags.c_contiguous and not flags.writeable:
        return array
    uniform = np.ascontiguousarray(array).view()
    uniform.flags.writeable = False
    return uniform


def _order(problem: Problem) -> IntArray:
    """(R,) rows in the order of their clients."""
    if problem.is_one_row_each:
        return problem.client
    return np.argsort(problem.client, kind="stable")


@compiled
def _gathered(
    max_power_w: FloatArray,
    max_energy_j: FloatArray,
    before_j: FloatArray,
    overhead_s: FloatArray,
    deadline_s: FloatArray,
    gain: FloatArray,
    noise_w_per_hz: float,
    max_psd_w_per_hz: FloatArray,
    max_bps_per_hz: FloatArray,
) -> NDArray[Any]:
    """`rows_of`, arrays (R,)."""
    rows = np.empty(gain.shape[0], ROW)
    for r in range(gain.shape[0]):
        # Python's floats, so that overflow is inf without a warning where this is not compiled.
        over_noise = float(gain[r]) / noise_w_per_hz
        cap = float(max_bps_per_hz[r]) * math.log(2.0)
        density = float(max_psd_w_per_hz[r]) * over_noise
        nats_per_hz_s = min(cap, math.log1p(density) if density < math.inf else math.inf)
        rows[r]["max_power_w"] = max_power_w[r]
        rows[r]["energy_j"] = max_energy_j[r] - before_j[r]
        rows[r]["before_j"] = before_j[r]
        rows[r]["overhead_s"] = overhead_s[r]
        rows[r]["deadline_s"] = deadline_s[r]
        rows[r]["gain_over_noise"] = over_noise
        rows[r]["nats_per_hz_s"] = nats_per_hz_s
        # Where the closed form meets s / (eta t): z + 1 - rho = eta with y - ln y = rho - ln rho, y = z + 1.
        rows[r]["capped_below"] = nats_per_hz_s / math.expm1(nats_per_hz_s) if nats_per_hz_s < 700.0 else 0.0
    return rows


@compiled
def _listed(
    rows: NDArray[Any],
    order: IntArray,
    client: IntArray,
    clients: int,
    may_skip: NDArray[np.bool_],
    min_tokens: IntArray,
    max_tokens: IntArray,
    bits_per_token: FloatArray,
    extra_tokens: float,
    payload_bits: FloatArray,
    importance: FloatArray,
    worth: FloatArray,
    counts_utility: bool,
    max_energy_j: FloatArray,
    max_psd_w_per_hz: FloatArray,
    max_bps_per_hz: FloatArray,
) -> tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray, int]:
    """The fields of `Options` that are lists, without the dominated ones, and how many these are.

    Args:
        rows: (R,) of `ROW`.
        order: (R,) rows, client by client.
        client: (R,).
        clients: M.
        may_skip: (M,).
        min_tokens: (R,), and likewise the other limits.
        max_tokens: (R,).
        bits_per_token: (R,) bit, where `payload_bits` is (0, 0).
        extra_tokens: e.
        payload_bits: (R, N + 1) bit, or (0, 0).
        importance: (R, N).
        worth: (R, N + 1) utilities, or (0, 0) where they are sums of importances.
        counts_utility: whether utilities matter; else the least payload of each row is its only option.
        max_energy_j: (R,) J.
        max_psd_w_per_hz: (R,) W/Hz.
        max_bps_per_hz: (R,) bit/s/Hz.
    """
    most = clients
    for r in range(rows.shape[0]):
        most += max_tokens[r] - min_tokens[r] + 1 if counts_utility else 1
    row, tokens = np.empty(most, np.int64), np.empty(most, np.int64)
    utility, nats = np.empty(most), np.empty(most)
    first = np.zeros(clients + 1, np.int64)
    begin, end = np.zeros(rows.shape[0], np.int64), np.zeros(rows.shape[0], np.int64)  # by place in `order`
    count, place, some_worth = 0, 0, False
    place_of = np.zeros(clients + 1, np.int64)
    for m in range(clients):
        first[m], place_of[m] = count, place
        if may_skip[m]:
            row[count], tokens[count], utility[count], nats[count] = SKIP, 0, 0.0, 0.0
            count += 1
        while place < order.shape[0] and client[order[place]] == m:
            r = order[place]
            begin[place] = count
            slot_s = min(float(rows[r]["deadline_s"]), LONGEST_S)
            energy_j = min(float(rows[r]["max_power_w"]) * slot_s, float(rows[r]["energy_j"]))
            over_noise = energy_j * float(rows[r]["gain_over_noise"])
            attention, summed = 0.0, 0
            last = max_tokens[r] if counts_utility else min_tokens[r]
            for k in range(min_tokens[r], last + 1):
                if payload_bits.shape[0] == 0:
                    bits = bits_per_token[r] * (k + extra_tokens)
                else:
                    bits = payload_bits[r, k]
                s = bits * math.log(2.0)
                if not (energy_j > 0.0 and s < over_noise):
                    break  # more tokens take more bits
                if worth.shape[0] > 0:
                    attention = float(worth[r, k])
                else:
                    while summed < k:
                        attention += float(importance[r, summed])
                        summed += 1
                row[count], tokens[count], nats[count] = r, k, s
                utility[count] = attention if counts_utility else 0.0
                some_worth = some_worth or utility[count] > 0.0
                count += 1
            end[place] = count
            place += 1
    first[clients], place_of[clients] = count, place
    beaten = np.zeros(count, np.bool_)
    for m in range(clients):
        skips = may_skip[m] and (some_worth or not counts_utility)
        for i in range(place_of[m], place_of[m + 1]):
            r = order[i]
            for h in range(place_of[m], place_of[m + 1]):
                q = order[h]
                better, equal = True, h <= i
                if q != r:
                    one, other = rows[q], rows[r]
                    differs = 0
                    for ours, theirs in (
                        (one["max_power_w"], other["max_power_w"]),
                        (one["energy_j"], other["energy_j"]),
                        (max_energy_j[q], max_energy_j[r]),
                        (-one["before_j"], -other["before_j"]),
                        (-one["overhead_s"], -other["overhead_s"]),
                        (one["deadline_s"], other["deadline_s"]),
                        (one["gain_over_noise"], other["gain_over_noise"]),
                        (
                            max_psd_w_per_hz[q] * one["gain_over_noise"],
                            max_psd_w_per_hz[r] * other["gain_over_noise"],
                        ),
                        (max_bps_per_hz[q], max_bps_per_hz[r]),
                    ):
                        if ours < theirs:
                            better = False
                            break
                        if ours > theirs:
                            differs += 1
                    equal = h < i or differs > 0  # then an equal option is enough to drop another
                elif h == i:
                    equal = False
                if not better:
                    continue
                j, highest, lower, lower_highest = begin[h], -math.inf, begin[h], -math.inf
                for k in range(begin[i], end[i]):
                    while lower < end[h] and nats[lower] < nats[k]:
                        lower_highest = max(lower_highest, utility[lower])
                        lower += 1
                    while j < end[h] and nats[j] <= nats[k]:
                        if j != k:
                            highest = max(highest, utility[j])
                        j += 1
                    if (
                        highest > utility[k]
                        or lower_highest >= utility[k]
                        or (equal and highest >= utility[k])
                    ):
                        beaten[k] = True
        if skips:
            for k in range(first[m] + 1, first[m + 1]):
                beaten[k] = beaten[k] or utility[k] <= 0.0
    kept = 0
    kept_first = np.zeros(clients + 1, np.int64)
    for m in range(clients):
        kept_first[m] = kept
        for k in range(first[m], first[m + 1]):
            if not beaten[k]:
                row[kept], tokens[kept], utility[kept], nats[kept] = row[k], tokens[k], utility[k], nats[k]
                kept += 1
    kept_first[clients] = kept
    return (
        kept_first,
        row[:kept].copy(),
        tokens[:kept].copy(),
        utility[:kept].copy(),
        nats[:kept].copy(),
        count - kept,
    )
