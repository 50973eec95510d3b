"""Exception classes: every error raised on purpose says who, what was got, what is allowed, what to do."""

from __future__ import annotations


class StsfloraError(Exception):
    """Base of all errors raised on purpose; its text is one sentence in four parts.

    Args:
        who: the function, class or field that complains.
        got: the offending value, shortened to what a reader needs.
        allowed: what would have been accepted.
        next_step: what the user can do now.
    """

    def __init__(self, who: str, got: str, allowed: str, next_step: str) -> None:
        super().__init__(who, got, allowed, next_step)
        self.who, self.got, self.allowed, self.next_step = who, got, allowed, next_step

    def __str__(self) -> str:
        return f"{self.who}: got {self.got}; allowed: {self.allowed}. {self.next_step}."


class ProblemError(StsfloraError, ValueError):
    """A `Problem` field has the wrong shape, type or range."""


class AllocationError(StsfloraError, ValueError):
    """An `Allocation` is malformed or does not belong to the problem."""


class OptionError(StsfloraError, ValueError):
    """A solver option, limit or seed is unknown or out of range."""


class UnknownNameError(StsfloraError, KeyError):
    """A solver, family or engine of that name does not exist."""

    __str__ = StsfloraError.__str__


class RegistrationError(StsfloraError, TypeError):
    """A solver was registered twice or with an unusable signature."""


class MissingDependencyError(StsfloraError, ImportError):
    """An optional package or engine is not installed."""


class FileFormatError(StsfloraError, ValueError):
    """A file is unreadable, malformed, too large or hostile."""


class InfeasibleError(StsfloraError):
    """Raised by `solve(..., throw=True)` when the instance has no feasible point."""


class SolverFailedError(StsfloraError, RuntimeError):
    """Raised by `solve(..., throw=True)` when a method ended without a usable answer."""
