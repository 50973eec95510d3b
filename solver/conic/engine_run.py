"""One call of `relaxed`: engines asked in turn, what they did, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from ..method import Request
from ..result import Stop
from .engines import ENGINES, ConicEngine
from .program import Programs
from .waiting import answer_within

FALLBACKS: Final = ("highs", "clarabel", "ecos")
"""Engines that take over from one that fails, in this order, all with tangent cuts."""

FLAT_CONE: Final = 0.05
"""Below this signal-to-noise ratio cones are too flat for an engine's tolerance; cuts serve better."""

MOST_CONES: Final = 300
"""With more clients cvxpy takes longer to compile cones (9 s for 1,000, as a square) than cuts take."""

PATIENCE_S: Final = 0.5
"""How long an engine may overrun the time limit before its answer is given up."""

S = TypeVar("S")


class EngineRun:
    """The part of a search that deals with engines; the search itself is a subclass.

    Attributes:
        request: gap and clock.
        programs: kept from call to call.
        statuses: the engines' words for every program.
        engine_s: time spent with them, s.
        priced: whether an engine has given a price.
        left_behind: whether one was left at work.
    """

    def __init__(self, request: Request, programs: Programs) -> None:
        self.request, self.programs = request, programs
        self.statuses: list[str] = []
        self.engine_s = 0.0
        self.priced = False
        self.left_behind = False

    @property
    def is_open(self) -> bool:
        """Whether the asked gap is not proved."""
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether nothing is open, or the time is up."""
        return not self.is_open or self.request.expired()

    def solve_with(self, engine: ConicEngine, form: str) -> bool:
        """Search with one engine; False where it fails or is not accurate enough to go on."""
        raise NotImplementedError

    def search(self, engine: ConicEngine, form: str) -> tuple[Stop, str, dict[str, Any]]:
        """Search with the engine asked for, and with others while those before them fail.

        Returns:
            (why it ended, message, counters for `stats`).
        """
        used = []
        for fallback, its_form in _fallbacks(engine, form):
            used.append(f"{fallback.name} ({its_form})")
            if self.solve_with(fallback, its_form) or self.done:
                break
        stop = Stop.CONVERGED
        took_over = ", then ".join(used[1:])
        message = f"{used[0]} failed or was inaccurate; {took_over} took over." if took_over else ""
        if self.is_open:
            if self.request.expired():
                stop = Stop.TIME_LIMIT
                if self.left_behind:
                    left = f"{used[-1]} overran the time limit by {PATIENCE_S:g} s and was left behind."
                    message = f"{message} {left}".strip()
            elif not self.priced:
                stop = Stop.ERROR
                message = f"{', then '.join(used)} failed; no engine gave a bound."
            else:
                message = f"{message} A gap is left that solver='exact' can close.".strip()
        stats = {
            "engine": engine.name,
            "form": form,
            "programs": len(self.statuses),
            "statuses": tuple(self.statuses),
            "engine_s": self.engine_s,
            "fallbacks": tuple(used[1:]),
        }
        return stop, message, stats

    def ask(self, take: Callable[[], Any], solve: Callable[[Any, float], S | str]) -> S | None:
        """A program's solution; None where the engine gives none.

        Args:
            take: gets the program.
            solve: solves it within a time, s.
        """
        started, limit_s = time.perf_counter(), self.request.remaining_s()

        def solved() -> tuple[Any, S | str]:
            # The import of cvxpy and the compilation take as long as engines do, and cannot be ended either.
            program = take()
            return program, solve(program, limit_s - (time.perf_counter() - started))

        answer = answer_within(solved, limit_s + PATIENCE_S)
        self.engine_s += time.perf_counter() - started
        solution: S | str = "no answer in time"
        if answer is None:
            self.left_behind = True
        else:
            program, solution = answer
            self.programs.keep(program)
        if isinstance(solution, str):
            self.statuses.append(solution)
            return None
        self.statuses.append(solution.status)  # type: ignore[attr-defined]
        self.priced = True
        return solution


def form_for(engine: ConicEngine, form: str, clients: int, least_snr: float) -> str:
    """The form asked for, or with "auto" the one that suits engine and instance."""
    if form != "auto":
        return form
    return "cuts" if least_snr < FLAT_CONE or clients > MOST_CONES else engine.form


def _fallbacks(engine: ConicEngine, form: str) -> Iterator[tuple[ConicEngine, str]]:
    """The engine and form asked for, then those that take over in turn."""
    yield engine, form
    others = [engine] if form == "cone" else []
    others += [ENGINES[name] for name in FALLBACKS if name != engine.name]
    yield from ((fallback, "cuts") for fallback in others if fallback.available)
