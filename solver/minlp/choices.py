"""What each client of a general problem may send, as plain arrays: one option is chosen per client."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from ..allocation import SKIPPED, Allocation
from ..physics.bandwidth import least_area
from ..problem import FloatArray, IntArray, Problem

LN2: Final = math.log(2.0)

NEVER_S: Final = 1e100
"""In place of an infinite deadline."""


class Choices(NamedTuple):
    """Options, client by client: rows with token counts, and sending nothing; (J,) each.

    Attributes:
        client: whose option it is.
        row: of the problem; -1 where nothing is sent.
        tokens: how many.
        utility: their worth; 0 where the objective counts none.
        nats: payload S ln 2; may be 0.
        overhead_s: o, s.
        deadline_s: D, s; `NEVER_S` for none.
        power_w: P, W.
        energy_j: what the row's budget leaves for the upload, J; may be inf.
        before_j: J.
        over_noise: h / N0, 1/W.
        efficiency: the most nats per Hz s that the row's caps allow; inf without caps.
    """

    client: IntArray
    row: IntArray
    tokens: IntArray
    utility: FloatArray
    nats: FloatArray
    overhead_s: FloatArray
    deadline_s: FloatArray
    power_w: FloatArray
    energy_j: FloatArray
    before_j: FloatArray
    over_noise: FloatArray
    efficiency: FloatArray

    @property
    def senders(self) -> IntArray:
        """Indices of the options that send bits."""
        return np.flatnonzero(self.nats > 0.0)

    def take(self, which: Any) -> Choices:
        """Some of the options."""
        return Choices(*(column[which] for column in self))

    def of_client(self, client: int) -> IntArray:
        """Indices of a client's options."""
        return np.flatnonzero(self.client == client)


def choices_of(problem: Problem) -> Choices:
    """All options that can be sent at all, without those that another of the same row makes pointless.

    An option is pointless where fewer tokens of its row, and so fewer bits, are worth as much.

    Cost: O(R N).
    """
    listed: list[tuple[int, int, int, float, float]] = []
    for m in range(problem.clients):
        if problem.may_skip[m]:
            listed.append((m, SKIPPED, 0, 0.0, 0.0))
        for r in np.flatnonzero(problem.client == m):
            counts = np.arange(problem.min_tokens[r], problem.max_tokens[r] + 1)
            rows = np.full(counts.size, r)
            worth = problem.worth_of(rows, counts) * float(problem.objective.counts_utility)
            bits = problem.bits_of(rows, counts)
            best_before = np.concatenate(([-math.inf], np.maximum.accumulate(worth)[:-1]))
            slot_s = min(float(problem.deadline_s[r]), NEVER_S)
            left_j = float(problem.max_energy_j[r] - problem.before_j[r])
            spent_j = min(float(problem.max_power_w[r]) * slot_s, left_j)
            most = spent_j * float(problem.gain[r]) / problem.noise_w_per_hz
            can = (worth > best_before) & (bits * LN2 < most) & (left_j > 0.0)
            listed += [
                (m, int(r), int(k), float(worth[i]), float(bits[i]) * LN2)
                for i, k in enumerate(counts)
                if can[i]
            ]
    client, row, tokens, utility, nats = (np.array(column) for column in zip(*listed, strict=True))
    sent = row >= 0

    def column(values: FloatArray, nothing: float = 0.0) -> FloatArray:
        return np.where(sent, values[np.maximum(row, 0)], nothing)

    over_noise = problem.gain / problem.noise_w_per_hz
    with np.errstate(over="ignore"):
        density = np.log1p(problem.max_psd_w_per_hz * over_noise)
    return Choices(
        client,
        row,
        tokens,
        utility,
        nats,
        overhead_s=column(problem.overhead_s),
        deadline_s=column(np.minimum(problem.deadline_s, NEVER_S)),
        power_w=column(problem.max_power_w),
        energy_j=column(problem.max_energy_j - problem.before_j),
        before_j=column(problem.before_j),
        over_noise=column(over_noise),
        efficiency=column(np.minimum(problem.max_bps_per_hz * LN2, density), math.inf),
    )


def with_limits_of(choices: Choices, problem: Problem) -> Choices:
    """The same options within other limits of the same problem."""
    row = np.maximum(choices.row, 0)
    sent = choices.row >= 0
    over_noise = problem.gain[row] / problem.noise_w_per_hz
    with np.errstate(over="ignore"):
        density = np.log1p(problem.max_psd_w_per_hz[row] * over_noise)
    return choices._replace(
        deadline_s=np.where(sent, np.minimum(problem.deadline_s, NEVER_S)[row], 0.0),
        power_w=np.where(sent, problem.max_power_w[row], 0.0),
        energy_j=np.where(sent, (problem.max_energy_j - problem.before_j)[row], 0.0),
        efficiency=np.where(sent, np.minimum(problem.max_bps_per_hz[row] * LN2, density), math.inf),
    )


def slots_s(choices: Choices, round_s: float) -> FloatArray:
    """(J,) time for each upload in a round, s; <= 0 where there is none (P1)."""
    return np.minimum(round_s - choices.overhead_s, choices.deadline_s)


def needs_hz(choices: Choices, slot_s: FloatArray) -> FloatArray:
    """(J,) least bandwidth of each option in its slot, Hz; inf where there is none (P2).

    Args:
        choices: the options.
        slot_s: (J,) s.
    """
    can = slot_s > 0.0
    slot = np.where(can, slot_s, 1.0)
    sends = choices.nats > 0.0
    spent = np.minimum(choices.power_w * slot, choices.energy_j)
    received = np.where(sends, spent * choices.over_noise, 1.0)
    area, _ = least_area(np.where(sends, choices.nats, 0.5), received)
    need = np.maximum(area, choices.nats / choices.efficiency) / slot
    return np.where(sends, np.where(can, need, math.inf), np.where(slot_s >= 0.0, 0.0, math.inf))


def allocation_of(
    problem: Problem, choices: Choices, bandwidth_hz: FloatArray, slot_s: FloatArray
) -> Allocation:
    """The allocation of one option per client on given bandwidths: the least power that is in time.

    Args:
        problem: the instance.
        choices: (M,) one option per client, in their order.
        bandwidth_hz: (M,) Hz.
        slot_s: (M,) s, time that each upload takes.
    """
    sends = choices.nats > 0.0
    width = np.where(sends, bandwidth_hz, 1.0)
    slot = np.where(sends, slot_s, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.where(
            sends,
            width / np.where(sends, choices.over_noise, 1.0) * np.expm1(choices.nats / (width * slot)),
            0.0,
        )
    # Rounding may exceed a limit that binds: it is met exactly, and the upload ends a few digits later.
    power = np.minimum(power, choices.power_w)
    rows = None if problem.is_one_row_each and not problem.may_skip.any() else choices.row
    return Allocation(choices.tokens, np.where(sends, width, 0.0), power, rows)
