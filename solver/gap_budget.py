"""How the asked optimality gap is divided among the steps of a search: shares of the gap, by name."""

from __future__ import annotations

from typing import Final

PROOF: Final = 0.999
"""A bound within this share of the gap proves it; the rest is for rounding."""

ASCENT: Final = 0.3
"""Distance of Lagrangian and value at which the ascent may end: the rest is for intervals."""

ASCENT_DONE: Final = 0.015
"""Distance at which one more step of the ascent could not pay."""

CLEARING: Final = 0.1
"""Worth of idle bandwidth, as a share of the Lagrangian, at which a price counts as clearing."""

HIDDEN: Final = 0.5
"""Attention that dominance may hide."""

NARROWEST: Final = 0.3
"""Relative width of an interval that is not split any further."""

RECENTRING: Final = 0.5
"""Distance of a convex program's value to its own point at which it counts as exact there."""

RELAXATION: Final = 0.25
"""Distance of the bound to the relaxation's own point: what is left is its integrality gap."""

STALLED: Final = 0.01
"""Relative change of the round time below which solving again changes nothing."""

PIECES: Final = 0.1
"""What pieces of the retained attention may be left out of a mixed-integer model."""

BRANCHING: Final = 0.5
"""Relative length, in square roots of the gap, of an interval of the inverse round time from which on
tokens are branched on: what the products with the round time are off by is of second order in it."""

ENGINE: Final = 0.99
"""Gap asked of a foreign engine, which measures its own a little differently."""
