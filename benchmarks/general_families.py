"""Families beyond the token problem: other objectives, alternatives, skipping, caps and blocks.

They share the draws of `families` for a size and seed. Sources name the problem that a family poses; its
numbers are our own, in the range of the paper's cell. Every instance is feasible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ..models.cell.device import Architecture, forward_s
from ..solver import Energy, Problem, Retained, RoundTime, TotalTime, Weighted
from ..solver.physics.demand import Demand
from ..solver.problem import FloatArray
from .paper_cell import BATCH, BITS_PER_ELEMENT, ENERGY_J, TOKENS, Setting, cell_problem

BIT_DEPTHS: Final = np.array([32, 16, 8])
LOSS_PER_HALVING: Final = (0.02, 0.3)
"""A client's tokens in 16 bits are worth less by a share in this range, in 8 by three times as much."""

WORTH_OF_CUT: Final = {1: 0.7, 2: 0.85, 4: 0.95, 8: 1.0}
"""What a token is worth by the client's blocks: later attention knows better which tokens matter."""

CUT_CORES: Final = 5
CUT_CLOCK_HZ: Final = 1.25e9
"""Middle of the paper's devices."""

STAGE_FLOP: Final = 2 * np.array([0.74e9, 1.43e9, 3.51e9, 4.2e9])
"""Per image up to the end of each stage of a hierarchical transformer of 2, 2, 6 and 2 blocks of 0.35 G
multiply-adds each, with embedding and merging; rounded."""

STAGE_ELEMENTS: Final = 301_056 / 2.0 ** np.arange(4)
"""Per image at the end of each stage: 56 x 56 x 96, and half as many after every further one."""

CLOCKS_HZ: Final = np.array([0.8e9, 1.0e9, 1.25e9])
CPU_FLOP_PER_CYCLE_AND_CORE: Final = 16.0
CPU_CORES: Final = (2, 8)
CORE_POWER_W: Final = 0.2
"""Of a core at the highest clock; power grows with the third power of the clock."""

SUBCHANNEL_HZ: Final = 360e3
"""A resource block of 12 subcarriers of 30 kHz."""


def makespan(setting: Setting) -> Problem:
    """Least round time of fixed payloads, all tokens of everyone; all end at once on the whole band.

    Downlink and forward pass of `round_time` come before the upload. Nothing is to be chosen but bandwidth
    and power: the problem of most papers on split learning.
    """
    return _fixed_payloads(setting, objective=RoundTime())


def energy(setting: Setting) -> Problem:
    """Least energy of the payloads of `makespan` in 1.5 times its round time; slow, on the whole band.

    Everyone takes all the time that its deadline leaves, at powers well below the limits, and a hertz more
    would save everyone the same energy (Yang et al., arXiv 1911.02417).
    """
    return _fixed_payloads(setting, objective=Energy(1.5 * _shortest_round_s(setting)))


def total_time(setting: Setting) -> Problem:
    """Least sum of delays of the payloads of `makespan`; full power, and strong clients end early.

    A hertz more would save everyone the same time (SFL-GA, arXiv 2501.01078).
    """
    return _fixed_payloads(setting, objective=TotalTime())


def selection(setting: Setting) -> Problem:
    """Most clients in 0.6 times the round time of `makespan`; those with the worst channels are left out.

    Everyone may skip and is worth 1 (Shi et al., arXiv 2007.07174).
    """
    objective = Retained(0.6 * _shortest_round_s(setting))
    return _fixed_payloads(setting, may_skip=True, utility=np.ones((setting.clients, 1)), objective=objective)


def weighted(setting: Setting) -> Problem:
    """`round_time` with the time priced instead of divided by; interior.

    A second costs a tenth of what all tokens of everyone are worth (drift plus penalty).
    """
    problem = cell_problem(setting, whole_time=True)
    return replace(problem, objective=Weighted(per_second=0.1 * float(problem.importance.sum())))


def tokens_x_bits(setting: Setting) -> Problem:
    """`round_time` with 32, 16 or 8 bits per element, tokens inside; mixed, by what fewer bits cost.

    A token in fewer bits is worth less (`LOSS_PER_HALVING`); as with TSFLora (arXiv 2605.23988).
    """
    problem = cell_problem(setting, whole_time=True)
    return _alternatives(problem, bits=BIT_DEPTHS / BITS_PER_ELEMENT, worth=_worth_of_bits(setting))


def tokens_x_bits_x_cut(setting: Setting) -> Problem:
    """`tokens_x_bits` with 1, 2, 4 or 8 blocks of ViT-B/16 on the client; mixed.

    A deeper cut takes longer before the upload, and its tokens are worth more (`WORTH_OF_CUT`).
    """
    problem = cell_problem(setting, whole_time=True)
    shape, cuts = Architecture(), list(WORTH_OF_CUT)
    flop = BATCH * (np.array([shape.client_flop(cut) for cut in cuts]) - shape.client_flop(2))
    more_s = np.sign(flop) * forward_s(np.abs(flop), CUT_CORES, CUT_CLOCK_HZ)
    return _alternatives(
        problem,
        bits=np.repeat(BIT_DEPTHS / BITS_PER_ELEMENT, len(cuts)),
        worth=np.asarray(np.kron(_worth_of_bits(setting), list(WORTH_OF_CUT.values()))),
        more_s=np.tile(more_s, len(BIT_DEPTHS)),
    )


