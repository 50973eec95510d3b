"""Mobility of clients: placement, velocity, standing time in the cell, selection, Poisson activation."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from ...solver.checks import nonnegative_numbers, numbers_in_range, positive_numbers, whole_number
from ...solver.errors import ProblemError
from ...solver.problem import FloatArray

BoolArray = NDArray[np.bool_]


def uniform_in_ring(clients: int, inner_radius_m: float, outer_radius_m: float, rng: Generator) -> FloatArray:
    """(M, 2) positions in m, uniform in area between two radii around the base station.

    Raises:
        OptionError: `clients` is no whole number >= 1.
        ProblemError: unless 0 <= inner < outer, finite.
    """
    whole_number("uniform_in_ring", "clients", clients, 1)
    positive_numbers("uniform_in_ring", "outer_radius_m", outer_radius_m)
    numbers_in_range("uniform_in_ring", "inner_radius_m", inner_radius_m, 0.0, outer_radius_m, open_high=True)
    share = rng.random(clients)
    radius = np.sqrt(inner_radius_m**2 + share * (outer_radius_m**2 - inner_radius_m**2))
    return radius[:, None] * _unit(rng.random(clients))


def random_velocity(
    clients: int, slowest_m_per_s: float, fastest_m_per_s: float, rng: Generator
) -> FloatArray:
    """(M, 2) velocities in m/s, speed and direction independent and uniform.

    Raises:
        OptionError: `clients` is no whole number >= 1.
        ProblemError: unless 0 <= slowest <= fastest.
    """
    whole_number("random_velocity", "clients", clients, 1)
    nonnegative_numbers("random_velocity", "fastest_m_per_s", fastest_m_per_s)
    numbers_in_range("random_velocity", "slowest_m_per_s", slowest_m_per_s, 0.0, fastest_m_per_s)
    speed = slowest_m_per_s + (fastest_m_per_s - slowest_m_per_s) * rng.random(clients)
    return speed[:, None] * _unit(rng.random(clients))


def standing_s(
    distance_m: ArrayLike, speed_m_per_s: ArrayLike, outer_radius_m: float, longest_s: float = np.inf
) -> FloatArray:
    """Standing time min((R_cell - d) / v, T_max) in s (paper eq. 7): the client walks straight outwards.

    The least time that any direction allows. 0 outside the cell, `longest_s` for a client at rest.

    Args:
        distance_m: d, m, >= 0, scalar or (M,).
        speed_m_per_s: v, m/s, >= 0, broadcast against it.
        outer_radius_m: R_cell, m, > 0.
        longest_s: T_max, s, > 0; inf for none.

    Raises:
        ProblemError: a value out of range.
    """
    distance = nonnegative_numbers("standing_s", "distance_m", distance_m)
    speed = nonnegative_numbers("standing_s", "speed_m_per_s", speed_m_per_s)
    positive_numbers("standing_s", "outer_radius_m", outer_radius_m)
    numbers_in_range("standing_s", "longest_s", longest_s, 0.0, open_low=True)
    return _least(np.maximum(outer_radius_m - distance, 0.0), speed, longest_s)


def chord_standing_s(
    position_m: ArrayLike, velocity_m_per_s: ArrayLike, outer_radius_m: float, longest_s: float = np.inf
) -> FloatArray:
    """(M,) exact time in s until a client on a straight way leaves the cell, at most `longest_s`.

    Args:
        position_m: (M, 2) m, base station at the origin.
        velocity_m_per_s: (M, 2) m/s.
        outer_radius_m: cell radius, m, > 0.
        longest_s: T_max, s, > 0; inf for none.

    Raises:
        ProblemError: vectors not of shape (M, 2), or a value out of range.
    """
    positive_numbers("chord_standing_s", "outer_radius_m", outer_radius_m)
    numbers_in_range("chord_standing_s", "longest_s", longest_s, 0.0, open_low=True)
    position = _plane_vectors("chord_standing_s", "position_m", position_m)
    velocity = _plane_vectors("chord_standing_s", "velocity_m_per_s", velocity_m_per_s)
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    heading = velocity / np.where(speed > 0, speed, 1.0)[:, None]
    along = np.sum(position * heading, axis=1)
    inside = outer_radius_m**2 - np.sum(position**2, axis=1)
    root = np.sqrt(np.maximum(along**2 + inside, 0.0))
    # root - along cancels for a client that walks outwards near the edge; the conjugate does not
    with np.errstate(divide="ignore", invalid="ignore"):
        way_m = np.where(along > 0, inside / (root + along), root - along)
    return _least(np.where(inside > 0, way_m, 0.0), speed, longest_s)


def takes_part(needed_s: ArrayLike, standing_time_s: ArrayLike) -> BoolArray:
    """Selection rule (paper eq. 9): whether the time a client needs fits into its standing time.

    Args:
        needed_s: s, scalar or (M,).
        standing_time_s: s, broadcast against it, for example from `standing_s`.
    """
    return np.asarray(np.asarray(needed_s, np.float64) <= np.asarray(standing_time_s, np.float64))


def poisson_active(clients: int, activations_per_round: ArrayLike, rng: Generator) -> BoolArray:
    """(M,) clients with at least one event of their Poisson process in this round, P = 1 - exp(-rate).

    Args:
        clients: M >= 1.
        activations_per_round: mean events per client and round, scalar or (M,), >= 0; inf for always.
        rng: source of the events.

    Raises:
        OptionError: no client.
        ProblemError: a negative mean.
    """
    whole_number("poisson_active", "clients", clients, 1)
    mean = numbers_in_range("poisson_active", "activations_per_round", activations_per_round, 0.0)
    return np.asarray(rng.random(clients) < -np.expm1(-mean))


def _plane_vectors(who: str, name: str, value: ArrayLike) -> FloatArray:
    vectors = numbers_in_range(who, name, value, -np.inf, open_low=True, open_high=True)
    if vectors.ndim == 2 and vectors.shape[1] == 2:
        return vectors
    raise ProblemError(
        who, f"{name} of shape {vectors.shape}", "(M, 2), one plane vector per client", "Stack them"
    )


def _unit(turns: FloatArray) -> FloatArray:
    angle = 2.0 * np.pi * turns
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _least(way_m: FloatArray, speed: FloatArray, longest_s: float) -> FloatArray:
    """Way over speed, at most `longest_s`; a client at rest inside stays, one outside is gone."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        seconds = np.where(way_m > 0, way_m / speed, 0.0)
    return np.minimum(seconds, longest_s)
