"""First-order bounds on the floating-point errors of retained attention, areas and their sums.

A client's term is v = f(K) - price x cost. Its f is a sum of at most N importances; its cost is a closed form
whose error is a few units times the condition 1 + 1/z of the area and the condition 1 + tau/t of the slot t
within the round time tau. Sums over M clients add at most M units. `docs/exact.md`, section 6.
"""

from __future__ import annotations

from typing import Final, TypeVar

from ..problem import FloatArray, Problem
from ..tolerances import EPSILON

Number = TypeVar("Number", float, FloatArray)

CLOSED_FORM_UNITS: Final = 64
"""Relative error of the closed form for areas, in units of EPSILON, with all that is multiplied to it."""


def unit(problem: Problem) -> float:
    """Relative error of a sum over clients of sums over tokens, per unit of `term_scale`."""
    return (problem.clients + problem.tokens + CLOSED_FORM_UNITS) * EPSILON


def area_condition(root: Number) -> Number:
    """Elasticity of an area in its payload, 1 + 1/z: by how much it enlarges a relative error.

    Args:
        root: z of the area.
    """
    return 1.0 + 1.0 / root


def term_scale(value: Number, cost: Number, condition: Number, slot_ratio: Number) -> Number:
    """What the rounding error of clients' terms is proportional to; scalars or arrays of one shape.

    Args:
        value: v, retained attention less cost.
        cost: price x area, in units of retained attention.
        condition: `area_condition` of the area.
        slot_ratio: tau / t.
    """
    return abs(value) + 2.0 * cost * condition * (1.0 + slot_ratio)
