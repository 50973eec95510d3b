"""Simple allocation rules: equal split, fixed and full token counts, random, Shi et al."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..allocation import Allocation
from ..checks import whole_number
from ..evaluation import evaluate
from ..feasibility import within_tolerance
from ..method import Answer, Request
from ..objective import OBJECTIVES, Energy
from ..physics.bandwidth import power_w_for_energy
from ..physics.demand import Demand
from ..physics.payload import payload_of
from ..physics.uplink import rate_bps, uplink_s
from ..primal.given_choice import soonest
from ..primal.initial_points import start
from ..problem import FloatArray, IntArray, Problem
from ..random_streams import random_stream
from ..registry import EVERYTHING, register
from ..result import Stop
from ..tolerances import PERMITTED_SHARE

TAKES: Final = dict.fromkeys(OBJECTIVES, EVERYTHING)
"""Rules do not ask what is wanted: `evaluate` says what they are worth by it."""

NOBODY_CHOOSES: Final = dict.fromkeys(
    OBJECTIVES, EVERYTHING - {"alternatives", "skip", "requirement", "blocks"}
)
"""For rules that are always feasible: with other rows, or fewer senders, they may have to be others."""


@register("equal", always_feasible=False, takes=TAKES)
def equal(problem: Problem, request: Request) -> Answer:
    """Equal bandwidth for all, as federated frameworks share it, with the best common K.

    Power is the largest within the energy budget; by `Energy` the least that is in time. Every common K is
    scored; those that break a limit count only when all do, and then the smallest is returned. Everybody
    sends, by the first of the client's rows; resource blocks are shared out evenly, and the rest stays idle.

    Cost: O(M N).
    """
    if not problem.is_plain:
        return _best_equal(problem)
    counts = np.maximum(problem.min_tokens[:, None], np.arange(1, problem.tokens + 1))  # (M, N)
    _, uplink = _equal_shares(problem, counts)
    within = uplink <= problem.deadline_s[:, None]
    round_s = (problem.overhead_s[:, None] + uplink).max(axis=0)  # (N,)
    kept = np.take_along_axis(np.cumsum(problem.importance, axis=1), counts - 1, axis=1).sum(axis=0)
    best = int(np.argmax(np.where(within.all(axis=0), kept / round_s, 0.0)))
    return Answer(_shared_equally(problem, counts[:, best]), stats={"common_tokens": best + 1})


@register("full", always_feasible=False, takes=TAKES)
def full(problem: Problem, request: Request) -> Answer:
    """All tokens, with the bandwidth and power that finish them soonest (P1, P2).

    Where they cannot all be sent, the bandwidth is shared equally and the limits are broken. Everybody sends,
    by the first of the client's rows; by `Energy` as late as the round allows.

    Cost: some closed forms per client.
    """
    return _soonest(problem, problem.max_tokens[problem.row_of_client])


@register("fixed", always_feasible=False, takes=TAKES)
def fixed(problem: Problem, request: Request, *, tokens: int = 128) -> Answer:
    """A common K chosen by the user, with the bandwidth and power that finish it soonest (P1, P2).

    Args:
        problem: the instance.
        request: not used.
        tokens: K >= 1, raised to each client's K_min and cut to what it has. Where they cannot be sent, the
            bandwidth is shared equally and the limits are broken.

    Rows and round times are those of `full`.

    Cost: some closed forms per client.
    """
    count = whole_number("solver 'fixed'", "tokens", tokens, 1)
    return _soonest(problem, common_tokens(problem, count))


@register("random", takes=NOBODY_CHOOSES)
def random(problem: Problem, request: Request) -> Answer:
    """Tokens and bandwidths at random, made feasible: a floor for every comparison.

    Tokens are uniform between K_min and what there is, and bandwidths flat on the simplex, then cut by
    `initial_points.repair`. Beyond the token problem they are kept where they fit; else bandwidths give way
    to those that finish soonest, and tokens are halved until they fit.

    Cost: O(M N).
    """
    if not problem.is_plain:
        return _random_tokens(problem, request.seed)
    point, replaced = start(within_tolerance(problem), "random", (request.seed,))
    return Answer(point, stats={"bandwidth_replaced": replaced})


@register("shi", takes=NOBODY_CHOOSES)
def shi(problem: Problem, request: Request) -> Answer:
    """The bandwidth rule of Shi et al. (arXiv 2007.07174), everyone finishes at once, with the best common K.

    Clients send at full power as far as their energy lasts, and the weakest get the most bandwidth. By
    `Energy` all finish when the round must.

    Cost: some closed forms per client and common K.
    """
    if not problem.is_plain:
        return _best_at_once(problem, request)
    problem = within_tolerance(problem)
    demand = Demand(problem)
    best, best_ste, round_s = problem.min_tokens, -np.inf, np.inf
    best_round_s = np.inf
    stop = Stop.CONVERGED
    for count in range(1, problem.tokens + 1):
        tokens = common_tokens(problem, count)
        round_s = demand.least_round_s(tokens, round_s)
        if not np.isfinite(round_s):  # more tokens do not fit either
            break
        ste = float(demand.utility(tokens).sum()) / round_s
        if ste > best_ste:
            best, best_ste, best_round_s = tokens, ste, round_s
        if request.expired():
            if count < problem.tokens:
                stop = Stop.TIME_LIMIT
            break
    return Answer(demand.allocation(best, best_round_s), stop=stop, stats={"common_tokens": int(best.min())})


def common_tokens(problem: Problem, count: int) -> IntArray:
    """(M,) the same K for all, cut to what each client has and raised to its least, of its first row."""
    row = problem.row_of_client
    return np.maximum(problem.min_tokens[row], np.minimum(count, problem.max_tokens[row]))


def _soonest(problem: Problem, tokens: IntArray) -> Answer:
    """The allocation of least round time for given tokens, or equal shares when they do not fit."""
    if not problem.is_plain:
        found = soonest(problem, problem.row_of_client, tokens, 0.0)
        if found is not None:
            return Answer(_by_first_rows(problem, tokens, *found))
        return Answer(_equal_split(problem, tokens), message="These tokens do not fit; bandwidth is equal.")
    demand = Demand(problem)
    round_s = demand.least_round_s(tokens)
    if np.isfinite(round_s):
        return Answer(demand.allocation(tokens, round_s))
    return Answer(_shared_equally(problem, tokens), message="These tokens do not fit; bandwidth is equal.")


def _shared_equally(problem: Problem, tokens: IntArray) -> Allocation:
    power, _ = _equal_shares(problem, tokens[:, None])
    # Where no power meets the budget the evaluator shall report the excess at full power.
    power = np.where(power > 0, power, problem.max_power_w[:, None])
    return Allocation(tokens, np.full(problem.clients, problem.bandwidth_hz / problem.clients), power[:, 0])


def _equal_shares(problem: Problem, counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """(M, n) power in W (0 where no power meets the budget) and uplink time in s of n token choices."""
    bits = payload_of(problem).bits(counts.T).T
    share, gain = problem.bandwidth_hz / problem.clients, problem.gain[:, None]
    energy, noise = problem.max_energy_j[:, None], problem.noise_w_per_hz
    power = np.minimum(power_w_for_energy(bits, share, gain, energy, noise), problem.max_power_w[:, None])
    return power, uplink_s(bits, rate_bps(share, power, gain, noise))


def _best_equal(problem: Problem) -> Answer:
    """`equal` for any problem."""
    tried = [_equal_split(problem, common_tokens(problem, count)) for count in range(problem.tokens + 1)]
    scores = [evaluate(problem, allocation) for allocation in tried]
    best = 0
    for count, score in enumerate(scores):
        known = scores[best]
        worse = not known.feasible or math.isnan(known.value)  # an STE in no time
        if score.feasible and (worse or problem.objective.better(score.value, known.value)):
            best = count
    return Answer(tried[best], stats={"common_tokens": best})


def _best_at_once(problem: Problem, request: Request) -> Answer:
    """`shi` for any problem of one row per client, all of whom send."""
    best, best_value, common, stop = None, -problem.objective.unproved, 0, Stop.CONVERGED
    for count in range(problem.tokens + 1):
        tokens = common_tokens(problem, count)
        allocation = _within_tolerance(problem, tokens)
        if allocation is None:  # more tokens do not fit either
            break
        value = evaluate(problem, allocation).value
        if best is None or math.isnan(best_value) or problem.objective.better(value, best_value):
            best, best_value, common = allocation, value, count
        if request.expired():
            if count < problem.tokens:
                stop = Stop.TIME_LIMIT
            break
    return Answer(best, stop=stop, stats={"common_tokens": common})


def _random_tokens(problem: Problem, seed: int) -> Answer:
    """`random` for any problem of one row per client, all of whom send."""
    generator = random_stream(f"random start, seed {seed}")
    tokens = generator.integers(problem.min_tokens, problem.max_tokens, endpoint=True)
    allocation = _on_shares(problem, tokens, generator.dirichlet(np.ones(problem.clients)))
    if evaluate(problem, allocation).feasible:
        return Answer(allocation, stats={"bandwidth_replaced": False})
    excess = tokens - problem.min_tokens
    found = _within_tolerance(problem, tokens)
    while found is None and excess.any():
        excess //= 2
        found = _within_tolerance(problem, problem.min_tokens + excess)
    return Answer(found, stats={"bandwidth_replaced": True})


def _within_tolerance(problem: Problem, tokens: IntArray) -> Allocation | None:
    """Given tokens as soon as can be, within the limits as given or what `evaluate` permits more."""
    for share in (0.0, 0.5 * PERMITTED_SHARE, PERMITTED_SHARE):
        found = soonest(problem, problem.row_of_client, tokens, share)
        if found is not None:
            return _by_first_rows(problem, tokens, *found)
    return None


def _equal_split(problem: Problem, tokens: IntArray) -> Allocation:
    """(M,) tokens on equal shares of the band, in whole blocks where there are any."""
    share_hz = problem.bandwidth_hz / problem.clients
    if problem.block_hz is not None:
        share_hz = np.floor(share_hz / problem.block_hz * (1.0 + 1e-12)) * problem.block_hz
    return _on_shares(problem, tokens, np.full(problem.clients, share_hz / problem.bandwidth_hz))


def _on_shares(problem: Problem, tokens: IntArray, share: FloatArray) -> Allocation:
    """(M,) tokens on shares of the band, at the largest power within all limits but the deadline.

    By `Energy` at the least power that is in time, where that is within the limits.
    """
    row = problem.row_of_client
    bandwidth_hz, bits = share * problem.bandwidth_hz, problem.bits_of(row, tokens)
    gain, noise = problem.gain[row], problem.noise_w_per_hz
    sends = (bits > 0.0) & (bandwidth_hz > 0.0)
    width = np.where(sends, bandwidth_hz, 1.0)
    left_j = np.maximum(problem.max_energy_j - problem.before_j, 0.0)[row]
    with np.errstate(over="ignore"):
        capped_w = width * noise / gain * np.expm1(problem.max_bps_per_hz[row] * np.log(2.0))
    most_w = np.minimum(problem.max_power_w[row], np.minimum(problem.max_psd_w_per_hz[row] * width, capped_w))
    within = power_w_for_energy(np.where(sends, bits, 1.0), width, gain, np.maximum(left_j, 1e-300), noise)
    # Where no power meets the budget the evaluator shall report the excess at the largest power.
    power_w = np.where(within > 0.0, np.minimum(most_w, within), most_w)
    if isinstance(problem.objective, Energy):
        left_s = problem.objective.round_s - problem.overhead_s[row]
        slot_s = np.maximum(np.minimum(problem.deadline_s[row], left_s), 1e-300)
        with np.errstate(over="ignore"):
            in_time_w = width * noise / gain * np.expm1(bits * np.log(2.0) / (width * slot_s))
        power_w = np.minimum(power_w, in_time_w)
    return _by_first_rows(problem, tokens, np.where(sends, bandwidth_hz, 0.0), np.where(sends, power_w, 0.0))


def _by_first_rows(
    problem: Problem, tokens: IntArray, bandwidth_hz: FloatArray, power_w: FloatArray
) -> Allocation:
    row = None if problem.is_one_row_each else problem.row_of_client
    return Allocation(tokens, bandwidth_hz, power_w, row)
