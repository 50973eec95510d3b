"""Every lemma of docs/exact.md where its inequality is an equality or nearly one: what is weakened fails."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.instances import brute_force, feasible_problem

from stsflora.solver import Allocation, Problem, Request, evaluate, tolerances
from stsflora.solver.bounds import dominance
from stsflora.solver.bounds.clearing_price import replies_around_budget
from stsflora.solver.bounds.dominance import MOST_VECTORS, undominated
from stsflora.solver.bounds.goal import STE, new_goal, offer, target
from stsflora.solver.bounds.interval_search import (
    branch,
    certify,
    most_round_s,
    new_interval_search,
    proved_bound,
)
from stsflora.solver.bounds.intervals import bound_of, close, leave_open
from stsflora.solver.feasibility import diagnose
from stsflora.solver.physics import loops
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.instance import Instance, instance_of
from stsflora.solver.physics.loops import AffineBound, BestReplies, Tangent

ORIGIN_S = 0.1
"""omega of the one-client instances below; the client's own overhead is larger, so it has no plane."""

COARSE = 1e-6
"""A unit of rounding so large that the terms it is multiplied to can be seen."""

POWER = {"max_energy_j": math.inf}
ENERGY = {"max_energy_j": 0.01}
KINKED = {"max_energy_j": 0.2 * 0.25}
PAST = {"max_energy_j": math.inf, "deadline_s": 0.08}


def one_client(importance: list[float], gain_w: float = 1e-9, **changes: Any) -> Instance:
    """One client without a plane: 0.2 W, overhead 0.2 s; E / P at a slot of 0.25 s in `KINKED`."""
    arguments: dict[str, Any] = {"max_energy_j": math.inf, "overhead_s": 0.2, "bits_per_token": 1e5}
    problem = Problem(
        gain=[gain_w], importance=[importance], bandwidth_hz=1e6, max_power_w=0.2, **arguments | changes
    )
    return instance_of(problem)._replace(origin_s=ORIGIN_S)


def cost(instance: Instance, tokens: int, round_s: float) -> float:
    """c_0(K; tau), Hz s."""
    client = instance.clients[0]
    slot_s = min(round_s - client["overhead_s"], client["deadline_s"])
    nats = loops.nats_of(instance, 0, tokens)
    area, _ = loops.least_area(
        nats, min(client["max_power_w"] * slot_s, client["max_energy_j"]) * gain(client)
    )
    return (round_s - instance.origin_s) * area / slot_s


def gain(client: Any) -> float:
    """h / N0."""
    return float(client["gain_over_noise"])


def cost_slope(instance: Instance, tokens: int, round_s: float, side: float = 1.0) -> float:
    """c' by differences of one side, of fourth order."""
    h = side * 1e-4 * round_s
    c = [cost(instance, tokens, round_s + j * h) for j in range(5)]
    return (-25 * c[0] + 48 * c[1] - 36 * c[2] + 16 * c[3] - 3 * c[4]) / (12 * h)


def without_planes(clients: int) -> Tangent:
    return Tangent(np.full(clients, math.inf), np.zeros(clients), AffineBound(0.0, math.inf, 0.0, 0.0, 0.0))


def replies_at(instance: Instance, round_s: float, price: float) -> BestReplies:
    return loops.best_replies(instance, round_s, price, instance.clients["min_tokens"].copy())


def chord_bound(instance: Instance, low_s: float, high_s: float, price: float) -> float:
    """The bound of an interval from middle tangents or peaks alone."""
    low, high = replies_at(instance, low_s, price), replies_at(instance, high_s, price)
    return loops.interval_bound(instance, low, high, without_planes(low.tokens.size), False)


def highest_between(instance: Instance, low_s: float, high_s: float, price: float) -> float:
    """max L(tau) / tau over 201 round times, the middle among them."""
    between = [replies_at(instance, float(t), price) for t in np.linspace(low_s, high_s, 201)]
    return max(reading.lagrangian / reading.round_s for reading in between)


def check_tight(instance: Instance, low_s: float, high_s: float, price: float, tight: float = 1e-8) -> None:
    """The bound is above everywhere and touches somewhere."""
    bound, highest = (
        chord_bound(instance, low_s, high_s, price),
        highest_between(instance, low_s, high_s, price),
    )
    assert bound >= highest * (1 - 1e-13)
    assert bound <= highest * (1 + tight)


# Lemmas 2 and 5: where U(a) / a = U(b) / b, the bound is L(m) / m itself.


def tipped(instance: Instance, count: int, f: float, low_s: float, high_s: float, price: float) -> Instance:
    """With the idle bandwidth that tips the tangent until both ends give the same bound."""
    half_s = 0.5 * (high_s - low_s)
    at_middle = cost(instance, count, low_s + half_s)
    slope = cost_slope(instance, count, low_s + half_s)
    low, high = f - price * (at_middle - half_s * slope), f - price * (at_middle + half_s * slope)
    band = (low / low_s - high / high_s) / (price * ORIGIN_S * (1 / low_s - 1 / high_s))
    assert band > 0
    return instance._replace(bandwidth_hz=band)


@pytest.mark.parametrize(
    ("limits", "low_s", "high_s"),
    [(POWER, 0.3, 0.36), (ENERGY, 0.3, 0.4), (KINKED, 0.38, 0.5), (KINKED, 0.42, 0.5), (POWER, 1.0, 1.4)],
)
@pytest.mark.parametrize("table", [False, True])
def test_lemma_5_tangents_touch_at_the_middle(
    limits: dict[str, Any], low_s: float, high_s: float, table: bool
) -> None:
    """Once around E / P on either side of the middle; the price is so low that all tokens are best."""
    changes = limits | ({"payload_bits": [[0.0, 1e5, 3e5]]} if table else {})
    price, f, half_s = 1e-4, 20.0, 0.5 * (high_s - low_s)
    middle_s = low_s + half_s
    instance = one_client([10.0, 10.0], **changes)
    instance = tipped(instance, 2, f, low_s, high_s, price)
    check_tight(instance, low_s, high_s, price)
    sags = loops.sag(instance, 0, 2, low_s, high_s, price)
    least = f - price * (cost(instance, 2, middle_s) + half_s * cost_slope(instance, 2, middle_s))
    assert min(sags) > 1e-4 * least / high_s  # so a tenth of the sag shows


def test_lemma_5_takes_the_largest_count_of_both_ends() -> None:
    """At the lower end one token is best, by a hair; everywhere else two are."""
    low_s, high_s, price = 0.3, 0.36, 1e-4
    middle_s = 0.33
    probe = one_client([10.0, 1.0], **POWER)
    second = price * (cost(probe, 2, low_s) - cost(probe, 1, low_s)) * (1 - 1e-9)
    first = 20.0
    instance = one_client([first, second], **POWER)
    instance = tipped(instance, 2, first + second, low_s, high_s, price)
    tokens = [int(replies_at(instance, t, price).tokens[0]) for t in (low_s, middle_s, high_s)]
    assert tokens == [1, 2, 2]
    check_tight(instance, low_s, high_s, price)


def test_lemma_5_takes_the_count_at_a_deadline_between() -> None:
    """At both ends one token is best, by a hair; at the deadline and in the middle two are."""
    low_s, price, deadline_s = 0.3, 1e-4, 0.15
    probe = one_client([10.0, 1.0], deadline_s=deadline_s)
    second = price * (cost(probe, 2, low_s) - cost(probe, 1, low_s))
    shorter_s, high_s = 0.35, 3.0
    for _ in range(60):
        half = 0.5 * (shorter_s + high_s)
        dear = price * (cost(probe, 2, half) - cost(probe, 1, half)) > second
        shorter_s, high_s = (shorter_s, half) if dear else (half, high_s)
    second, first = second * (1 - 1e-9), 20.0
    instance = one_client([first, second], deadline_s=deadline_s)
    middle_s = 0.5 * (low_s + high_s)
    instance = tipped(instance, 2, first + second, low_s, high_s, price)
    tokens = [int(replies_at(instance, t, price).tokens[0]) for t in (low_s, middle_s, high_s)]
    assert tokens == [1, 2, 1]
    check_tight(instance, low_s, high_s, price)


