"""The two kernels agree, and both find the best reply."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest
from helpers.instances import feasible_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import MissingDependencyError, OptionError
from stsflora.solver.bounds.certificate import Certificate
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.kernel import NUMPY_KERNEL
from stsflora.solver.physics.kernel_choice import NUMBA_PAYS, select_kernel

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")


@needs_numba
@settings(max_examples=300)
@given(seed=st.integers(0, 2**32 - 1))
def test_numba_and_numpy_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, clients=int(rng.integers(1, 8)), tokens=int(rng.integers(1, 40)))
    compiled = select_kernel("numba", 1)
    numpy_demand, numba_demand = Demand(problem), Demand(problem, compiled)
    slot = 10 ** rng.uniform(-3, 3, problem.clients)
    price = 10 ** rng.uniform(-12, 3, problem.clients) * (rng.random(problem.clients) < 0.9)
    guess = rng.integers(-3, problem.tokens + 5, problem.clients)
    one, other = numpy_demand.choose(price, slot, guess), numba_demand.choose(price, slot, guess)
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_allclose(one.area, other.area, rtol=1e-13)
    np.testing.assert_allclose(one.root, other.root, rtol=1e-13)


@needs_numba
@settings(max_examples=300)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_pass_gives_what_the_arrays_give(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, clients=int(rng.integers(1, 8)), tokens=int(rng.integers(1, 40)))
    plain, passing = Demand(problem), Demand(problem, select_kernel("numba", 1))
    least_s = plain.least_round_s(problem.min_tokens)
    round_s = least_s * 10 ** rng.uniform(-0.5, 1.0)
    tokens = rng.integers(1, problem.tokens + 1, problem.clients)
    one, other = plain.total_and_slope(tokens, round_s), passing.total_and_slope(tokens, round_s)
    assert one == pytest.approx(other, rel=1e-12)

    certificate, compiled = Certificate(plain), Certificate(passing)
    round_s = least_s * (1 + 10 ** rng.uniform(-6, 1))
    if round_s > certificate.concave_until_s:
        return
    typical = plain.utility(problem.min_tokens).sum() / (problem.bandwidth_hz * least_s)
    price, guess = float(typical * 10 ** rng.uniform(-3, 2)), rng.integers(-3, 50, problem.clients)
    (one_tokens, one_planes), (other_tokens, other_planes) = (
        each.tangent_bound(round_s, price, guess) for each in (certificate, compiled)
    )
    np.testing.assert_array_equal(one_tokens, other_tokens)
    assert one_planes.round_s == other_planes.round_s == round_s
    if math.isinf(one_planes.value):
        assert other_planes.at(round_s) == math.inf
        return
    assert one_planes.value == pytest.approx(other_planes.value, rel=1e-9)
    assert one_planes.slope == pytest.approx(other_planes.slope, rel=1e-6)
    assert 0 < one_planes.rounding <= other_planes.rounding * (1 + 1e-6)
    assert 0 < one_planes.rounding_per_s <= other_planes.rounding_per_s * (1 + 1e-6)


@pytest.mark.parametrize("name", ["numpy", pytest.param("numba", marks=needs_numba)])
@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_choice_beats_every_other_count(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, clients=3, tokens=int(rng.integers(1, 30)))
    demand = Demand(problem, select_kernel(name, 3))
    slot = 10 ** rng.uniform(-3, 3, problem.clients)
    price = 10 ** rng.uniform(-12, 3, problem.clients)
    choice = demand.choose(price, slot, rng.integers(1, problem.tokens + 1, problem.clients))
    value = demand.utility(choice.tokens) - price * choice.area
    for count in range(1, problem.tokens + 1):
        tokens = np.maximum(problem.min_tokens, count)
        other = demand.utility(tokens) - price * demand.area(tokens, slot)[0]
        scale = demand.utility(tokens) + np.where(np.isfinite(other), price * choice.area, 0.0)
        assert (other <= value + 1e-12 * scale).all()


def test_auto_takes_the_arrays_of_numpy_for_many_clients() -> None:
    many = select_kernel("auto", NUMBA_PAYS + 1)
    assert (many.area, many.choose) == (NUMPY_KERNEL.area, NUMPY_KERNEL.choose)
    assert (many.tangent_sums is None) == (find_spec("numba") is None)


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(OptionError, match="'fortran'; allowed: auto, numpy, numba"):
        select_kernel("fortran", 3)


def test_missing_numba_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stsflora.solver.physics.kernel_choice.find_spec", lambda name: None)
    assert select_kernel("auto", 3) is NUMPY_KERNEL
    with pytest.raises(MissingDependencyError, match=r"no package numba.*stsflora\[fast\]"):
        select_kernel("numba", 3)
