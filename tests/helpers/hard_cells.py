"""Hard problems: limits met exactly, wide spreads, equal clients, rounds of a live cell."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, Final

import numpy as np
import pytest

from stsflora.solver import Allocation, Evaluation, Plan, Problem, Result, Stop, evaluate
from stsflora.solver.physics.demand import Demand
from stsflora.solver.tolerances import FEASIBILITY

from .instances import bisect_bandwidth_hz
from .paths import ROOT

LIMITS: Final = ("deadline_s", "max_energy_j", "bandwidth_hz", "max_power_w")
"""The fields that limit an allocation; every one admits more when it is larger."""

DELTAS: Final = (0.0, -1e-13, -1e-12, -1e-10, -9e-10)
"""What a limit is off from what an allocation uses: within the tolerance, and most within its rounding."""

LIVE_CASES: Final = ("live_weak", "live_first_point", "live_slow", "live_unproved")
"""Recorded rounds of a live-like cell, in tests/data/."""

ENDLESS_S: Final = 60.0
"""Processor time after which a call is taken to be endless; those tested take some hundredths of a second."""


def recorded(name: str) -> Problem:
    """A problem of tests/data/."""
    return Problem.load(ROOT / "tests" / "data" / f"{name}.json")


@contextmanager
def must_return() -> Iterator[None]:
    """Fail where the code within never ends, instead of hanging; counts processor time, not the clock.

    The failure is a BaseException, which `solve` does not turn into a result. Systems without such a timer
    have to wait.
    """
    if not hasattr(signal, "SIGVTALRM"):
        yield
        return

    def fail(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"has not returned after {ENDLESS_S:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, fail)
    signal.setitimer(signal.ITIMER_VIRTUAL, ENDLESS_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


# Limits that are met exactly.


def used(problem: Problem, allocation: Allocation) -> dict[str, Any]:
    """What an allocation takes of every limit."""
    evaluation = evaluate(problem, allocation)
    return {
        "deadline_s": evaluation.uplink_s,
        "max_energy_j": evaluation.energy_j,
        "bandwidth_hz": float(allocation.bandwidth_hz.sum()),
        "max_power_w": allocation.power_w,
    }


def hugged(problem: Problem, allocation: Allocation, limits: Sequence[str], delta: float) -> Problem:
    """The same round with limits that are (1 + delta) times what an allocation uses."""
    taken = used(problem, allocation)
    return replace(problem, **{name: taken[name] * (1.0 + delta) for name in limits})


def hugged_at_random(problem: Problem, allocation: Allocation, rng: np.random.Generator) -> Problem:
    """The same with some limits, each client's off by its own part of the tolerance."""
    changes: dict[str, Any] = {}
    for name, value in used(problem, allocation).items():
        if rng.random() < 0.6:
            share = rng.random() if name == "bandwidth_hz" else rng.random(problem.clients)
            changes[name] = value * (1.0 - share * FEASIBILITY)
    return replace(problem, **changes)


def scaled(problem: Problem, factor: float) -> Problem:
    """The same round with every limit times a factor."""
    return replace(problem, **{name: getattr(problem, name) * factor for name in LIMITS})


def check_against_witness(result: Result, witness: Evaluation) -> None:
    """An allocation that `evaluate` accepts: the problem is feasible, and the bound is not below it."""
    assert witness.feasible
    assert result.stop not in {Stop.INFEASIBLE, Stop.ERROR}, result
    assert result.evaluation is not None
    assert result.evaluation.feasible, result.evaluation.violations
    assert result.bound >= witness.ste * (1 - 1e-12), (
        f"false by {1 - result.bound / witness.ste:.1e}: {result}"
    )


def fits_comfortably(result: Result) -> bool:
    """Whether an answer's tokens fit limits lower by the tolerance, and still are within the gap asked."""
    assert result.allocation is not None
    assert result.evaluation is not None
    round_s = Demand(scaled(result.problem, 1 - FEASIBILITY)).least_round_s(result.allocation.tokens)
    kept = float(result.evaluation.retained.sum())
    return math.isfinite(round_s) and result.bound <= kept / round_s * (1 + result.asked_gap)