def test_flat_touches_at_the_deadline() -> None:
    """Two tokens are best at the deadline and cannot be sent at the lower end: the peak counts."""
    low_s, high_s, price = 0.3, 0.36, 1e-6
    problem = Problem(
        gain=[1e-13],
        importance=[[10.0, 10.0]],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
        deadline_s=0.15,
        overhead_s=0.2,
    )
    nats = 4e5 * math.log(2)
    client = instance_of(problem).clients[0]
    weak = 1e-13 * nats / (0.2 * 0.12 * gain(client))  # the wideband limit at a slot of 0.12 s
    instance = one_client([10.0, 10.0], gain_w=weak, deadline_s=0.15)
    peak = 20.0 - price * cost(instance, 2, 0.35)
    instance = instance._replace(bandwidth_hz=peak / (price * ORIGIN_S))
    check_tight(instance, low_s, high_s, price, 1e-3)
    bound, at_deadline = chord_bound(instance, low_s, high_s, price), replies_at(instance, 0.35, price)
    assert at_deadline.tokens[0] == 2
    assert bound == pytest.approx(at_deadline.lagrangian / 0.35, rel=1e-9)
    assert bound >= at_deadline.lagrangian / 0.35 * (1 - 1e-13)


@pytest.mark.parametrize("limits", [POWER, ENERGY, KINKED, PAST])
@pytest.mark.parametrize(("low_s", "high_s"), [(0.25, 0.31), (0.4, 0.48), (0.44, 0.7)])
def test_lemma_4_sags_are_exact_and_grow_with_the_count(
    limits: dict[str, Any], low_s: float, high_s: float
) -> None:
    instance = one_client([1.0] * 12, **limits)
    half_s = 0.5 * (high_s - low_s)
    before = (0.0, 0.0)
    for count in range(1, 13):
        c = [cost(instance, count, t) for t in (low_s, low_s + half_s, high_s)]
        slope = cost_slope(instance, count, low_s + half_s)
        sags = loops.sag(instance, 0, count, low_s, high_s, 1.0)
        np.testing.assert_allclose(
            sags, [c[0] - c[1] + half_s * slope, c[2] - c[1] - half_s * slope], atol=1e-7 * c[0]
        )
        assert before[0] <= sags[0] * (1 + 1e-9) + 1e-9 * c[0]
        assert before[1] <= sags[1] * (1 + 1e-9) + 1e-9 * c[0]
        before = sags


@pytest.mark.parametrize("gain_db", [-90, -107.5, -107.9])
@pytest.mark.parametrize("limits", [POWER, ENERGY, {"deadline_s": 0.155}])
def test_sags_are_raised_by_what_their_areas_may_err(gain_db: float, limits: dict[str, Any]) -> None:
    """Payloads off by half a unit, each slot's for itself: the raised sag covers all of them together."""
    scale = {0.01: 15.0}.get(limits.get("max_energy_j", math.inf), 1.0)
    problem = Problem(
        gain=[scale * 10 ** (gain_db / 10)],
        importance=[[1.0]],
        bits_per_token=3e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        **{"max_energy_j": math.inf, "overhead_s": 0.2} | limits,
    )
    instance = instance_of(problem)._replace(origin_s=ORIGIN_S)
    low_s, high_s = 0.35, 0.36
    client, half_s, middle_s = instance.clients[0], 0.5 * (high_s - low_s), 0.5 * (low_s + high_s)
    nats = loops.nats_of(instance, 0, 1)
    unit = 1e-9
    charged_s = [t - ORIGIN_S for t in (low_s, middle_s, high_s)]

    def terms(off: float) -> list[float]:
        """c(a), c(m), c(b) and half_s c'(m)."""
        found = []
        for t, charge in zip((low_s, middle_s, high_s), charged_s, strict=True):
            slot_s = min(t - 0.2, client["deadline_s"])
            energy = min(client["max_power_w"] * slot_s, client["max_energy_j"]) * gain(client)
            area, root = loops.least_area(nats * (1 + off), energy)
            found.append(charge * area / slot_s)
            if t == middle_s:
                slope = area / slot_s
                if t - 0.2 < client["deadline_s"]:
                    limited = client["max_power_w"] * slot_s < client["max_energy_j"]
                    slope -= charge * area / slot_s**2 * (1 + (1 / root if limited else 0.0))
        return [*found, half_s * slope]

    low, middle, high, rise = np.abs(np.subtract(terms(0.5 * unit), terms(-0.5 * unit))) / 2
    exact = loops.sag(instance._replace(unit=0.0), 0, 1, low_s, high_s, 1.0)
    raised = loops.sag(instance._replace(unit=unit), 0, 1, low_s, high_s, 1.0)
    assert raised[0] - exact[0] >= low + middle + rise
    assert raised[1] - exact[1] >= high + middle + rise
    # In full: conditions of three areas and of the slope.
    conditions = []
    for t in (low_s, middle_s, high_s):
        slot_s = min(t - 0.2, client["deadline_s"])
        energy = min(client["max_power_w"] * slot_s, client["max_energy_j"]) * gain(client)
        conditions.append(1 + 1 / loops.least_area(nats, energy)[1])
    c = terms(0.0)
    slot_s = min(middle_s - 0.2, client["deadline_s"])
    need = c[1] / charged_s[1]
    doubt = c[0] * conditions[0] + c[2] * conditions[2] + 2 * c[1] * conditions[1]
    doubt += conditions[1] * need * half_s * (1 + charged_s[1] * conditions[1] / slot_s)
    np.testing.assert_allclose(np.subtract(raised, exact), unit * doubt, rtol=1e-4)


@pytest.mark.parametrize("planar", [True, False])
def test_interval_bounds_are_raised_by_the_rounding_of_their_sums(planar: bool) -> None:
    """In an interval of no width: the idle band, attention, and twice the cost with its condition."""
    own = 0.0 if planar else 0.2
    problem = Problem(
        gain=[1e-9, 4e-10],
        importance=[[5.0, 4.0], [5.0, 3.0]],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
        overhead_s=[own, 0.0],
    )
    instance = instance_of(problem)
    for tau in (0.5, 0.9):
        bounds, replies = [], replies_at(instance, tau, 1e-5)
        for unit in (0.0, COARSE):
            coarse = instance._replace(unit=unit)
            planes = loops.tangent(coarse, replies) if planar else without_planes(2)
            bounds.append(loops.interval_bound(coarse, replies, replies, planes, False))
        idle = 1e-5 * problem.bandwidth_hz * tau
        doubt = idle + np.abs(replies.value).sum()
        twice = 2e-5 * (replies.cost * (1 + 1 / replies.root)).sum()
        if planar:  # the planes' own errors are in their values
            assert bounds[1] - bounds[0] >= COARSE * (doubt + twice / 2) / tau
        else:
            assert bounds[1] - bounds[0] >= COARSE * (doubt + twice) / tau * (1 - 1e-6)
            assert bounds[0] == pytest.approx(replies.lagrangian / tau, rel=1e-12)


