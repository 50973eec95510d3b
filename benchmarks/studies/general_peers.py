"""Other ways to solve two special cases of the general problem, for `general`; they share no code with ours.

Fixed payloads, one row per client, no skipping, no caps, finite energy budgets.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from ...solver import Problem
from ...solver.problem import FloatArray

Attempt = Callable[[], float]
"""Solves an instance and gives its value."""

HALVINGS = 200
"""Of a bracket; fewer where its ends are neighbouring floats before."""


def lambert_bisection(problem: Problem) -> Attempt:
    """Least round time by bisection on the sum of the bandwidths that scipy's Lambert W gives.

    In a slot of t a client spends min(P t, E); the bandwidth W of rate r = S / t at that power p solves
    W log2(1 + p h / (N0 W)) = r, hence W = r ln 2 / (-W_{-1}(-rho exp(-rho)) - rho) with
    rho = r ln 2 N0 / (p h) < 1.
    """
    lambertw = import_module("scipy.special").lambertw
    nats = _nats(problem)
    noise_over_gain = problem.noise_w_per_hz / problem.gain

    def total_hz(round_s: float) -> float:
        slot_s = np.minimum(round_s - problem.overhead_s, problem.deadline_s)
        if slot_s.min() <= 0.0:
            return math.inf
        joules = np.minimum(problem.max_power_w * slot_s, problem.max_energy_j)
        rho = nats * noise_over_gain / joules
        if rho.max() >= 1.0:
            return math.inf
        root = -lambertw(-rho * np.exp(-rho), -1).real
        return float((nats / slot_s / (root - rho)).sum())

    def attempt() -> float:
        low = float(problem.overhead_s.max())
        high = low + 1.0
        while total_hz(high) > problem.bandwidth_hz:
            low, high = high, 2.0 * high
            if math.isinf(high):
                return math.inf
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            low, high = (low, middle) if total_hz(middle) <= problem.bandwidth_hz else (middle, high)
        return high

    return attempt


def conic_energy(problem: Problem, bandwidth_hz: FloatArray) -> Attempt:
    """Least energy within the round time, over joules and areas, by Clarabel through CVXPY.

    Slow is cheap: everyone takes t = min(tau - o, D). With the area a = W t and e joules the upload is
    a ln(1 + e h / (N0 a)) >= S ln 2, an exponential cone. The program is compiled before.

    Args:
        problem: the instance.
        bandwidth_hz: (M,) near the optimum, which Clarabel would not know: areas are in units of theirs,
            and joules in those that the payload takes on them, so that all variables are near 1.
    """
    cvxpy = import_module("cvxpy")
    nats = _nats(problem)
    slot_s = np.minimum(problem.objective.longest_round_s - problem.overhead_s, problem.deadline_s)
    unit_area = bandwidth_hz * slot_s
    snr = np.expm1(nats / unit_area)
    unit_j = unit_area * snr * problem.noise_w_per_hz / problem.gain
    area, joules = cvxpy.Variable(problem.clients), cvxpy.Variable(problem.clients)
    most = np.minimum(problem.max_power_w * slot_s, problem.max_energy_j) / unit_j
    constraints = [
        # a ln(1 + snr e / a) = a ln(snr) + a ln((a / snr + e) / a): large numbers stay out of the cone.
        cvxpy.multiply(np.log(snr), area) - cvxpy.rel_entr(area, cvxpy.multiply(1.0 / snr, area) + joules)
        >= nats / unit_area,
        (bandwidth_hz / problem.bandwidth_hz) @ area <= 1.0,
        joules <= most,
    ]
    total_j = float(unit_j.sum())
    program: Any = cvxpy.Problem(cvxpy.Minimize((unit_j / total_j) @ joules), constraints)

    def attempt() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is inaccurate counts as not solved
            program.solve(solver="CLARABEL")
        return float(program.value) * total_j if program.status == "optimal" else math.nan

    return attempt


def _nats(problem: Problem) -> FloatArray:
    """(M,) fixed payloads, nat."""
    rows = np.arange(problem.clients)
    return problem.bits_of(rows, problem.min_tokens) * math.log(2.0)
