"""How solvers stand: every row judged by what all rows know of its instance. Pure functions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple, TypeVar

import numpy as np

from ...solver import Objective, Quality, Ste, Stop
from ...solver.tolerances import CLAIM, OPTIMALITY
from ..rows import NOT_TAKEN, Row
from .records import grouped

Key = TypeVar("Key", bound=Hashable)

CLOSE: Final = 1e-4
"""A run is close when its value is this close to the best known, relatively."""

TIME_SHIFT_S: Final = 0.01
"""Shift of the geometric mean of times: differences far below it do not matter."""

STE: Final = Ste()


class Known(NamedTuple):
    """What all rows together know of one instance.

    Attributes:
        value: best of an accepted allocation; infinite when none was found, -inf where more is better.
        bound: tightest proved; infinite when there is none.
        infeasible: some solver proved infeasibility and none found an accepted allocation.
        goal: what is wanted.
    """

    value: float = -math.inf
    bound: float = math.inf
    infeasible: bool = False
    goal: Objective = STE

    @property
    def found(self) -> bool:
        """Whether some allocation was accepted."""
        return math.isfinite(self.value)

    @property
    def gap(self) -> float:
        """`gap_between` value and bound; inf unless both are known."""
        return gap_between(self.goal, self.value, self.bound)


@dataclass(frozen=True)
class Judged:
    """A row beside what is known of its instance.

    Attributes:
        row: a run or a skip.
        known: of its instance.
    """

    row: Row
    known: Known

    @property
    def competes(self) -> bool:
        """Whether the solver ran, on an instance that has a known value."""
        return self.row.ran and self.known.found

    @property
    def shortfall(self) -> float:
        """`shortfall` of its value; 1 without an accepted allocation."""
        return shortfall(self.known, self.row.value) if self.row.feasible else 1.0

    @property
    def bound_distance(self) -> float:
        """How far beyond the best known value the proved bound is, by `gap_between`; inf without a bound."""
        return gap_between(self.known.goal, self.known.value, self.row.bound)

    @property
    def close(self) -> bool:
        """Whether the answer is within `CLOSE` of the best known value."""
        return self.row.feasible and self.shortfall <= CLOSE

    @property
    def within_gap(self) -> bool:
        """Whether the answer is as good as asked: within the asked gap of the best known value."""
        return self.row.feasible and self.shortfall <= max(self.row.asked_gap, OPTIMALITY)

    @property
    def limited(self) -> bool:
        """Whether a limit of time or iterations ended the run."""
        return self.row.stop in {Stop.TIME_LIMIT, Stop.ITERATION_LIMIT}

    @property
    def success(self) -> bool:
        """Whether the evaluator accepts the allocation, or there is none and the solver said so."""
        return self.row.feasible or (self.row.stop == Stop.INFEASIBLE and self.known.infeasible)

    @property
    def correct(self) -> bool:
        """Whether what the solver claims agrees with what is known.

        Its own value is the evaluated one, no accepted value lies beyond its bound (both within tolerances),
        and it says infeasible only where no allocation was accepted. Saying that it failed is correct.
        """
        row, known = self.row, self.known
        claim = math.isnan(row.claimed_value) or abs(row.claimed_value - row.value) <= CLAIM * abs(row.value)
        bound = not known.goal.contradicts(known.value, row.claimed_bound)
        return claim and bound and (row.stop != Stop.INFEASIBLE or known.infeasible)

    @property
    def counted_s(self) -> float:
        """The time of the run, s; the time limit where it had no success."""
        return self.row.solve_s if self.success else self.row.time_limit_s


class Spread(NamedTuple):
    """Median and largest of some figures; nan of none."""

    median: float
    worst: float


class Standing:
    """How a group of rows stands; counts are of the rows that ran, distances are relative.

    Attributes:
        runs: rows that ran.
        skipped: rows that could not run here.
        not_taken: rows whose solver does not take such problems.
        errors: ended in an error.
        limited: ended by a limit of time or iterations.
        feasible: with an accepted allocation.
        proved: with a proof of the asked gap by the solver itself.
        success: with an accepted allocation, or a right verdict of infeasibility.
        correct: whose claims (value, bound, infeasibility) agree with the check.
        solvable: on instances that are not known to be infeasible.
        within_gap: as close to the best known value as asked.
        close: within `CLOSE` of it.
        shortfall: how much worse than the best known value, where there is one, as in `Judged`.
        accepted_shortfall: the same over accepted allocations.
        median_bound_distance: median distance of finite bounds to the best known value; nan without any.
        median_proved_gap: median of the proved gaps of accepted allocations; inf without any.
        seconds: time, s, whatever the outcome.
        mean_s: shifted geometric mean of the times, s; a run without success counts as the time limit.
    """

    def __init__(self, judged: Sequence[Judged]) -> None:
        ran = [entry for entry in judged if entry.row.ran]
        accepted = [entry for entry in ran if entry.row.feasible]
        competing = [entry for entry in ran if entry.competes]
        self.runs = len(ran)
        self.skipped = sum(entry.row.skipped for entry in judged)
        self.not_taken = sum(entry.row.stop == NOT_TAKEN for entry in judged)
        self.errors = sum(entry.row.stop == Stop.ERROR for entry in ran)
        self.limited = sum(entry.limited for entry in ran)
        self.feasible = len(accepted)
        self.proved = sum(entry.row.quality == Quality.OPTIMAL for entry in ran)
        self.success = sum(entry.success for entry in ran)
        self.correct = sum(entry.correct for entry in ran)
        self.solvable = sum(not entry.known.infeasible for entry in ran)
        self.within_gap = sum(entry.within_gap for entry in accepted)
        self.close = sum(entry.close for entry in accepted)
        self.shortfall = _spread(entry.shortfall for entry in competing)
        self.accepted_shortfall = _spread(entry.shortfall for entry in accepted)
        bounded = (entry.bound_distance for entry in competing if math.isfinite(entry.row.bound))
        self.median_bound_distance = _spread(bounded).median
        self.median_proved_gap = median(entry.row.gap for entry in accepted) if accepted else math.inf
        self.seconds = _spread(entry.row.solve_s for entry in ran)
        self.mean_s = shifted_geometric_mean([entry.counted_s for entry in ran])

    def __repr__(self) -> str:
        return f"Standing({vars(self)})"


def best_known(rows: Iterable[Row]) -> dict[str, Known]:
    """What is known of each instance, by fingerprint; rows that did not run know nothing."""
    ran = (row for row in rows if row.fingerprint and row.ran)
    return {
        fingerprint: _known(group) for fingerprint, group in grouped(ran, lambda row: row.fingerprint).items()
    }


def _known(group: Sequence[Row]) -> Known:
    """What the rows of one instance know of it."""
    goal = group[0].goal
    best, tightest = (max, min) if goal.maximises else (min, max)
    accepted = [row.value for row in group if row.feasible and not math.isnan(row.value)]
    return Known(
        value=best(accepted, default=-goal.unproved),
        bound=tightest(row.bound for row in group),
        infeasible=any(row.stop == Stop.INFEASIBLE for row in group)
        and not any(row.feasible for row in group),
        goal=goal,
    )


def shortfall(known: Known, value: float) -> float:
    """How much worse than the best known a value is, as a share of the larger of both, 1 at most.

    1 - value / best where more is better, 1 - best / value where less is: 50 % is half the STE, or twice the
    time.
    """
    high, low = (known.value, value) if known.goal.maximises else (value, known.value)
    scale = max(abs(high), abs(low))
    return min((high - low) / scale, 1.0) if scale > 0.0 else 0.0


def gap_between(goal: Objective, value: float, bound: float) -> float:
    """Relative distance of a bound beyond a value, as in `Objective.gap`; negative where they contradict.

    inf where either is missing. A negative value, which only a net utility has, is measured by itself.
    """
    if not (math.isfinite(value) and math.isfinite(bound)):
        return math.inf
    high, low = (bound, value) if goal.maximises else (value, bound)
    if low > 0.0:
        return high / low - 1.0
    if high == low:
        return 0.0
    return (high - low) / -low if goal.maximises and low < 0.0 else math.inf


def comparable(rows: Sequence[Row], others: Iterable[Row]) -> list[Row]:
    """Rows among `others` on the instances of `rows`, made by the same version of the toolkit."""
    here = {(row.fingerprint, row.versions.get("stsflora")) for row in rows if row.fingerprint}
    return [row for row in others if (row.fingerprint, row.versions.get("stsflora")) in here]


def judge(rows: Iterable[Row], known: Mapping[str, Known]) -> list[Judged]:
    """Every row beside what is known of its instance, from `best_known`."""
    return [Judged(row, known.get(row.fingerprint, Known())) for row in rows]


def label_of(entry: Judged) -> str:
    """Solver with options."""
    return entry.row.label


def by_label(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    """Rows by solver with options, in the order of first appearance."""
    return grouped(judged, label_of)


def standings(judged: Iterable[Judged], group: Callable[[Judged], Key]) -> dict[Key, Standing]:
    """How every group of rows stands, in the order of first appearance."""
    return {key: Standing(entries) for key, entries in grouped(judged, group).items()}


def best_first(judged: Iterable[Judged]) -> list[Judged]:
    """The rows that compete, by solver: the share that is close, the median distance, the median time."""
    competing = [entry for entry in judged if entry.competes]
    rank = {
        label: (-group.close / group.runs, group.shortfall.median, group.seconds.median)
        for label, group in standings(competing, label_of).items()
    }
    return sorted(competing, key=lambda entry: rank[entry.row.label])


def shifted_geometric_mean(values: Sequence[float], shift: float = TIME_SHIFT_S) -> float:
    """The mean exp(mean(log(v + shift))) - shift of values >= 0; nan of none."""
    if not values:
        return math.nan
    return math.exp(math.fsum(math.log(value + shift) for value in values) / len(values)) - shift


def growth_exponent(seconds: Mapping[int, float]) -> float:
    """Least-squares slope of log time over log clients; 1 is linear growth, nan for fewer than two sizes."""
    if len(seconds) < 2:
        return math.nan
    sizes, times = np.log(list(seconds)), np.log(list(seconds.values()))
    return float(np.polyfit(sizes, times, 1)[0])


def time_ratios(judged: Iterable[Judged]) -> dict[str, list[float]]:
    """Per solver and instance, its time over the fastest; their distribution is the Dolan-Moré profile.

    Only runs `within_gap` have a time; it is inf for the others and nan where no solver has one. Infeasible
    instances are left out, those that a solver did not run on are not.
    """
    times: dict[str, dict[str, float]] = defaultdict(dict)
    for entry in judged:
        row = entry.row
        if row.fingerprint and row.ran and not entry.known.infeasible:
            times[row.fingerprint][row.label] = row.solve_s if entry.within_gap else math.inf
    labels = dict.fromkeys(label for by_solver in times.values() for label in by_solver)
    fastest = [(by_solver, min(by_solver.values())) for by_solver in times.values()]
    return {label: [by_solver.get(label, math.inf) / best for by_solver, best in fastest] for label in labels}


def _spread(figures: Iterable[float]) -> Spread:
    """Median and largest of the figures that are defined."""
    defined = [figure for figure in figures if not math.isnan(figure)]
    return Spread(median(defined), max(defined)) if defined else Spread(math.nan, math.nan)
