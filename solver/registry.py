"""Registry of solvers: one decorator registers, one function lists; a listing imports no engine."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from .errors import MissingDependencyError, OptionError, ProblemError, RegistrationError, UnknownNameError
from .method import Method
from .objective import OBJECTIVES
from .problem import Problem

FEATURES: Final[Mapping[str, str]] = {
    "payload_tables": "payload_bits",
    "utility": "utility",
    "token_limits": "min_tokens 0 or max_tokens below N",
    "alternatives": "several rows of a client",
    "skip": "may_skip",
    "before_j": "before_j",
    "caps": "max_psd_w_per_hz or max_bps_per_hz",
    "blocks": "block_hz",
    "overheads": "overheads of different lengths",
    "requirement": "a required sum of utilities",
}
"""What a problem may have beyond one row per client, and by which field."""

EVERYTHING: Final = frozenset(FEATURES)

TOKEN_FEATURES: Final = frozenset({"payload_tables", "overheads"})
TOKEN_PROBLEM: Final[Mapping[str, frozenset[str]]] = {"ste": TOKEN_FEATURES}
"""What a method takes unless it says otherwise: the STE of one row per client."""


@dataclass(frozen=True)
class SolverInfo:
    """Capabilities of a registered solver.

    Attributes:
        name: for `solve(problem, solver=name)`.
        summary: first sentence of its docstring.
        proves: "optimum" (closes the gap given time), "bound" (a valid bound) or "nothing".
        always_feasible: finds a feasible allocation on every feasible instance that requires no sum of
            utilities.
        takes: the features of `FEATURES` that it takes, by the name of each objective that it takes.
        needs: importable packages it requires.
        extra: the extra that installs them, as in `pip install stsflora[extra]`.
        options: its own keyword options with their defaults.

    Examples:
        >>> from stsflora.solver import solvers
        >>> exact = next(info for info in solvers() if info.name == "exact")
        >>> exact.proves, exact.available, exact.options["max_nodes"]
        ('optimum', True, 2000)
    """

    name: str
    summary: str
    proves: str
    always_feasible: bool
    takes: Mapping[str, frozenset[str]]
    needs: tuple[str, ...]
    extra: str
    options: Mapping[str, Any]
    method: Method

    @property
    def missing(self) -> tuple[str, ...]:
        """Required packages that are not installed."""
        return tuple(package for package in self.needs if find_spec(package) is None)

    @property
    def available(self) -> bool:
        """Whether all required packages are installed."""
        return not self.missing

    @property
    def how_to_install(self) -> str:
        """The command that makes it available; empty when it is."""
        return "" if self.available else f'pip install "stsflora[{self.extra}]"'

    def require(self) -> None:
        """Raise MissingDependencyError unless available."""
        if not self.available:
            raise MissingDependencyError(
                f"solver {self.name!r}",
                f"no package {' and no package '.join(self.missing)}",
                f"an installation with {', '.join(self.needs)}",
                f"Run {self.how_to_install}",
            )

    def check_problem(self, problem: Problem) -> None:
        """Raise ProblemError for an objective, or a feature with it, that the method does not take."""
        objective = problem.objective.name
        taken = self.takes.get(objective)
        if taken is not None and problem.is_plain and taken >= TOKEN_FEATURES:
            return
        features = features_of(problem)
        if taken is not None and features <= taken:
            return
        able = [i.name for i in solvers() if objective in i.takes and features <= i.takes[objective]]
        lacking = [FEATURES[name] for name in FEATURES if name in features - (taken or frozenset())]
        raise ProblemError(
            f"solver {self.name!r}",
            f"a problem with {'objective ' + objective if taken is None else ' and '.join(lacking)}",
            f"objectives {', '.join(self.takes)}" if taken is None else f"{objective} without",
            f"Take {' or '.join(able)}" if able else "No solver takes all of it",
        )

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise OptionError for an option that the method does not have."""
        for name in options:
            if name not in self.options:
                allowed = ", ".join(self.options) or "no options"
                raise OptionError(f"solver {self.name!r}", f"option {name!r}", allowed, "Correct the name")


