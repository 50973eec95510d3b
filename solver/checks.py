"""Checks of arguments: numbers, arrays of numbers and names. Each returns the value, clean, or raises.

Errors are one sentence in four parts (`errors.StsfloraError`). True and False are no numbers here; numpy's
scalars are. Those that check options raise OptionError and those that check arrays ProblemError, unless
`error` names another class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import OptionError, ProblemError, StsfloraError

Number = TypeVar("Number", np.float64, np.int64)

NUMBERS: Final = "bBhHiIlLqQefd"
"""Characters of numpy's types for whole and real numbers of up to 64 bits; "e" has 16."""


def whole_number(
    who: str,
    option: str,
    value: Any,
    least: int,
    most: int | None = None,
    *,
    next_step: str = "Pass an int",
    error: type[StsfloraError] = OptionError,
) -> int:
    """A whole number from `least` to `most`, both allowed; without `most`, from `least` on."""
    if _is_number(value, Integral) and int(value) >= least and (most is None or int(value) <= most):
        return int(value)
    allowed = f"a whole number >= {least}" if most is None else f"a whole number from {least} to {most}"
    raise error(who, f"{option}={value!r:.60}", allowed, next_step)


def real_number(
    who: str,
    option: str,
    value: Any,
    least: float = 0.0,
    *,
    open_low: bool = False,
    infinite: bool = False,
    allowed: str | None = None,
    next_step: str = "Pass a float",
    error: type[StsfloraError] = OptionError,
) -> float:
    """A finite number >= `least`, as a float.

    Args:
        who: the function that asks.
        option: the argument's name.
        value: what was passed.
        least: lower end, allowed itself unless `open_low`.
        open_low: exclude the lower end.
        infinite: allow inf too.
        allowed: words for what is allowed; by default they say the range.
        next_step: last words of the sentence.
        error: class of the error.
    """
    if _is_number(value, Real):
        try:
            number = float(value)
        except OverflowError:  # a whole number beyond the floats
            number = math.nan
        if (number > least if open_low else number >= least) and (infinite or number < math.inf):
            return number
    kind, sign = "a number" if infinite else "a finite number", ">" if open_low else ">="
    raise error(who, f"{option}={value!r:.60}", allowed or f"{kind} {sign} {least:g}", next_step)


def choices(who: str, option: str, value: Any, allowed: Iterable[str]) -> tuple[str, ...]:
    """One name or several, each out of `allowed`."""
    known = tuple(allowed)
    names = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for name in names:
        if name not in known:
            raise OptionError(who, f"{option}={name!r}", ", ".join(known), "Name one or several of these")
    return names


def choice(
    who: str, option: str, value: Any, allowed: Iterable[str], *, error: type[StsfloraError] = OptionError
) -> str:
    """One name out of `allowed`."""
    known = tuple(allowed)
    if isinstance(value, str) and value in known:
        return value
    raise error(who, f"{option}={value!r:.60}", " or ".join(known), "Name one of these")


def real_array(
    who: str, value: ArrayLike, *, name: str = "", error: type[StsfloraError] = ProblemError
) -> NDArray[Any]:
    """An array of integers or floats of any shape; not copied where it is one already of 32 bits or more.

    Args:
        who: the field or function that asks.
        value: what was passed.
        name: the argument's name, where `who` does not say it.
        error: class of the error.
    """
    array = value if type(value) is np.ndarray else any_array(who, value, name=name, error=error)
    kind = array.dtype.char
    if kind in NUMBERS:
        return array if kind != "e" else array.astype(np.float64)
    got = f"{name} = " if name else ""
    raise error(who, f"{got}type {array.dtype}", "real numbers (integers or floats)", "Convert it first")


def any_array(
    who: str, value: Any, *, name: str = "", error: type[StsfloraError] = ProblemError
) -> NDArray[Any]:
    """What numpy reads of a value, if that is what was meant: of any type, but with nothing masked.

    Args: as for `real_array`.
    """
    prefix, allowed = f"{name} = " if name else "", "real numbers (integers or floats)"
    try:
        if not _is_masked(value):
            return np.asarray(_without_graph(value))
    except ValueError as ragged:
        raise error(who, f"{prefix}a ragged sequence", "a regular array of numbers", "Pad it") from ragged
    except Exception as failure:  # whatever a stranger's object raises
        got = f"{prefix}a {type(value).__name__:.40} that is unreadable"
        raise error(who, got, allowed, "Convert it first") from failure
    raise error(who, f"{prefix}masked entries", "numbers throughout", "Fill them first")


