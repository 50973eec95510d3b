"""Enumerate the token vectors of an interval that could still beat the incumbent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..physics.demand import Demand
from ..problem import FloatArray, IntArray, Problem
from .certificate import BestReplies, Certificate


def surviving_tokens(
    certificate: Certificate, low: BestReplies, high: BestReplies, slack: float, limit: int
) -> IntArray | None:
    """(L, M) all token vectors with a round time in [low, high] whose Lagrangian loss is within a slack.

    A vector that beats a target T at some round time tau of the interval loses at most
    L(tau) - T tau <= slack against the clients' best replies, and its loss is a sum over clients. A
    count above (below) the range of best replies loses at least what it loses at the kindest of the
    ends and the deadline (of the ends): the marginal cost is monotone in tau on either side of it.
    Vectors that need more than the bandwidth even at `high` are dropped too.

    Args:
        certificate: of the problem.
        low: best replies at the lower end.
        high: best replies at the upper end, same price.
        slack: largest loss, >= 0.
        limit: give up when more than this many partial vectors survive.

    Returns:
        The vectors, or None beyond the limit. Cost: 2 M N closed forms (3 M N across deadlines) plus the
        surviving vectors.
    """
    problem, demand = certificate.problem, certificate.demand
    clients, counts = problem.clients, np.arange(problem.tokens + 1)
    area_high = _areas(demand, high.slot_s, counts)
    need_high = area_high / high.slot_s[:, None]
    tables = [_values(demand, low, _areas(demand, low.slot_s, counts)), _values(demand, high, area_high)]
    above = list(tables)
    first = np.minimum(low.choice.tokens, high.choice.tokens)
    last = np.maximum(low.choice.tokens, high.choice.tokens)
    middle = certificate.at_deadlines(low, high)
    if middle is not None:
        above.append(_values(demand, middle, _areas(demand, middle.slot_s, counts)))
        last = np.maximum(last, middle.choice.tokens)
    rows = np.arange(clients)
    loss = np.zeros(tables[0].shape)
    for best in (first, last):
        loss_above = np.min([_loss(table, best) for table in above], axis=0)
        loss_below = np.min([_loss(table, best) for table in tables], axis=0)
        loss = np.maximum(loss, np.where(counts > best[:, None], loss_above, loss_below))
    loss = np.where(counts >= problem.min_tokens[:, None], np.maximum(loss, 0.0), np.inf)
    loss[~np.isfinite(need_high)] = np.inf
    options = [np.flatnonzero(row <= slack) for row in loss]
    if any(option.size == 0 for option in options):
        return np.empty((0, clients), dtype=np.int64)
    same = _identical_to_previous(problem)
    order = sorted(rows, key=lambda m: (options[int(m)].size, m)) if not same.any() else list(rows)
    need_left = sum(float(need_high[m, options[m][0]]) for m in rows)
    vectors = np.empty((1, 0), dtype=np.int64)
    losses, needs = np.zeros(1), np.zeros(1)
    for position, m in enumerate(order):
        option = options[m]
        need_left -= float(need_high[m, option[0]])
        total = losses[:, None] + loss[m, option]
        need = needs[:, None] + need_high[m, option]
        keep = (total <= slack) & (need + need_left <= problem.bandwidth_hz * (1 + 1e-9))
        if same[m]:
            keep &= option <= vectors[:, position - 1][:, None]
        parent, child = np.nonzero(keep)
        if parent.size > limit:
            return None
        vectors = np.column_stack((vectors[parent], option[child]))
        losses, needs = total[parent, child], need[parent, child]
    result = np.empty_like(vectors)
    result[:, order] = vectors
    return result


def winners(demand: Demand, vectors: IntArray, target: float) -> NDArray[np.bool_]:
    """(L,) which token vectors reach an STE above a target: those that fit into round time f(K) / target.

    Args:
        demand: of the problem.
        vectors: (L, M) token counts.
        target: STE, 1/s.

    Cost: L M closed forms.
    """
    problem = demand.problem
    attention = demand.retained[np.arange(problem.clients), vectors].sum(axis=1)
    slot = np.minimum(attention[:, None] / target - problem.overhead_s, problem.deadline_s)
    possible = slot > 0
    slot = np.where(possible, slot, 1.0)
    area, _ = demand.kernel.area(demand.nats(vectors).ravel(), demand.energy_over_noise(slot).ravel())
    need = np.where(possible, area.reshape(slot.shape) / slot, np.inf)
    return np.asarray(need.sum(axis=1) <= problem.bandwidth_hz * (1 + 1e-9))


def _areas(demand: Demand, slot_s: FloatArray, counts: IntArray) -> FloatArray:
    """(M, N + 1) area of every count for a slot."""
    nats = demand.nats(counts[:, None]).T
    energy = np.broadcast_to(demand.energy_over_noise(slot_s)[:, None], nats.shape)
    empty = nats == 0
    area, _ = demand.kernel.area(np.where(empty, 1.0, nats).ravel(), energy.ravel())
    return np.where(empty, 0.0, area.reshape(nats.shape))


def _values(demand: Demand, replies: BestReplies, area: FloatArray) -> FloatArray:
    """(M, N + 1) f_m(K) - mu c_m(K) at a price; -inf where the tokens cannot be sent, free or not."""
    sendable = np.isfinite(area)
    charged = replies.charge[:, None] * np.where(sendable, area, 0.0)
    return np.where(sendable, demand.retained - charged, -np.inf)


def _loss(values: FloatArray, best: IntArray) -> FloatArray:
    """(M, N + 1) what each count loses against the given one; inf where it cannot be sent."""
    at_best = values[np.arange(best.size), best][:, None]
    sendable = np.isfinite(values)
    return np.where(sendable, at_best - np.where(sendable, values, 0.0), np.inf)


def _identical_to_previous(problem: Problem) -> NDArray[np.bool_]:
    """(M,) whether a client equals the one before it, so that only ordered counts need listing."""
    same = np.zeros(problem.clients, dtype=bool)
    same[1:] = True
    for value in problem.as_dict().values():
        if isinstance(value, np.ndarray):
            equal = value[1:] == value[:-1]
            same[1:] &= equal if equal.ndim == 1 else equal.all(axis=1)
    return same