def features_of(problem: Problem) -> frozenset[str]:
    """Which of `FEATURES` a problem has.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver.registry import features_of
        >>> sorted(features_of(family("round_time", clients=3, seed=0)))
        ['overheads']
    """
    has = {
        "payload_tables": problem.payload_bits is not None,
        "overheads": bool((problem.overhead_s != problem.overhead_s[0]).any()),
    }
    if not problem.is_plain:
        has |= {
            "utility": problem.utility is not None,
            "token_limits": bool(
                (problem.min_tokens == 0).any() or (problem.max_tokens < problem.tokens).any()
            ),
            "alternatives": not problem.is_one_row_each,
            "skip": bool(problem.may_skip.any()),
            "before_j": bool((problem.before_j > 0.0).any()),
            "caps": problem.has_caps,
            "blocks": problem.block_hz is not None,
            "requirement": problem.objective.least_retained > 0.0,
        }
    return frozenset(name for name, there in has.items() if there)


_SOLVERS: dict[str, SolverInfo] = {}


def register(
    name: str,
    *,
    proves: str = "nothing",
    always_feasible: bool = True,
    takes: Mapping[str, Iterable[str]] = TOKEN_PROBLEM,
    needs: Iterable[str] = (),
    extra: str = "all",
) -> Callable[[Method], Method]:
    """Register `method(problem, request, *, option=default, ...) -> Answer` under a name.

    The method may assume that the instance is feasible (`solve` proves infeasibility beforehand), that
    its options exist, and that inputs were checked. It returns its own view; `solve` re-scores it.

    Raises:
        RegistrationError: the name is taken, or the signature or docstring does not fit.

    Examples:
        >>> import numpy as np
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import Allocation, Answer, register, solve
        >>> from stsflora.solver.registry import unregister
        >>> @register("minimum", always_feasible=False)
        ... def minimum(problem, request, *, power_share=1.0):
        ...     'K_min for everyone over equal shares of the band.'
        ...     share = np.full(problem.clients, problem.bandwidth_hz / problem.clients)
        ...     return Answer(Allocation(problem.min_tokens, share, power_share * problem.max_power_w))
        >>> solve(family("paper", clients=3, seed=0), "minimum", power_share=0.5).quality
        <Quality.FEASIBLE: 'feasible'>
        >>> unregister("minimum")
    """

    def decorate(method: Method) -> Method:
        parameters = list(inspect.signature(method).parameters.values())
        own = parameters[2:]
        if (
            len(parameters) < 2
            or any(p.kind is not p.KEYWORD_ONLY or p.default is p.empty for p in own)
            or not method.__doc__
            or proves not in {"optimum", "bound", "nothing"}
            or not (set(takes) <= set(OBJECTIVES) and set().union(*takes.values()) <= EVERYTHING)
        ):
            raise RegistrationError(
                f"register({name!r})",
                f"{method.__name__}{inspect.signature(method)}, proves={proves!r}",
                "(problem, request, *, option=default, ...), a docstring, "
                "proves in optimum | bound | nothing, takes {objective: features}",
                "Follow docs/add_a_solver.md",
            )
        if name in _SOLVERS:
            raise RegistrationError(
                f"register({name!r})", "a name already registered", "a new name", "Choose another"
            )
        _SOLVERS[name] = SolverInfo(
            name=name,
            summary=inspect.cleandoc(method.__doc__).split("\n\n")[0].replace("\n", " ").rstrip("."),
            proves=proves,
            always_feasible=always_feasible,
            takes={objective: frozenset(features) for objective, features in takes.items()},
            needs=tuple(needs),
            extra=extra,
            options={p.name: p.default for p in own},
            method=method,
        )
        return method

    return decorate


def unregister(name: str) -> None:
    """Remove a solver, for tests of new ones."""
    _SOLVERS.pop(lookup(name).name)


def solvers() -> tuple[SolverInfo, ...]:
    """All registered solvers in the order of registration; imports no back end.

    Examples:
        >>> from stsflora.solver import solvers
        >>> [info.name for info in solvers() if info.proves == "optimum"]
        ['exact', 'minlp']
    """
    return tuple(_SOLVERS.values())


def lookup(name: str) -> SolverInfo:
    """The solver of that name. Raises UnknownNameError."""
    if not isinstance(name, str) or name not in _SOLVERS:
        raise UnknownNameError(
            "solve", f"solver {name!r}", ", ".join(_SOLVERS), "Run `stsflora solvers` for details"
        )
    return _SOLVERS[name]
