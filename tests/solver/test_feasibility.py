"""P6: the diagnosis against brute force over all sets of clients, and its words."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.instances import bisect_bandwidth_hz, random_problem, small_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.solver import Problem, solve
from stsflora.solver.feasibility import diagnose, within_tolerance
from stsflora.solver.physics.demand import Demand
from stsflora.solver.tolerances import FEASIBILITY, PERMITTED_SHARE


def plain_needs_hz(problem: Problem) -> list[float]:
    """Least bandwidth in the long run of every client alone; inf where it can never deliver K_min."""
    needs = []
    for m in range(problem.clients):
        bits = problem.bits_per_token[m] * (problem.min_tokens[m] + problem.extra_tokens)
        if math.isinf(problem.deadline_s[m]):
            least_j = bits * problem.noise_w_per_hz * math.log(2.0) / problem.gain[m]
            needs.append(0.0 if least_j < problem.max_energy_j[m] else math.inf)
        else:
            power = min(problem.max_power_w[m], problem.max_energy_j[m] / problem.deadline_s[m])
            seconds = float(problem.deadline_s[m])
            needs.append(bisect_bandwidth_hz(bits, seconds, power, problem.gain[m], problem.noise_w_per_hz))
    return needs


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1))
def test_p6_agrees_with_brute_force_over_all_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_problem = random_problem(rng, clients=int(rng.integers(1, 7)))
    diagnosis = diagnose(given_problem)
    problem = given_problem.with_raised_limits(PERMITTED_SHARE)
    needs = plain_needs_hz(problem)
    fitting = [
        chosen
        for size in range(problem.clients + 1)
        for chosen in itertools.combinations(range(problem.clients), size)
        if sum(needs[m] for m in chosen) <= problem.bandwidth_hz
    ]
    assert (diagnosis is None) == (len(fitting[-1]) == problem.clients)
    if diagnosis is None:
        assert Demand(problem).least_round_s(problem.min_tokens) < math.inf
        return
    assert math.isinf(Demand(problem).least_round_s(problem.min_tokens))
    assert len(diagnosis.clients_that_fit) == len(fitting[-1])
    assert diagnosis.clients_that_fit in fitting
    if diagnosis.clients_that_fit:
        attentive = replace(given_problem, importance=np.ones_like(given_problem.importance))
        assert diagnose(attentive.subset(diagnosis.clients_that_fit)) is None
    if diagnosis.limit == "bandwidth":
        assert diagnosis.needed[0] == pytest.approx(sum(needs), rel=1e-9)
        assert diagnosis.available == (given_problem.bandwidth_hz,)
        assert set(diagnosis.clients) == set(range(problem.clients)) - set(diagnosis.clients_that_fit)
    else:
        assert diagnosis.clients == tuple(m for m, need in enumerate(needs) if math.isinf(need))
        limit_j = np.minimum(given_problem.max_energy_j, given_problem.max_power_w * given_problem.deadline_s)
        for m, available, needed in zip(
            diagnosis.clients, diagnosis.available, diagnosis.needed, strict=True
        ):
            assert available == limit_j[m]
            assert needed >= available * (1 + PERMITTED_SHARE) * (1 - 1e-12)


def test_energy_is_named_with_client_and_joules() -> None:
    least_j = 3e5 * small_problem().noise_w_per_hz * np.log(2.0) / 4e-10
    diagnosis = diagnose(small_problem(max_energy_j=[1.0, 0.5 * least_j, 1.0]))
    assert diagnosis is not None
    assert (diagnosis.limit, diagnosis.unit) == ("energy", "J")
    assert diagnosis.clients == (1,)
    assert diagnosis.clients_that_fit == (0, 2)
    assert diagnosis.needed == pytest.approx((least_j,))
    assert diagnosis.available == (0.5 * least_j,)
    assert str(diagnosis) == (
        "energy budget: client 1 needs 2.07e-06 J, 1.035e-06 J available "
        "(clients concerned: 1; 2 clients fit)"
    )


def test_the_energy_limit_is_strict_at_the_tolerance() -> None:
    """Client m can never deliver S bits on E joules iff S N0 ln2 / h >= E; E counts with its tolerance."""
    problem = small_problem()
    least_j = 3e5 * problem.noise_w_per_hz * np.log(2.0) / problem.gain
    just_beyond = PERMITTED_SHARE + 1e-13
    for missing, fits in (
        *((2e-9, False), (1.01e-9, False), (just_beyond, False)),
        *((0.99e-9, True), (5e-10, True), (0.0, True)),
    ):
        diagnosis = diagnose(replace(problem, max_energy_j=least_j * (1 - missing)))
        assert (diagnosis is None) is fits
    result = solve(replace(problem, max_energy_j=least_j * (1 - 5e-10)))
    assert result.evaluation is not None
    assert result.evaluation.feasible


def test_the_bandwidth_limit_is_strict_at_the_tolerance() -> None:
    problem = small_problem(deadline_s=1.0)
    need_hz = float(Demand(problem).bandwidth_hz(problem.min_tokens, 10.0).sum())
    # Deadlines, powers and energies with their tolerances need less than this.
    raised = problem.with_raised_limits(PERMITTED_SHARE)
    least_hz = float(Demand(raised).bandwidth_hz(raised.min_tokens, 10.0).sum())
    assert least_hz < need_hz
    for missing, fits in ((2e-9, False), (1.01e-9, False), (0.99e-9, True), (5e-10, True), (0.0, True)):
        diagnosis = diagnose(replace(problem, bandwidth_hz=least_hz * (1 - missing)))
        assert (diagnosis is None) is fits


def test_limits_that_suffice_are_left_as_they_are() -> None:
    problem = small_problem()
    assert within_tolerance(problem) is problem
    least_j = 3e5 * problem.noise_w_per_hz * np.log(2.0) / problem.gain
    for missing in (1e-10, 4.9e-10, 9.9e-10):
        tight = replace(problem, max_energy_j=least_j * (1 - missing))
        wider = within_tolerance(tight)
        assert (wider.max_energy_j > least_j).all()
        assert (wider.max_energy_j <= tight.max_energy_j * (1 + FEASIBILITY)).all()
        assert wider.bandwidth_hz <= tight.bandwidth_hz * (1 + FEASIBILITY)


def test_deadline_is_named_when_full_power_until_then_is_too_little() -> None:
    least_j = 3e5 * small_problem().noise_w_per_hz * np.log(2.0) / 2e-11
    diagnosis = diagnose(small_problem(deadline_s=[np.inf, np.inf, 0.5 * least_j / 0.2]))
    assert diagnosis is not None
    assert (diagnosis.limit, diagnosis.clients, diagnosis.unit) == ("deadline", (2,), "J")
    assert str(diagnosis).startswith("full power until the deadline: client 2 needs 4.139e-05 J, 2.07e-05 J")


def test_bandwidth_is_named_as_a_joint_limit() -> None:
    diagnosis = diagnose(small_problem(deadline_s=0.05))
    assert diagnosis is not None
    assert (diagnosis.limit, diagnosis.unit, diagnosis.clients) == ("bandwidth", "Hz", (2,))
    assert diagnosis.clients_that_fit == (0, 1)
    assert diagnosis.available == (1e6,)
    assert str(diagnosis).startswith("bandwidth within the deadlines: all clients together need ")
    assert "1e+06 Hz available (clients concerned: 2; 2 clients fit)" in str(diagnosis)


def test_where_energy_and_deadline_are_the_same_limit_it_is_energy() -> None:
    """As many joules as full power spends until the deadline: a longer deadline alone would not help."""
    least_j = 3e5 * small_problem().noise_w_per_hz * np.log(2.0) / 2e-11
    short_s = 0.5 * least_j / 0.2
    diagnosis = diagnose(small_problem(deadline_s=[np.inf, np.inf, short_s], max_energy_j=0.2 * short_s))
    assert diagnosis is not None
    assert (diagnosis.limit, diagnosis.clients) == ("energy", (2,))


def test_gains_below_the_noise_density_are_not_taken_for_good_ones() -> None:
    """Equal shares of the band are tried on the energy over the noise, not times it."""
    diagnosis = diagnose(small_problem(gain=1e-22, max_power_w=1e6, max_energy_j=1e6))
    assert diagnosis is not None
    assert (diagnosis.limit, diagnosis.clients) == ("energy", (0, 1, 2))


def test_a_client_that_needs_all_of_the_band_fits() -> None:
    """The band, raised by what is permitted, is the first client's need to the last bit."""
    gains = np.geomspace(1e-9, 2e-9, 40)
    weak = 1e-16  # the second one fits with no band
    for gain in gains:
        problem = small_problem(gain=[gain, weak, weak], deadline_s=1.0)
        need = Demand(problem.with_raised_limits(PERMITTED_SHARE)).area(
            problem.min_tokens, np.full(3, 1.0 + PERMITTED_SHARE)
        )[0][0] / (1.0 + PERMITTED_SHARE)
        tight = replace(problem, bandwidth_hz=float(need) / (1.0 + PERMITTED_SHARE))
        if tight.with_raised_limits(PERMITTED_SHARE).bandwidth_hz != need:
            continue
        diagnosis = diagnose(tight)
        assert diagnosis is not None
        assert diagnosis.clients_that_fit == (0,)
        return
    pytest.fail("no band is the need to the last bit")


