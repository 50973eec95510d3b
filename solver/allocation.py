"""What a solver decides: tokens, bandwidth and power of every client."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import AllocationError, FileFormatError
from .files.json_files import read_json
from .problem import FloatArray, IntArray


@dataclass(frozen=True, init=False, eq=False)
class Allocation:
    """Tokens K_m, bandwidth W_m and power p_m of every client; immutable.

    Args:
        tokens: (M,) whole numbers >= 0.
        bandwidth_hz: (M,) Hz, finite, >= 0.
        power_w: (M,) W, finite, >= 0.

    Raises:
        AllocationError: shapes differ, or a value is negative, fractional (tokens) or not finite.
            Limits of the problem are not checked here; `evaluate` measures them.
    """

    tokens: IntArray
    bandwidth_hz: FloatArray
    power_w: FloatArray

    def __init__(self, tokens: ArrayLike, bandwidth_hz: ArrayLike, power_w: ArrayLike) -> None:
        given: dict[str, Any] = {"tokens": tokens, "bandwidth_hz": bandwidth_hz, "power_w": power_w}
        arrays = {}
        for name, value in given.items():
            array = np.array(value)
            if array.dtype.kind not in "iuf" or array.ndim != 1:
                raise AllocationError(
                    f"Allocation.{name}",
                    f"type {array.dtype}, shape {array.shape}",
                    "a one-dimensional array of real numbers",
                    "Pass one value per client",
                )
            whole = name == "tokens"
            good = (array >= 0) & (array < np.inf)
            if whole and array.dtype.kind == "f":
                good &= array == np.floor(array)
            if not good.all():
                client = int(np.argmin(good))
                raise AllocationError(
                    f"Allocation.{name}",
                    f"{array[client]:g} for client {client}",
                    "whole numbers >= 0" if whole else "finite and >= 0",
                    "Repair the method that made it",
                )
            array = array.astype(np.int64 if whole else np.float64, copy=False)  # `array` is a copy
            array.flags.writeable = False
            arrays[name] = array
        if len({array.shape for array in arrays.values()}) != 1:
            raise AllocationError(
                "Allocation",
                ", ".join(f"{name} {array.shape}" for name, array in arrays.items()),
                "three arrays of one length",
                "Pass one value per client in each",
            )
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays come back writable from a plain pickle or deep copy; the constructor freezes them again.
        return type(self), (self.tokens, self.bandwidth_hz, self.power_w)

    @property
    def clients(self) -> int:
        """M, the number of clients."""
        return int(self.tokens.shape[0])

    @staticmethod
    def load(path: str | PathLike[str]) -> Allocation:
        """The allocation in a JSON file with `tokens`, `bandwidth_hz` and `power_w`, such as a saved result.

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
        return Allocation(*(fields[name] for name in names))
