"""Convert numbers, sequences, arrays and tensors of unknown origin to numpy, or refuse them by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError


def to_number(name: str, value: Any) -> float:
    """One real number as a float."""
    if isinstance(value, float):
        return float(value)
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iuf":
        return float(value.item())
    array = to_array(name, value, 1)
    if array.size != 1:
        raise ProblemError(name, f"shape {array.shape}", "one number", "Pass a scalar")
    return float(array.reshape(()))


def to_array(name: str, value: Any, largest: int) -> NDArray[Any]:
    """A sequence, array or tensor of real numbers as an array; its size is known before it is converted."""
    allowed = f"real numbers, at most {largest}" if largest > 1 else "a real number"
    if isinstance(value, str | bytes):
        raise ProblemError(name, f"type {_type_name(value)}", allowed, "Convert it first")
    try:
        if hasattr(value, "shape"):
            size = math.prod(value.shape)
        elif isinstance(value, Sequence):
            size = len(value)
            if size <= largest and not all(issubclass(kind, Real) for kind in set(map(type, value))):
                raise ProblemError(
                    name, f"a {_type_name(value)} of other things", allowed, "Convert it first"
                )
        else:
            size = 1
        if size > largest:
            raise ProblemError(name, f"{size} values", allowed, "Send less, or raise the allocator's limit")
        if hasattr(value, "detach"):  # a torch tensor; numpy knows no bfloat16
            value = value.detach().cpu()
            value = (value.double() if value.is_floating_point() else value).numpy()
        array = np.asarray(value)
    except ProblemError:
        raise
    except Exception as error:  # whatever a stranger's object raises
        raise ProblemError(
            name, f"a {_type_name(value)} that is unreadable", allowed, "Convert it first"
        ) from error
    if array.dtype.kind not in "iuf" or array.size > largest:
        kind = _type_name(value) if array.dtype == object else array.dtype
        raise ProblemError(name, f"type {kind}", allowed, "Convert it first")
    return array


def _type_name(value: Any) -> str:
    return f"{type(value).__name__:.40}"