def kinked_problem(rng: np.random.Generator) -> tuple[Problem, np.ndarray, float]:
    """Deadlines and E / P next to the least round time of some tokens: (problem, tokens, that time)."""
    clients, tokens = int(rng.integers(1, 9)), int(rng.integers(2, 25))
    free = Problem(
        gain=10 ** rng.uniform(-13, -8, clients),
        importance=rng.random((clients, tokens)) + 0.01,
        bits_per_token=10 ** rng.uniform(4, 6, clients),
        bandwidth_hz=10 ** rng.uniform(6, 8),
        max_power_w=10 ** rng.uniform(-1, 0, clients),
        max_energy_j=np.inf,
        overhead_s=rng.choice([0.0, 0.1]) * rng.random(clients),
    )
    counts = rng.integers(1, tokens + 1, clients)
    round_s = Demand(free).least_round_s(counts)
    slot = round_s - free.overhead_s
    near = [rng.choice([-1.0, 1.0], clients) * 10 ** rng.uniform(-16, -8, clients) for _ in range(2)]
    # Every deadline is finite, so that no round lasts longer than the last of them.
    deadline = slot * np.where(rng.random(clients) < 0.5, 1 + near[0], 10 ** rng.uniform(0, 3, clients))
    energy = np.where(rng.random(clients) < 0.5, free.max_power_w * slot * (1 + near[1]), np.inf)
    return replace(free, deadline_s=deadline, max_energy_j=energy), counts, round_s


# Wide spreads.


def weak_clients_problem(
    weak_db: Sequence[float], strong: int = 1, tokens: int = 49, *, seed: int = 0
) -> Problem:
    """Clients at the given SNRs over the whole band, beside others at 1e-11 (34 dB); no limits."""
    rng = np.random.default_rng(seed)
    noise, bandwidth, power = 10**-20.4, 1e6, 0.2
    weak = 10 ** (np.asarray(weak_db) / 10) * noise * bandwidth / power
    gain = np.append(weak, np.full(strong, 1e-11))
    return Problem(
        gain=gain,
        importance=rng.dirichlet(np.full(tokens, 0.3), gain.size),
        bits_per_token=1e5,
        bandwidth_hz=bandwidth,
        max_power_w=power,
        max_energy_j=np.inf,
        noise_w_per_hz=noise,
    )


HALF_WIDTHS: Final = {
    "gain": 14.0,
    "bits": 5.0,
    "power": 6.0,
    "overhead": 6.0,
    "importance": 10.0,
    "energy": 0.0,
}
"""Up to how many orders of magnitude a field of `spread_problem` lies to either side of a common value."""


def spread_problem(rng: np.random.Generator) -> Problem:
    """Gains, payloads, powers, overheads or importances up to 28 orders apart; always feasible."""
    clients, tokens = int(rng.integers(2, 13)), int(rng.integers(1, 50))
    wide = {name: rng.random() < 0.4 for name in HALF_WIDTHS}

    def around(middle: float, name: str) -> np.ndarray:
        half = HALF_WIDTHS[name] * rng.random() if wide[name] else 0.5
        return np.asarray(middle * 10 ** rng.uniform(-half, half, clients))

    problem = Problem(
        gain=around(1e-11, "gain"),
        importance=rng.dirichlet(np.full(tokens, 0.5), clients) * around(1.0, "importance")[:, None],
        bits_per_token=around(1e5, "bits"),
        bandwidth_hz=10 ** rng.uniform(5, 8),
        max_power_w=around(0.2, "power"),
        max_energy_j=np.inf,
        overhead_s=around(1e-2, "overhead") if rng.random() < 0.5 else 0.0,
    )
    if not wide["energy"]:
        return problem
    nats = problem.bits_per_token * (problem.min_tokens + problem.extra_tokens) * math.log(2.0)
    margin = 1.0 + 10 ** rng.uniform(-4, 4, clients)
    return replace(problem, max_energy_j=margin * nats * problem.noise_w_per_hz / problem.gain)


def highest_bound(problem: Problem) -> float:
    """All attention over the least round time at twice the tolerance, 1/s: no bound has to exceed it."""
    relaxed = scaled(problem, 1 + 2 * FEASIBILITY)
    return float(problem.importance.sum()) / Demand(relaxed).least_round_s(problem.min_tokens)


# Equal clients and ties.

