"""The one table of tolerances; all are relative."""

from typing import Final

FEASIBILITY: Final = 1e-6
"""An allocation is feasible when no constraint is exceeded by more than this share of its limit."""

OPTIMALITY: Final = 1e-9
"""The smallest gap that float64 can prove here; `gap=0` asks for this."""

BOUND_CONTRADICTION: Final = 1e-9
"""A bound that lies further than this below a feasible STE is wrong and is withdrawn."""

CLAIM: Final = 1e-6
"""A method's own STE is correct when the evaluator agrees to this."""

TIME: Final = 1e-14
"""Roots in the round time are found to this accuracy."""

TOKEN_FIT: Final = 1e-10
"""A token that exceeds its client's limit by no more than this still fits."""

NEWTON: Final = 1e-8
"""A quadratically converging iteration ends after a step this short: the next would be its square."""

EPSILON: Final = 2.0**-52
"""Distance from 1 to the next float64, the unit of the bounds on rounding errors."""
