"""Utilities other than attention mass, as the importances that stand for them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ProblemError
from ..problem import FloatArray

ROUNDING: Final = 1e-9
"""Share of its largest value by which a table may miss concavity: sums are rounded."""


class Utility(NamedTuple):
    """A table of what K tokens are worth, in place of importances.

    Attributes:
        values: f(K) for K = first, ..., N, as for `importance_from_utility`.
        first: 0 or 1.

    Examples:
        >>> from stsflora.solver import Allocator, Client, Snr, Utility
        >>> ada = Client("ada", Snr(21.0), Utility([0.0, 5.0, 8.0, 9.0]), 8e6, max_power_w=0.2)
        >>> plan = Allocator(bandwidth_hz=20e6).plan([ada])
        >>> plan.grants["ada"].retained in {5.0, 8.0, 9.0}
        True
    """

    values: Any
    first: int = 0


def importance_from_utility(values: ArrayLike, first: int = 0, min_tokens: int = 1) -> FloatArray:
    """Importances whose K largest sum to f(K) for every K from `min_tokens` on: the increments of f.

    The first `min_tokens` are always sent, so they share f(min_tokens) equally; what f is for fewer tokens,
    f(0) included, does not matter.

    Args:
        values: f(K) for K = first, ..., N, finite.
        first: 0 or 1, where the table starts.
        min_tokens: 1 to N.

    Returns:
        (N,) importances, descending up to rounding.

    Raises:
        ProblemError: f falls or is not concave from `min_tokens` on, or the next token is worth more than
            f(min_tokens) / min_tokens: then no importances stand for it.
    """
    table = np.asarray(values)
    if table.dtype.kind not in "iuf" or table.ndim != 1 or not np.isfinite(table).all():
        raise ProblemError(
            "utility",
            f"type {table.dtype}, shape {table.shape}" + ", not finite" * (table.dtype.kind == "f"),
            "a one-dimensional table of finite numbers",
            "Pass f(0), f(1), ..., f(N)",
        )
    if not (isinstance(first, int | np.integer) and first in {0, 1}):
        raise ProblemError("utility", f"first={first!r:.20}", "0 or 1", "Say at which K the table starts")
    table = table[1 - first :].astype(np.float64)
    if not 1 <= min_tokens <= table.size:
        raise ProblemError(
            "utility", f"min_tokens={min_tokens!r:.20}", f"1 to N = {table.size}", "Correct it"
        )
    increments = np.diff(table, prepend=0.0)
    increments[:min_tokens] = table[min_tokens - 1] / min_tokens
    allowance = ROUNDING * max(float(np.abs(table).max()), 0.0)
    if increments.min() < -allowance:
        count = int(np.argmin(increments)) + 1
        raise ProblemError(
            "utility",
            f"f({count}) = {table[count - 1]:g} after {table[count - 2] if count > 1 else 0.0:g}",
            "a nondecreasing table",
            "Cut it at its peak, or take its running maximum",
        )
    rises = np.diff(increments)
    if rises.size and rises.max() > allowance:
        count = int(np.argmax(rises)) + 2
        raise ProblemError(
            "utility",
            f"token {count} adds {increments[count - 1]:g}, the one before {increments[count - 2]:g}",
            "a concave table: no token adds more than the one before (before min_tokens, on average)",
            "Take its concave envelope, or raise min_tokens beyond its convex part",
        )
    return np.maximum(increments, 0.0)