EQUAL_CELLS: Final = (
    (20, 196, "ones", 191740094),
    (20, 196, "plateaus", 780045099),
    (30, 196, "half", 454543313),
    (30, 196, "plateaus", 567568399),
    (50, 196, "half", 161624805),
    (100, 64, "half", 87566456),
    (100, 196, "half", 815258344),
    (100, 196, "plateaus", 808560028),
)
"""Arguments of `equal_problem` that took a search without filling 5 to 40 s, half of them in vain."""


def equal_problem(clients: int, tokens: int, kind: str, seed: int) -> Problem:
    """Equal phones side by side, whose importances are all one, half of them one, or on plateaus."""
    rng = np.random.default_rng(seed)
    gain = 10 ** rng.uniform(-12, -9)
    if kind == "half":
        row = np.append(np.ones(tokens // 2), np.zeros(tokens - tokens // 2))
    elif kind == "ones":
        row = np.ones(tokens)
    else:
        levels = int(rng.integers(2, 6))
        row = np.sort(rng.random(levels) + 0.05)[::-1].repeat(-(-tokens // levels))[:tokens]
    overhead = rng.random() * 0.1 if rng.random() < 0.3 else 0.0
    least = int(rng.integers(1, tokens + 1)) if rng.random() < 0.2 else 1
    return Problem(
        gain=gain,
        importance=np.tile(row, (clients, 1)),
        bits_per_token=32 * 192 * 32.0,
        bandwidth_hz=2e7,
        max_power_w=0.2,
        max_energy_j=0.5,
        overhead_s=overhead,
        min_tokens=least,
    )


def random_equal_problem(rng: np.random.Generator, most_clients: int = 100) -> Problem:
    """A draw of `equal_problem`; sometimes E / P lies in the middle of its round times."""
    clients = int(rng.integers(2, most_clients + 1))
    kind = str(rng.choice(["ones", "half", "plateaus"]))
    problem = equal_problem(clients, int(rng.choice([4, 24, 64, 196])), kind, int(rng.integers(2**31)))
    if rng.random() < 0.5:
        middle = np.maximum(problem.min_tokens, problem.tokens // 2)
        round_s = Demand(problem).least_round_s(middle)
        if math.isfinite(round_s):
            problem = replace(problem, max_energy_j=problem.max_power_w * round_s)
    return problem


def nearly_equal(problem: Problem, rng: np.random.Generator) -> Problem:
    """The same with gains, importances and overheads apart by 1e-3 to 1e-12 of themselves."""

    def apart(values: np.ndarray) -> np.ndarray:
        size = 10 ** rng.uniform(-12, -3) if rng.random() < 0.7 else 0.0
        return np.asarray(values * (1.0 + size * rng.uniform(-1, 1, values.shape)))

    return replace(
        problem,
        gain=apart(problem.gain),
        importance=apart(problem.importance),
        overhead_s=apart(problem.overhead_s),
    )


def plateau_problem(rng: np.random.Generator, most_clients: int = 12) -> Problem:
    """Different clients whose importances are whole numbers, so that many token vectors tie."""
    clients, tokens = int(rng.integers(2, most_clients + 1)), int(rng.integers(4, 33))
    importance = rng.integers(0, int(rng.integers(2, 5)), (clients, tokens)).astype(float)
    importance[:, 0] += 1.0
    return Problem(
        gain=10 ** rng.uniform(-13, -9, clients),
        importance=importance,
        bits_per_token=196608.0,
        bandwidth_hz=2e7,
        max_power_w=0.2,
        max_energy_j=10 ** rng.uniform(-1, 1),
        overhead_s=float(rng.choice([0.0, 0.1, 1.0])),
        extra_tokens=int(rng.integers(0, 3)),
    )


# A live cell.


def live_rounds(seed: int, rounds: int, pool: int = 60) -> Iterator[tuple[Problem, list[int]]]:
    """Rounds of one cell: clients come and go, fade, and now and then one falls to -150 dB: (problem, ids).

    SNR -5 to 30 dB over the band, uplinks limited to 0.05 to 2 s or not, budgets of 0.05 to 0.5 J or none.
    Not all of a round's clients can always be served.
    """
    rng = np.random.default_rng(seed)
    noise, bandwidth, power, tokens = 10**-20.4, 2e7, 0.2, 49
    importance = rng.dirichlet(np.full(tokens, 0.8), pool) * 64
    average_db = rng.uniform(-5, 30, pool)
    deadline = rng.choice([0.05, 0.2, 0.5, 2.0, np.inf], pool, p=[0.15, 0.2, 0.2, 0.2, 0.25])
    energy = rng.choice([0.05, 0.5, np.inf], pool)
    overhead = rng.choice([0.0, 0.02], pool)
    least = rng.choice([1, 8], pool)
    bits = rng.choice([0.25, 1.0], pool) * 196608
    present = rng.random(pool) < 0.4
    for _ in range(rounds):
        present ^= rng.random(pool) < 0.1
        present[int(rng.integers(pool))] = True
        ids = np.flatnonzero(present)
        snr_db = np.clip(average_db + 4 * rng.standard_normal(pool), -5, 30)[ids]
        if rng.random() < 0.2:
            snr_db[int(rng.integers(ids.size))] = -150.0
        problem = Problem(
            gain=10 ** (snr_db / 10) * noise * bandwidth / power,
            importance=importance[ids],
            bits_per_token=bits[ids],
            bandwidth_hz=bandwidth,
            max_power_w=power,
            max_energy_j=energy[ids],
            deadline_s=deadline[ids],
            overhead_s=overhead[ids],
            min_tokens=least[ids],
            noise_w_per_hz=noise,
        )
        yield problem, ids.tolist()


def patient_allocation(problem: Problem) -> Allocation:
    """The fewest tokens, as late as deadlines allow; who has none shares the rest, on power it can afford.

    Made without the solvers, and feasible wherever anything is, up to rounding and to bands that deadlines
    use up; `evaluate` says whether.
    """
    clients = problem.clients
    bits = problem.bits_per_token * (problem.min_tokens + problem.extra_tokens)
    noise = problem.noise_w_per_hz
    timed = np.isfinite(problem.deadline_s)
    power = problem.max_power_w.copy()
    power[timed] = np.minimum(power, problem.max_energy_j / np.where(timed, problem.deadline_s, 1.0))[timed]
    bandwidth = np.zeros(clients)
    for m in np.flatnonzero(timed):
        needed = bisect_bandwidth_hz(bits[m], problem.deadline_s[m], power[m], problem.gain[m], noise)
        bandwidth[m] = min(needed * (1 + 1e-13), problem.bandwidth_hz)
    rest = problem.bandwidth_hz - float(bandwidth.sum())
    share = max(rest, problem.bandwidth_hz * 1e-9) / max(1, clients - int(timed.sum()))
    for m in np.flatnonzero(~timed):
        bandwidth[m] = share
        power[m] = _affordable_power_w(problem, int(m), float(bits[m]), share)
    return Allocation(problem.min_tokens, bandwidth, power)


def _affordable_power_w(problem: Problem, client: int, bits: float, bandwidth_hz: float) -> float:
    """The most power that sends these bits within the client's budget of energy, by plain bisection."""
    snr_per_watt = float(problem.gain[client]) / (problem.noise_w_per_hz * bandwidth_hz)

    def energy_j(power_w: float) -> float:
        return power_w * bits / (bandwidth_hz * math.log1p(power_w * snr_per_watt) / math.log(2.0))

    high = float(problem.max_power_w[client])
    if energy_j(high) <= problem.max_energy_j[client]:
        return high
    low = high * 1e-30
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if energy_j(middle) <= problem.max_energy_j[client] else (low, middle)
    return low


def check_plan(problem: Problem, ids: Sequence[int], plan: Plan) -> Problem | None:
    """A plan is feasible for whom it grants, and drops only those who cannot be served; the round granted."""
    assert {client.cause for client in plan.dropped} <= {"energy", "deadline", "bandwidth"}, plan.message
    assert {*plan.grants, *(client.id for client in plan.dropped)} == set(ids)
    if plan.dropped:
        assert not evaluate(problem, patient_allocation(problem)).feasible
    if not plan.grants:
        return None
    rows = [ids.index(int(client)) for client in plan.grants]
    granted = problem.subset(rows)
    grants = list(plan.grants.values())
    evaluation = evaluate(
        granted,
        Allocation(
            [grant.tokens for grant in grants],
            [grant.bandwidth_hz for grant in grants],
            [grant.power_w for grant in grants],
        ),
    )
    assert evaluation.feasible, evaluation.violations
    assert plan.ste * (1 - 1e-12) <= plan.bound < math.inf
    return granted
