"""The box holds every allocation that is better than the known one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from helpers.instances import brute_force, feasible_problems
from hypothesis import given
from hypothesis import strategies as st

from stsflora.benchmarks.families import family
from stsflora.solver import Problem
from stsflora.solver.bounds.bound_tightening import tighten
from stsflora.solver.physics.demand import Demand


@given(feasible_problems(), st.floats(0.2, 1.0))
def test_nothing_better_lies_outside(problem: Problem, share: float) -> None:
    demand = Demand(problem)
    known = share * brute_force(problem)[0]
    box = tighten(demand, known)
    ranges = [range(int(fewest), problem.tokens + 1) for fewest in problem.min_tokens]
    for counts in itertools.product(*ranges):
        tokens = np.array(counts)
        round_s = demand.least_round_s(tokens)
        if demand.utility(tokens).sum() / round_s > known * (1 + 1e-12):
            assert (tokens <= box.most).all()
            assert box.low_s * (1 - 1e-12) <= round_s <= box.high_s * (1 + 1e-12)
            np.testing.assert_allclose(Demand(box.problem).utility(tokens), demand.utility(tokens))


def test_tokens_that_no_deadline_allows_are_dropped() -> None:
    problem = family("deadline_tight", 1, 0)
    demand = Demand(problem)
    box = tighten(demand, demand.utility(problem.min_tokens).sum() / demand.least_round_s(problem.min_tokens))
    most = int(box.most[0])
    assert most < problem.tokens
    assert np.isinf(demand.least_round_s(np.array([most + 1])))
    assert box.problem.importance[0, most:].max() == 0
    assert (box.problem.importance[0, :most] == problem.importance[0, :most]).all()


def test_where_nothing_binds_the_problem_is_the_same() -> None:
    problem = family("paper", 3, 0, tokens=6, deadline_s=np.inf, max_energy_j=np.inf)
    assert tighten(Demand(problem), 1e-6).problem is problem


def test_a_count_that_needs_all_of_the_band_stays() -> None:
    """Past the deadline the need of two tokens is the band to the last bit."""
    problem = Problem(
        gain=[1e-9],
        importance=[[3.0, 2.0, 1.0]],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=np.inf,
        deadline_s=1.0,
    )
    need_hz = float(Demand(problem).bandwidth_hz(np.array([2]), 5.0)[0])
    demand = Demand(replace(problem, bandwidth_hz=need_hz))
    assert demand.bandwidth_hz(np.array([2]), 5.0)[0] == need_hz
    assert tighten(demand, 1.0).most.tolist() == [2]
