"""Simple allocation rules: equal split, fixed and full token counts, random, Shi et al."""

from __future__ import annotations

import numpy as np

from ..allocation import Allocation
from ..checks import whole_number
from ..feasibility import within_tolerance
from ..method import Answer, Request
from ..physics.bandwidth import power_w_for_energy
from ..physics.demand import Demand
from ..physics.payload import payload_of
from ..physics.uplink import rate_bps, uplink_s
from ..primal.initial_points import start
from ..problem import FloatArray, IntArray, Problem
from ..registry import register
from ..result import Stop


@register("equal", always_feasible=False)
def equal(problem: Problem, request: Request) -> Answer:
    """Equal bandwidth for all, as federated frameworks share it, with the best common K.

    Power is the largest within the energy budget. Every common K is scored; those that break a
    deadline or budget count only when all do, and then the smallest is returned.

    Cost: O(M N).
    """
    counts = np.maximum(problem.min_tokens[:, None], np.arange(1, problem.tokens + 1))  # (M, N)
    _, uplink = _equal_shares(problem, counts)
    within = uplink <= problem.deadline_s[:, None]
    round_s = (problem.overhead_s[:, None] + uplink).max(axis=0)  # (N,)
    kept = np.take_along_axis(np.cumsum(problem.importance, axis=1), counts - 1, axis=1).sum(axis=0)
    best = int(np.argmax(np.where(within.all(axis=0), kept / round_s, 0.0)))
    return Answer(_shared_equally(problem, counts[:, best]), stats={"common_tokens": best + 1})


@register("full", always_feasible=False)
def full(problem: Problem, request: Request) -> Answer:
    """All tokens, with the bandwidth and power that finish them soonest (P1, P2).

    Where they cannot all be sent, the bandwidth is shared equally and the limits are broken.

    Cost: some closed forms per client.
    """
    return _soonest(problem, np.full(problem.clients, problem.tokens))


@register("fixed", always_feasible=False)
def fixed(problem: Problem, request: Request, *, tokens: int = 128) -> Answer:
    """A common K chosen by the user, with the bandwidth and power that finish it soonest (P1, P2).

    Args:
        problem: the instance.
        request: not used.
        tokens: K >= 1, raised to each client's K_min and cut to N. Where they cannot be sent, the
            bandwidth is shared equally and the limits are broken.

    Cost: some closed forms per client.
    """
    count = whole_number("solver 'fixed'", "tokens", tokens, 1)
    return _soonest(problem, common_tokens(problem, count))


@register("random")
def random(problem: Problem, request: Request) -> Answer:
    """Tokens and bandwidths at random, made feasible: a floor for every comparison.

    Tokens are uniform between K_min and N and bandwidths flat on the simplex, then cut by
    `initial_points.repair`.

    Cost: O(M N).
    """
    point, replaced = start(within_tolerance(problem), "random", (request.seed,))
    return Answer(point, stats={"bandwidth_replaced": replaced})


@register("shi")
def shi(problem: Problem, request: Request) -> Answer:
    """The bandwidth rule of Shi et al. (arXiv 2007.07174), everyone finishes at once, with the best common K.

    Clients send at full power as far as their energy lasts, and the weakest get the most bandwidth.

    Cost: some closed forms per client and common K.
    """
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
    """(M,) the same K <= N for all, raised to each client's `min_tokens`."""
    return np.maximum(problem.min_tokens, min(count, problem.tokens))


def _soonest(problem: Problem, tokens: IntArray) -> Answer:
    """The allocation of least round time for given tokens, or equal shares when they do not fit."""
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