def test_interval_bounds_are_those_of_section_5_with_all_their_errors() -> None:
    """One client: middle tangents, peak or plane, at either end, deadlines between or not."""
    rng = np.random.default_rng(8)
    kinds = ("tangents", "peak", "plane")
    seen = dict.fromkeys(itertools.product((False, True), kinds, (False, True)), 0)
    for _ in range(400):
        changes = {"deadline_s": float(rng.uniform(0.1, 0.4))} if rng.random() < 0.7 else {}
        changes["max_energy_j"] = float(rng.choice([math.inf, 0.04, 0.004]))
        changes["bits_per_token"] = float(10 ** rng.uniform(4, 5.6))
        low_s = float(rng.uniform(0.23, 0.6))
        high_s = low_s * float(1 + 10 ** rng.uniform(-2, 0.5))
        instance = one_client(list(np.sort(rng.random(3))[::-1]), 10 ** rng.uniform(-11, -9), **changes)
        if rng.random() < 0.7:  # one token can be sent at the lower end, others perhaps not
            most = loops.energy_over_noise(instance, 0, min(low_s - 0.2, changes.get("deadline_s", 1.0)))
            rho = loops.nats_of(instance, 0, 1) / most
            instance.clients["gain_over_noise"] *= rho / rng.uniform(0.3, 0.99)
        low = replies_at(instance, low_s, 0.0)
        if not low.need_hz < math.inf:
            continue
        price = float(10 ** rng.uniform(-4, 0.3)) / cost(instance, 1, low_s)
        band = float(rng.choice([0.0, 10 ** rng.uniform(0, 2)])) / (price * low_s)
        instance = instance._replace(bandwidth_hz=band, unit=COARSE)
        deadline_s = float(0.2 + instance.clients[0]["deadline_s"])
        between = low_s < deadline_s < high_s
        ends = [replies_at(instance, t, price) for t in (low_s, high_s)]
        peaks = [replies_at(instance, deadline_s, price)] if between else []
        worth = [float(r.value[0]) for r in (*ends, *peaks)]
        doubts = [abs(r.value[0]) + 2 * price * r.cost[0] * (1 + 1 / r.root[0]) for r in (*ends, *peaks)]
        doubts = [doubts[0], max(doubts[1:])]
        peak, count = max(worth), max(int(r.tokens[0]) for r in (*ends, *peaks))
        sags = loops.sag(instance, 0, count, low_s, high_s, price)
        flat = not sum(sags) <= 2 * peak - worth[0] - worth[1]
        tops = [peak, peak] if flat else [worth[0] + sags[0], worth[1] + sags[1]]
        doubts = [max(doubts)] * 2 if flat else doubts
        plane, slope = without_planes(1), rng.uniform(0, 2) * abs(worth[1] - worth[0]) / (high_s - low_s)
        if rng.random() < 0.5:
            near = worth[0] + rng.uniform(-0.5, 0.5) * abs(worth[1] - worth[0])
            plane = plane._replace(value=np.array([near]), slope=np.array([slope]))
        planes = [float(plane.value[0]), float(plane.value[0] + slope * (high_s - low_s) * (1 + COARSE))]
        flatter = planes[0] / low_s + planes[1] / high_s < tops[0] / low_s + tops[1] / high_s
        if flatter:
            tops, doubts = planes, [abs(planes[0]), abs(planes[1])]
        idle = [price * band * (t - ORIGIN_S) for t in (low_s, high_s)]
        bounds = [
            (i + top + COARSE * (i + doubt)) / t
            for i, top, doubt, t in zip(idle, tops, doubts, (low_s, high_s), strict=True)
        ]
        bound = loops.interval_bound(instance, *ends, plane, False)
        assert bound == pytest.approx(max(bounds), rel=1e-11)
        seen[between, kinds[2 if flatter else int(flat)], bounds[1] > bounds[0]] += 1
    assert min(seen.values()) >= 2


# Section 4: any price; Lemma 3 and section 7: tangents of needs.


@pytest.mark.parametrize("limits", [POWER, ENERGY, KINKED, PAST])
@pytest.mark.parametrize("at_s", [0.21, 0.3, 0.44, 0.46, 0.9])
def test_lemma_3_tangents_of_needs_touch_and_stay_below(limits: dict[str, Any], at_s: float) -> None:
    instance = one_client([1.0, 1.0, 1.0], **limits)
    for about_s in (at_s, 0.35):
        level, fall = loops.need_tangents(instance, at_s, about_s)
        for count in (1, 2, 3):
            for tau in (*np.linspace(0.205, 1.5, 60), at_s):
                need = cost(instance, count, float(tau)) / (tau - ORIGIN_S)
                below = level[0, count] + fall[0, count] * (about_s - tau)
                assert below <= need * (1 + 1e-12) + 1e-12 * abs(fall[0, count])
                if tau == at_s:
                    assert below == pytest.approx(need, rel=1e-12)
            h = 1e-6
            ahead = cost(instance, count, at_s + h) / (at_s + h - ORIGIN_S)
            behind = cost(instance, count, at_s - h) / (at_s - h - ORIGIN_S)
            assert fall[0, count] == pytest.approx((behind - ahead) / (2 * h), rel=1e-4, abs=1e-3)
            total, slope, elasticity = loops.total_and_slope(instance, np.array([count]), at_s)
            assert total == pytest.approx(cost(instance, count, at_s) / (at_s - ORIGIN_S), rel=1e-14)
            assert -slope == pytest.approx(fall[0, count], rel=1e-12)
            assert elasticity == pytest.approx(fall[0, count] * (at_s - 0.2) / total, rel=1e-12)


# Section 6: planes, and (5).


@pytest.mark.parametrize(("energy_j", "fewest"), [(math.inf, 1), (0.01, 1), (0.1, 2), (math.inf, 4)])
@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("price", np.geomspace(1e-5, 4e-4, 6))
def test_planes_touch_the_concave_function_they_bound(
    energy_j: float, fewest: int, extra: int, price: float
) -> None:
    """f(K) - mu A(K, tau) over fractional K: above it everywhere, equal somewhere at the anchor."""
    importance = np.array([2.0, 1.4, 1.3, 0.9, 0.2])
    problem = Problem(
        gain=[1e-9],
        importance=[importance],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=energy_j,
        overhead_s=0.1,
        min_tokens=fewest,
        extra_tokens=extra,
    )
    instance = instance_of(problem)._replace(unit=0.0)
    anchor_s = 0.4
    plane = loops.tangent(instance, replies_at(instance, anchor_s, price))
    f = np.concatenate([[0.0], np.cumsum(importance)])
    counts = np.linspace(fewest, 5, 200 * (5 - fewest) + 1)
    for tau in (0.2, 0.3, 0.39, anchor_s, 0.41, 0.6, 2.0):
        energy = min(0.2 * (tau - 0.1), energy_j) * gain(instance.clients[0])
        areas, _ = loops.least_areas(1e5 * math.log(2) * (counts + extra), np.full(counts.size, energy))
        highest = float((np.interp(counts, np.arange(6), f) - price * areas).max())
        above = plane.value[0] + plane.slope[0] * (tau - anchor_s)
        assert above >= highest - 1e-12
        assert tau != anchor_s or above <= highest + 1e-5
        idle = price * problem.bandwidth_hz * (tau - 0.1)
        assert loops.bound_at(plane.affine, tau) == pytest.approx(above + idle, rel=1e-13)
    # As much in the rounding of each term, and what is left of the slope, over all counts.
    coarse = loops.tangent(instance._replace(unit=COARSE), replies_at(instance, anchor_s, price))
    magnitude = abs(plane.value[0]) + price * problem.bandwidth_hz * 0.3
    assert coarse.affine.rounding == pytest.approx(COARSE * magnitude, rel=1e-4)
    assert coarse.affine.rounding_per_s == pytest.approx(COARSE * plane.affine.slope, rel=1e-12)


def test_planes_are_raised_by_what_is_left_of_their_slope() -> None:
    """Newton's method has not ended where the next token lies next to the wideband limit."""
    gains = [2.0, *np.full(999, 1.5)]
    probe = one_client(gains, overhead_s=ORIGIN_S, extra_tokens=0)
    nats = loops.nats_of(probe, 0, 1)
    for distance in (1e-2, 1e-3, 1e-4):
        slot_s = 2.0 * nats / (0.2 * gain(probe.clients[0])) / (1 - distance)  # two tokens are next to it
        energy = 0.2 * slot_s * gain(probe.clients[0])
        one, two = (loops.least_area(k * nats, energy)[0] for k in (1, 2))
        price = 1.5 / (two - one) * (1 + 1e-3)
        replies = replies_at(probe, ORIGIN_S + slot_s, price)
        assert replies.tokens[0] == 1
        plane = loops.tangent(probe._replace(unit=0.0), replies).value[0]
        counts = np.linspace(1, 2, 2001)
        areas, _ = loops.least_areas(counts * nats, np.full(counts.size, energy))
        assert plane >= float((2.0 + 1.5 * (counts - 1) - price * areas).max())


