"""Options that change what a problem wants and allows: objective, caps, blocks, skipping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, Final

from ...solver import Objective, OptionError, Problem
from ...solver.checks import numbers_in_range
from ...solver.feasibility import most_utility
from ...solver.objective import OBJECTIVES
from .option_types import split_list

WHO: Final = "stsflora solve"


def changed_problem(
    problem: Problem,
    objective: str | None,
    retained_share: float | None,
    settings: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> Problem:
    """A problem with what was given; what is None stays.

    Args:
        problem: of a file or family.
        objective: its name; settings that are not given are the problem's where it has the same.
        retained_share: of the most possible sum of utilities, in place of `retained`.
        settings: of objectives by name; `weight` is text, numbers separated by commas.
        changes: other fields of the problem by name.

    Raises:
        OptionError: the objective has no such setting, or lacks one.
        ProblemError: a value that the objective or the problem refuses.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    fields_given = {name: value for name, value in changes.items() if value is not None}
    if retained_share is not None:
        if "retained" in given:
            raise OptionError(WHO, "--retained and --retained-share", "one of them", "Leave one out")
        numbers_in_range(WHO, "--retained-share", retained_share, 0.0, 1.0)
        given["retained"] = retained_share * float(most_utility(problem).sum())
    if "weight" in given:
        given["weight"] = _numbers("--weight", given["weight"])
    if objective is not None or given:
        fields_given["objective"] = _objective(problem.objective, objective, given)
    return replace(problem, **fields_given) if fields_given else problem


def _objective(current: Objective, name: str | None, given: Mapping[str, Any]) -> Objective:
    kind = type(current) if name is None else OBJECTIVES[name]
    known = {field.name: field for field in fields(kind)}
    for setting in given:
        if setting not in known:
            able = [other.name for other in OBJECTIVES.values() if setting in {f.name for f in fields(other)}]
            raise OptionError(
                WHO,
                f"{_flag(setting)} with the objective {kind.name}",
                f"{_flag(setting)} with {', '.join(able)}",
                "Choose one by --objective",
            )
    values = {**(current.settings() if kind is type(current) else {}), **given}
    missing = [
        field.name for field in known.values() if field.default is MISSING and field.name not in values
    ]
    if missing:
        raise OptionError(
            WHO,
            f"the objective {kind.name} alone",
            f"it with {_flag(missing[0])}",
            f"Add {_flag(missing[0])}",
        )
    return kind(**values)


def _flag(setting: str) -> str:
    return "--" + setting.replace("_", "-")


def _numbers(flag: str, text: str) -> float | list[float]:
    """One number, or some that are separated by commas. Raises OptionError."""
    try:
        values = [float(part) for part in split_list(text)]
    except ValueError:
        values = []
    if not values:
        raise OptionError(WHO, f"{flag} {text:.40}", "numbers separated by commas", f"Correct {flag}")
    return values[0] if len(values) == 1 else values
