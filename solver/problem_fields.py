"""Checks of a problem's fields: shapes, types, ranges, magnitudes. Each returns the clean value or raises."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import (
    Number,
    any_array,
    largest_of,
    least_of,
    read_only,
    real_array,
    require_entries,
    whole,
    within,
)
from .errors import ProblemError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

SMALLEST: Final = 1e-40
LARGEST: Final = 1e40
"""Magnitudes beyond these are refused: between them no product that a solver forms leaves float64."""

BLOCK: Final = 2**16
"""So many entries of a table are compared at once: they fit the processor's cache, and no copy is large."""


@lru_cache(maxsize=64, typed=True)
def constant(value: Any, rows: int) -> NDArray[Any]:
    """(R,) read-only, one value for all rows in the memory of one."""
    return np.broadcast_to(np.array([value]), rows)


@lru_cache(maxsize=8)
def numbered(rows: int) -> Counts:
    """(R,) 0, 1, ..., read-only."""
    return frozen(np.arange(rows))


def importance_table(value: ArrayLike | None, utility: Floats | None) -> Floats:
    """(R, N) importances, descending along the tokens; zeros where only worths are given."""
    if value is None:
        if utility is None:
            raise ProblemError(
                "Problem", "neither importance nor utility", "one of them", "Say what tokens are worth"
            )
        return np.broadcast_to(np.zeros(1), (utility.shape[0], utility.shape[1] - 1))
    given = real_array("Problem.importance", value)
    if given.ndim != 2 or given.shape[0] == 0:
        raise ProblemError(
            "Problem.importance",
            f"shape {given.shape}",
            "(R, N) with R >= 1 rows, one per client unless `client` says otherwise",
            "Stack one row of token importances per client",
        )
    if utility is not None and utility.shape != (given.shape[0], given.shape[1] + 1):
        raise ProblemError(
            "Problem.utility",
            f"shape {utility.shape}",
            f"{given.shape[0], given.shape[1] + 1}: K = 0..N for every row of importance",
            "Give the worth of 0 tokens too",
        )
    if given.shape[1] == 0:
        return read_only(given, np.float64)
    if _along_tokens(np.greater_equal, given):
        array = read_only(given, np.float64)
    else:
        array = np.negative(given, dtype=np.float64, order="C")  # sorts upwards only; NaN comes last
        array.sort(axis=1)
        array = frozen(np.negative(array, out=array))
    least, largest = least_of(array[:, -1]), largest_of(array[:, 0])
    if not (least >= 0.0 and largest < np.inf):  # also where either is NaN
        unsorted = given.astype(np.float64)
        good = within(unsorted, 0.0, open_high=True)
        _require("importance", unsorted, good, "finite and >= 0", "Clean the attention map")
    if not _in_range(largest, largest, zero=True) or 0.0 < largest < SMALLEST:
        _require_magnitude("importance", np.asarray(largest))
    return array


def utility_table(value: ArrayLike) -> Floats:
    """(R, N + 1) worths of K = 0..N tokens."""
    array = real_array("Problem.utility", value)
    if array.ndim != 2 or 0 in array.shape:
        raise ProblemError(
            "Problem.utility",
            f"shape {array.shape}",
            "(R, N + 1): K = 0..N for every row",
            "Stack one row each",
        )
    array = read_only(array, np.float64)
    good = within(array, 0.0, LARGEST)
    if not good.all():
        _require("utility", array, good, f"finite, >= 0 and up to {LARGEST:g}", "Clean the table")
    return array


def payload_table(value: ArrayLike, max_tokens: Counts, rows: int, tokens: int) -> Floats:
    """(R, N + 1) bit, rising up to the most tokens of each row."""
    array = real_array("Problem.payload_bits", value)
    if array.shape != (rows, tokens + 1):
        raise ProblemError(
            "Problem.payload_bits",
            f"shape {array.shape}",
            f"({rows}, {tokens + 1}): a row per client, K = 0..N",
            "Give the bits of 0 tokens too; they count where min_tokens is 0",
        )
    array = read_only(array, np.float64)
    most = LARGEST * 2.0**32  # as large as bits_per_token x (K + extra_tokens) may be
    full = max_tokens.ndim == 0 or least_of(max_tokens) == tokens
    if full and tokens > 0 and _along_tokens(np.less, array):
        starts = least_of(array[:, 0]) >= 0.0 and least_of(array[:, 1]) >= SMALLEST
        if starts and largest_of(array[:, -1]) <= most:
            return array
    good = within(array, 0.0, open_high=True)
    _require("payload_bits", array, good, "finite and >= 0", "Count headers as bits of every K")
    beyond = np.arange(tokens + 1) > max_tokens.reshape(-1, 1)
    rises = (np.diff(array, axis=1, prepend=-1.0) > 0) | beyond
    _require("payload_bits", array, rises, "strictly increasing along the tokens", "Every token takes bits")
    _require_magnitude("payload_bits", np.where(beyond[:, 1:], 1.0, np.minimum(array[:, 1:], 1.0)))
    fixed = np.broadcast_to(max_tokens == 0, rows)
    _require_magnitude("payload_bits", np.minimum(array[fixed, 0], 1.0), zero=True)
    _require("payload_bits", array, array <= most, f"up to {most:g}", "Check the units")
    return array