@pytest.mark.parametrize(
    ("changes", "round_s", "planar"),
    [
        ({}, 0.4, True),
        ({"deadline_s": 0.31}, 0.4, True),
        ({"deadline_s": 0.29}, 0.4, False),
        ({"overhead_s": 0.2}, 0.4, False),
        ({"overhead_s": 0.2, "deadline_s": 0.1}, 0.4, False),
        ({"payload_bits": [[0.0, 1e5, 3e5]]}, 0.4, False),
        ({"payload_bits": [[0.0, 1e5, 3e5]], "deadline_s": 0.29}, 0.4, False),
        ({}, 0.1000001, False),
    ],
)
def test_planes_are_only_where_all_is_concave(changes: dict[str, Any], round_s: float, planar: bool) -> None:
    """With another overhead, a past deadline, a table, or where not even K_min can be sent there is none."""
    instance = one_client([1.0, 1.0], **{"overhead_s": ORIGIN_S} | changes)
    plane = loops.tangent(instance, replies_at(instance, round_s, 1e-5))
    assert bool(plane.value[0] < math.inf) is planar
    assert bool(plane.affine.value < math.inf) is planar
    assert planar or plane.slope[0] == 0.0


def test_planes_are_raised_by_their_rounding() -> None:
    """The value, twice the cost, and the marginal cost over all N counts."""
    problem = Problem(
        gain=[1e-9],
        importance=[[2.0, 1.4, 0.0, 0.0]],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
        extra_tokens=1,
    )
    instance = instance_of(problem)
    for price in (1e-9, 1e-6, 1e-5):
        replies = replies_at(instance, 0.4, price)
        exact, coarse = (loops.tangent(instance._replace(unit=u), replies).value[0] for u in (0.0, COARSE))
        paid = price * replies.area[0]
        count = int(replies.tokens[0])
        marginal = paid / (count + 1) * (1 + 1 / replies.root[0])
        here = problem.importance[0, count - 1] if count > 1 else math.inf
        if problem.importance[0, count] <= marginal <= here:
            doubt = abs(exact) + 2 * paid + problem.tokens * marginal
            assert coarse - exact == pytest.approx(COARSE * doubt, rel=1e-6)


@pytest.mark.parametrize("lift", [0.0, 0.03])
@pytest.mark.parametrize(("early", "late"), [(1.0, 1.0), (0.7, 1.4), (0.9, 0.9)])
def test_two_affine_bounds_meet_where_the_bound_is_largest(lift: float, early: float, late: float) -> None:
    """(5), for lines given by hand: above min(U_1, U_2) / tau, and equal to it without rounding."""
    steep = AffineBound(early, 1.2 * early - 0.2 + 0.02, 1.3, lift, 0.5 * lift)
    flat = AffineBound(late, 0.7 * late + 0.35, 0.7, lift, 0.5 * lift)
    taus = np.geomspace(1e-3, 1e3, 20001)
    lower = [min(loops.bound_at(steep, float(t)), loops.bound_at(flat, float(t))) / t for t in taus]
    for one, other in ((steep, flat), (flat, steep)):
        bound = loops.bound_everywhere(one, other)
        if loops.bound_at(steep, 0.0) > 0:
            assert bound == math.inf
            continue
        assert bound >= max(lower)
        assert bound <= max(lower) * (1 + 1e-3 + 2 * lift)
    by_hand = steep.value + 1.3 * (2.0 - early) + lift + 0.5 * lift * abs(2.0 - early)
    assert loops.bound_at(steep, 2.0) == pytest.approx(by_hand, rel=1e-14)
    at_anchor = (steep.value + lift) / early
    assert loops.affine_bound(steep, 2.0) == max(at_anchor, loops.bound_at(steep, 2.0) / 2.0)
    # Where they meet at 0 already, the steeper one counts at its own round time.
    below, above = AffineBound(1.0, 1.0, 1.25, 0.0, 0.0), AffineBound(1.0, 0.5, 0.75, 0.0, 0.0)
    assert loops.bound_everywhere(below, above) == 1.0
    # Alone: towards infinity the slope counts, with its rounding, and at 0 nothing may be left.
    alone = AffineBound(1.0, 1.0, 1.1, 0.0, lift)
    assert loops.bound_everywhere(alone, alone) == (1.1 + lift if lift <= 0.1 else math.inf)
    assert loops.bound_everywhere(alone._replace(value=1.2), alone._replace(value=1.2)) == math.inf


@pytest.mark.parametrize("anchored_high", [False, True])
def test_intervals_of_planes_are_their_affine_bound(anchored_high: bool) -> None:
    """Values at the ends are raised so that the planes are lower than what comes from these."""
    problem = Problem(
        gain=[1e-9, 4e-10],
        importance=[[5.0, 4.0], [5.0, 3.0]],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
    )
    instance = instance_of(problem)
    low, high = replies_at(instance, 0.1, 1e-6), replies_at(instance, 30.0, 1e-6)
    planes = loops.tangent(instance, high if anchored_high else low)
    low, high = (end._replace(value=end.value + 1e3) for end in (low, high))
    bound = loops.interval_bound(instance, low, high, planes, anchored_high)
    assert bound == pytest.approx(loops.affine_bound(planes.affine, 0.1 if anchored_high else 30.0), rel=1e-9)


@pytest.mark.parametrize("anchored_high", [False, True])
@pytest.mark.parametrize(("slope", "price"), [(0.1, 1e-9), (9.0, 1e-9), (0.1, 1e-5)])
def test_both_ends_of_planes_and_of_the_idle_band_are_raised(
    anchored_high: bool, slope: float, price: float
) -> None:
    """By hand: where the lower end gives the bound, the upper one, and the upper one by its idle band."""
    low_s, high_s, value = 0.5, 1.0, 10.0
    instance = one_client([1.0], **POWER)._replace(unit=COARSE)
    low, high = (replies_at(instance, t, price) for t in (low_s, high_s))
    low, high = (end._replace(value=end.value + 1e3) for end in (low, high))
    planes = Tangent(np.array([value]), np.array([slope]), without_planes(1).affine)
    rise, ends = slope * (high_s - low_s), []
    for round_s, away in ((low_s, anchored_high), (high_s, not anchored_high)):
        idle = price * instance.bandwidth_hz * (round_s - ORIGIN_S)
        sign = 0.0 if not away else -1.0 if anchored_high else 1.0
        plane = value + sign * rise
        raised = COARSE * (idle + abs(plane) + rise * abs(sign))
        ends.append((idle + plane + raised) / round_s)
    bound = loops.interval_bound(instance, low, high, planes, anchored_high)
    assert bound == pytest.approx(max(ends), rel=1e-10)


# Section 3: fill, and the duality stop of section 4.


def test_the_fill_misses_the_relaxation_by_less_than_a_token() -> None:
    """Seven equal clients; the band left holds almost one token more."""
    problem = Problem(
        gain=[1e-9] * 7,
        importance=np.full((7, 3), 1.0) - [0.0, 0.2, 0.4],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
    )
    demand = Demand(problem)
    at_s = 0.9 * demand.least_round_s(np.full(7, 2))
    one, two = (float(demand.bandwidth_hz(np.full(7, k), at_s)[0]) for k in (1, 2))
    instance = demand.instance._replace(bandwidth_hz=7 * one + 3.999 * (two - one))
    price = 0.8 / (at_s * (two - one))
    dear, cheap = (
        replies_at(instance, at_s, price * (1 + 1e-9)),
        replies_at(instance, at_s, price * (1 - 1e-9)),
    )
    assert (dear.tokens == 1).all()
    assert (cheap.tokens == 2).all()
    tokens = loops.filled(instance, dear, cheap)
    missed = min(dear.lagrangian, cheap.lagrangian) - float(demand.utility(tokens).sum())
    assert tokens.sum() == 10
    assert 0.99 * 0.8 <= missed < 0.8


def test_the_fill_takes_tokens_by_gain_per_hertz() -> None:
    """The dearer token retains more, per hertz it retains less; where all of them fit all are taken."""
    problem = Problem(
        gain=[1e-9, 1e-10],
        importance=[[3.0, 1.0], [3.0, 1.0]],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
    )
    instance, at_s, price = instance_of(problem), 1.0, 1e-12
    within, beyond = (replies_at(instance, at_s, mu) for mu in (1e3, price))
    assert within.tokens.tolist() == [1, 1]
    assert beyond.tokens.tolist() == [2, 2]
    cheap, dear = (
        loops.need_tangents(instance, at_s, at_s)[0][m, 2] - within.area[m] / at_s for m in range(2)
    )
    assert dear > 1.2 * cheap
    instance = instance._replace(importance=np.array([[3.0, 1.0], [3.0, 1.1]]))
    for left_hz, tokens in ((dear, [2, 1]), (1.001 * (dear + cheap), [2, 2]), (0.999 * cheap, [1, 1])):
        filled = loops.filled(instance._replace(bandwidth_hz=within.need_hz + left_hz), within, beyond)
        assert filled.tolist() == tokens
    many = Problem(
        gain=[1e-9] * 3,
        importance=np.ones((3, 40)),
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
    )
    within, beyond = (replies_at(instance_of(many), at_s, mu) for mu in (1e3, price))
    filled = loops.filled(instance_of(many)._replace(bandwidth_hz=1e12), within, beyond)
    assert filled.tolist() == beyond.tokens.tolist()


