"""Exception classes: every error raised on purpose says who, what was got, what is allowed, what to do."""

from __future__ import annotations


class StsfloraError(Exception):
    """Base of all errors raised on purpose; its text is one sentence in four parts.

    Args:
        who: the function, class or field that complains.
        got: the offending value, shortened to what a reader needs.
        allowed: what would have been accepted.
        next_step: what the user can do now.

    Examples:
        >>> from stsflora.solver import StsfloraError, solve
        >>> try:
        ...     solve("problem.json")
        ... except StsfloraError as error:
        ...     print(error.got, "|", error.next_step)
        str as problem | Build one, or use Problem.load
    """

    def __init__(self, who: str, got: str, allowed: str, next_step: str) -> None:
        super().__init__(who, got, allowed, next_step)
        self.who, self.got, self.allowed, self.next_step = who, got, allowed, next_step

    def __str__(self) -> str:
        return f"{self.who}: got {self.got}; allowed: {self.allowed}. {self.next_step}."


class ProblemError(StsfloraError, ValueError):
    """A `Problem` field has the wrong shape, type or range.

    Examples:
        >>> from stsflora.solver import Problem, ProblemError
        >>> try:
        ...     ones = {"bits_per_token": 1.0, "bandwidth_hz": 1.0, "max_power_w": 1.0, "max_energy_j": 1.0}
        ...     Problem(gain=-1.0, importance=[[1.0]], **ones)
        ... except ProblemError as error:
        ...     print(error)
        Problem.gain: got -1 at index 0; allowed: finite and > 0. Drop or repair that client.
    """


class AllocationError(StsfloraError, ValueError):
    """An `Allocation` is malformed or does not belong to the problem.

    Examples:
        >>> from stsflora.solver import Allocation, AllocationError
        >>> try:
        ...     Allocation(tokens=[1.5], bandwidth_hz=[1.0], power_w=[1.0])
        ... except AllocationError as error:
        ...     print(error.allowed)
        whole numbers >= 0
    """


class OptionError(StsfloraError, ValueError):
    """A solver option, limit or seed is unknown or out of range.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import OptionError, solve
        >>> try:
        ...     solve(family("paper", clients=3, seed=0), gap=-1.0)
        ... except OptionError as error:
        ...     print(error)
        solve: got gap=-1.0; allowed: a finite number >= 0. Use 1e-4, or 0 for proved optimality.
    """


class UnknownNameError(StsfloraError, KeyError):
    """A solver, family or engine of that name does not exist.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import UnknownNameError, solve
        >>> try:
        ...     solve(family("paper", clients=3, seed=0), "simplex")
        ... except UnknownNameError as error:
        ...     print(error.got)
        solver 'simplex'
    """

    __str__ = StsfloraError.__str__


class RegistrationError(StsfloraError, TypeError):
    """A solver was registered twice or with an unusable signature.

    Examples:
        >>> from stsflora.solver import Answer, RegistrationError, register
        >>> try:
        ...     register("exact")(lambda problem, request: Answer(None))
        ... except RegistrationError as error:
        ...     print(error.next_step)
        Follow docs/add_a_solver.md
    """


class MissingDependencyError(StsfloraError, ImportError):
    """An optional package or engine is not installed.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import MissingDependencyError, solve
        >>> try:
        ...     solve(family("paper", clients=3, seed=0), "minlp", engine="baron")
        ... except MissingDependencyError as error:
        ...     print(error.who)
        engine 'baron'
    """


class FileFormatError(StsfloraError, ValueError):
    """A file is unreadable, malformed, too large or hostile.

    Examples:
        >>> from stsflora.solver import FileFormatError, Problem
        >>> try:
        ...     Problem.load("problem.txt")
        ... except FileFormatError as error:
        ...     print(error)
        file 'problem.txt': got the ending '.txt'; allowed: .npz or .json. Rename the file.
    """


class InfeasibleError(StsfloraError):
    """Raised by `solve(..., throw=True)` when the instance has no feasible point, and by `repair`.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import InfeasibleError, solve
        >>> try:
        ...     solve(family("infeasible", clients=3, seed=0), throw=True)
        ... except InfeasibleError as error:
        ...     print(error.got)
        an infeasible instance
    """


class SolverFailedError(StsfloraError, RuntimeError):
    """Raised by `solve(..., throw=True)` when a method ended without a usable answer.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import SolverFailedError, solve
        >>> try:
        ...     solve(family("deadline_tight", clients=3, seed=0), "full", throw=True)
        ... except SolverFailedError as error:
        ...     print(error.allowed)
        a feasible allocation
    """