def test_many_clients_are_cut_in_the_text() -> None:
    problem = Problem(
        gain=np.full(9, 1e-9),
        importance=np.ones((9, 2)),
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=1e-12,
    )
    diagnosis = diagnose(problem)
    assert diagnosis is not None
    assert len(diagnosis.clients) == 9
    assert "(clients concerned: 0, 1, 2, 3, 4, ...; 0 clients fit)" in str(diagnosis)


def test_without_limits_everything_is_feasible() -> None:
    assert diagnose(small_problem(max_energy_j=np.inf, gain=1e-16)) is None


def test_a_set_that_misses_by_rounding_leaves_somebody_out() -> None:
    """Where needs add up to more than the band in one order and fit in another, one client still goes."""
    share = 1 + PERMITTED_SHARE
    for seed in range(200):
        rng = np.random.default_rng(seed)
        problem = small_problem(
            gain=10 ** rng.uniform(-11, -8, 300), importance=np.ones((300, 2)), deadline_s=1.0
        )
        demand = Demand(problem.with_raised_limits(PERMITTED_SHARE))
        need = demand.bandwidth_hz(problem.min_tokens, 10.0)
        fitting = float(np.cumsum(np.sort(need))[-1])
        for ulps in range(-3, 4):
            bandwidth_hz = fitting / share * (1 + ulps * 2.0**-52)
            tight = replace(problem, bandwidth_hz=bandwidth_hz)
            diagnosis = diagnose(tight)
            if fitting <= bandwidth_hz * share and diagnosis is not None:
                assert diagnosis.clients == (int(np.argmax(need)),)
                return
    pytest.fail("no instance at the edge of rounding")


def test_a_band_narrower_than_a_hertz_is_no_wider_for_it() -> None:
    """Twice of what a hundredth of a hertz carries within a second is infeasible."""
    capacity_bits = 0.01 * math.log2(1.0 + 0.2 * 1e-15 / (1e-20 * 0.01))
    problem = Problem(
        gain=[1e-15],
        importance=[[1.0]],
        bits_per_token=2.0 * capacity_bits,
        bandwidth_hz=0.01,
        max_power_w=0.2,
        max_energy_j=1.0,
        deadline_s=1.0,
        extra_tokens=0,
        noise_w_per_hz=1e-20,
    )
    diagnosis = diagnose(problem)
    assert diagnosis is not None
    assert diagnosis.limit == "bandwidth"
