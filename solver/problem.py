"""Problem: the data of one uplink round to allocate (maximise STE), checked once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from inspect import signature
from os import PathLike
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import Number, largest_of, least_of, read_only, real_array, require_entries, whole, within
from .errors import ProblemError
from .files.problem_files import read_fields, write_fields
from .units import THERMAL_NOISE_W_PER_HZ

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SMALLEST: Final = 1e-40
LARGEST: Final = 1e40
"""Magnitudes beyond these are refused: between them no product that a solver forms leaves float64."""


BLOCK: Final = 2**16
"""So many entries of a table are compared at once: they fit the processor's cache, and no copy is large."""

LIMITS: Final = ("bandwidth_hz", "max_power_w", "max_energy_j", "deadline_s")
"""What an allocation may use at most."""


@dataclass(frozen=True, init=False, eq=False)
class Problem:
    """One uplink round of M clients with N patch tokens each (design section 1); immutable.

    Scalars broadcast to (M,). Arrays are copied, become read-only float64 (`min_tokens` int64), and
    `importance` is sorted descending along the tokens. All input checks live here; solvers make none.

    An array that is so already is taken over, not copied: read-only, as is all that it is a view of, of that
    type, C-contiguous, and `importance` descending. Large cells then take no memory twice; to hand one over,
    say `array.flags.writeable = False`, and leave it so.

    Args:
        gain: (M,) linear channel power gain, > 0.
        importance: (M, N) attention mass per token, >= 0, not all zero.
        bits_per_token: (M,) bit, > 0: batch size x width x bits per element.
        bandwidth_hz: shared uplink bandwidth, Hz, > 0.
        max_power_w: (M,) W, > 0.
        max_energy_j: (M,) J, > 0, uplink energy budget of the round; inf for none.
        deadline_s: (M,) s, > 0, limit on the uplink time; inf for none.
        overhead_s: (M,) s, >= 0, time before the upload that counts in the round time.
        min_tokens: (M,) int in 1..N.
        extra_tokens: int >= 0, tokens sent besides the kept ones ([CLS] and the merged token).
        noise_w_per_hz: noise power density, W/Hz, > 0.
        payload_bits: None for bits_per_token x (K + extra_tokens), or (M, N + 1) bit: what sending K = 0..N
            tokens takes, >= 0, strictly increasing in K. `bits_per_token` and `extra_tokens` then count for
            nothing. Not all solvers take a table, see `SolverInfo.payload_tables`.

    Raises:
        ProblemError: a field has the wrong shape, type or range.

    `dataclasses.replace` makes a changed copy, checked anew.

    Cost: O(M N), or O(M N log N) where `importance` has to be sorted; one copy of what is not taken over.

    Examples:
        >>> from dataclasses import replace
        >>> from stsflora.solver import Problem
        >>> problem = Problem(
        ...     gain=[1e-9, 2e-10],
        ...     importance=[[0.1, 0.6, 0.3], [0.5, 0.4, 0.1]],
        ...     bits_per_token=1e6,
        ...     bandwidth_hz=1e6,
        ...     max_power_w=0.2,
        ...     max_energy_j=1.0,
        ... )
        >>> problem.importance[0]
        array([0.6, 0.3, 0.1])
        >>> replace(problem, deadline_s=2.0).deadline_s
        array([2., 2.])
    """

    gain: FloatArray
    importance: FloatArray
    bits_per_token: FloatArray
    bandwidth_hz: float
    max_power_w: FloatArray
    max_energy_j: FloatArray
    deadline_s: FloatArray
    overhead_s: FloatArray
    min_tokens: IntArray
    extra_tokens: int
    noise_w_per_hz: float
    payload_bits: FloatArray | None

    def __init__(
        self,
        gain: ArrayLike,
        importance: ArrayLike,
        bits_per_token: ArrayLike,
        bandwidth_hz: float,
        max_power_w: ArrayLike,
        max_energy_j: ArrayLike,
        deadline_s: ArrayLike = np.inf,
        overhead_s: ArrayLike = 0.0,
        min_tokens: ArrayLike = 1,
        extra_tokens: int = 2,
        noise_w_per_hz: float = THERMAL_NOISE_W_PER_HZ,
        payload_bits: ArrayLike | None = None,
    ) -> None:
        importance_sorted = _importance(importance)
        clients, tokens = importance_sorted.shape
        values: dict[str, Any] = {
            "importance": importance_sorted,
            "gain": _per_client("gain", gain, clients),
            "bits_per_token": _per_client("bits_per_token", bits_per_token, clients),
            "max_power_w": _per_client("max_power_w", max_power_w, clients),
            "max_energy_j": _per_client("max_energy_j", max_energy_j, clients, infinite=True),
            "deadline_s": _per_client("deadline_s", deadline_s, clients, infinite=True),
            "overhead_s": _per_client("overhead_s", overhead_s, clients, zero=True),
            "min_tokens": _token_counts(min_tokens, clients, tokens),
            "bandwidth_hz": _scalar("bandwidth_hz", bandwidth_hz),
            "noise_w_per_hz": _scalar("noise_w_per_hz", noise_w_per_hz),
            "extra_tokens": _extra_tokens(extra_tokens),
            "payload_bits": None if payload_bits is None else _payload_table(payload_bits, clients, tokens),
        }
        self.__dict__.update(values)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.as_dict(),)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Problem):
            return NotImplemented
        mine, theirs = self.as_dict(), other.as_dict()
        return mine.keys() == theirs.keys() and all(
            np.array_equal(value, theirs[name]) for name, value in mine.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"Problem(clients={self.clients}, tokens={self.tokens}, "
            f"bandwidth_hz={self.bandwidth_hz:g}, extra_tokens={self.extra_tokens})"
        )

    @property
    def clients(self) -> int:
        """M, the number of clients."""
        return int(self.importance.shape[0])

    @property
    def tokens(self) -> int:
        """N, the number of patch tokens per client."""
        return int(self.importance.shape[1])

    def as_dict(self) -> dict[str, Any]:
        """The constructor's arguments by name (arrays are not copied), without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def subset(self, clients: ArrayLike) -> Problem:
        """The same round with only the clients at the given indices, in that order.

        Raises:
            ProblemError: an index is no whole number in 0..M-1, or there is none.
        """
        rows = np.asarray(clients)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or ((rows < 0) | (rows >= self.clients)).any():
            raise ProblemError(
                "Problem.subset",
                f"{clients!r:.60}",
                f"a sequence of indices from 0 to {self.clients - 1}",
                "Turn a mask into indices with numpy.flatnonzero",
            )
        arguments: dict[str, Any] = {
            name: value[rows] if isinstance(value, np.ndarray) else value
            for name, value in self.as_dict().items()
        }
        return Problem(**arguments)

    def with_raised_limits(self, share: float) -> Problem:
        """The same round with its four limits times 1 + share; nothing is copied or checked anew."""
        limits = {name: getattr(self, name) * (1.0 + share) for name in LIMITS}
        return self._unchecked(limits)

    def rows(self, first: int, clients: int, bandwidth_hz: float) -> Problem:
        """The round of some clients that follow each other; nothing is copied or checked anew."""
        arrays = {name: value for name, value in self.__dict__.items() if isinstance(value, np.ndarray)}
        cut = {name: value[first : first + clients] for name, value in arrays.items()}
        return self._unchecked(cut | {"bandwidth_hz": bandwidth_hz})

    def _unchecked(self, changes: dict[str, Any]) -> Problem:
        """A copy with other values of some fields, whose arrays become read-only."""
        changed = object.__new__(Problem)
        changed.__dict__.update(self.__dict__)
        for name, value in changes.items():
            changed.__dict__[name] = _frozen(value) if isinstance(value, np.ndarray) else value
        return changed

    def save(self, path: str | PathLike[str]) -> None:
        """Write to `.npz` or readable `.json` (by ending), atomically. Raises FileFormatError."""
        write_fields(self.as_dict(), path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Problem:
        """Read what `save` wrote; never unpickles. Raises FileFormatError, ProblemError."""
        parameters = signature(Problem).parameters
        required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
        return Problem(**read_fields(path, list(parameters), required))


def _rebuild(arguments: dict[str, Any]) -> Problem:
    return Problem(**arguments)


def _require(name: str, array: NDArray[Any], good: NDArray[np.bool_], allowed: str, next_step: str) -> None:
    if not good.all():
        require_entries(f"Problem.{name}", array, good, allowed, next_step)


def _require_magnitude(name: str, array: NDArray[Any], *, zero: bool = False, infinite: bool = False) -> None:
    """Refuse finite values so large, or limits so small, that their unit must be wrong."""
    good = within(array, 0.0 if zero else SMALLEST, LARGEST)
    if infinite:
        good |= array == np.inf
    if not good.all():
        allowed = f"magnitudes from {SMALLEST:g} to {LARGEST:g}"
        _require(name, array, good, allowed, "Check the units: SI units and linear gains, not dB")


def _importance(value: ArrayLike) -> FloatArray:
    given = real_array("Problem.importance", value)
    if given.ndim != 2 or 0 in given.shape:
        raise ProblemError(
            "Problem.importance",
            f"shape {given.shape}",
            "(M, N) with M >= 1 clients and N >= 1 tokens",
            "Stack one row of token importances per client",
        )
    if _along_tokens(np.greater_equal, given):
        array = read_only(given, np.float64)
    else:
        array = np.negative(given, dtype=np.float64, order="C")  # sorts upwards only; NaN comes last
        array.sort(axis=1)
        array = _frozen(np.negative(array, out=array))
    least, largest = least_of(array[:, -1]), largest_of(array[:, 0])
    if not (least >= 0.0 and largest < np.inf):  # also where either is NaN
        unsorted = given.astype(np.float64)
        good = within(unsorted, 0.0, open_high=True)
        _require("importance", unsorted, good, "finite and >= 0", "Clean the attention map")
    if not largest > 0.0:
        raise ProblemError(
            "Problem.importance",
            "all zeros",
            "at least one positive entry",
            "Check where the attention is read",
        )
    if not _in_range(largest, largest):
        _require_magnitude("importance", np.asarray(largest))
    return array


def _payload_table(value: ArrayLike, clients: int, tokens: int) -> FloatArray:
    array = real_array("Problem.payload_bits", value)
    if array.shape != (clients, tokens + 1):
        raise ProblemError(
            "Problem.payload_bits",
            f"shape {array.shape}",
            f"({clients}, {tokens + 1}): a row per client, K = 0..N",
            "Give the bits of 0 tokens too; they count for nothing",
        )
    array = read_only(array, np.float64)
    most = LARGEST * 2.0**32  # as large as bits_per_token x (K + extra_tokens) may be
    if _along_tokens(np.less, array):
        starts = least_of(array[:, 0]) >= 0.0 and least_of(array[:, 1]) >= SMALLEST
        if starts and largest_of(array[:, -1]) <= most:
            return array
    good = within(array, 0.0, open_high=True)
    _require("payload_bits", array, good, "finite and >= 0", "Count headers as bits of every K")
    rises = np.diff(array, axis=1, prepend=-1.0) > 0
    _require("payload_bits", array, rises, "strictly increasing along the tokens", "Every token takes bits")
    _require_magnitude("payload_bits", np.minimum(array[:, 1:], 1.0))
    _require("payload_bits", array, array <= most, f"up to {most:g}", "Check the units")
    return array


def _along_tokens(compare: np.ufunc, table: NDArray[Any]) -> bool:
    """Whether each entry of a table compares so with the next of its row; NaN with none."""
    rows = max(1, BLOCK // table.shape[1])
    return all(
        bool(compare(table[first : first + rows, :-1], table[first : first + rows, 1:]).all())
        for first in range(0, table.shape[0], rows)
    )


def _per_client(
    name: str, value: ArrayLike, clients: int, *, zero: bool = False, infinite: bool = False
) -> FloatArray:
    array = _one_per_client(name, value, clients, "one per row of importance")
    array = _broadcast(array, clients, np.float64)
    least, largest = least_of(array), largest_of(array)
    if not _in_range(least, largest, zero=zero, infinite=infinite):  # or some are inf and some are not
        good = within(array, 0.0, open_low=not zero, open_high=not infinite)
        allowed = ("finite or inf" if infinite else "finite") + (" and >= 0" if zero else " and > 0")
        _require(name, array, good, allowed, "Drop or repair that client")
        _require_magnitude(name, array, zero=zero, infinite=infinite)
    return array


def _in_range(least: float, largest: float, *, zero: bool = False, infinite: bool = False) -> bool:
    """Whether values from least to largest have magnitudes as they should; inf only where all are."""
    if infinite and least == np.inf:
        return True
    return (0.0 if zero else SMALLEST) <= least and largest <= LARGEST


def _token_counts(value: ArrayLike, clients: int, tokens: int) -> IntArray:
    array = _one_per_client("min_tokens", value, clients)
    if not (array.dtype.kind in "iu" and least_of(array) >= 1 and largest_of(array) <= tokens):
        good, allowed = within(array, 1, tokens) & whole(array), f"whole numbers from 1 to N = {tokens}"
        _require("min_tokens", array, good, allowed, "Lower it or send more tokens")
    return _broadcast(array, clients, np.int64)


def _broadcast(array: NDArray[Any], clients: int, kind: type[Number]) -> NDArray[Number]:
    """(M,) read-only numbers of a type, from one or from M."""
    if array.shape == (clients,):
        return read_only(array, kind)
    repeated = np.empty(clients, kind)
    repeated[:] = array
    return _frozen(repeated)


def _one_per_client(name: str, value: ArrayLike, clients: int, says: str = "") -> NDArray[Any]:
    array = real_array(f"Problem.{name}", value)
    if array.shape in ((clients,), (), (1,)):
        return array
    allowed = f"a scalar or ({clients},)" + (f", {says}" if says else "")
    raise ProblemError(f"Problem.{name}", f"shape {array.shape}", allowed, "Match it to importance")


def _one_number(name: str, value: Any) -> NDArray[Any]:
    array = real_array(f"Problem.{name}", value)
    if array.size == 1:
        return array.reshape(())
    raise ProblemError(f"Problem.{name}", f"shape {array.shape}", "one number", "Pass a scalar")


def _scalar(name: str, value: Any) -> float:
    if isinstance(value, float) and _in_range(value, value):
        return float(value)
    array = _one_number(name, value)
    good = within(array, 0.0, open_low=True, open_high=True)
    _require(name, array, good, "finite and > 0", "Pass it in SI units")
    _require_magnitude(name, array)
    return float(array)


def _extra_tokens(value: Any) -> int:
    most = 2**31 - 1
    if type(value) is int and 0 <= value <= most:
        return value
    array = _one_number("extra_tokens", value)
    good = within(array, 0, most) & whole(array)
    _require("extra_tokens", array, good, "a whole number >= 0", "Use 2 for [CLS] and merged")
    return int(array)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
