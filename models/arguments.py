"""Checks for the arguments of models: ranges, whole numbers, plane vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..solver.errors import OptionError, ProblemError
from ..solver.problem import FloatArray


def require_range(
    who: str,
    name: str,
    value: ArrayLike,
    low: float,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise ProblemError unless every entry of `value` lies in the interval; NaN never does.

    Args:
        who: the function that asks.
        name: the argument's name, unit included.
        value: what was passed.
        low: lower end, allowed itself unless `open_low`.
        high: upper end, allowed itself unless `open_high`; inf is a value like others.
        open_low: exclude the lower end.
        open_high: exclude the upper end.
    """
    array = np.asarray(value)
    numbers = array.dtype.kind in "iuf"
    if numbers:
        above = array > low if open_low else array >= low
        below = array < high if open_high else array <= high
        bad = ~(above & below)
        if not bad.any():
            return
    got = f"{array[bad].flat[0]:g}" if numbers else f"type {array.dtype}"
    interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    raise ProblemError(
        who, f"{name} = {got}", f"numbers in {interval}", "Pass SI units, and decibels only where named"
    )


def require_whole(who: str, name: str, value: int, least: int = 1) -> None:
    """Raise OptionError unless `value` is a whole number >= `least`: a count or a seed."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise OptionError(who, f"{name} = {value!r:.40}", f"whole numbers >= {least}", "Pass an int")


def pairs(who: str, name: str, value: ArrayLike) -> FloatArray:
    """The value as an (M, 2) array of finite numbers. Raises ProblemError."""
    array = np.asarray(value)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ProblemError(
            who, f"{name} of shape {array.shape}", "(M, 2), one plane vector per client", "Stack them"
        )
    require_range(who, name, array, -np.inf, open_low=True, open_high=True)
    return array.astype(np.float64)
