"""The one table of tolerances; all are relative."""

from typing import Final

FEASIBILITY: Final = 1e-9
"""The one meaning of "met": a constraint is met when it is exceeded by at most this share of its limit.

`evaluate` accepts that much, bounds are proved for limits raised by `ROUNDING` more, and an instance is
called infeasible only where limits raised by `ROUNDING` less cannot be met (`docs/exact.md`, section 9).
"""

ROUNDING: Final = 2e-13
"""Far beyond what rounding does to limits, closed forms and the evaluator's sums, far below `FEASIBILITY`."""

BOUND_SHARE: Final = FEASIBILITY + ROUNDING
"""Bounds are proved for limits raised by this share: they hold for all that `evaluate` accepts."""

PERMITTED_SHARE: Final = FEASIBILITY - ROUNDING
"""Limits raised by this share are met in the eyes of `evaluate`, whatever rounding does."""

OPTIMALITY: Final = 1e-9
"""The smallest gap that float64 can prove here; `gap=0` asks for this."""

BOUND_CONTRADICTION: Final = 1e-12
"""A bound that lies further than this, which is rounding, below a feasible STE is wrong and is withdrawn."""

CLAIM: Final = 1e-6
"""A method's own STE is correct when the evaluator agrees to this."""

TOKEN_FIT: Final = 1e-10
"""A token that exceeds its client's limit by no more than this still fits."""
EPSILON: Final = 2.0**-52
"""Distance from 1 to the next float64, the unit of the bounds on rounding errors."""