def test_the_duality_stop_is_as_near_as_it_says() -> None:
    """Stops at a loose tolerance, over many cells: the least Lagrangian of any price is that near."""
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(40):
        problem = feasible_problem(rng, 6, 8)
        goal = new_goal(problem, Request())
        at_s = Demand(problem).least_round_s(problem.min_tokens) * (1 + 10 ** rng.uniform(-2, 1))
        price = float(problem.importance.sum()) / (problem.bandwidth_hz * at_s) * 10 ** rng.uniform(-2, 2)
        tolerance = 10 ** rng.uniform(-3, -1)
        within, beyond = replies_around_budget(goal, at_s, price, goal.tokens, tolerance)
        finest, far = replies_around_budget(goal, at_s, price, goal.tokens, 1e-12)
        if within.need_hz <= goal.relaxed.bandwidth_hz and np.abs(within.tokens - beyond.tokens).sum() > 1:
            least = min(finest.lagrangian, far.lagrangian)
            missed = (within.lagrangian - least) / within.lagrangian / tolerance
            assert missed <= 1 + 1e-9
            worst = max(worst, missed)
    assert worst > 0.5


# Section 7.


@pytest.mark.parametrize("hidden", [0.0, 1e-3])
@pytest.mark.parametrize("where", ["end", "middle"])
def test_vectors_that_just_win_are_never_missing(hidden: float, where: str) -> None:
    """Needs that are their tangents, and a vector that just fits at one round time and beats the target."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        clients, counts = int(rng.integers(1, 4)), int(rng.integers(2, 5))
        low_s = float(rng.choice([0.02, 1.0, 30.0]))
        high_s = low_s * (1.0 + 10 ** rng.uniform(-3, 0))
        contact_s = high_s if where == "end" else math.sqrt(low_s * high_s)
        level = np.cumsum(rng.random((clients, counts)), axis=1)
        fall = level * rng.uniform(0.2, 1.0, (clients, 1)) * rng.uniform(0.9, 1.0, level.shape) / low_s
        retained = np.cumsum(rng.random((clients, counts)), axis=1)
        winner = rng.integers(0, counts, clients)
        rows = np.arange(clients)
        tau = rng.choice([low_s, high_s, rng.uniform(low_s, high_s)])
        attention = retained[rows, winner].sum()
        aim = attention / tau * (1 - 1e-11)
        band = float((level + fall * (contact_s - tau))[rows, winner].sum()) * (1 + 1e-11)
        allowed = np.ones((clients, counts), np.bool_)
        complete, found = undominated(
            level.copy(), fall, retained, allowed, low_s, high_s, contact_s, aim, hidden, band, 1e-14
        )
        assert complete
        need = level[rows, winner].sum()
        assert len(found) == MOST_VECTORS or any(
            retained[rows, v].sum() >= attention - hidden * aim * low_s - 1e-12
            and level[rows, v].sum() <= need + 1e-12 * band
            for v in found
        )


@pytest.mark.parametrize("where", ["end", "middle"])
def test_lemma_6_is_sharp_where_all_counts_of_a_client_fall_alike(where: str) -> None:
    """Then (6) is the knapsack itself: contenders below the best STE of any vector, none above it."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        clients, counts = int(rng.integers(1, 4)), int(rng.integers(2, 5))
        low_s = float(rng.choice([0.02, 1.0, 30.0]))
        high_s = low_s * (1.0 + 10 ** rng.uniform(-2, 0))
        contact_s = high_s if where == "end" else math.sqrt(low_s * high_s)
        level, retained = np.cumsum(rng.random((2, clients, counts)), axis=2)
        falls = rng.uniform(0.2, 2.0, clients) / low_s
        band = float(level.sum(axis=0).mean())
        best = 0.0
        for vector in itertools.product(range(counts), repeat=clients):
            need = level[range(clients), vector].sum()
            least_s = max(low_s, contact_s - (band - need) / falls.sum())
            if least_s <= high_s:
                best = max(best, retained[range(clients), vector].sum() / least_s)
        for off in (-1e-9, 1e-9):
            aim = (best or 1.0) * (1 + off)
            allowed = np.ones((clients, counts), np.bool_)
            fall = np.repeat(falls[:, None], counts, axis=1)
            complete, found = undominated(
                level.copy(), fall, retained, allowed, low_s, high_s, contact_s, aim, 0.0, band, 1e-14
            )
            assert complete
            assert (len(found) > 0) == (off < 0 < best)


@pytest.mark.parametrize("short", ["attention", "need", "neither"])
@pytest.mark.parametrize("where", ["end", "middle"])
def test_vectors_that_win_but_for_rounding_are_never_missing(short: str, where: str) -> None:
    """Attention or bandwidth is 0.9 units short and the other is not, or neither where needs are steep."""
    rng = np.random.default_rng(6)
    for number in range(40):
        clients, counts = int(rng.integers(1, 4)), 1 + number % 4
        low_s = float(rng.choice([0.02, 1.0, 30.0]))
        high_s = low_s * (1.0 + 10 ** rng.uniform(-3, 0))
        contact_s = high_s if where == "end" else math.sqrt(low_s * high_s)
        level, retained = np.cumsum(rng.random((2, clients, counts)), axis=2)
        fall = level * (30.0 if short == "neither" else rng.uniform(0.1, 0.3, (clients, 1))) / low_s
        rows, winner = np.arange(clients), rng.integers(0, counts, clients)
        tau = {"attention": low_s, "need": rng.choice([low_s, high_s]), "neither": contact_s}[short]
        need = float((level + fall * (contact_s - tau))[rows, winner].sum())
        aim = retained[rows, winner].sum() / tau
        if short == "attention":
            aim, need = aim * (1 + 0.9 * COARSE), need * (1 + COARSE)
        elif short == "need":
            aim, need = aim * (1 - 1e-9), need * (1 - 0.9 * COARSE)
        else:
            aim *= 1 - 0.5 * COARSE
        allowed = np.ones((clients, counts), np.bool_)
        complete, found = undominated(
            level, fall, retained, allowed, low_s, high_s, contact_s, aim, 0.0, need, COARSE
        )
        assert complete
        assert len(found) > 0


def test_dominance_hides_no_more_than_it_says() -> None:
    """Two clients lose almost all that may be hidden: each in a range of attention, then to a lower one."""
    unsendable = [math.inf] * 2
    level = np.array([[0.0, 1.2659, 1.2743, *unsendable], [0.0, 0.9362, 1.2702, 1.5676, 3.0354]])
    retained = 24.0 + np.array([[0.0, 0.4136, 0.7949, 9.0, 9.0], [0.0, 0.3967, 0.7833, 0.7994, 3.5748]])
    rows, winner = [0, 1], [2, 2]
    least, need = retained[rows, winner].sum() * (1 - 1e-12), level[rows, winner].sum() * (1 + 1e-9)
    complete, found = undominated(
        level,
        np.zeros((2, 5)),
        retained,
        np.isfinite(level),
        1.0,
        1.001,
        1.001,
        least,
        1 / least,
        need,
        1e-14,
    )
    assert complete
    assert len(found) > 0


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_what_stands_for_others_may_lose_more(scale: float) -> None:
    """All slack is lost by the winner; what stands for it has less attention and is kept all the same."""
    level = np.array([[0.0, 1e-3, math.inf], [0.0, 1.0, 3.0]])
    retained = scale * np.array([[0.0, 0.045, 9.0], [0.0, 1.0, 9.0]])
    least = scale * 1.045 * (1 - 1e-12)
    complete, found = undominated(
        level, 0 * retained, retained, np.isfinite(level), 1.0, 1.001, 1.001, least, 0.2, 1.001, 1e-14
    )
    assert complete
    assert found.tolist() == [[0, 1]]