def per_row(name: str, value: ArrayLike, rows: int, *, zero: bool = False, infinite: bool = False) -> Floats:
    """(R,) numbers > 0, or >= 0 with `zero`; inf only with `infinite`."""
    array = broadcast(_one_per_row(name, value, rows, "one per row of importance"), rows, np.float64)
    _require_range(name, array, zero=zero, infinite=infinite)
    return array


def seldom(name: str, value: Any, rows: int, *, zero: bool = False, infinite: bool = False) -> Floats:
    """`per_row` that takes no memory where one number holds for all rows."""
    if isinstance(value, float) and _in_range(value, value, zero=zero, infinite=infinite):
        return constant(float(value), rows)
    array = _one_per_row(name, value, rows, "one per row of importance")
    if array.shape == (rows,) and array.strides != (0,):
        array = read_only(array, np.float64)
        _require_range(name, array, zero=zero, infinite=infinite)
        return array
    one = np.asarray(array.reshape(-1)[:1], dtype=np.float64)
    _require_range(name, one, zero=zero, infinite=infinite)
    return constant(float(one[0]), rows)


def is_all(array: NDArray[Any], value: float) -> bool:
    """Whether all entries have a value; at once where `seldom` has left one number."""
    if array.strides == (0,):
        return bool(array[0] == value)
    return bool((array == value).all())


def max_counts(value: ArrayLike | None, rows: int, tokens: int) -> Counts:
    """(R,) most tokens."""
    if value is None:
        return constant(tokens, rows)
    array = _one_per_row("max_tokens", value, rows)
    if array.strides == (0,):
        array = array[:1]
    good = within(array, 0, tokens) & whole(array)
    _require("max_tokens", array, good, f"whole numbers from 0 to N = {tokens}", "Pad the table")
    if array.size == 1:
        return constant(int(array.reshape(-1)[0]), rows)
    return read_only(array, np.int64)


def min_counts(value: ArrayLike | None, max_tokens: Counts, rows: int, tokens: int) -> Counts:
    """(R,) fewest tokens; by default one where there is one."""
    if value is None:
        return frozen(np.asarray(np.minimum(1, max_tokens)))
    array = _one_per_row("min_tokens", value, rows)
    if not (array.dtype.kind in "iu" and least_of(array) >= 0 and largest_of(array) <= least_of(max_tokens)):
        good, allowed = within(array, 0, tokens) & whole(array), f"whole numbers from 0 to N = {tokens}"
        _require("min_tokens", array, good, allowed, "Lower it or send more tokens")
        few = np.broadcast_to(array, rows) <= max_tokens
        _require("min_tokens", np.broadcast_to(array, rows), few, "at most max_tokens", "Lower it")
    return broadcast(array, rows, np.int64)


def owners(value: ArrayLike | None, rows: int) -> tuple[Counts, int]:
    """(R,) whose alternative each row is, and how many clients there are."""
    if value is None:
        return numbered(rows), rows
    array = real_array("Problem.client", value)
    allowed = f"({rows},) whole numbers, every one from 0 to the largest"
    if array.shape != (rows,):
        raise ProblemError("Problem.client", f"shape {array.shape}", allowed, "Name a client for every row")
    _require("client", array, within(array, 0, rows - 1) & whole(array), allowed, "Number the clients from 0")
    client = read_only(array, np.int64)
    has_row = np.zeros(int(client.max()) + 1, np.bool_)
    has_row[client] = True
    if not has_row.all():
        raise ProblemError(
            "Problem.client", f"no row of client {int(np.argmin(has_row))}", allowed, "Number them from 0"
        )
    return client, has_row.size


