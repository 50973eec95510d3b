"""Simulated wireless cell: placement, path loss, shadowing, fading and mobility of clients over rounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from ...solver.checks import nonnegative_numbers, numbers_in_range, positive_numbers, whole_number
from ...solver.problem import FloatArray
from ...solver.random_streams import random_stream
from ...solver.units import linear_from_db
from .fading import (
    ComplexArray,
    doppler_hz,
    fading_power,
    gauss_markov_step,
    jakes_correlation,
    scattered,
)
from .mobility import (
    BoolArray,
    chord_standing_s,
    poisson_active,
    random_velocity,
    standing_s,
    uniform_in_ring,
)


@dataclass(frozen=True)
class Cell:
    """One base station and the law of its clients; the defaults are the paper's setting where it says so.

    Attributes:
        inner_radius_m: closest distance, m, > 0 (paper).
        outer_radius_m: cell radius, m (paper).
        path_loss_exponent: finite, >= 0 (paper).
        reference_gain: linear power gain at 1 m, > 0 (-30 dB; the paper's value is not known).
        shadowing_db: standard deviation of log-normal shadowing, dB, >= 0.
        rician_factor: linear, 0 for Rayleigh fading, inf for none.
        carrier_hz: for the Doppler shift, > 0.
        slowest_m_per_s: least speed, m/s, from 0 to `fastest_m_per_s`.
        fastest_m_per_s: largest speed, m/s, finite.
        longest_stay_s: T_max of eq. 7, s, > 0; inf for none.
        activations_per_round: mean of a client's Poisson activations in a round, >= 0; inf for always active.

    Raises:
        ProblemError: a value out of range.
    """

    inner_radius_m: float = 5.0
    outer_radius_m: float = 500.0
    path_loss_exponent: float = 2.5
    reference_gain: float = 1e-3
    shadowing_db: float = 0.0
    rician_factor: float = 0.0
    carrier_hz: float = 3.5e9
    slowest_m_per_s: float = 0.5
    fastest_m_per_s: float = 4.0
    longest_stay_s: float = 300.0
    activations_per_round: float = np.inf

    def __post_init__(self) -> None:
        who = "Cell"
        positive_numbers(who, "outer_radius_m", self.outer_radius_m)
        inner, outer = self.inner_radius_m, self.outer_radius_m
        numbers_in_range(who, "inner_radius_m", inner, 0.0, outer, open_low=True, open_high=True)
        nonnegative_numbers(who, "path_loss_exponent", self.path_loss_exponent)
        positive_numbers(who, "reference_gain", self.reference_gain)
        nonnegative_numbers(who, "shadowing_db", self.shadowing_db)
        numbers_in_range(who, "rician_factor", self.rician_factor, 0.0)
        positive_numbers(who, "carrier_hz", self.carrier_hz)
        nonnegative_numbers(who, "fastest_m_per_s", self.fastest_m_per_s)
        numbers_in_range(who, "slowest_m_per_s", self.slowest_m_per_s, 0.0, self.fastest_m_per_s)
        numbers_in_range(who, "longest_stay_s", self.longest_stay_s, 0.0, open_low=True)
        numbers_in_range(who, "activations_per_round", self.activations_per_round, 0.0)


@dataclass(frozen=True, eq=False)
class Clients:
    """Positions, velocities, shadowing and fading of M clients at one instant.

    Attributes:
        position_m: (M, 2) m, base station at the origin.
        velocity_m_per_s: (M, 2) m/s.
        shadowing: (M,) linear gain factor > 0, constant while a client stays.
        scattered: (M,) complex scattered amplitude of the fading.
    """

    position_m: FloatArray
    velocity_m_per_s: FloatArray
    shadowing: FloatArray
    scattered: ComplexArray

    @property
    def distance_m(self) -> FloatArray:
        """(M,) distance to the base station, m."""
        return np.hypot(self.position_m[:, 0], self.position_m[:, 1])

    @property
    def speed_m_per_s(self) -> FloatArray:
        """(M,) speed, m/s."""
        return np.hypot(self.velocity_m_per_s[:, 0], self.velocity_m_per_s[:, 1])

    def where(self, mask: BoolArray, other: Clients) -> Clients:
        """A copy in which the clients under the mask, (M,) bool, are those of `other`, one per True."""
        changed = {}
        for name, value in vars(self).items():
            changed[name] = value.copy()
            changed[name][mask] = getattr(other, name)
        return Clients(**changed)


@dataclass(frozen=True, eq=False)
class Round:
    """What the base station sees at the start of a round.

    Attributes:
        index: 0, 1, ... of the round.
        clients: positions, velocities and fading.
        gain: (M,) linear channel power gain, path loss, shadowing and fading together.
        standing_s: (M,) standing time (eq. 7), s.
        active: (M,) bool, which clients ask to take part.
    """

    index: int
    clients: Clients
    gain: FloatArray
    standing_s: FloatArray
    active: BoolArray


def path_gain(distance_m: ArrayLike, exponent: float, reference_gain: float) -> FloatArray:
    """Path loss as a linear power gain: reference_gain x distance^-exponent.

    Args:
        distance_m: m, > 0, any shape.
        exponent: path-loss exponent.
        reference_gain: linear power gain at 1 m, > 0.

    Returns:
        Gains of the shape of `distance_m`.

    Raises:
        ProblemError: a distance or reference gain that is not positive and finite.
    """
    distance = positive_numbers("path_gain", "distance_m", distance_m)
    positive_numbers("path_gain", "reference_gain", reference_gain)
    return np.asarray(reference_gain * distance**-exponent)


def shadowing_gain(clients: int, deviation_db: float, rng: Generator) -> FloatArray:
    """(M,) log-normal shadowing: linear gain factors of median 1.

    Args:
        clients: M >= 1.
        deviation_db: standard deviation, dB, >= 0.
        rng: source of the draws.

    Raises:
        OptionError: no client.
        ProblemError: a negative deviation.
    """
    whole_number("shadowing_gain", "clients", clients, 1)
    nonnegative_numbers("shadowing_gain", "deviation_db", deviation_db)
    return linear_from_db(deviation_db * rng.standard_normal(clients))


def drop(cell: Cell, clients: int, rng: Generator) -> Clients:
    """New clients: uniform in area, with velocity, shadowing and fading drawn afresh.

    Raises:
        OptionError: `clients` is no whole number >= 1.
    """
    return Clients(
        position_m=uniform_in_ring(clients, cell.inner_radius_m, cell.outer_radius_m, rng),
        velocity_m_per_s=random_velocity(clients, cell.slowest_m_per_s, cell.fastest_m_per_s, rng),
        shadowing=shadowing_gain(clients, cell.shadowing_db, rng),
        scattered=scattered(clients, rng),
    )


def mean_gain(cell: Cell, clients: Clients) -> FloatArray:
    """(M,) linear channel power gain by path loss and shadowing, without fading.

    Closer than `inner_radius_m` the path loss no longer falls: the model ends there.
    """
    distance = np.maximum(clients.distance_m, cell.inner_radius_m)
    return path_gain(distance, cell.path_loss_exponent, cell.reference_gain) * clients.shadowing


def channel_gain(cell: Cell, clients: Clients) -> FloatArray:
    """(M,) linear channel power gain: path loss, shadowing and fading."""
    return mean_gain(cell, clients) * fading_power(clients.scattered, cell.rician_factor)


def standing_time_s(cell: Cell, clients: Clients) -> FloatArray:
    """(M,) standing time in the cell (paper eq. 7), s."""
    return standing_s(clients.distance_m, clients.speed_m_per_s, cell.outer_radius_m, cell.longest_stay_s)


def advance(
    cell: Cell, clients: Clients, seconds: float, rng: Generator, correlation: ArrayLike | None = None
) -> Clients:
    """The clients some time later: moved straight on, fading moved by one Gauss-Markov step.

    A client that leaves the cell is replaced by a new one, so that the number stays.

    Args:
        cell: the cell.
        clients: the state now.
        seconds: time that passes, s, finite, >= 0.
        rng: source of innovations and newcomers.
        correlation: of the scattered amplitude, in [-1, 1], scalar or (M,); by default Jakes'
            J0(2 pi f_D dt) at each client's speed.

    Raises:
        ProblemError: a negative time, or a correlation outside [-1, 1].
    """
    nonnegative_numbers("advance", "seconds", seconds)
    if correlation is None:
        correlation = jakes_correlation(doppler_hz(clients.speed_m_per_s, cell.carrier_hz), seconds)
    left = chord_standing_s(clients.position_m, clients.velocity_m_per_s, cell.outer_radius_m) <= seconds
    moved = Clients(
        position_m=clients.position_m + clients.velocity_m_per_s * seconds,
        velocity_m_per_s=clients.velocity_m_per_s,
        shadowing=clients.shadowing,
        scattered=gauss_markov_step(clients.scattered, correlation, rng),
    )
    return moved.where(left, drop(cell, int(left.sum()), rng)) if left.any() else moved


def simulate(
    cell: Cell,
    clients: int,
    rounds: int,
    seed: int,
    *,
    interval_s: float = 1.0,
    correlation: ArrayLike | None = None,
) -> Iterator[Round]:
    """Simulate the rounds of one cell, lazily: gains, standing times and active clients of each.

    Args:
        cell: the cell.
        clients: M >= 1.
        rounds: how many, >= 1.
        seed: whole number >= 0; the same seed gives the same rounds.
        interval_s: time between the starts of two rounds, s, finite, >= 0.
        correlation: of the fading from round to round, in [-1, 1], scalar or (M,); by default Jakes' at
            each client's speed.

    Returns:
        One `Round` after the other; choose with `active` and `takes_part`.

    Raises:
        OptionError: clients, rounds or seed out of range.
        ProblemError: interval or correlation out of range.
    """
    whole_number("simulate", "clients", clients, 1)
    whole_number("simulate", "rounds", rounds, 1)
    whole_number("simulate", "seed", seed, 0)
    nonnegative_numbers("simulate", "interval_s", interval_s)
    if correlation is not None:
        numbers_in_range("simulate", "correlation", correlation, -1.0, 1.0)
    return _rounds(cell, clients, rounds, seed, interval_s=interval_s, correlation=correlation)


def _rounds(
    cell: Cell,
    clients: int,
    rounds: int,
    seed: int,
    *,
    interval_s: float,
    correlation: ArrayLike | None,
) -> Iterator[Round]:
    rng = random_stream(f"cell, seed {seed}")
    state = drop(cell, clients, rng)
    for index in range(rounds):
        if index:
            state = advance(cell, state, interval_s, rng, correlation)
        yield Round(
            index=index,
            clients=state,
            gain=channel_gain(cell, state),
            standing_s=standing_time_s(cell, state),
            active=poisson_active(clients, cell.activations_per_round, rng),
        )
