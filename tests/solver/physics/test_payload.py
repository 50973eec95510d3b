"""Payload types: bits per token, and tables that say the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.instances import feasible_problem, with_payload_table

from stsflora.solver.physics.payload import TablePayload, UniformPayload, payload_of


def test_a_table_of_equal_steps_is_a_uniform_payload() -> None:
    problem = feasible_problem(np.random.default_rng(3), 4, 6)
    counts = np.arange(problem.tokens + 1)
    bits = problem.bits_per_token[:, None] * (counts + problem.extra_tokens)
    uniform, table = payload_of(problem), payload_of(replace(problem, payload_bits=bits))
    assert isinstance(uniform, UniformPayload)
    assert isinstance(table, TablePayload)
    assert (uniform.uniform, table.uniform) == (True, False)
    for count in range(1, problem.tokens + 1):
        tokens = np.full(problem.clients, count)
        np.testing.assert_array_equal(uniform.bits(tokens), table.bits(tokens))
        np.testing.assert_allclose(uniform.nats(tokens), table.nats(tokens), rtol=1e-15)
        sent = bits[:, count]
        assert (uniform.largest_tokens(sent * (1 + 1e-12)) == count).all()
        assert (table.largest_tokens(sent) == count).all()
        assert (table.largest_tokens(sent * (1 - 1e-12)) == count - 1).all()


def test_many_counts_at_once() -> None:
    problem = feasible_problem(np.random.default_rng(5), 3, 4)
    for payload in (payload_of(problem), payload_of(with_payload_table(problem, np.random.default_rng(1)))):
        several = payload.bits(np.arange(1, 5)[:, None])
        assert several.shape == (4, 3)
        for k in range(4):
            np.testing.assert_array_equal(several[k], payload.bits(np.full(3, k + 1)))


def test_no_tokens_fit_into_nothing_and_all_into_everything() -> None:
    problem = feasible_problem(np.random.default_rng(5), 3, 4)
    for payload in (payload_of(problem), payload_of(with_payload_table(problem, np.random.default_rng(1)))):
        assert payload.largest_tokens(np.zeros(3)).tolist() == [0, 0, 0]
        assert payload.largest_tokens(np.full(3, np.inf)).tolist() == [4, 4, 4]


def test_a_fractional_count_is_for_uniform_payloads() -> None:
    problem = feasible_problem(np.random.default_rng(5), 3, 4)
    half = payload_of(problem).bits(np.full(3, 1.5))
    assert half == pytest.approx(problem.bits_per_token * (1.5 + problem.extra_tokens))
