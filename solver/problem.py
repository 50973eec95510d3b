"""Problem: the data of one uplink round to allocate (maximise STE), checked once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from inspect import signature
from os import PathLike
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import real_array, require_entries, whole, within
from .errors import ProblemError
from .files.problem_files import read_fields, write_fields
from .units import THERMAL_NOISE_W_PER_HZ

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SMALLEST: Final = 1e-40
LARGEST: Final = 1e40
"""Magnitudes beyond these are refused: between them no product that a solver forms leaves float64."""


LIMITS: Final = ("bandwidth_hz", "max_power_w", "max_energy_j", "deadline_s")
"""What an allocation may use at most."""


@dataclass(frozen=True, init=False, eq=False)
class Problem:
    """One uplink round of M clients with N patch tokens each (design section 1); immutable.

    Scalars broadcast to (M,). Arrays are copied, become read-only float64 (`min_tokens` int64), and
    `importance` is sorted descending along the tokens. All input checks live here; solvers make none.

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

    Cost: O(M N log N) time, one copy of `importance`.

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
        for name, value in values.items():
            object.__setattr__(self, name, value)

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
        raised = object.__new__(Problem)
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(raised, field.name, value * (1.0 + share) if field.name in LIMITS else value)
        return raised

    def rows(self, first: int, clients: int, bandwidth_hz: float) -> Problem:
        """The round of some clients that follow each other; nothing is copied or checked anew."""
        cut = object.__new__(Problem)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value = value[first : first + clients]
            object.__setattr__(cut, field.name, bandwidth_hz if field.name == "bandwidth_hz" else value)
        return cut

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
    array = real_array("Problem.importance", value)
    if array.ndim != 2 or 0 in array.shape:
        raise ProblemError(
            "Problem.importance",
            f"shape {array.shape}",
            "(M, N) with M >= 1 clients and N >= 1 tokens",
            "Stack one row of token importances per client",
        )
    array = array.astype(np.float64, order="C")
    good = within(array, 0.0, open_high=True)
    _require("importance", array, good, "finite and >= 0", "Clean the attention map")
    largest = array.max()
    if not largest > 0:
        raise ProblemError(
            "Problem.importance",
            "all zeros",
            "at least one positive entry",
            "Check where the attention is read",
        )
    descending = array[:, :-1] >= array[:, 1:]
    if not descending.all():
        array.sort(axis=1)
        array = np.ascontiguousarray(array[:, ::-1])
    _require_magnitude("importance", largest)
    return _frozen(array)


def _payload_table(value: ArrayLike, clients: int, tokens: int) -> FloatArray:
    array = real_array("Problem.payload_bits", value)
    if array.shape != (clients, tokens + 1):
        raise ProblemError(
            "Problem.payload_bits",
            f"shape {array.shape}",
            f"({clients}, {tokens + 1}): a row per client, K = 0..N",
            "Give the bits of 0 tokens too; they count for nothing",
        )
    array = array.astype(np.float64)
    good = within(array, 0.0, open_high=True)
    _require("payload_bits", array, good, "finite and >= 0", "Count headers as bits of every K")
    rises = np.diff(array, axis=1, prepend=-1.0) > 0
    _require("payload_bits", array, rises, "strictly increasing along the tokens", "Every token takes bits")
    _require_magnitude("payload_bits", np.minimum(array[:, 1:], 1.0))
    most = LARGEST * 2.0**32  # as large as bits_per_token x (K + extra_tokens) may be
    _require("payload_bits", array, array <= most, f"up to {most:g}", "Check the units")
    return _frozen(array)


def _per_client(
    name: str, value: ArrayLike, clients: int, *, zero: bool = False, infinite: bool = False
) -> FloatArray:
    array = _one_per_client(name, value, clients, "one per row of importance")
    array = np.array(np.broadcast_to(array.astype(np.float64), (clients,)))
    good = within(array, 0.0, open_low=not zero, open_high=not infinite)
    allowed = ("finite or inf" if infinite else "finite") + (" and >= 0" if zero else " and > 0")
    _require(name, array, good, allowed, "Drop or repair that client")
    _require_magnitude(name, array, zero=zero, infinite=infinite)
    return _frozen(array)


def _token_counts(value: ArrayLike, clients: int, tokens: int) -> IntArray:
    array = _one_per_client("min_tokens", value, clients)
    good = within(array, 1, tokens) & whole(array)
    allowed = f"whole numbers from 1 to N = {tokens}"
    _require("min_tokens", array, good, allowed, "Lower it or send more tokens")
    return _frozen(np.array(np.broadcast_to(array.astype(np.int64), (clients,))))


def _one_per_client(name: str, value: ArrayLike, clients: int, says: str = "") -> NDArray[Any]:
    array = real_array(f"Problem.{name}", value)
    if array.shape in {(), (1,), (clients,)}:
        return array
    allowed = f"a scalar or ({clients},)" + (f", {says}" if says else "")
    raise ProblemError(f"Problem.{name}", f"shape {array.shape}", allowed, "Match it to importance")


def _one_number(name: str, value: Any) -> NDArray[Any]:
    array = real_array(f"Problem.{name}", value)
    if array.size == 1:
        return array.reshape(())
    raise ProblemError(f"Problem.{name}", f"shape {array.shape}", "one number", "Pass a scalar")


def _scalar(name: str, value: Any) -> float:
    array = _one_number(name, value)
    good = within(array, 0.0, open_low=True, open_high=True)
    _require(name, array, good, "finite and > 0", "Pass it in SI units")
    _require_magnitude(name, array)
    return float(array)


def _extra_tokens(value: Any) -> int:
    array = _one_number("extra_tokens", value)
    good = within(array, 0, 2**31 - 1) & whole(array)
    _require("extra_tokens", array, good, "a whole number >= 0", "Use 2 for [CLS] and merged")
    return int(array)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
