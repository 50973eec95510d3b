"""Rounding of the Lagrangian is a change of the limits by less than 1e-13 and a few ulps of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.instances import feasible_problem

from stsflora.solver import Problem
from stsflora.solver.physics import loops
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.instance import CLOSED_FORM_UNITS, instance_of
from stsflora.solver.tolerances import EPSILON

mpmath = pytest.importorskip("mpmath")


def exact_lagrangian(problem: Problem, replies: loops.BestReplies, change: str) -> Any:
    """L(tau) of given replies in 60 digits, for energies and bandwidths of each client times 1 + change."""
    with mpmath.workdps(60):
        mpf = mpmath.mpf
        tau, omega, mu = mpf(replies.round_s), mpf(float(problem.overhead_s.min())), mpf(replies.price)
        total = mu * mpf(problem.bandwidth_hz) * (tau - omega)
        for m in range(problem.clients):
            slot = min(tau - mpf(problem.overhead_s[m]), mpf(problem.deadline_s[m]))
            energy = min(mpf(problem.max_power_w[m]) * slot, mpf(problem.max_energy_j[m]))
            g = energy * mpf(problem.gain[m]) / mpf(problem.noise_w_per_hz) * (1 + mpf(change))
            count = int(replies.tokens[m])
            s = mpf(problem.bits_per_token[m]) * (count + problem.extra_tokens) * mpmath.log(2)
            rho = s / g
            if rho >= 1:
                return -mpmath.inf
            # z + 1 = -W_{-1}(-rho exp(-rho)), see physics.loops
            z = -1 - mpmath.lambertw(-rho * mpmath.exp(-rho), -1).real
            area = s / (z + 1 - rho) / (1 + mpf(change))
            kept = mpmath.fsum(mpf(float(value)) for value in problem.importance[m, :count])
            total += kept - mu * (tau - omega) * area / slot
        return total


@pytest.mark.parametrize("seed", range(60))
def test_the_lagrangian_errs_by_less_than_its_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = feasible_problem(rng, int(rng.integers(1, 6)), int(rng.integers(1, 12)))
    instance = instance_of(problem)
    round_s = Demand(problem).least_round_s(problem.min_tokens) * (1.0 + 10.0 ** rng.uniform(-9, 1))
    price = float(problem.importance.sum()) / (problem.bandwidth_hz * round_s) * 10.0 ** rng.uniform(-2, 2)
    replies = loops.best_replies(instance, round_s, price, problem.min_tokens.copy())
    # A slot is the round time less an overhead: their difference errs by ulps of the round time.
    slot_ratio = float((round_s / replies.slot_s).max())
    change = 1e-13 + 8 * EPSILON * slot_ratio
    idle = price * instance.bandwidth_hz * (round_s - instance.origin_s)
    magnitude = idle + np.abs(replies.value).sum() + 2.0 * price * replies.cost.sum()
    rounding = instance.unit * magnitude * (1.0 + slot_ratio * EPSILON / instance.unit)
    assert replies.lagrangian >= exact_lagrangian(problem, replies, str(-change)) - rounding
    assert replies.lagrangian <= exact_lagrangian(problem, replies, str(change)) + rounding


def test_the_unit_grows_with_what_is_summed() -> None:
    instance = instance_of(feasible_problem(np.random.default_rng(0), 3, 5))
    assert instance.unit == (3 + 5 + CLOSED_FORM_UNITS) * EPSILON
