"""Replies to a price of bandwidth, the dual function, tangents in the round time: against plain formulas."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from helpers.priced import draw
from scipy.optimize import minimize_scalar

from stsflora.solver import Weighted
from stsflora.solver.bounds.goal import Monitor
from stsflora.solver.bounds.priced_menu import energy_menu, menu_of
from stsflora.solver.bounds.priced_rounds import interval_bound, new_round_search
from stsflora.solver.method import Request
from stsflora.solver.objective import Energy, TotalTime
from stsflora.solver.physics import price_loops
from stsflora.solver.physics.options import options_of

EXPONENTS = [-299.0, -250.0, -40.0, -12.0, -8.0, -3.0, -1.0, 0.0, 0.3, 1.0, 3.0, 30.0, 299.0]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_energy_root_to_the_last_digits(exponent: float) -> None:
    """Next to the branch point of W_0 too, where (y - 1) e^y + 1 cancels."""
    ratio = 10.0**exponent
    found = price_loops.energy_root(ratio)
    with mpmath.workdps(700):
        y = mpmath.mpf(found)
        for _ in range(3):
            y -= ((y - 1) * mpmath.exp(y) + 1 - mpmath.mpf(ratio)) / (y * mpmath.exp(y))
        assert abs(float(found / y - 1)) < 2e-15
    value, elasticity = price_loops.energy_ratio(found)
    assert value == pytest.approx(ratio, rel=2e-15 * (1 + elasticity))


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_time_root_to_the_last_digits(exponent: float) -> None:
    ratio = 10.0**exponent
    found = price_loops.time_root(ratio)
    with mpmath.workdps(700):
        x = mpmath.mpf(found)
        level = mpmath.log1p(x)
        value = (x / level) ** 2 * (level - x / (1 + x))
        assert abs(float(value / mpmath.mpf(ratio) - 1)) < 5e-15


def test_roots_end_where_floats_do() -> None:
    assert price_loops.energy_root(0.0) == price_loops.time_root(0.0) == 0.0
    assert price_loops.energy_root(math.inf) == price_loops.energy_root(price_loops.LARGEST) < 700.0
    assert price_loops.time_root(math.inf) < math.inf


@pytest.mark.parametrize("objective", [Energy(2.0), TotalTime(1.5)])
def test_replies_are_minima(objective: Energy | TotalTime) -> None:
    """At any price no other bandwidth costs less; fixed costs and needs are as they are."""
    rng = np.random.default_rng(3)
    tried = 0
    for _ in range(40):
        problem = draw(rng, 3, 2, "total_time" if objective.name == "total_time" else "energy")
        menu = menu_of(options_of(problem), problem.objective)
        can = (menu.options["low_hz"] < menu.options["high_hz"]) & (menu.options["high_hz"] > 0.0)
        for price in 10 ** rng.uniform(-14, -4, 3):
            hz, charged = price_loops.replies(menu.options, can, price)
            for j in np.flatnonzero(can)[:4]:
                option = menu.options[j]

                def cost(logarithm: float, option: np.void = option, price: float = price) -> float:
                    w = math.exp(logarithm)
                    return option["fixed"] + price_loops.cost_of(option, w) + price * w

                bounds = (math.log(option["low_hz"]), math.log(option["high_hz"]))
                found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-10})
                best = min(found.fun, cost(bounds[0]), cost(bounds[1]))
                assert option["low_hz"] <= hz[j] <= option["high_hz"]
                assert charged[j] <= best * (1 + 1e-12)
                assert charged[j] >= best * (1 - 1e-9)
                tried += 1
    assert tried > 200


def test_a_price_of_utility_closes_the_linear_relaxation() -> None:
    """The dual of choosing with a required sum of utilities is what mixtures of two choices cost."""
    rng = np.random.default_rng(8)
    for _ in range(50):
        first = np.concatenate(([0], np.cumsum(rng.integers(1, 6, 4))))
        utility, charged = rng.uniform(0, 1, first[-1]), rng.uniform(0, 1, first[-1])
        most = np.maximum.reduceat(utility, first[:-1]).sum()
        asked = float(rng.uniform(0, 1)) * most
        found = price_loops.utility_price(utility, charged, first, asked, float(rng.uniform(0, 2)))
        below, above = (utility[choice].sum() for choice in (found.below, found.above))
        mixed = (1 - found.share) * below + found.share * above
        cost = (1 - found.share) * charged[found.below].sum() + found.share * charged[found.above].sum()
        assert above >= asked
        assert mixed >= asked - 1e-12
        assert found.value == pytest.approx(cost, abs=1e-12)
        assert price_loops.utility_price(utility, charged, first, most * 1.01, 0.0).value == math.inf


def test_affine_bounds_are_below_what_options_cost() -> None:
    """On intervals before, across and past deadlines, with overheads, caps and limits that change on them."""
    rng = np.random.default_rng(2)
    tried = 0
    for _ in range(60):
        problem = draw(rng, 1, 3, "weighted")
        objective = problem.objective
        assert isinstance(objective, Weighted)
        options = options_of(problem)
        search = new_round_search(options, options, objective, 1e-4, Monitor(Request()))
        low, high = np.sort(search.origin_s + 10 ** rng.uniform(-2, 0.6, 2))
        touch, rent = rng.uniform(low, high), 10 ** rng.uniform(-10, -5)
        for j in range(options.row.shape[0]):
            alone = np.arange(options.row.shape[0]) == j
            bound, _ = interval_bound(search, low, high, touch, rent, alone)
            for round_s in np.linspace(low, high, 9):
                menu = energy_menu(options, round_s, objective.per_joule, 1.0, widest=1e6)
                charge = rent * (round_s - search.origin_s)
                _, charged = price_loops.replies(
                    menu.options, alone & (menu.options["low_hz"] <= menu.options["high_hz"]), charge
                )
                spent = objective.per_second * round_s - charge * options.bandwidth_hz
                scale = abs(bound) + abs(spent) + options.utility[j]
                if charged[j] < math.inf and bound < math.inf:
                    assert bound <= charged[j] + spent + 1e-12 * scale
                    tried += 1
    assert tried > 500


def test_dominance_finds_the_least_charge() -> None:
    """Of all choices of the utility asked, up to what it may hide; equal clients and ties included."""
    rng = np.random.default_rng(4)
    for _ in range(60):
        clients = int(rng.integers(1, 5))
        first = np.concatenate(([0], np.cumsum(rng.integers(1, 5, clients))))
        count = int(first[-1])
        utility = rng.integers(0, 4, count) / 3.0 if rng.random() < 0.5 else rng.random(count)
        charged, hidden = rng.uniform(0, 1, count), float(rng.choice([0.0, 0.1]))
        vectors = list(itertools.product(*(range(first[m], first[m + 1]) for m in range(clients))))
        sums = [utility[list(vector)].sum() for vector in vectors]
        asked = float(rng.choice(sums)) * (1 - 1e-12)
        costs = [charged[list(v)].sum() for v, total in zip(vectors, sums, strict=True) if total >= asked]
        nothing = np.zeros(count)
        complete, bound, choice = price_loops.least_charge(
            utility, charged, nothing, first, asked, 0.0, hidden, 1000, math.inf
        )
        assert complete
        assert min(costs) - hidden - 1e-12 <= bound <= min(costs) + 1e-12
        assert utility[choice].sum() >= asked - 1e-12
        assert charged[choice].sum() == pytest.approx(bound + hidden)
    assert not price_loops.least_charge(utility, charged, nothing, first, 0.0, 0.0, 0.0, 0, math.inf)[0]
    assert not price_loops.least_charge(utility, charged, nothing, first, 0.0, 0.0, 0.0, 99, 0.0)[0]
    assert (
        price_loops.least_charge(utility, charged, nothing, first, 1e9, 0.0, 0.0, 9, math.inf)[1] == math.inf
    )
