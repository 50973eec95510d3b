"""The model of rounding errors covers the errors that are made."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.instances import feasible_problem

from stsflora.solver.bounds.certificate import Certificate
from stsflora.solver.physics import rounding_error
from stsflora.solver.physics.demand import Demand
from stsflora.solver.tolerances import EPSILON

mpmath = pytest.importorskip("mpmath")


def exact_lagrangian(problem, replies, price) -> mpmath.mpf:
    """L(tau) of given replies in 60 digits."""
    with mpmath.workdps(60):
        mpf = mpmath.mpf
        tau, omega, mu = mpf(replies.round_s), mpf(float(problem.overhead_s.min())), mpf(price)
        total = mu * mpf(problem.bandwidth_hz) * (tau - omega)
        for m in range(problem.clients):
            slot = min(tau - mpf(problem.overhead_s[m]), mpf(problem.deadline_s[m]))
            energy = min(mpf(problem.max_power_w[m]) * slot, mpf(problem.max_energy_j[m]))
            g = energy * mpf(problem.gain[m]) / mpf(problem.noise_w_per_hz)
            count = int(replies.choice.tokens[m])
            s = mpf(problem.bits_per_token[m]) * (count + problem.extra_tokens) * mpmath.log(2)
            rho = s / g
            # z + 1 = -W_{-1}(-rho exp(-rho)), see physics.bandwidth
            z = -1 - mpmath.lambertw(-rho * mpmath.exp(-rho), -1).real
            area = s / (z + 1 - rho)
            kept = mpmath.fsum(mpf(float(value)) for value in problem.importance[m, :count])
            total += kept - mu * (tau - omega) * area / slot
        return total


@pytest.mark.parametrize("seed", range(40))
def test_the_lagrangian_errs_by_less_than_its_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 6)), int(rng.integers(1, 12)))
    demand = Demand(problem)
    certificate = Certificate(demand)
    round_s = demand.least_round_s(problem.min_tokens) * (1.0 + 10.0 ** rng.uniform(-9, 1))
    price = float(problem.importance.sum()) / (problem.bandwidth_hz * round_s) * 10.0 ** rng.uniform(-2, 2)
    replies = certificate.best_replies(round_s, price, problem.min_tokens)
    error = abs(certificate.lagrangian(replies) - exact_lagrangian(problem, replies, price))
    assert error <= certificate._rounding(replies)


def test_the_unit_grows_with_what_is_summed() -> None:
    problem = feasible_problem(np.random.default_rng(0), 3, 5)
    assert rounding_error.unit(problem) == (3 + 5 + 64) * EPSILON


def test_scalars_and_arrays_have_one_formula() -> None:
    value, cost, root, ratio = np.array([1.0, -2.0]), np.array([0.5, 3.0]), np.array([0.1, 4.0]), 2.0
    condition = rounding_error.area_condition(root)
    scale = rounding_error.term_scale(value, cost, condition, np.full(2, ratio))
    for m in range(2):
        alone = rounding_error.term_scale(float(value[m]), float(cost[m]), float(condition[m]), ratio)
        assert alone == scale[m]
    assert scale[0] == 1.0 + 2.0 * 0.5 * 11.0 * 3.0
