"""Compile scalar loops by numba on their first call; plain Python where numba cannot."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import update_wrapper
from hashlib import sha256
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
"""Threads may run beside a loop, and a division by zero gives inf."""


class Mode(Enum):
    """How loops run in this process; they go down together when numba fails."""

    CACHED = "compiled, and kept for the next process"
    UNCACHED = "compiled anew in every process"
    PLAIN = "as plain Python"


class Loop(Generic[P, R]):
    """A function that numba compiles when it is first called.

    Compiled with a cache where numba finds a place for one, without where it does not, and run as plain
    Python where numba is missing or fails: the same text, the same answers, and one warning for all loops. A
    loop fills no array that it has not made, so it can be run again.

    Attributes:
        function: the plain function.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self._mode: Mode | None = None
        self._run: Callable[P, R] = function
        update_wrapper(self, function)

    def __call__(self, *arguments: P.args, **keywords: P.kwargs) -> R:
        """What the function gives."""
        if self._mode is not _State.mode:
            self.dispatcher()
        try:
            return self._run(*arguments, **keywords)
        except MemoryError:
            raise
        except Exception as error:  # a loop raises nothing itself
            if _State.mode is Mode.PLAIN:
                raise
            _fall_back(error)
            return self(*arguments, **keywords)

    def dispatcher(self) -> Callable[P, R]:
        """Numba's in the present mode, or the plain function."""
        numba = _numba()
        if _State.mode is Mode.CACHED:
            try:
                self._run = numba.njit(cache=True, **OPTIONS)(self.function)
            except Exception as error:  # RuntimeError: no place for a cache
                _fall_back(error)
        if _State.mode is Mode.UNCACHED:
            self._run = numba.njit(**OPTIONS)(self.function)
        if _State.mode is Mode.PLAIN:
            self._run = self.function
        self._mode = _State.mode
        return self._run


compiled = Loop
"""The decorator."""


def compiled_search(
    search: Callable[..., Any],
    parts: Sequence[ModuleType],
    replaced: Mapping[Callable[..., Any], Callable[..., Any]],
) -> Callable[..., Any]:
    """A function compiled whole, with all functions of some modules that it calls; itself without numba.

    numba keys its cache by the text of one file and by what a function closes over: here that is a digest of
    all texts, so that no stale search runs.

    Args:
        search: the function.
        parts: the modules. Their loops are compiled as they are, their plain functions on demand.
        replaced: functions of the modules that have another text where they are compiled.
    """
    if _numba() is None:
        return search
    from numba.extending import overload, register_jitable

    for function, text in replaced.items():
        overload(function, strict=False)(lambda *_, text=text: text)
    for part in parts:
        for function in vars(part).values():
            own = isinstance(function, FunctionType) and function.__module__ == part.__name__
            if own and function not in replaced:
                register_jitable(function)
    digest = sha256()
    for part in (*parts, sys.modules[search.__module__], sys.modules[__name__]):
        digest.update(Path(str(part.__file__)).read_bytes())
    key = digest.hexdigest()
    register_jitable(search)

    def entry(*arguments: Any) -> Any:
        key  # noqa: B018 - closed over, see above
        return search(*arguments)

    return Loop(entry)


class _State:
    """What is known of numba in this process."""

    mode = Mode.CACHED
    numba: Any = None


def _numba() -> Any:
    """The package, imported on first use and taught to call loops from loops; None without it."""
    if _State.numba is None and _State.mode is not Mode.PLAIN:
        try:
            import numba
            from numba.extending import typeof_impl

            def typeof_loop(loop: Loop[..., Any], context: Any) -> Any:
                return typeof_impl(loop.dispatcher() if loop._mode is not _State.mode else loop._run, context)

            typeof_impl.register(Loop)(typeof_loop)
            _State.numba = numba
        except Exception as error:
            _State.mode = Mode.UNCACHED
            _fall_back(error)
    return _State.numba


def _fall_back(error: Exception) -> None:
    """Go down to the next mode, with a warning the first time."""
    first = _State.mode is Mode.CACHED or _State.numba is None
    _State.mode = Mode.UNCACHED if _State.mode is Mode.CACHED else Mode.PLAIN
    if first:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        warnings.warn(
            f"stsflora: numba or its cache fails ({reason}); answers stay the same and take longer. "
            "Reinstall numba, or set NUMBA_CACHE_DIR to a folder that can be written.",
            RuntimeWarning,
            stacklevel=4,
        )
