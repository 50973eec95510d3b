"""Convert numbers, sequences, arrays and tensors of unknown origin to numpy, or refuse them by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import NUMBERS, real_array
from ..errors import ProblemError


def to_number(name: str, value: Any) -> float:
    """One real number as a float."""
    if isinstance(value, float):
        return float(value)
    if type(value) is np.ndarray:
        if value.size == 1 and value.dtype.char in NUMBERS:
            return float(value.item())
    elif type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise ProblemError(name, "an int beyond all floats", "a real number", "Check it") from error
    elif hasattr(value, "detach"):  # a tensor
        with suppress(Exception):  # what cannot be read so is refused below
            number = value.item()
            if type(number) in {int, float}:
                return float(number)
    array = to_array(name, value, 1)
    if array.size != 1:
        raise ProblemError(name, f"shape {array.shape}", "one number", "Pass a scalar")
    return float(array.reshape(()))


def to_flag(name: str, value: Any) -> bool:
    """True or False, which may be an array or tensor of one element."""
    with suppress(Exception):  # what cannot be read so is refused below
        flag = value if isinstance(value, bool) else value.item()
        if isinstance(flag, bool):
            return flag
    raise ProblemError(name, f"type {_type_name(value)}", "True or False", "Convert it first")


def to_array(name: str, value: Any, largest: int) -> NDArray[Any]:
    """A sequence, array or tensor of real numbers as an array; its size is known before it is converted."""
    if type(value) is np.ndarray and value.size <= largest:
        return real_array(name, value)
    allowed = f"real numbers, at most {largest}" if largest > 1 else "a real number"
    got = f"type {_type_name(value)}"
    try:
        if hasattr(value, "shape"):
            size = math.prod(value.shape)
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            size = len(value)
            if size <= largest and not all(issubclass(kind, Real) for kind in set(map(type, value))):
                size, got = -1, f"a {_type_name(value)} of other things"
        else:
            size = 1 if isinstance(value, Real) else -1
    except Exception as error:  # whatever a stranger's object raises
        got = f"a {_type_name(value)} that is unreadable"
        raise ProblemError(name, got, allowed, "Convert it first") from error
    if size < 0:
        raise ProblemError(name, got, allowed, "Convert it first")
    if size > largest:
        raise ProblemError(name, f"{size} values", allowed, "Send less, or raise the allocator's limit")
    array = real_array(name, value)
    if array.size > largest:
        raise ProblemError(name, f"{array.size} values", allowed, "Send less")
    return array


def _type_name(value: Any) -> str:
    return f"{type(value).__name__:.40}"
