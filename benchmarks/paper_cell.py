"""Random draw of one round of the paper's cell: devices, selected clients and their attention.

Numbers that the paper gives are its own; the others (reference gain, speeds, longest stay, GPU and
downlink rates, attention) are not known to us and were chosen plausibly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from scipy.special import ndtri

from ..models.cell.cell import Cell, Clients, channel_gain, drop, mean_gain, standing_time_s
from ..models.cell.device import Architecture, forward_s
from ..models.cell.mobility import takes_part
from ..solver import Problem
from ..solver.physics.bandwidth import power_w_for_energy
from ..solver.physics.uplink import payload_bits, rate_bps, uplink_s
from ..solver.problem import FloatArray
from ..solver.random_streams import random_stream
from ..solver.units import THERMAL_NOISE_W_PER_HZ

CELL: Final = Cell()
TOKENS: Final = 196
EXTRA_TOKENS: Final = 2
BATCH: Final = 64
WIDTH: Final = 768
BITS_PER_ELEMENT: Final = 32
BANDWIDTH_HZ: Final = 50e6
POWER_W: Final = 0.2
ENERGY_J: Final = 0.8

CLIENTS_PER_BAND: Final = 100
"""Up to this many share 50 MHz; more get 0.5 MHz each, so that size does not change the regime."""

STEEPNESS: Final = (0.8, 1.6)
"""Range of the standard deviation of a client's attention logits: the first tenth of the tokens holds
a third to two thirds of the attention."""

CLIENT_BLOCKS: Final = 2
FORWARD_FLOP_PER_IMAGE: Final = 6.05e9
"""Patch embedding and that many blocks of ViT-B/16 at 224 px."""

VIT_B16: Final = Architecture()
CLIENT_HALF_BITS: Final = 32 * (VIT_B16.embedding_parameters + CLIENT_BLOCKS * VIT_B16.block_parameters)
"""Patch embedding and that many blocks of ViT-B/16 in single precision."""

DOWNLINK_POWER_W: Final = 1.0


@dataclass(frozen=True)
class Setting:
    """What an instance is drawn from.

    Attributes:
        clients: M.
        seed: whole number >= 0.
        tokens: N.
    """

    clients: int
    seed: int
    tokens: int = TOKENS

    def stream(self, part: str) -> Generator:
        """Random numbers of one named part: the same in every process, independent of other parts."""
        return random_stream(f"stsflora instance: {part}, {self.clients} clients, seed {self.seed}")

    @property
    def bandwidth_hz(self) -> float:
        """Shared bandwidth: 50 MHz, and 0.5 MHz per client above 100 clients."""
        return BANDWIDTH_HZ * max(1.0, self.clients / CLIENTS_PER_BAND)


@dataclass(frozen=True, eq=False)
class Devices:
    """What the clients compute and send with, (M,) each.

    Attributes:
        batch: images per round.
        bits_per_token: payload of one token of the whole batch, bit.
        max_power_w: W.
        max_energy_j: uplink energy budget, J.
    """

    batch: FloatArray
    bits_per_token: FloatArray
    max_power_w: FloatArray
    max_energy_j: FloatArray


def paper_devices(setting: Setting) -> Devices:
    """Equal devices: 64 images of 768 x 32 bit per token, 0.2 W, 0.8 J."""
    values = (BATCH, BATCH * WIDTH * BITS_PER_ELEMENT, POWER_W, ENERGY_J)
    return Devices(*(np.full(setting.clients, value) for value in values))


def cell_problem(
    setting: Setting,
    devices: Devices | None = None,
    steepness: tuple[float, float] = STEEPNESS,
    *,
    whole_time: bool = False,
) -> Problem:
    """An instance of selected clients with K_min = 1.

    The deadline is the standing time less downlink and forward pass.

    Args:
        setting: size and seed.
        devices: `paper_devices` when left out.
        steepness: range of the attention's steepness, see `attention`.
        whole_time: downlink and forward pass are in the round time; otherwise it has no overhead.
    """
    devices = paper_devices(setting) if devices is None else devices
    clients = selected_clients(setting, devices)
    before_s = before_upload_s(setting, devices, clients)
    return Problem(
        gain=channel_gain(CELL, clients),
        importance=attention(setting, devices, steepness),
        bits_per_token=devices.bits_per_token,
        bandwidth_hz=setting.bandwidth_hz,
        max_power_w=devices.max_power_w,
        max_energy_j=devices.max_energy_j,
        deadline_s=standing_time_s(CELL, clients) - before_s,
        overhead_s=before_s if whole_time else 0.0,
        extra_tokens=EXTRA_TOKENS,
    )


def selected_clients(setting: Setting, devices: Devices) -> Clients:
    """Clients that stay long enough to send all tokens at the fair share of the bandwidth (paper eq. 9).

    Who does not is replaced by a newcomer with the same device, until all do: hence every choice of K is
    feasible (up to 196 tokens, with which selection plans at most). Of 100 clients or more nearly half
    are replaced, of fewer, who share the bandwidth with fewer, less.
    """
    rng = setting.stream("cell")
    clients = drop(CELL, setting.clients, rng)
    while True:
        needed_s = before_upload_s(setting, devices, clients) + _fair_share_upload_s(
            setting, devices, clients
        )
        too_slow = ~takes_part(needed_s, standing_time_s(CELL, clients))
        if not too_slow.any():
            return clients
        clients = clients.where(too_slow, drop(CELL, int(too_slow.sum()), rng))


def before_upload_s(
    setting: Setting, devices: Devices, clients: Clients, blocks: int = CLIENT_BLOCKS
) -> FloatArray:
    """(M,) downlink and forward pass of a round, s: 0.5 to 1.3 s with two blocks at the client.

    The frozen client half is broadcast at 1 W over 50 MHz, by path loss alone (a band that wide averages
    the fading out), and runs on a GPU of 4 to 6 cores at 1.0 to 1.5 GHz (paper).
    """
    rate = rate_bps(BANDWIDTH_HZ, DOWNLINK_POWER_W, mean_gain(CELL, clients), THERMAL_NOISE_W_PER_HZ)
    rng = setting.stream("compute")
    cores = rng.integers(4, 7, setting.clients)
    clock_hz = rng.uniform(1.0e9, 1.5e9, setting.clients)
    more = blocks - CLIENT_BLOCKS
    flop = devices.batch * (FORWARD_FLOP_PER_IMAGE + more * VIT_B16.block_flop())
    return uplink_s(CLIENT_HALF_BITS + 32 * more * VIT_B16.block_parameters, rate) + forward_s(
        flop, cores, clock_hz
    )


def attention(setting: Setting, devices: Devices, steepness: tuple[float, float] = STEEPNESS) -> FloatArray:
    """(M, N) batch importance: sorted softmax profiles that sum to the batch size (paper eqs. 18, 19).

    The logits of one image are normal; their standard deviation is the client's steepness, uniform in the
    given range: 0 is even, 4 leaves nearly everything to a few tokens. Summed position by position, sorted
    rows tend to the normal quantiles as 1 / sqrt(B), so one sorted draw is moved there by that factor
    instead of drawing B of them. Cost: O(M N log N), two arrays of (M, N) at most.
    """
    rng = setting.stream("attention")
    deviation = rng.uniform(*steepness, setting.clients)
    logits = -np.sort(rng.standard_normal((setting.clients, setting.tokens)), axis=1)
    quantiles = -ndtri((np.arange(setting.tokens) + 0.5) / setting.tokens)
    logits -= quantiles
    logits /= np.sqrt(devices.batch)[:, None]
    logits += quantiles
    logits *= deviation[:, None]
    weights = np.exp(logits, out=logits)
    weights *= (devices.batch / weights.sum(axis=1))[:, None]
    return weights


def _fair_share_upload_s(setting: Setting, devices: Devices, clients: Clients) -> FloatArray:
    """(M,) time to send the planned tokens at W_tot / M, full power within energy; inf where that is none."""
    gain, share_hz = channel_gain(CELL, clients), setting.bandwidth_hz / setting.clients
    bits = payload_bits(min(setting.tokens, TOKENS), devices.bits_per_token, EXTRA_TOKENS)
    affordable = power_w_for_energy(bits, share_hz, gain, devices.max_energy_j, THERMAL_NOISE_W_PER_HZ)
    power = np.minimum(devices.max_power_w, affordable)
    return uplink_s(bits, rate_bps(share_hz, power, gain, THERMAL_NOISE_W_PER_HZ))