def _is_masked(value: Any) -> bool:
    """Whether there are masked entries: numpy reads what is under the mask, or NaN with a warning."""
    if isinstance(value, np.ma.MaskedArray):
        return bool(np.ma.is_masked(value))
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
        if any(issubclass(kind, np.ma.MaskedArray | list | tuple) for kind in kinds):
            return any(map(_is_masked, value))
    return False


def _without_graph(value: Any) -> Any:
    """A torch tensor as an array, wherever it lies; others as they are."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return (value.double() if value.is_floating_point() else value).numpy()  # numpy knows no bfloat16
    return value


def read_only(array: NDArray[Any], kind: type[Number]) -> NDArray[Number]:
    """An array's numbers as a read-only C-contiguous one of a type: itself where it is that, else a copy.

    Itself only if it cannot be written through the arrays that it is a view of either. Whoever hands over an
    array and makes it writable again afterwards changes what was checked.
    """
    if type(array) is np.ndarray and array.dtype == kind and not array.flags.writeable:
        flags, base = array.flags, array.base
        while type(base) is np.ndarray and not base.flags.writeable:
            base = base.base
        if base is None and flags.c_contiguous and flags.aligned:
            return array
    copied = np.array(array, kind, order="C")
    copied.flags.writeable = False
    return copied


def least_of(array: NDArray[Any]) -> float:
    """The least entry, as Python's number; NaN where one is NaN."""
    number: float = array.item(array.argmin())  # a quarter of the time of `min` where there are few
    return number


def largest_of(array: NDArray[Any]) -> float:
    """The largest entry, as Python's number; NaN where one is NaN."""
    number: float = array.item(array.argmax())
    return number


def within(
    array: NDArray[Any], low: float, high: float = np.inf, *, open_low: bool = False, open_high: bool = False
) -> NDArray[np.bool_]:
    """Which entries lie in an interval, of the array's shape; NaN never does, inf does where it is an end."""
    above: NDArray[np.bool_] = array > low if open_low else array >= low
    below: NDArray[np.bool_] = array < high if open_high else array <= high
    return above & below


def whole(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which entries are whole numbers, whatever their type, of the array's shape."""
    good: NDArray[np.bool_] = array == np.floor(array)
    return good


def require_entries(
    who: str,
    array: NDArray[Any],
    good: NDArray[np.bool_],
    allowed: str,
    next_step: str,
    *,
    name: str = "",
    place: str = "at index",
    error: type[StsfloraError] = ProblemError,
) -> None:
    """Raise unless all entries are good; the sentence shows the first that is not, and where it stands.

    Args:
        who: the field or function that asks.
        array: of numbers.
        good: of the array's shape.
        allowed: words for what is allowed.
        next_step: last words of the sentence.
        name: the argument's name, where `who` does not say it; the place is left out then.
        place: what stands before the index.
        error: class of the error.
    """
    if good.all():
        return
    first = tuple(int(i) for i in np.argwhere(~good)[0])
    where = f" {place} {first if len(first) > 1 else first[0]}" if first and not name else ""
    prefix = f"{name} = " if name else ""
    raise error(who, f"{prefix}{array[first]:g}{where}", allowed, next_step)


def numbers_in_range(
    who: str,
    name: str,
    value: ArrayLike,
    low: float,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> NDArray[np.float64]:
    """A number or an array with every entry in an interval, as float64; NaN is in none.

    Args:
        who: the function that asks.
        name: the argument's name, unit included.
        value: what was passed.
        low: lower end, allowed itself unless `open_low`.
        high: upper end, allowed itself unless `open_high`; inf is a value like others.
        open_low: exclude the lower end.
        open_high: exclude the upper end.

    Raises:
        ProblemError: an entry outside, or no real numbers.
    """
    array = real_array(who, value, name=name)
    interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    require_entries(
        who,
        array,
        within(array, low, high, open_low=open_low, open_high=open_high),
        f"numbers in {interval}",
        "Pass SI units, and decibels only where named",
        name=name,
    )
    return np.asarray(array, dtype=np.float64)


def positive_numbers(who: str, name: str, value: ArrayLike) -> NDArray[np.float64]:
    """A number or an array, every entry finite and > 0, as float64. Raises ProblemError."""
    return numbers_in_range(who, name, value, 0.0, open_low=True, open_high=True)


def nonnegative_numbers(who: str, name: str, value: ArrayLike) -> NDArray[np.float64]:
    """A number or an array, every entry finite and >= 0, as float64. Raises ProblemError."""
    return numbers_in_range(who, name, value, 0.0, open_high=True)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
