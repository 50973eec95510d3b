"""Objectives: what an allocation maximises or minimises (STE, retained attention, round time, energy)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import real_array, real_number
from .errors import ProblemError
from .tolerances import BOUND_CONTRADICTION

LEAST_SCALE: Final = 1e-3
"""Share of what is weighed against each other below which a net value is no measure of itself."""


class Totals(NamedTuple):
    """What an allocation adds up to.

    Attributes:
        retained: sum of the utilities.
        round_s: when the slowest sender ends, s; 0 without one.
        energy_j: sum, J.
        finish_s: (M,) when each client ends, overhead included, s; 0 for those that send nothing.
    """

    retained: float
    round_s: float
    energy_j: float
    finish_s: NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """Base of the objectives; compares and hashes by value.

    Attributes:
        name: on the command line, in files and rows.
        maximises: whether larger values are better.
        counts_utility: whether utilities matter to it at all.
        least_retained: sum of utilities that an allocation must reach; 0 for none.
        longest_round_s: round time that it must keep, s; inf for none.

    Examples:
        >>> from stsflora.solver import Energy, Objective, Ste
        >>> objectives: list[Objective] = [Ste(), Energy(round_s=1.0)]
        >>> [objective.maximises for objective in objectives]
        [True, False]
    """

    name: ClassVar[str] = ""
    maximises: ClassVar[bool] = True

    @property
    def counts_utility(self) -> bool:
        """Whether utilities matter."""
        return self.maximises or self.least_retained > 0.0

    @property
    def least_retained(self) -> float:
        """Required sum of utilities."""
        return float(getattr(self, "retained", 0.0))

    @property
    def longest_round_s(self) -> float:
        """Required round time, s."""
        return float(getattr(self, "round_s", math.inf))

    @property
    def has_requirement(self) -> bool:
        """Whether it may be impossible to fulfil by itself."""
        return self.least_retained > 0.0 or self.longest_round_s < math.inf

    @property
    def unproved(self) -> float:
        """The bound before anything is proved."""
        return math.inf if self.maximises else -math.inf

    def value(self, totals: Totals) -> float:
        """What is maximised or minimised."""
        raise NotImplementedError

    def gap(self, totals: Totals, bound: float) -> float:
        """Relative distance of a feasible allocation's value to a proved bound, >= 0; inf when undefined.

        bound / value - 1 when maximising, value / bound - 1 when minimising; 0 where both are 0.
        """
        value = self.value(totals)
        if value == bound == 0.0:
            return 0.0
        high, low = (bound, value) if self.maximises else (value, bound)
        return max(high / low - 1.0, 0.0) if low > 0.0 else math.inf

    def better(self, value: float, than: float) -> bool:
        """Whether one value is strictly better than another."""
        return value > than if self.maximises else value < than

    def contradicts(self, value: float, bound: float) -> bool:
        """Whether a feasible value lies beyond a bound by more than rounding."""
        slack = BOUND_CONTRADICTION * abs(bound) if math.isfinite(bound) else 0.0
        return value > bound + slack if self.maximises else value < bound - slack

    def relaxed(self, share: float) -> Objective:
        """The same with its own limits loosened by a share of themselves, as other limits are."""
        changes = {}
        if self.least_retained > 0.0:
            changes["retained"] = self.least_retained * (1.0 - share)
        if self.longest_round_s < math.inf:
            changes["round_s"] = self.longest_round_s * (1.0 + share)
        return replace(self, **changes) if changes else self

    def settings(self) -> dict[str, Any]:
        """Its parameters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Ste(Objective):
    """Maximise the Semantic Transmission Efficiency, sum of utilities over round time, 1/s (ST-SFLora).

    Examples:
        >>> from stsflora.solver import Ste
        >>> Ste().maximises, Ste().name
        (True, 'ste')
    """

    name = "ste"

    def value(self, totals: Totals) -> float:
        """STE, 1/s; nan where no time passes."""
        return totals.retained / totals.round_s if totals.round_s > 0.0 else math.nan


@dataclass(frozen=True)
class Retained(Objective):
    """Maximise the sum of utilities within a given round time (Shi et al., arXiv 2007.07174, and surveys).

    Args:
        round_s: longest round time, s, > 0.

    Examples:
        >>> from stsflora.solver import Retained
        >>> Retained(round_s=0.5).longest_round_s
        0.5
    """

    round_s: float
    name = "retained"

    def __post_init__(self) -> None:
        _set_number(self, "round_s", open_low=True)

    def value(self, totals: Totals) -> float:
        """Sum of utilities."""
        return totals.retained


