"""Initial points: feasible allocations to start a local search from, and the repair that makes them so."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..allocation import Allocation
from ..physics.demand import Demand
from ..physics.payload import payload_of
from ..physics.uplink import rate_bps, uplink_s
from ..problem import FloatArray, IntArray, Problem
from ..random_streams import random_stream
from ..tolerances import TOKEN_FIT
from .blocks import largest_tokens, power_block

STARTS: Final = ("min_tokens", "full", "random")
"""Names that `start` knows."""


def start(problem: Problem, name: str, seed: tuple[int, ...] = (0,)) -> tuple[Allocation, bool]:
    """A feasible point: equal bandwidth with the fewest or all tokens, or both at random.

    Args:
        problem: a feasible instance.
        name: one of `STARTS`; "random" draws tokens uniformly and bandwidths from a flat Dirichlet.
        seed: whole numbers that name the random start.

    Returns:
        (the point, whether its bandwidths had to be replaced to be feasible, see `settle`).
    """
    tokens, share = problem.min_tokens, np.full(problem.clients, 1.0 / problem.clients)
    if name == "full":
        tokens = np.full(problem.clients, problem.tokens)
    elif name == "random":
        generator = random_stream(f"random start, seed {', '.join(map(str, seed))}")
        tokens = generator.integers(tokens, problem.tokens, endpoint=True)
        share = generator.dirichlet(np.ones(problem.clients))
    return repair(problem, tokens, share * problem.bandwidth_hz, problem.max_power_w)


def repair(
    problem: Problem, tokens: IntArray, bandwidth_hz: FloatArray, power_w: FloatArray
) -> tuple[Allocation, bool]:
    """The feasible point nearest in spirit to the wanted one.

    Bandwidth is scaled down to the band, power cut to the energy budgets (P1), then tokens to what
    energy and deadline allow. Where K_min does not fit either, the bandwidths give way to those that
    finish K_min soonest (P2), which fit on every feasible instance.

    Returns:
        (the point, whether the bandwidths gave way).
    """
    scale = problem.bandwidth_hz / max(problem.bandwidth_hz, float(bandwidth_hz.sum()))
    tokens = np.clip(tokens, problem.min_tokens, problem.tokens)
    settled = _trim(problem, tokens, bandwidth_hz * scale, power_w)
    if settled is not None:
        return settled, False
    demand = Demand(problem)
    safe = demand.allocation(problem.min_tokens, demand.least_round_s(problem.min_tokens))
    return _trim(problem, tokens, safe.bandwidth_hz, problem.max_power_w) or safe, True


def _trim(
    problem: Problem, tokens: IntArray, bandwidth_hz: FloatArray, power_w: FloatArray
) -> Allocation | None:
    """Cut power, then tokens, until every client is within its limits; None where K_min is too much."""
    limit_w = np.minimum(np.where(power_w > 0, power_w, np.inf), problem.max_power_w)
    for _ in range(2):
        power = np.minimum(power_block(problem, tokens, bandwidth_hz), limit_w)
        rate = rate_bps(bandwidth_hz, power, problem.gain, problem.noise_w_per_hz)
        bits = payload_of(problem).bits(tokens)
        fits = (rate > 0) & (uplink_s(bits, rate) <= problem.deadline_s * (1 + TOKEN_FIT))
        if fits.all():
            return Allocation(tokens, bandwidth_hz, power)
        full_rate = rate_bps(bandwidth_hz, limit_w, problem.gain, problem.noise_w_per_hz)
        affordable = np.maximum(largest_tokens(problem, full_rate, limit_w), problem.min_tokens)
        tokens = np.where(fits, tokens, np.minimum(tokens, affordable))
    return None
