"""The two kernels agree, and both find the best reply."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import feasible_problem

from stsflora.solver import MissingDependencyError, OptionError
from stsflora.solver.demand import Demand
from stsflora.solver.kernel import NUMBA_PAYS, NUMPY_KERNEL, select_kernel

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


def test_auto_takes_numpy_for_many_clients() -> None:
    assert select_kernel("auto", NUMBA_PAYS + 1) is NUMPY_KERNEL


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(OptionError, match="'fortran'; allowed: auto, numpy, numba"):
        select_kernel("fortran", 3)


def test_missing_numba_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stsflora.solver.kernel.find_spec", lambda name: None)
    assert select_kernel("auto", 3) is NUMPY_KERNEL
    with pytest.raises(MissingDependencyError, match=r"no package numba.*stsflora\[fast\]"):
        select_kernel("numba", 3)