@pytest.mark.parametrize("hidden", [0.02, 0.1, 0.3])
def test_ranges_of_attention_hide_no_more_than_it_says(hidden: float) -> None:
    """Among many counts, one vector is best within the band: what is found has not much less attention."""
    rng = np.random.default_rng(7)
    for _ in range(25):
        clients = int(rng.integers(2, 4))
        level = np.cumsum(rng.random((clients, 12 if clients == 2 else 6)), axis=1)
        retained = rng.choice([0.0, 1.0, 5.0]) + np.cumsum(rng.random(level.shape), axis=1)
        vectors = np.array(list(itertools.product(range(level.shape[1]), repeat=clients)))
        need, attention = (table[np.arange(clients), vectors].sum(axis=1) for table in (level, retained))
        band = float(rng.uniform(need.min(), need.max()))
        best = float(attention[need <= band].max())
        aim, allowed = best * (1 - 1e-12), np.ones(level.shape, np.bool_)
        complete, found = undominated(
            level.copy(), 0 * level, retained, allowed, 1.0, 1.1, 1.1, aim, hidden, band, 1e-14
        )
        assert complete
        need, attention = (table[np.arange(clients), found].sum(axis=1) for table in (level, retained))
        assert attention[need <= band * (1 + 1e-9)].max(initial=0.0) >= best * (1 - hidden)


def test_a_search_that_gives_up_excludes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """More partial vectors than may be kept: that is not the same as none."""
    monkeypatch.setattr(dominance, "MOST_STATES", 3)
    level = np.cumsum(np.ones((2, 6)), axis=1)
    complete, found = undominated.function(
        level, 0 * level, level + 0.1, np.ones((2, 6), np.bool_), 1.0, 1.1, 1.1, 5.0, 0.0, 8.0, 1e-14
    )
    assert not complete
    assert len(found) == 0


def test_the_attention_of_every_count_is_the_sum_of_its_tokens() -> None:
    """f_m(K) for K = 0..N, as a table and one by one."""
    instance = instance_of(feasible_problem(np.random.default_rng(2), 3, 7))
    table = loops.retained_table(instance)
    expected = np.concatenate([np.zeros((3, 1)), np.cumsum(instance.importance, axis=1)], axis=1)
    np.testing.assert_allclose(table, expected, rtol=1e-15)
    for counts in ([0, 3, 7], [5, 1, 4], [2, 6, 0]):
        total = sum(expected[m, k] for m, k in enumerate(counts))
        assert loops.retained(instance, np.array(counts)) == pytest.approx(total, rel=1e-14)


# Section 9: theorem T.


def test_theorem_t_has_room_for_rounding_on_both_sides() -> None:
    """The evaluator's 1e-13 and the closed form's 1e-13 lie between what is accepted and bounded."""
    assert tolerances.FEASIBILITY == 1e-9
    assert tolerances.BOUND_SHARE - tolerances.FEASIBILITY >= 1.99e-13
    assert tolerances.FEASIBILITY - tolerances.PERMITTED_SHARE >= 1.99e-13
    assert tolerances.ROUNDING <= 1e-3 * tolerances.FEASIBILITY
    assert np.finfo(float).eps == tolerances.EPSILON
    problem = feasible_problem(np.random.default_rng(0), 3, 4)
    problem = Problem(**(problem.as_dict() | {"deadline_s": [3.0, 4.0, 5.0], "max_energy_j": 1.0}))
    raised = loops.with_raised_limits(instance_of(problem), 0.25)
    for name in ("max_power_w", "max_energy_j", "deadline_s"):
        np.testing.assert_allclose(raised.clients[name], 1.25 * getattr(problem, name), rtol=1e-15)
    np.testing.assert_array_equal(raised.clients["overhead_s"], problem.overhead_s)
    assert raised.bandwidth_hz == 1.25 * problem.bandwidth_hz
    last_s = float((problem.overhead_s + 1.25 * problem.deadline_s).max())
    assert last_s <= raised.last_s <= last_s * (1 + 1e-14)


def test_the_numbers_of_an_instance_are_those_of_the_proofs() -> None:
    """Units of rounding, the axis of round times, and where planes hold."""
    overhead_s, deadline_s = np.array([0.3, 0.1, 0.2]), np.array([3.0, 4.0, 3.5])
    arguments: dict[str, Any] = {"bits_per_token": 1e5, "bandwidth_hz": 1e6, "max_power_w": 0.2}
    arguments |= {"max_energy_j": math.inf, "deadline_s": deadline_s}
    apart = Problem(gain=[1e-9] * 3, importance=np.full((3, 7), 1.5), overhead_s=overhead_s, **arguments)
    instance = instance_of(apart)
    assert (instance.origin_s, instance.latest_origin_s, instance.concave_until_s) == (0.1, 0.3, -math.inf)
    assert instance.unit >= (3 + 7 + 256) * tolerances.EPSILON
    assert 4.1 * (1 + 2 * tolerances.EPSILON) <= instance.last_s <= 4.1 * (1 + 1e-14)
    assert instance.most_retained >= 31.5
    equal = instance_of(Problem(gain=[1e-9] * 3, importance=np.ones((3, 7)), overhead_s=0.2, **arguments))
    assert equal.concave_until_s == 3.2
    raised = loops.with_raised_limits(equal, 0.5)
    assert raised.concave_until_s == pytest.approx(0.2 + 4.5, rel=1e-15)
    assert loops.with_raised_limits(instance, 0.5).concave_until_s == -math.inf
    table = instance_of(replace(apart, payload_bits=np.tile(np.arange(8.0), (3, 1))))
    assert not instance.payload_nats.flags.writeable
    assert not table.payload_nats.flags.writeable


@pytest.mark.parametrize("field", ["bandwidth_hz", "max_power_w", "max_energy_j", "deadline_s"])
@pytest.mark.parametrize("used", [1 - 1e-4, 1 + 1e-4])
def test_theorem_t_at_the_edge_of_the_tolerance(field: str, used: float) -> None:
    """Almost all of the tolerance is accepted and never called infeasible; a little more is not."""
    problem = Problem(
        gain=[1e-9],
        importance=[[3.0]],
        bits_per_token=1e5,
        bandwidth_hz=2e4,
        max_power_w=0.2,
        max_energy_j=0.3,
        deadline_s=2.0,
    )
    slot_s = Demand(problem).least_round_s(problem.min_tokens)
    power = min(0.2, 0.3 / slot_s)
    allocation = Allocation([1], [2e4], [power])
    score = evaluate(problem, allocation)
    limits = {
        "bandwidth_hz": 2e4,
        "max_power_w": power,
        "max_energy_j": float(score.energy_j[0]),
        "deadline_s": float(score.uplink_s[0]),
    }
    tight = Problem(**(problem.as_dict() | {field: limits[field] / (1 + used * tolerances.FEASIBILITY)}))
    again = evaluate(tight, allocation)
    assert again.violation == pytest.approx(used * tolerances.FEASIBILITY, rel=1e-6)
    assert again.feasible is (used < 1)
    assert replace(again, violations={field: tolerances.FEASIBILITY}).feasible  # "at most", not "below"
    goal = new_goal(tight, Request())
    if used < 1:
        relaxed_s, _ = loops.least_round(goal.relaxed, tight.min_tokens.copy(), math.inf)
        assert relaxed_s <= again.round_s
        assert diagnose(tight) is None


def test_proved_bounds_are_the_largest_of_all_parts() -> None:
    """Closed and open intervals, the best known, and the accuracy of the axis."""
    problem = feasible_problem(np.random.default_rng(1), 2, 3)
    goal = new_goal(problem, Request(gap=1e-2))
    goal.best[:2] = 1.0, 2.0
    search = new_interval_search(goal, 5)
    assert proved_bound(search) >= 2.0 * (1 + 0.9e-13)
    close(search.cover, 3.0)
    close(search.cover, 2.5)
    assert proved_bound(search) >= 3.0 * (1 + 0.9e-13)
    leave_open(search.cover, 1.0, 2.0, 4.0, 1.0)
    leave_open(search.cover, 2.0, 3.0, 3.5, 1.0)
    assert 4.0 * (1 + 0.9e-13) <= proved_bound(search) <= 4.0 * (1 + 1e-12)
    assert search.least_s <= Demand(problem).least_round_s(problem.min_tokens)
    slowest_s = min(goal.relaxed.most_retained / 2.0, goal.relaxed.last_s)
    assert slowest_s <= most_round_s(search) <= slowest_s * (1 + 1e-8)
    assert goal.best[STE] < target(goal) <= goal.best[STE] * 1.01


