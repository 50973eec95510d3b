"""The last step to proved optimality: list all token counts that could still beat the incumbent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .certificate import Certificate, Reading
from .demand import Demand
from .problem import FloatArray, IntArray


def surviving_tokens(
    certificate: Certificate, low: Reading, high: Reading, slack: float, limit: int
) -> IntArray | None:
    """(L, M) all token vectors with a round time in [low, high] whose Lagrangian loss is within a slack.

    A vector that beats a target T at some round time tau of the interval loses at most
    L(tau) - T tau <= slack against the clients' best replies, and its loss is a sum over clients. A
    count above (below) the range of best replies loses at least what it loses at the kindest of the
    ends and the deadline (of the ends): the marginal cost is monotone in tau on either side of it.
    Vectors that need more than the bandwidth even at `high` are dropped too.

    Args:
        certificate: of the problem.
        low: reading at the lower end.
        high: reading at the upper end, same price.
        slack: largest loss, >= 0.
        limit: give up when more than this many partial vectors survive.

    Returns:
        The vectors, or None beyond the limit. Cost: 2 M N closed forms plus the surviving vectors.
    """
    problem, demand = certificate.problem, certificate.demand
    clients, counts = problem.clients, np.arange(problem.tokens + 1)
    need_high = _table(certificate, high.slot_s, counts) / high.slot_s[:, None]
    tables = [_value(certificate, end, counts) for end in (low, high)]
    first = np.minimum(low.choice.tokens, high.choice.tokens)
    last = np.maximum(low.choice.tokens, high.choice.tokens)
    deadline_s = problem.overhead_s + problem.deadline_s
    crossing = (low.round_s < deadline_s) & (deadline_s < high.round_s)
    above = list(tables)
    if crossing.any():
        round_s = np.where(crossing, deadline_s, high.round_s)
        slot = np.where(crossing, problem.deadline_s, high.slot_s)
        charged = high.price * (round_s - certificate.origin_s) / slot
        middle = _charge(demand.retained, charged, _table(certificate, slot, counts))
        above.append(middle)
        last = np.maximum(last, _best(middle, problem.min_tokens))
    rows = np.arange(clients)
    loss_above = np.min([_loss(table, last) for table in above], axis=0)
    loss_below = np.min([_loss(table, first) for table in tables], axis=0)
    loss = np.where(counts > last[:, None], loss_above, np.where(counts < first[:, None], loss_below, 0.0))
    loss = np.where(counts >= problem.min_tokens[:, None], np.maximum(loss, 0.0), np.inf)
    loss[~np.isfinite(need_high)] = np.inf
    options = [np.flatnonzero(row <= slack) for row in loss]
    if any(option.size == 0 for option in options):
        return np.empty((0, clients), dtype=np.int64)
    same = _identical_to_previous(certificate)
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


def _table(certificate: Certificate, slot_s: FloatArray, counts: IntArray) -> FloatArray:
    """(M, N + 1) area of every count for a slot."""
    demand = certificate.demand
    nats = demand.nats_per_token[:, None] * (counts + certificate.problem.extra_tokens)
    energy = np.broadcast_to(demand.energy_over_noise(slot_s)[:, None], nats.shape)
    empty = nats == 0
    area, _ = demand.kernel.area(np.where(empty, 1.0, nats).ravel(), energy.ravel())
    return np.where(empty, 0.0, area.reshape(nats.shape))


def _value(certificate: Certificate, reading: Reading, counts: IntArray) -> FloatArray:
    """(M, N + 1) f_m(K) - mu c_m(K) of every count at a reading."""
    charged = reading.price * (reading.round_s - certificate.origin_s) / reading.slot_s
    return _charge(certificate.demand.retained, charged, _table(certificate, reading.slot_s, counts))


def _charge(retained: FloatArray, charged: FloatArray, area: FloatArray) -> FloatArray:
    """Retained attention less the charge for the area; -inf where the tokens cannot be sent, free or not."""
    sendable = np.isfinite(area)
    return np.where(sendable, retained - charged[:, None] * np.where(sendable, area, 0.0), -np.inf)


def _loss(values: FloatArray, best: IntArray) -> FloatArray:
    """(M, N + 1) what each count loses against the given one; inf where it cannot be sent."""
    at_best = values[np.arange(best.size), best][:, None]
    sendable = np.isfinite(values)
    return np.where(sendable, at_best - np.where(sendable, values, 0.0), np.inf)


def _best(values: FloatArray, fewest: IntArray) -> IntArray:
    """(M,) last maximiser of each row among counts >= `fewest`."""
    allowed = np.where(np.arange(values.shape[1]) >= fewest[:, None], values, -np.inf)
    return np.asarray(values.shape[1] - 1 - np.argmax(allowed[:, ::-1], axis=1))


def _identical_to_previous(certificate: Certificate) -> NDArray[np.bool_]:
    """(M,) whether a client equals the one before it, so that only ordered counts need listing."""
    same = np.zeros(certificate.problem.clients, dtype=bool)
    same[1:] = True
    for value in certificate.problem.as_dict().values():
        if isinstance(value, np.ndarray):
            equal = value[1:] == value[:-1]
            same[1:] &= equal if equal.ndim == 1 else equal.all(axis=1)
    return same
