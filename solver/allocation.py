"""Allocation: row, tokens, bandwidth and power of every client."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import largest_of, least_of, read_only, real_array, require_entries, whole, within
from .errors import AllocationError, FileFormatError
from .files.json_files import read_json
from .problem import FloatArray, IntArray, Problem

SKIPPED: Final = -1
"""The row of a client that sends nothing."""


@dataclass(frozen=True, init=False, eq=False)
class Allocation:
    """Chosen row, tokens K_m, bandwidth W_m and power p_m of every client; immutable.

    Arrays are copied, but for read-only ones that are taken over as in `Problem`.

    Args:
        tokens: (M,) whole numbers >= 0.
        bandwidth_hz: (M,) Hz, finite, >= 0.
        power_w: (M,) W, finite, >= 0.
        row: (M,) which of the problem's rows each client sends by, -1 for a client that is skipped and then
            has no tokens, bandwidth or power. None where the problem has one row per client, in order.

    Raises:
        AllocationError: shapes differ, or a value is negative, fractional (tokens, rows) or not finite.
            Limits of the problem are not checked here; `evaluate` measures them.

    Examples:
        >>> import numpy as np
        >>> from stsflora.solver import Allocation
        >>> allocation = Allocation(tokens=[3, 7], bandwidth_hz=[4e5, 6e5], power_w=0.2 * np.ones(2))
        >>> allocation.clients, int(allocation.tokens.sum())
        (2, 10)
    """

    tokens: IntArray
    bandwidth_hz: FloatArray
    power_w: FloatArray
    row: IntArray | None

    def __init__(
        self,
        tokens: ArrayLike,
        bandwidth_hz: ArrayLike,
        power_w: ArrayLike,
        row: ArrayLike | None = None,
    ) -> None:
        counts = _one_per_client("tokens", tokens, np.int64)
        bandwidth = _one_per_client("bandwidth_hz", bandwidth_hz, np.float64)
        power = _one_per_client("power_w", power_w, np.float64)
        if not counts.shape == bandwidth.shape == power.shape:
            raise AllocationError(
                "Allocation",
                f"tokens {counts.shape}, bandwidth_hz {bandwidth.shape}, power_w {power.shape}",
                "three arrays of one length",
                "Pass one value per client in each",
            )
        rows = None if row is None else _rows(row, counts, bandwidth, power)
        self.__dict__.update(tokens=counts, bandwidth_hz=bandwidth, power_w=power, row=rows)

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays come back writable from a plain pickle or deep copy; the constructor freezes them again.
        return type(self), (self.tokens, self.bandwidth_hz, self.power_w, self.row)

    @property
    def clients(self) -> int:
        """M, the number of clients."""
        return int(self.tokens.shape[0])

    def rows_of(self, problem: Problem) -> IntArray:
        """(M,) row of the problem by which each client sends, -1 for those that are skipped.

        Raises:
            AllocationError: the number of clients differs, a row is another client's, or none is named
                although the problem has alternatives.
        """
        if self.clients != problem.clients:
            raise AllocationError(
                "Allocation",
                f"an allocation for {self.clients} clients",
                f"{problem.clients}, as in the problem",
                "Pass the problem that it was made for",
            )
        if self.row is None:
            if problem.row_count != problem.clients:
                raise AllocationError(
                    "Allocation",
                    "no rows",
                    f"one of the {problem.row_count} rows for every client",
                    "Pass row=",
                )
            return problem.row_of_client
        own = (self.row == SKIPPED) | (
            (self.row < problem.row_count)
            & (problem.client[np.minimum(self.row, problem.row_count - 1)] == np.arange(self.clients))
        )
        if not own.all():
            m = int(np.argmin(own))
            raise AllocationError(
                "Allocation.row",
                f"row {self.row[m]} for client {m}",
                f"{', '.join(map(str, np.flatnonzero(problem.client == m)[:9]))}, or -1 to skip",
                "Name a row of that client",
            )
        return self.row

    @staticmethod
    def load(path: str | PathLike[str]) -> Allocation:
        """The allocation in a JSON file with `tokens`, `bandwidth_hz`, `power_w` and maybe `row`.

        A saved result is one.

        Raises:
            FileFormatError: unreadable file, or one of the three is missing.
            AllocationError: their values are not those of an allocation.
        """
        fields = read_json(path)
        names = ("tokens", "bandwidth_hz", "power_w")
        missing = [name for name in names if not isinstance(fields.get(name), list)]
        if missing:
            raise FileFormatError(
                f"file {Path(path).name!r}",
                f"no list {missing[0]!r}",
                f"lists {', '.join(names)}",
                "Write it with `stsflora solve --json`, from a run that found an allocation",
            )
        return Allocation(*(fields[name] for name in (*names, "row") if name in fields))


def _rows(value: ArrayLike, tokens: IntArray, bandwidth_hz: FloatArray, power_w: FloatArray) -> IntArray:
    """(M,) read-only rows; who is skipped has nothing."""
    array = real_array("Allocation.row", value, error=AllocationError)
    if array.shape != tokens.shape:
        raise AllocationError(
            "Allocation.row",
            f"shape {array.shape}",
            f"{tokens.shape}, one per client",
            "Pass one row per client",
        )
    good = within(array, SKIPPED, 2**53) & whole(array)
    next_step = "Repair the method that made it"
    require_entries(
        "Allocation.row",
        array,
        good,
        "rows >= 0, or -1 for nothing sent",
        next_step,
        place="for client",
        error=AllocationError,
    )
    rows = read_only(array, np.int64)
    sends = (tokens > 0) | (bandwidth_hz > 0.0) | (power_w > 0.0)
    require_entries(
        "Allocation.row",
        array,
        ~(sends & (rows == SKIPPED)),
        "-1 only without tokens, bandwidth and power",
        next_step,
        place="for client",
        error=AllocationError,
    )
    return rows


def _one_per_client(name: str, value: ArrayLike, kind: type[np.int64 | np.float64]) -> NDArray[Any]:
    """Read-only, one number >= 0 per client, whole where `kind` is."""
    who = f"Allocation.{name}"
    array = real_array(who, value, error=AllocationError)
    if array.ndim != 1:
        raise AllocationError(
            who, f"shape {array.shape}", "a one-dimensional array", "Pass one value per client"
        )
    good = array.dtype == kind and array.size > 0 and least_of(array) >= 0 and largest_of(array) < np.inf
    if not good:
        _require_numbers(who, array, kind is np.int64)
    return read_only(array, kind)


def _require_numbers(who: str, array: NDArray[Any], counts: bool) -> None:
    good = within(array, 0.0, open_high=True)
    if counts and array.dtype.kind == "f":
        good &= whole(array)
    rules = [(good, "whole numbers >= 0" if counts else "finite and >= 0")]
    if counts:
        rules.append((array < 2.0**63, "whole numbers below 2^63"))  # others would turn negative
    next_step = "Repair the method that made it"
    for good, allowed in rules:
        require_entries(who, array, good, allowed, next_step, place="for client", error=AllocationError)
