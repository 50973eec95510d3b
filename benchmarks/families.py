"""Named families of instances: the same name, size and seed give the same `Problem` on every machine.

All start from one drawn cell (`paper`) and change one thing each; for a given size and seed they share the
draws of places, fading and attention, so that two families differ by what their names say. Every instance
is feasible, for every size and seed, except those of `infeasible`. Those here pose the token problem, others
are in `general_families`.

Two regimes have to be covered. Without a time that is independent of K, and with the attention on few
tokens, fewer tokens are always better and the optimum sits at K_min. Overheads, the two extra tokens and
even attention move it to the interior. Each family says where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np

from ..models.cell.cell import mean_gain
from ..models.cell.fading import fading_power, gauss_markov_step
from ..solver import OptionError, Problem, UnknownNameError
from ..solver.checks import numbers_in_range, whole_number
from ..solver.physics.demand import Demand
from ..solver.physics.uplink import payload_bits
from ..solver.problem import FloatArray
from .general_families import GENERAL_FAMILIES
from .paper_cell import (
    BATCH,
    CELL,
    ENERGY_J,
    POWER_W,
    TOKENS,
    Devices,
    Setting,
    cell_problem,
    paper_devices,
    selected_clients,
)


def paper(setting: Setting) -> Problem:
    """The paper's setting without overhead; interior, at a few tokens.

    Clients uniform in area from 5 to 500 m, path-loss exponent 2.5, Rayleigh fading, 0.2 W, 0.8 J, 50 MHz
    for up to 100 clients, batches of 64 images, 196 tokens of 768 x 32 bit, K_min = 1. The clients walk;
    deadlines come from standing times (eq. 7) under the selection rule (eq. 9), and are slack.
    """
    return cell_problem(setting)


def round_time(setting: Setting) -> Problem:
    """`paper` with downlink and forward pass in the round time; interior, at 10 to 100 tokens."""
    return cell_problem(setting, whole_time=True)


def energy_tight(setting: Setting) -> Problem:
    """`paper` with energy budgets that bind for every client; interior, at a few tokens.

    Each budget is 0.1 to 0.9 of what full power spends in the shortest possible round, so p = E / t < P
    in every round; but at least 1.5 times what K_min takes at the fair share by the deadline.
    """
    problem = paper(setting)
    shortest_s = Demand(_changed(problem, max_energy_j=np.inf)).least_round_s(problem.min_tokens)
    share = setting.stream("energy").uniform(0.1, 0.9, setting.clients)
    budget = share * problem.max_power_w * shortest_s
    return _changed(problem, max_energy_j=np.maximum(budget, 1.5 * _fair_share_energy_j(problem)))


def deadline_tight(setting: Setting) -> Problem:
    """`paper` with rather even attention and deadlines that bind for a third of the clients; interior.

    Deadlines are 1.1 to 4 times the shortest possible round, even on a logarithmic scale: the fewest
    tokens always meet them together, the optimum without deadlines would miss most of them.
    """
    problem = cell_problem(setting, steepness=(0.2, 0.6))
    shortest_s = Demand(_changed(problem, deadline_s=np.inf)).least_round_s(problem.min_tokens)
    factor = np.exp(setting.stream("deadline").uniform(np.log(1.1), np.log(4.0), setting.clients))
    return _changed(problem, deadline_s=factor * shortest_s)


def min64(setting: Setting) -> Problem:
    """`paper` with its K_min of 64 (N if there are fewer); at K_min."""
    return _changed(paper(setting), min_tokens=min(64, setting.tokens))


def heterogeneous(setting: Setting) -> Problem:
    """`paper` with batches, widths, bit depths, powers, energies, K_min and attention of their own; mixed.

    Batches of 8 to 128 images, width 384, 768 or 1024, 8, 16 or 32 bit, 0.05 to 0.4 W, 0.2 to 2 J,
    K_min from 1 to a quarter of the tokens, 49 at most. Many clients end at K_min.
    """
    rng, count = setting.stream("devices"), setting.clients
    batch = rng.choice([8.0, 16.0, 32.0, 64.0, 128.0], count)
    devices = Devices(
        batch=batch,
        bits_per_token=batch
        * rng.choice([384.0, 768.0, 1024.0], count)
        * rng.choice([8.0, 16.0, 32.0], count),
        max_power_w=rng.uniform(0.05, 0.4, count),
        max_energy_j=rng.uniform(0.2, 2.0, count),
    )
    least = rng.integers(1, max(1, min(setting.tokens, TOKENS) // 4), count, endpoint=True)
    return _changed(cell_problem(setting, devices, steepness=(0.2, 3.0)), min_tokens=least)


def steep(setting: Setting) -> Problem:
    """`paper` with the attention on a few tokens; at K_min for most clients."""
    return cell_problem(setting, steepness=(2.5, 4.0))


def flat(setting: Setting) -> Problem:
    """`paper` with almost even attention; interior, at tens of tokens."""
    return cell_problem(setting, steepness=(0.0, 0.2))


def ties(setting: Setting) -> Problem:
    """`paper` with equal clients, equal importances and clients of no importance; degenerate everywhere.

    All share one channel, device and deadline. In pairs, in this order and again: even importance, all
    zero, plateaus of 14 tokens, half of the tokens zero.
    """
    problem, tokens = paper(setting), setting.tokens
    position = np.arange(tokens)
    even = np.full(tokens, BATCH / tokens)
    kinds = np.stack(
        [
            even,
            np.zeros(tokens),
            problem.importance[0, position // 14 * 14],
            np.where(position < (tokens + 1) // 2, even, 0.0),
        ]
    )
    return _changed(
        problem,
        gain=problem.gain[0],
        deadline_s=problem.deadline_s[0],
        importance=kinds[np.arange(setting.clients) // 2 % len(kinds)],
    )


def extreme(setting: Setting) -> Problem:
    """`paper` with gains over 13 orders of magnitude, and energies down to 0.1 % above the least; mixed.

    Gains from 1e-16 to 1e-3, even on a logarithmic scale, both ends present from two clients on. Weak
    clients get 1.001 to 11 times the energy without which no bandwidth brings K_min up (P6), some
    therefore sit at that limit, and the power that spends it in a second. No deadlines.
    """
    problem, rng = paper(setting), setting.stream("extreme")
    exponent = rng.uniform(-16.0, -3.0, setting.clients)
    ends = rng.permutation(setting.clients)[:2]
    exponent[ends] = np.array([-16.0, -3.0])[: len(ends)]
    problem = _changed(problem, gain=10.0**exponent, deadline_s=np.inf)
    margin = 1.0 + 10.0 ** rng.uniform(-3.0, 1.0, setting.clients)
    energy = np.maximum(ENERGY_J, margin * _wideband_energy_j(problem))
    return _changed(problem, max_energy_j=energy, max_power_w=np.maximum(POWER_W, energy))


def infeasible(setting: Setting) -> Problem:
    """`paper` with one limit that cannot be met; the seed modulo 4 says which.

    0: half the energy that one client's K_min takes at any bandwidth. 1: one client's deadline at half
    the time in which full power spends that energy. 2: deadlines that need twice the bandwidth for all
    together. 3: one client's deadline that needs twice the bandwidth for it alone.
    """
    problem, way = _changed(paper(setting), deadline_s=np.inf), setting.seed % 4
    client = int(setting.stream("infeasible").integers(setting.clients))
    one = np.arange(setting.clients) == client
    least_j = _wideband_energy_j(problem)
    if way == 0:
        return _changed(problem, max_energy_j=np.where(one, 0.5 * least_j, problem.max_energy_j))
    if way == 1:
        return _changed(problem, deadline_s=np.where(one, 0.5 * least_j / problem.max_power_w, np.inf))
    concerned = problem if way == 2 else problem.subset([client])
    shortest_s = Demand(concerned).least_round_s(concerned.min_tokens)
    deadline_s = np.where(one | (way == 2), shortest_s, np.inf)
    return _changed(problem, deadline_s=deadline_s, bandwidth_hz=0.5 * problem.bandwidth_hz)


FAMILIES: Final[tuple[Callable[[Setting], Problem], ...]] = (
    paper,
    round_time,
    energy_tight,
    deadline_tight,
    min64,
    heterogeneous,
    steep,
    flat,
    ties,
    extreme,
    infeasible,
)


def families() -> tuple[str, ...]:
    """The names of the families of the token problem, which every solver takes."""
    return tuple(make.__name__ for make in FAMILIES)


def general_families() -> tuple[str, ...]:
    """The names of the families with other objectives, alternatives, skipping, caps or blocks."""
    return tuple(make.__name__ for make in GENERAL_FAMILIES)


def family(name: str, clients: int, seed: int, **overrides: Any) -> Problem:
    """Draw one instance of a named family.

    Args:
        name: one of `families()` or `general_families()`.
        clients: M, from 1 to 100,000 and beyond; above 100 the bandwidth grows with it.
        seed: whole number >= 0.
        **overrides: `tokens` (N, 196 if left out) goes into the draw. Any field of `Problem` replaces what
            was drawn, nothing else changes, and feasibility is the caller's affair then.

    Returns:
        A feasible instance, except from `infeasible`. The same arguments give the same instance in every
        process and on every machine.

    Raises:
        UnknownNameError: no family of that name.
        OptionError: an unknown override, or clients, seed or tokens out of range.
        ProblemError: an override that `Problem` refuses.

    Cost: O(M N log N); 100,000 clients take a few seconds and about half a gigabyte.
    """
    makers = {make.__name__: make for make in (*FAMILIES, *GENERAL_FAMILIES)}
    if name not in makers:
        raise UnknownNameError(
            "family", f"family {name!r}", ", ".join(makers), "Choose one, or build a Problem yourself"
        )
    names = ("tokens", *(field.name for field in fields(Problem)))
    for option in overrides:
        if option not in names:
            raise OptionError("family", f"override {option!r}", ", ".join(names), "Correct the name")
    problem = makers[name](_setting("family", clients, seed, overrides.pop("tokens", TOKENS)))
    return _changed(problem, **overrides) if overrides else problem


def fading_sequence(clients: int, rounds: int, seed: int, correlation: float) -> Iterator[Problem]:
    """Rounds of one `paper` cell under Gauss-Markov fading, one after the other; only `gain` differs.

    The first is `family("paper", clients, seed)`. A gain is kept above twice the least with which its
    client meets K_min at the fair share by its deadline, so every round is feasible.

    Args:
        clients: M.
        rounds: how many.
        seed: whole number >= 0.
        correlation: of the fading amplitude from one round to the next, -1 to 1; 1 stands still.

    Raises:
        OptionError: clients, rounds or seed out of range.
        ProblemError: correlation out of range.
    """
    setting = _setting("fading_sequence", clients, seed, TOKENS)
    whole_number("fading_sequence", "rounds", rounds, 1)
    numbers_in_range("fading_sequence", "correlation", correlation, -1.0, 1.0)
    return _fading_rounds(setting, rounds, correlation)


def _fading_rounds(setting: Setting, rounds: int, correlation: float) -> Iterator[Problem]:
    problem = paper(setting)
    yield problem
    clients = selected_clients(setting, paper_devices(setting))
    average, amplitude = mean_gain(CELL, clients), clients.scattered
    least = 2.0 * _fair_share_gain(problem)
    rng = setting.stream("fading sequence")
    for _ in range(rounds - 1):
        amplitude = gauss_markov_step(amplitude, correlation, rng)
        problem = _changed(
            problem, gain=np.maximum(average * fading_power(amplitude, CELL.rician_factor), least)
        )
        yield problem


def _setting(who: str, clients: int, seed: int, tokens: int) -> Setting:
    whole_number(who, "clients", clients, 1)
    whole_number(who, "seed", seed, 0)
    whole_number(who, "tokens", tokens, 1)
    return Setting(int(clients), int(seed), int(tokens))


def _least_nats(problem: Problem) -> FloatArray:
    """(M,) payload of K_min, nat."""
    bits = payload_bits(problem.min_tokens, problem.bits_per_token, problem.extra_tokens)
    return np.asarray(bits * np.log(2.0))


def _wideband_energy_j(problem: Problem) -> FloatArray:
    """(M,) energy that K_min takes at unlimited bandwidth, S N0 ln2 / h (P6)."""
    return _least_nats(problem) * problem.noise_w_per_hz / problem.gain


def _changed(problem: Problem, **changes: Any) -> Problem:
    """A copy with other fields; scalars broadcast, as in `Problem`."""
    return replace(problem, **changes)


def _fair_share_energy_j(problem: Problem) -> FloatArray:
    """(M,) least energy that brings K_min up by the deadline at the bandwidth W_tot / M."""
    area = problem.bandwidth_hz / problem.clients * problem.deadline_s
    energy = area * np.expm1(_least_nats(problem) / area) * problem.noise_w_per_hz / problem.gain
    return np.asarray(energy)


def _fair_share_gain(problem: Problem) -> FloatArray:
    """(M,) least gain at which K_min arrives by the deadline at the bandwidth W_tot / M."""
    spendable_j = np.minimum(problem.max_energy_j, problem.max_power_w * problem.deadline_s)
    return np.asarray(problem.gain * _fair_share_energy_j(problem) / spendable_j)