def cut_x_frequency(setting: Setting) -> Problem:
    """Least round time over 4 cuts and 3 clock frequencies; mixed: processors of few cores cut early.

    A later cut of a hierarchical transformer sends half as much and computes longer; a faster clock takes
    more energy per cycle, by its square, from the budget that the upload needs too (Yang et al.,
    arXiv 1911.02417, with cuts). At the lowest clock the last cut leaves 0.8 J for the upload. No deadlines.
    """
    cell = cell_problem(setting, whole_time=True)
    cores = setting.stream("processors").integers(*CPU_CORES, setting.clients, endpoint=True)
    core_s = forward_s(BATCH * STAGE_FLOP[:, None], 1, CLOCKS_HZ, CPU_FLOP_PER_CYCLE_AND_CORE)
    before_j = CORE_POWER_W * (CLOCKS_HZ / CLOCKS_HZ[-1]) ** 3 * core_s
    bits = BATCH * BITS_PER_ELEMENT * STAGE_ELEMENTS
    rows = core_s.size
    return Problem(
        gain=np.repeat(cell.gain, rows),
        importance=np.zeros((setting.clients * rows, 0)),
        bits_per_token=np.tile(np.repeat(bits, len(CLOCKS_HZ)), setting.clients),
        extra_tokens=1,
        bandwidth_hz=cell.bandwidth_hz,
        max_power_w=np.repeat(cell.max_power_w, rows),
        max_energy_j=ENERGY_J + before_j[-1, 0],
        overhead_s=(core_s.ravel() / cores[:, None]).ravel(),
        before_j=np.tile(before_j.ravel(), setting.clients),
        client=np.repeat(np.arange(setting.clients), rows),
        objective=RoundTime(),
    )


def skip(setting: Setting) -> Problem:
    """`round_time` with devices up to 8 times as slow, where all may send nothing; the slow are left out."""
    problem = cell_problem(setting, whole_time=True)
    slowness = 8.0 ** setting.stream("slowness").uniform(0.0, 1.0, setting.clients)
    return _changed(problem, may_skip=True, overhead_s=slowness * problem.overhead_s)


def psd_limited(setting: Setting) -> Problem:
    """`round_time` with power per hertz and bits per hertz limited; interior, a limit binds for most.

    The density is 1/64 to 4 times full power over a fair share of the band, even on a logarithmic scale, and
    no modulation brings more than 10 bit/s/Hz.
    """
    problem = cell_problem(setting, whole_time=True)
    exponent = setting.stream("psd").uniform(-3.0, 1.0, setting.clients)
    fair_density = problem.max_power_w / (problem.bandwidth_hz / setting.clients)
    return _changed(problem, max_psd_w_per_hz=4.0**exponent * fair_density, max_bps_per_hz=10.0)


def resource_blocks(setting: Setting) -> Problem:
    """`round_time` with the band in whole blocks of 360 kHz, 138 for up to 100 clients; interior."""
    return replace(cell_problem(setting, whole_time=True), block_hz=SUBCHANNEL_HZ)


GENERAL_FAMILIES: Final[tuple[Callable[[Setting], Problem], ...]] = (
    makespan,
    energy,
    total_time,
    selection,
    weighted,
    tokens_x_bits,
    tokens_x_bits_x_cut,
    cut_x_frequency,
    skip,
    psd_limited,
    resource_blocks,
)


def _fixed_payloads(setting: Setting, **changes: Any) -> Problem:
    """The cell of `round_time` in which everyone sends all of its tokens, and [CLS], as one payload."""
    cell = cell_problem(setting, whole_time=True)
    payload: dict[str, Any] = {
        "importance": np.zeros((setting.clients, 0)),
        "bits_per_token": cell.bits_per_token * (min(setting.tokens, TOKENS) + 1.0),
        "extra_tokens": 1,
        "min_tokens": 0,
        "max_tokens": 0,
    }
    return _changed(cell, **payload, **changes)


def _shortest_round_s(setting: Setting) -> float:
    """Least round time of `_fixed_payloads`, s."""
    cell = replace(cell_problem(setting, whole_time=True), extra_tokens=1)
    return Demand(cell).least_round_s(np.full(setting.clients, min(setting.tokens, TOKENS)))


def _changed(problem: Problem, **changes: Any) -> Problem:
    """A copy with other fields; scalars broadcast, as in `Problem`."""
    return replace(problem, **changes)


def _worth_of_bits(setting: Setting) -> FloatArray:
    """(M, 3) what a token is worth by `BIT_DEPTHS`, over that of single precision."""
    loss = setting.stream("bits").uniform(*LOSS_PER_HALVING, setting.clients)
    return 1.0 - np.outer(loss, [0.0, 1.0, 3.0])


def _alternatives(
    problem: Problem, bits: FloatArray, worth: FloatArray, more_s: FloatArray | None = None
) -> Problem:
    """Each client's row once per alternative.

    Args:
        problem: of one row per client.
        bits: (A,) of a token, over the row's own.
        worth: (M, A) of a token, likewise.
        more_s: (A,) further overhead, s; negative where there is less. No overhead falls below 0.
    """
    alternatives = worth.shape[1]
    overhead_s = np.repeat(problem.overhead_s, alternatives)
    if more_s is not None:
        overhead_s = np.maximum(overhead_s + np.tile(more_s, problem.clients), 0.0)
    importance = problem.importance[:, None, :] * worth[:, :, None]
    return Problem(
        gain=np.repeat(problem.gain, alternatives),
        importance=importance.reshape(-1, problem.tokens),
        bits_per_token=(problem.bits_per_token[:, None] * bits).ravel(),
        bandwidth_hz=problem.bandwidth_hz,
        max_power_w=np.repeat(problem.max_power_w, alternatives),
        max_energy_j=np.repeat(problem.max_energy_j, alternatives),
        deadline_s=np.repeat(problem.deadline_s, alternatives),
        overhead_s=overhead_s,
        extra_tokens=problem.extra_tokens,
        client=np.repeat(np.arange(problem.clients), alternatives),
    )