@pytest.mark.parametrize("start", [1.0, 3.0, 30.0])
def test_all_round_times_are_covered_wherever_a_proof_begins(start: float) -> None:
    """With a poor point and a wide gap: the best one lies on either side of the first round time."""
    rng = np.random.default_rng(12)
    for _ in range(8):
        problem = feasible_problem(rng, 2, 4)
        optimum, _ = brute_force(problem)
        goal = new_goal(problem, Request(gap=0.3))
        point = offer(goal, problem.min_tokens.copy(), math.inf)
        search = new_interval_search(goal, 20)
        round_s = min(search.least_s * start, most_round_s(search))
        price = point.ste / problem.bandwidth_hz
        certify(search, replies_at(goal.relaxed, round_s, price))
        assert proved_bound(search) >= optimum
        branch(search, price)
        assert proved_bound(search) >= optimum


def test_what_is_left_open_is_the_whole_rest_of_the_axis() -> None:
    """With no time at all both sides of the first round time are, each with all attention at its start."""
    problem = feasible_problem(np.random.default_rng(1), 2, 3)
    goal = new_goal(problem, Request(time_limit_s=1e-12))
    goal.best[:2] = 1.0, 1e-6 * goal.relaxed.most_retained
    search = new_interval_search(goal, 5)
    round_s = 2.0 * search.least_s
    certify(search, replies_at(goal.relaxed, round_s, 1e-9))
    low, high = sorted(search.cover.open, key=lambda interval: interval.low_s)
    assert (low.low_s, low.high_s, high.low_s) == (search.least_s, round_s, round_s)
    assert high.high_s == most_round_s(search)
    for interval in (low, high):
        assert -interval.minus_bound == pytest.approx(goal.relaxed.most_retained / interval.low_s, rel=1e-14)


def test_a_visited_interval_is_bounded_above_its_lagrangian() -> None:
    """Above the least Lagrangian of any price, at the ends and between, with planes of both ends."""
    rng, bounded = np.random.default_rng(13), 0
    for number in range(20):
        problem = feasible_problem(rng, 3, 6)
        problem = Problem(**(problem.as_dict() | {"deadline_s": math.inf, "overhead_s": 0.01 * (number % 2)}))
        goal = new_goal(problem, Request(gap=1e-3))
        offer(goal, problem.min_tokens.copy(), math.inf)
        search = new_interval_search(goal, 1)
        low_s = search.least_s * 10 ** rng.uniform(0.1, 1)
        high_s = low_s * rng.uniform(1.05, 2.0)
        leave_open(search.cover, low_s, high_s, math.inf, low_s)
        branch(search, float(problem.importance.sum()) / (problem.bandwidth_hz * low_s))
        bound = bound_of(search.cover)
        for t in np.linspace(low_s, high_s, 5):
            within, beyond = replies_around_budget(
                goal, float(t), 1e-3 / problem.bandwidth_hz, goal.tokens, 0.0
            )
            least = min(within.lagrangian, beyond.lagrangian) / t
            assert bound >= min(least, target(goal)) * (1 - 1e-9)
        bounded += bound != target(goal)  # not by exclusion
    assert bounded > 10


# Least rounds, and replies to tables.


@pytest.mark.parametrize("off", [-5e-10, 0.0, 1e-16, 1e-13, 1e-11, 1e-9, 3e-9, 1e-8, 1e-6])
@pytest.mark.parametrize("kink", ["deadline", "energy"])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_least_rounds_next_to_kinks(off: float, kink: str, scale: float) -> None:
    """Beyond the kink needs fall less: a step on trust across it would end too early, in any unit of time."""
    overhead_s = [0.0, 0.01 * scale]
    base = Problem(
        gain=[1e-9, 4e-10],
        importance=np.ones((2, 1)),
        bits_per_token=1e5 * scale,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
        overhead_s=overhead_s,
    )
    tokens = base.min_tokens.copy()
    least_s = Demand(base).least_round_s(tokens)
    for m in (0, 1):
        slot_s = (least_s - base.overhead_s[m]) * (1 - off)
        limit = {"deadline_s": slot_s} if kink == "deadline" else {"max_energy_j": 0.2 * slot_s}
        arguments = base.as_dict()
        for name, value in limit.items():
            arguments[name] = np.where(np.arange(2) == m, value, math.inf)
        demand = Demand(Problem(**arguments))
        for guess_s in (math.inf, *(least_s * (1 + x) for x in (-1e-9, -3e-10, 0.0, 3e-10, 1e-9))):
            found_s = demand.least_round_s(tokens, guess_s)
            assert demand.bandwidth_hz(tokens, found_s).sum() <= 1e6 * (1 + 1e-13)
            assert demand.bandwidth_hz(tokens, found_s * (1 - 1e-12)).sum() >= 1e6 * (1 - 1e-14)


@pytest.mark.parametrize("token_bits", [1e5, 1e-2])
def test_replies_to_tables_are_the_best_of_all(token_bits: float) -> None:
    """Erratic tables whose counts are tied, nearly tied and not; areas above and below 1."""
    rng = np.random.default_rng(5)
    for number in range(150):
        tokens = int(rng.integers(2, 30))
        bits = token_bits * np.cumsum(1.0 + rng.random(tokens + 1) * rng.choice([0.01, 1.0, 30.0]))
        clients = Problem(gain=[1e-9], importance=[np.ones(tokens)], payload_bits=[bits], **TABLE)
        energy = 10 ** rng.uniform(0, 3) * bits[1] * math.log(2)
        areas, _ = loops.least_areas(bits * math.log(2), np.full(bits.size, energy))
        price = 10 ** rng.uniform(-1, 1) * tokens / areas[areas < math.inf].max()
        # Importances that follow the marginal costs: all counts are worth nearly the same.
        with np.errstate(invalid="ignore"):
            gains = np.where(np.isfinite(areas[1:]), price * np.diff(areas), 0.0)
        spread = (0.0, 0.05, 20.0)[number % 3]
        gains = np.sort(gains * (1 + spread * rng.random(tokens)))[::-1] if spread else gains
        instance = instance_of(clients)._replace(importance=gains[None].copy())
        f = np.concatenate([[0.0], np.cumsum(gains)])
        worth = np.where(np.isfinite(areas), f - price * np.where(np.isfinite(areas), areas, 0.0), -math.inf)
        count, area, _ = loops.best_count(instance, 0, price, energy, int(rng.integers(0, tokens + 2)))
        scale = f[-1] + price * area
        assert worth[count] >= worth[1:].max() - 1e-13 * scale
        assert area == areas[count]


TABLE = {"bits_per_token": 1e5, "bandwidth_hz": 1e6, "max_power_w": 0.2, "max_energy_j": math.inf}


# Section 2 and the least rounds: what the loops promise at the edge of what they may do.


def test_at_the_wideband_limit_no_area_is_enough() -> None:
    """rho = 1 itself is beyond reach, and the smallest distance to it is not."""
    assert loops.least_area(2.0, 2.0) == (math.inf, 0.0)
    area, root = loops.least_area(2.0 * (1 - 2.0**-53), 2.0)
    assert 0.0 < root < 1e-15
    assert area < math.inf


def test_counts_of_tables_have_their_own_payload() -> None:
    """Each its own, what exceeds the table that of all tokens, and 0 that of one."""
    instance = one_client([1.0, 1.0, 1.0], payload_bits=[[0.0, 1e5, 3e5, 7e5]])
    nats = [loops.nats_of(instance, 0, count) / math.log(2) for count in range(6)]
    assert nats == pytest.approx([1e5, 1e5, 3e5, 7e5, 7e5, 7e5], rel=1e-15)


