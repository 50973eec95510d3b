"""Compile scalar loops by numba on their first call; plain Python where numba cannot."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from functools import update_wrapper
from hashlib import sha256
from pathlib import Path
from types import CellType, FunctionType, ModuleType
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
        texts: other files whose loops it calls.
    """

    def __init__(self, function: Callable[P, R], texts: Iterable[Path] = ()) -> None:
        self.function = function
        self.texts = tuple(texts)
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
        if self._mode is _State.mode:
            return self._run
        numba = _numba()
        if _State.mode is Mode.CACHED:
            try:
                function = keyed(self.function, digest_of(self.texts)) if self.texts else self.function
                self._run = numba.njit(cache=True, **OPTIONS)(function)
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


def compiled_on(*modules: ModuleType) -> Callable[[Callable[P, R]], Loop[P, R]]:
    """The decorator of loops that call those of other files, named here: a change there compiles anew."""
    texts = [Path(str(module.__file__)) for module in modules]
    return lambda function: Loop(function, texts)


def digest_of(texts: Iterable[Path]) -> str:
    """What changes with any of some files."""
    digest = sha256()
    for path in texts:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def keyed(function: Callable[P, R], key: str) -> Callable[P, R]:
    """The same function, closing over a key that it does not read.

    numba keeps what it has compiled by the text of one file and by what a function closes over.
    """
    code = function.__code__
    closed = code.replace(co_freevars=(*code.co_freevars, "key"))
    cells = (*(function.__closure__ or ()), CellType(key))
    copy = FunctionType(closed, function.__globals__, function.__name__, function.__defaults__, cells)
    copy.__kwdefaults__ = function.__kwdefaults__
    return update_wrapper(copy, function)


class Whole(Loop[P, R]):
    """A loop that takes long to compile, since all it calls is compiled with it; kept for later processes.

    numba keys its cache by the text of one file and by what a function closes over: here that is a digest of
    all texts, so that no stale one runs.
    """

    def __init__(self, function: Callable[P, R], texts: Iterable[Path]) -> None:
        key = digest_of(texts)

        def entry(*arguments: Any) -> Any:
            key  # noqa: B018 - closed over, see above
            return function(*arguments)  # type: ignore[call-arg]

        super().__init__(entry)  # type: ignore[arg-type]
        self._title = f"{function.__name__}-{key[:16]}"
        self._known: bool | None = None

    def is_ready(self) -> bool:
        """Whether it is compiled already, now or by an earlier process."""
        if self._known is None:
            mark = self._mark()
            self._known = mark is not None and mark.exists()
        return self._known and _State.mode is not Mode.PLAIN

    def __call__(self, *arguments: P.args, **keywords: P.kwargs) -> R:
        """What the function gives."""
        found = super().__call__(*arguments, **keywords)
        if not self._known:
            mark, self._known = self._mark(), True
            if mark is not None:
                with suppress(OSError):
                    mark.touch()
        return found

    def _mark(self) -> Path | None:
        """A file that stands in the cache once the function does; None without a cache.

        Its name says for which numba, Python and processor, since machines may share a folder.
        """
        stats = getattr(self.dispatcher(), "stats", None)
        if stats is None or not stats.cache_path:
            return None
        from llvmlite import binding

        machine = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
        made_for = (_numba().__version__, sys.implementation.cache_tag, *machine)
        tag = sha256("\n".join(made_for).encode()).hexdigest()[:16]
        return Path(stats.cache_path) / f"{self._title}-{tag}.compiled"


def compiled_whole(
    function: Callable[P, R],
    modules: Iterable[ModuleType],
    texts: Iterable[Path],
    replaced: Mapping[Callable[..., Any], Callable[..., Any]],
) -> Whole[P, R]:
    """A function compiled with all functions of some modules that it calls; runs as it is without numba.

    Args:
        function: what to compile.
        modules: their plain functions are compiled on demand, their loops are compiled anyway.
        texts: the files on which the outcome rests.
        replaced: functions of the modules that have another text where they are compiled.
    """
    if _numba() is not None:
        from numba.extending import overload, register_jitable

        for plain, text in replaced.items():
            overload(plain, strict=False)(lambda *_, text=text: text)
        for module in modules:
            for plain in vars(module).values():
                own = isinstance(plain, FunctionType) and plain.__module__ == module.__name__
                if own and plain not in replaced:
                    register_jitable(plain)
    return Whole(function, texts)


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

            typeof_impl.register(Loop)(lambda loop, context: typeof_impl(loop.dispatcher(), context))
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
