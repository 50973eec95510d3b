"""Names and units of objectives, and which way is better, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ...solver import Objective


class ObjectiveText(NamedTuple):
    """What an objective's value is called, and its unit with what separates it from a number."""

    name: str
    unit: str


OBJECTIVE_TEXTS: Final = {
    "ste": ObjectiveText("STE", "/s"),
    "retained": ObjectiveText("sum of utilities", ""),
    "round_time": ObjectiveText("round time", " s"),
    "weighted": ObjectiveText("net utility", ""),
    "energy": ObjectiveText("energy", " J"),
    "total_time": ObjectiveText("total time", " s"),
}
"""By the names of `solver.objective.OBJECTIVES`."""


class Wording(NamedTuple):
    """How a text speaks of the values of some objectives.

    Attributes:
        value: what they are called: "STE", or "value" where there are several.
        worse: on which side of the best a worse value lies: "below", "above", or "off" where both occur.
        beyond: on which side a bound lies.
        gap: what the relative distance between a value and a bound is.
        contradiction: what there is where a bound is wrong.
    """

    value: str
    worse: str
    beyond: str
    gap: str
    contradiction: str


def wording(goals: Iterable[Objective]) -> Wording:
    """The words for all of some objectives together; those of the STE for none."""
    found = {goal.name: goal.maximises for goal in goals} or {"ste": True}
    value = OBJECTIVE_TEXTS[next(iter(found))].name if len(found) == 1 else "value"
    if len(set(found.values())) > 1:
        gap, contradiction = "the gap between best bound and best value", "bound and accepted value disagree"
        return Wording(value, "off", "off", gap, contradiction)
    if True in found.values():
        contradiction = f"a bound is below an accepted {value}"
        return Wording(value, "below", "above", f"best bound over best {value} - 1", contradiction)
    contradiction = f"a bound is above an accepted {value}"
    return Wording(value, "above", "below", f"best {value} over best bound - 1", contradiction)


def value_text(objective: str, value: float) -> str:
    """A value with its unit."""
    return f"{value:.6g}{OBJECTIVE_TEXTS[objective].unit}"


def better_text(goal: Objective) -> str:
    """Which way is better."""
    return "more" if goal.maximises else "less"