def test_sums_over_clients_err_by_units_however_many_there_are() -> None:
    """Kahan's sum of a thousand terms that do not fit the total's last place."""
    terms = [1.0, *np.full(1000, 0.7 * tolerances.EPSILON)]
    total = carry = 0.0
    for term in terms:
        total, carry = loops.added(total, carry, term)
    assert total == pytest.approx(math.fsum(terms), rel=tolerances.EPSILON, abs=0.0)


def test_slopes_of_needs_at_a_kink_are_those_to_the_right() -> None:
    """At E / P the energy limits, at the deadline nothing changes any more: a step goes on from there."""
    instance = one_client([1.0], overhead_s=0.0, max_energy_j=0.05)
    tokens = np.array([1])
    total, slope, elasticity = loops.total_and_slope(instance, tokens, 0.25)
    assert (slope, elasticity) == (pytest.approx(-total / 0.25, rel=1e-15), 1.0)
    for limits in (POWER, ENERGY):
        instance = one_client([1.0], overhead_s=0.0, **limits | {"deadline_s": 0.25})
        _, slope, elasticity = loops.total_and_slope(instance, tokens, 0.25)
        assert (slope, elasticity) == (0.0, 0.0)


def test_what_fits_exactly_fits() -> None:
    """At the deadlines, with not a hertz to spare, tokens fit; with an ulp less they do not."""
    problem = Problem(
        gain=[1e-9, 4e-10],
        importance=np.ones((2, 2)),
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
        deadline_s=0.5,
        overhead_s=[0.3, 0.2],
    )
    instance, tokens = instance_of(problem), problem.min_tokens.copy()
    total = float(loops.total_and_slope(instance, tokens, instance.last_s)[0])
    assert loops.fits_eventually(instance._replace(bandwidth_hz=total), tokens)
    assert loops.least_round(instance._replace(bandwidth_hz=total), tokens, math.inf)[0] <= instance.last_s
    less = instance._replace(bandwidth_hz=total * (1 - 2 * tolerances.EPSILON))
    assert not loops.fits_eventually(less, tokens)
    for guess_s in (math.inf, instance.last_s):
        assert loops.least_round(less, tokens, guess_s) == (math.inf, 0.0)


@pytest.mark.parametrize("overhead_s", [0.0, 1.0])
@pytest.mark.parametrize("limits", [{"max_energy_j": 0.05}, {"deadline_s": 0.25}])
def test_kinks_at_the_ends_of_a_step_lie_on_it(overhead_s: float, limits: dict[str, Any]) -> None:
    """Slots next to an overhead are known to some ulps of it."""
    instance = one_client([1.0], overhead_s=overhead_s, **limits)
    kink_s, ulp = overhead_s + 0.25, tolerances.EPSILON * overhead_s
    assert loops.kink_between(instance, kink_s + 2 * ulp, kink_s + 0.1)
    assert loops.kink_between(instance, kink_s - 0.1, kink_s - 2 * ulp)
    assert loops.kink_between(instance, kink_s - 0.01, kink_s + 0.01)
    assert not loops.kink_between(instance, kink_s - 0.02, kink_s - 0.01)
    assert not loops.kink_between(instance, kink_s + 0.01, kink_s + 0.02)


@pytest.mark.parametrize("overhead_s", [1.0, 1e3, 1e5])
def test_tokens_fit_their_least_round_next_to_a_large_overhead(overhead_s: float) -> None:
    """An ulp of the round time is much of a short slot: the round is one in which the tokens fit."""
    for gain_w in np.geomspace(1e-9, 2e-9, 12):
        problem = Problem(
            gain=[gain_w],
            importance=[[1.0]],
            bits_per_token=1.0,
            bandwidth_hz=1e6,
            max_power_w=0.2,
            max_energy_j=math.inf,
            overhead_s=overhead_s,
        )
        instance, tokens = instance_of(problem), problem.min_tokens.copy()
        round_s, _ = loops.least_round(instance, tokens, math.inf)
        need_hz, _, _ = loops.total_and_slope(instance, tokens, round_s)
        assert need_hz <= problem.bandwidth_hz * (1 + 1e-14)


def test_the_ste_of_tokens_is_their_attention_over_their_least_round() -> None:
    """And 0 where they never fit."""
    problem = Problem(
        gain=[1e-9, 4e-10],
        importance=[[3.0, 2.0], [4.0, 1.0]],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=math.inf,
        deadline_s=0.5,
        overhead_s=[0.3, 0.2],
    )
    instance, tokens = instance_of(problem), np.array([2, 1])
    least_s, slope = loops.least_round(instance, tokens, math.inf)
    assert loops.fastest_round(instance, tokens, math.inf) == (least_s, 9.0 / least_s, slope)
    never = instance._replace(bandwidth_hz=1e3)
    assert loops.fastest_round(never, tokens, math.inf) == (math.inf, 0.0, 0.0)


def test_allocations_finish_on_time_by_what_is_allowed() -> None:
    """At full power until E / P, and by the deadline with the energy there is."""
    problem = Problem(
        gain=[1e-9, 4e-10],
        importance=np.ones((2, 2)),
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=[0.01, math.inf],
        deadline_s=0.4,
        overhead_s=[0.1, 0.2],
    )
    tokens = np.array([2, 1])
    for round_s in (0.4, 0.55, 0.7):
        instance = instance_of(problem)
        total, _, _ = loops.total_and_slope(instance, tokens, round_s)
        bandwidth_hz, power_w = loops.allocate(instance._replace(bandwidth_hz=total), tokens, round_s)
        score = evaluate(problem, Allocation(tokens, bandwidth_hz, power_w))
        assert max(score.violations[name] for name in ("power", "energy", "deadline")) <= 1e-14
        slots_s = np.minimum(round_s - problem.overhead_s, 0.4)
        np.testing.assert_allclose(score.uplink_s, slots_s, rtol=1e-13)


def test_least_rounds_do_not_depend_on_the_unit_of_the_band() -> None:
    """In megahertz, with the noise in a megahertz, they are the same."""
    for gain_w in (1e-9, 1e-11):
        wide = Problem(
            gain=[gain_w, 4e-10],
            importance=np.ones((2, 1)),
            bits_per_token=1e5,
            bandwidth_hz=1e6,
            max_power_w=0.2,
            max_energy_j=0.05,
            overhead_s=[0.0, 0.1],
        )
        changed = {"bits_per_token": 0.1, "bandwidth_hz": 1.0, "gain": wide.gain * 1e-6}
        for guess_s in (math.inf, 0.3):
            one, other = (
                Demand(problem).least_round_s(wide.min_tokens, guess_s)
                for problem in (wide, Problem(**(wide.as_dict() | changed)))
            )
            assert one == pytest.approx(other, rel=1e-13)


@pytest.mark.parametrize("distance", [1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("off", [-0.3, -0.01, 0.01, 0.3])
def test_steps_on_trust_are_shorter_the_steeper_a_need_is(distance: float, off: float) -> None:
    """Next to the wideband limit, from a guess that is off by some of the distance to it."""
    slot_s = 0.25
    instance = one_client([1.0], overhead_s=0.0)
    client = instance.clients[0]
    client["nats_per_token"] = 0.2 * slot_s * gain(client) * (1 - distance)
    area, root = loops.least_area(float(client["nats_per_token"]), 0.2 * slot_s * gain(client))
    instance = instance._replace(bandwidth_hz=area / slot_s, origin_s=0.0)
    found_s, _ = loops.least_round(instance, np.array([1]), slot_s * (1 + off * distance))
    need_hz, _, _ = loops.total_and_slope(instance, np.array([1]), found_s)
    assert need_hz == pytest.approx(instance.bandwidth_hz, rel=3e-15 * (1 + 1 / root))


def test_of_two_equal_counts_the_larger_one_is_the_reply() -> None:
    """Largest maximisers are monotone in the round time: Lemma 3 and section 11."""
    probe, price, energy = one_client([1.0, 1.0, 1.0]), 1e-4, 1e9
    areas = [loops.least_area(loops.nats_of(probe, 0, k), energy)[0] for k in (1, 2)]
    instance = one_client([1e9, price * (areas[1] - areas[0]), 0.0])
    for guess in (0, 1, 2, 3):
        assert loops.best_count(instance, 0, price, energy, guess)[:2] == (2, areas[1])
