"""The numbers that loops read are those of the problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.instances import random_problem
from hypothesis import given
from hypothesis import strategies as st

from stsflora.solver import Problem
from stsflora.solver.physics.instance import instance_of


@given(st.integers(0, 2**32 - 1))
def test_agrees_with_arrays(seed: int) -> None:
    problem = random_problem(np.random.default_rng(seed))
    instance = instance_of(problem)
    for name in ("max_power_w", "max_energy_j", "overhead_s", "deadline_s", "min_tokens"):
        np.testing.assert_array_equal(instance.clients[name], getattr(problem, name))
    np.testing.assert_array_equal(instance.clients["nats_per_token"], problem.bits_per_token * math.log(2.0))
    np.testing.assert_array_equal(instance.clients["gain_over_noise"], problem.gain / problem.noise_w_per_hz)
    assert instance.importance is problem.importance
    assert instance.origin_s == problem.overhead_s.min()
    assert instance.latest_origin_s == problem.overhead_s.max()
    ends_s = problem.overhead_s + problem.deadline_s
    assert instance.last_s >= ends_s.max()
    assert instance.last_s == pytest.approx(ends_s.max(), rel=1e-15)
    planar = instance.origin_s == instance.latest_origin_s and problem.payload_bits is None
    assert instance.concave_until_s == (ends_s.min() if planar else -math.inf)
    if problem.payload_bits is not None:
        nats = problem.payload_bits[:, 1:] * math.log(2.0)
        np.testing.assert_array_equal(instance.payload_nats[:, 1:], nats)
        np.testing.assert_array_equal(instance.payload_nats[:, 0], nats[:, 0])


@pytest.mark.parametrize("tokens", range(1, 11))
def test_all_attention_errs_by_a_few_units(tokens: int) -> None:
    importance = np.sort(np.random.default_rng(tokens).lognormal(0.0, 3.0, (2_000, tokens)), axis=1)[:, ::-1]
    most = instance_of(
        Problem(
            gain=1e-9,
            importance=importance,
            bits_per_token=1e6,
            bandwidth_hz=1e6,
            max_power_w=0.2,
            max_energy_j=np.inf,
        )
    ).most_retained
    assert most == pytest.approx(math.fsum(importance.ravel().tolist()), rel=5e-16)
