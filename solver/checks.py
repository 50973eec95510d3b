"""Checks of option values: each returns the value, clean, or raises OptionError in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from .errors import OptionError


def whole_number(who: str, option: str, value: Any, least: int) -> int:
    """A whole number >= `least`; True and False are none."""
    if not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= least:
        return int(value)
    raise OptionError(who, f"{option}={value!r}", f"a whole number >= {least}", "Pass an int")


def real_number(who: str, option: str, value: Any, least: float = 0.0) -> float:
    """A finite number >= `least`."""
    if not isinstance(value, bool) and isinstance(value, Real) and least <= float(value) < math.inf:
        return float(value)
    raise OptionError(who, f"{option}={value!r}", f"a finite number >= {least:g}", "Pass a float")


def choices(who: str, option: str, value: Any, allowed: Iterable[str]) -> tuple[str, ...]:
    """One name or several, each out of `allowed`."""
    known = tuple(allowed)
    names = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for name in names:
        if name not in known:
            raise OptionError(who, f"{option}={name!r}", ", ".join(known), "Name one or several of these")
    return names


def choice(who: str, option: str, value: Any, allowed: Iterable[str]) -> str:
    """One name out of `allowed`."""
    known = tuple(allowed)
    if isinstance(value, str) and value in known:
        return value
    raise OptionError(who, f"{option}={value!r}", " or ".join(known), "Name one of these")