def flags(value: Any, clients: int) -> NDArray[np.bool_]:
    """(M,) whether each client may send nothing."""
    if value is False:
        return constant(False, clients)
    array = any_array("Problem.may_skip", value)
    if array.strides == (0,):  # from `constant`, maybe for another number of clients
        array = array[:1]
    good = array.dtype == np.bool_ or (array.dtype.kind in "iu" and bool(((array == 0) | (array == 1)).all()))
    if not good or array.shape not in {(clients,), (), (1,)}:
        raise ProblemError(
            "Problem.may_skip",
            f"type {array.dtype}, shape {array.shape}",
            f"True or False, one or ({clients},), one per client",
            "Pass a mask",
        )
    if array.shape != (clients,):
        return constant(bool(array.reshape(-1)[0]), clients)
    return frozen(array.astype(np.bool_))


def scalar(name: str, value: Any) -> float:
    """One number > 0."""
    if isinstance(value, float) and _in_range(value, value):
        return float(value)
    array = _one_number(name, value)
    good = within(array, 0.0, open_low=True, open_high=True)
    _require(name, array, good, "finite and > 0", "Pass it in SI units")
    _require_magnitude(name, array)
    return float(array)


def extra_count(value: Any) -> int:
    """One whole number >= 0."""
    most = 2**31 - 1
    if type(value) is int and 0 <= value <= most:
        return value
    array = _one_number("extra_tokens", value)
    good = within(array, 0, most) & whole(array)
    _require("extra_tokens", array, good, "a whole number >= 0", "Use 2 for [CLS] and merged")
    return int(array)


def broadcast(array: NDArray[Any], rows: int, kind: type[Number]) -> NDArray[Number]:
    """(R,) read-only numbers of a type, from one or from R."""
    if array.shape == (rows,) and array.strides != (0,):
        return read_only(array, kind)
    repeated = np.empty(rows, kind)
    repeated[:] = array
    return frozen(repeated)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, read-only from now on."""
    array.flags.writeable = False
    return array


def _require(name: str, array: NDArray[Any], good: NDArray[np.bool_], allowed: str, next_step: str) -> None:
    if not good.all():
        require_entries(f"Problem.{name}", array, good, allowed, next_step)


def _require_range(name: str, array: Floats, *, zero: bool, infinite: bool) -> None:
    least, largest = least_of(array), largest_of(array)
    if not _in_range(least, largest, zero=zero, infinite=infinite):  # or some are inf and some are not
        good = within(array, 0.0, open_low=not zero, open_high=not infinite)
        allowed = ("finite or inf" if infinite else "finite") + (" and >= 0" if zero else " and > 0")
        _require(name, array, good, allowed, "Drop or repair that client")
        _require_magnitude(name, array, zero=zero, infinite=infinite)


def _require_magnitude(name: str, array: NDArray[Any], *, zero: bool = False, infinite: bool = False) -> None:
    """Refuse finite values so large, or limits so small, that their unit must be wrong."""
    good = within(array, 0.0 if zero else SMALLEST, LARGEST)
    if infinite:
        good |= array == np.inf
    if not good.all():
        allowed = f"magnitudes from {SMALLEST:g} to {LARGEST:g}"
        _require(name, array, good, allowed, "Check the units: SI units and linear gains, not dB")


def _in_range(least: float, largest: float, *, zero: bool = False, infinite: bool = False) -> bool:
    """Whether values from least to largest have magnitudes as they should; inf only where all are."""
    if infinite and least == np.inf:
        return True
    return (0.0 if zero else SMALLEST) <= least and largest <= LARGEST


def _along_tokens(compare: np.ufunc, table: NDArray[Any]) -> bool:
    """Whether each entry of a table compares so with the next of its row; NaN with none."""
    rows = max(1, BLOCK // table.shape[1])
    return all(
        bool(compare(table[first : first + rows, :-1], table[first : first + rows, 1:]).all())
        for first in range(0, table.shape[0], rows)
    )


def _one_per_row(name: str, value: ArrayLike, rows: int, says: str = "") -> NDArray[Any]:
    array = real_array(f"Problem.{name}", value)
    if array.shape in ((rows,), (), (1,)):
        return array
    allowed = f"a scalar or ({rows},)" + (f", {says}" if says else "")
    raise ProblemError(f"Problem.{name}", f"shape {array.shape}", allowed, "Match it to importance")


def _one_number(name: str, value: Any) -> NDArray[Any]:
    array = real_array(f"Problem.{name}", value)
    if array.size == 1:
        return array.reshape(())
    raise ProblemError(f"Problem.{name}", f"shape {array.shape}", "one number", "Pass a scalar")