@dataclass(frozen=True)
class RoundTime(Objective):
    """Minimise the round time such that the utilities add up to what is required (makespan).

    Args:
        retained: required sum of utilities, >= 0; 0 asks for every client's minimum only.

    Examples:
        >>> from stsflora.solver import RoundTime
        >>> RoundTime().maximises, RoundTime().counts_utility
        (False, False)
    """

    retained: float = 0.0
    name = "round_time"
    maximises = False

    def __post_init__(self) -> None:
        _set_number(self, "retained")

    def value(self, totals: Totals) -> float:
        """Round time, s."""
        return totals.round_s


@dataclass(frozen=True)
class Weighted(Objective):
    """Maximise utilities less a price of time and of energy (drift plus penalty).

    Args:
        per_second: utility that a second of the round time costs, >= 0.
        per_joule: utility that a joule costs, >= 0.

    Examples:
        >>> from stsflora.solver import Weighted
        >>> Weighted(per_second=2.0).per_joule
        0.0
    """

    per_second: float
    per_joule: float = 0.0
    name = "weighted"

    def __post_init__(self) -> None:
        _set_number(self, "per_second")
        _set_number(self, "per_joule")

    def value(self, totals: Totals) -> float:
        """Net utility; 0 where nobody sends."""
        return totals.retained - self._cost(totals)

    def gap(self, totals: Totals, bound: float) -> float:
        """(bound - value) over the value, or over a thousandth of what is weighed where that is more."""
        value = self.value(totals)
        if not value > -math.inf:
            return math.inf
        if bound <= value:
            return 0.0
        scale = max(abs(value), LEAST_SCALE * (totals.retained + self._cost(totals)))
        return (bound - value) / scale if scale > 0.0 else math.inf

    def _cost(self, totals: Totals) -> float:
        joules = self.per_joule * totals.energy_j if self.per_joule > 0.0 else 0.0  # 0 x inf is no number
        return (self.per_second * totals.round_s if self.per_second > 0.0 else 0.0) + joules


@dataclass(frozen=True)
class Energy(Objective):
    """Minimise the joules of all clients within a given round time (Yang et al., arXiv 1911.02417).

    Args:
        round_s: longest round time, s, > 0.
        retained: required sum of utilities, >= 0.

    Examples:
        >>> from stsflora.solver import Energy
        >>> Energy(round_s=1.0, retained=3.0).least_retained
        3.0
    """

    round_s: float
    retained: float = 0.0
    name = "energy"
    maximises = False

    def __post_init__(self) -> None:
        _set_number(self, "round_s", open_low=True)
        _set_number(self, "retained")

    def value(self, totals: Totals) -> float:
        """Energy, J."""
        return totals.energy_j


@dataclass(frozen=True)
class TotalTime(Objective):
    """Minimise the weighted sum of the clients' times, overheads included (sum of delays).

    Args:
        weight: > 0, one for all or one per client.

    Examples:
        >>> from stsflora.solver import TotalTime
        >>> TotalTime(weight=[1.0, 2.0]).weight
        (1.0, 2.0)
    """

    weight: float | Sequence[float] = 1.0
    name = "total_time"
    maximises = False

    def __post_init__(self) -> None:
        given = real_array("TotalTime.weight", self.weight)
        if given.ndim > 1 or given.size == 0 or not ((given > 0) & np.isfinite(given)).all():
            raise ProblemError(
                "TotalTime.weight",
                " ".join(f"{self.weight!r:.60}".split()),
                "numbers > 0, one or one per client",
                "Correct it",
            )
        weight = float(given) if given.ndim == 0 else tuple(map(float, given))
        object.__setattr__(self, "weight", weight)

    def weights(self, clients: int) -> NDArray[np.float64]:
        """(M,)."""
        return np.broadcast_to(np.asarray(self.weight, dtype=np.float64), (clients,))

    def value(self, totals: Totals) -> float:
        """Weighted sum of times, s."""
        return float((self.weights(totals.finish_s.shape[0]) * totals.finish_s).sum())


OBJECTIVES: Final[Mapping[str, type[Objective]]] = {
    kind.name: kind for kind in (Ste, Retained, RoundTime, Weighted, Energy, TotalTime)
}
"""All objectives by name."""


def _set_number(objective: Objective, name: str, *, open_low: bool = False) -> None:
    number = real_number(
        type(objective).__name__,
        name,
        getattr(objective, name),
        open_low=open_low,
        next_step="Pass SI units",
        error=ProblemError,
    )
    object.__setattr__(objective, name, number)
