"""The cover's bound holds for any price, and good prices close it."""

from __future__ import annotations

import math

import numpy as np
from helpers.instances import brute_force, feasible_problem
from hypothesis import given
from hypothesis import strategies as st

from stsflora.benchmarks.families import family
from stsflora.solver.bounds.bound_tightening import tighten
from stsflora.solver.bounds.certificate import Certificate
from stsflora.solver.bounds.price_cover import MOST_SPLITS, PriceCover
from stsflora.solver.physics.demand import Demand
from stsflora.solver.primal.incumbent import fastest_point, shadow_price


def never() -> bool:
    return False


@given(st.integers(0, 2**32 - 1))
def test_no_price_gives_a_bound_below_the_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 4)), int(rng.integers(1, 6)))
    demand = Demand(problem)
    best, counts = brute_force(problem)
    known = rng.uniform(0.3, 1.0) * best
    box = tighten(demand, known)
    certificate = Certificate(Demand(box.problem))
    cover = PriceCover(certificate, box.low_s, box.high_s, box.low_s)
    point = fastest_point(demand, np.array(counts))
    assert point is not None
    own = shadow_price(certificate, point)
    own = own if math.isfinite(own) else best / problem.bandwidth_hz
    found = known
    for price in own * 10.0 ** rng.uniform(-2, 2, 3):
        cover.tighten(float(price), known, problem.min_tokens, never)
        assert cover.bound >= best * (1 - 1e-9)
    for tokens in cover.list_winners(float(own), known, problem.min_tokens):
        winner = fastest_point(demand, tokens)
        assert winner is not None
        found = max(found, winner.ste)
    assert max(cover.bound, found) >= best * (1 - 1e-9)


def test_the_optimum_and_its_price_close_the_cover() -> None:
    problem = family("paper", 3, 0, tokens=8)
    demand = Demand(problem)
    best, counts = brute_force(problem)
    point = fastest_point(demand, np.array(counts))
    assert point is not None
    certificate = Certificate(demand)
    box = tighten(demand, best)
    cover = PriceCover(certificate, box.low_s, box.high_s, point.round_s)
    assert cover.bound == math.inf
    assert cover.worst.peak_s == point.round_s
    assert cover.contains(point.round_s)
    cover.tighten(shadow_price(certificate, point), 1.05 * best, point.tokens, never)
    assert not cover.open
    assert best <= cover.bound <= 1.05 * best


def test_listing_closes_what_no_price_does() -> None:
    problem = family("deadline_tight", 2, 0)
    demand = Demand(problem)
    start = fastest_point(demand, problem.min_tokens)
    assert start is not None
    box = tighten(demand, start.ste)
    certificate = Certificate(demand)
    cover = PriceCover(certificate, box.low_s, box.high_s, start.round_s)
    price = shadow_price(certificate, start)
    winners = cover.list_winners(price, start.ste * (1 + 1e-9), start.tokens)
    assert winners
    assert not cover.open
    stes = [point.ste for tokens in winners if (point := fastest_point(demand, tokens)) is not None]
    assert min(stes) > start.ste


def test_expiry_and_a_useless_price_leave_intervals_open() -> None:
    problem = family("paper", 3, 0)
    demand = Demand(problem)
    start = fastest_point(demand, problem.min_tokens)
    assert start is not None
    box = tighten(demand, start.ste)
    cover = PriceCover(Certificate(demand), box.low_s, box.high_s, start.round_s)
    cover.tighten(1e-9, start.ste, start.tokens, lambda: True)
    assert 1 <= len(cover.open) <= 2
    assert cover.bound < math.inf
    cover.tighten(1e-9, start.ste, start.tokens, never)
    assert cover.open
    assert cover.evaluations <= 2 * MOST_SPLITS
