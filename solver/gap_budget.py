"""How the asked optimality gap is divided among the steps of a search."""

from __future__ import annotations

import math
from typing import NamedTuple


class GapBudget(NamedTuple):
    """Shares of a relative gap; every tolerance of a search that depends on the gap is one of these.

    Attributes:
        gap: asked relative gap between bound and value.
    """

    gap: float

    def target(self, value: float) -> float:
        """A bound up to here proves the gap, with a thousandth of it left for rounding."""
        return value * (1.0 + 0.999 * self.gap)

    @property
    def ascent(self) -> float:
        """Distance of Lagrangian and value at which the ascent may end: the rest is for intervals."""
        return 0.3 * self.gap

    @property
    def ascent_done(self) -> float:
        """Distance at which one more step of the ascent could not pay."""
        return 0.05 * self.ascent

    @property
    def clearing(self) -> float:
        """Worth of idle bandwidth, as a share of the Lagrangian, at which a price counts as clearing."""
        return 0.1 * self.gap

    @property
    def recentring(self) -> float:
        """Distance of a convex program's value to its own point at which it counts as exact there."""
        return 0.5 * self.gap

    @property
    def relaxation(self) -> float:
        """Distance of the bound to the relaxation's own point: what is left is its integrality gap."""
        return 0.25 * self.gap

    @property
    def stalled(self) -> float:
        """Relative change of the round time below which solving again changes nothing."""
        return 0.01 * self.gap

    @property
    def pieces(self) -> float:
        """What pieces of the retained attention may be left out of a mixed-integer model."""
        return 0.1 * self.gap

    @property
    def engine(self) -> float:
        """Gap asked of a foreign engine, which measures its own a little differently."""
        return 0.99 * self.gap

    @property
    def branching(self) -> float:
        """Relative length of an interval of the inverse round time from which on tokens are branched on.

        What the products with the round time are off by is of second order in it.
        """
        return 0.5 * math.sqrt(self.gap)

    @property
    def price(self) -> float:
        """Relative error of a price whose effect on the bound, of second order, is about the gap."""
        return math.sqrt(self.gap)
