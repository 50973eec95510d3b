"""What rows say about solvers. Pure functions; skipped rows never count."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from ...solver import Stop
from ...solver.tolerances import CLAIM, FEASIBILITY
from ..rows import Row

TIME_SHIFT_S: Final = 0.01
"""Shift of the geometric mean of times: differences far below it do not matter."""


@dataclass(frozen=True)
class Known:
    """What all rows together know of one instance.

    Attributes:
        ste: best STE of an accepted allocation, 1/s; -inf when none was found.
        bound: least proved upper bound, 1/s; inf when none was.
        infeasible: some solver proved infeasibility and none found an accepted allocation.
    """

    ste: float
    bound: float
    infeasible: bool


@dataclass(frozen=True)
class Summary:
    """One solver over many rows; shares are of the rows that ran.

    Attributes:
        label: solver with options.
        runs: rows that ran.
        skipped: rows that could not run here.
        errors: rows that ended in an error.
        success: share with an accepted allocation, or a right verdict of infeasibility.
        correct: share whose claims (STE, bound, infeasibility) agree with the check.
        within_gap: share of the runs on feasible instances that came as close to the best known STE as asked.
        median_shortfall: median of `shortfall` over accepted allocations; nan if none.
        worst_shortfall: the largest of them; nan if none.
        median_proved_gap: median of the proved gaps where an allocation was accepted; inf without proofs.
        mean_s: shifted geometric mean of the times, s; a run without success counts as the time limit.
    """

    label: str
    runs: int
    skipped: int
    errors: int
    success: float
    correct: float
    within_gap: float
    median_shortfall: float
    worst_shortfall: float
    median_proved_gap: float
    mean_s: float


def best_known(rows: Iterable[Row]) -> dict[str, Known]:
    """What is known of each instance, by fingerprint."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.fingerprint and not row.skipped:
            groups[row.fingerprint].append(row)
    return {
        fingerprint: Known(
            ste=max((row.ste for row in group if row.feasible), default=-math.inf),
            bound=min((row.bound for row in group), default=math.inf),
            infeasible=any(row.stop == Stop.INFEASIBLE for row in group)
            and not any(row.feasible for row in group),
        )
        for fingerprint, group in groups.items()
    }


def comparable(rows: Sequence[Row], others: Iterable[Row]) -> list[Row]:
    """Rows among `others` on the instances of `rows`, made by the same version of the toolkit."""
    here = {(row.fingerprint, row.versions.get("stsflora")) for row in rows if row.fingerprint}
    return [row for row in others if (row.fingerprint, row.versions.get("stsflora")) in here]


def shortfall(row: Row, known: Mapping[str, Known]) -> float:
    """How far below the best known STE the answer is, 1 - STE / best; 1 without an accepted allocation."""
    return 1.0 - row.ste / known[row.fingerprint].ste if row.feasible else 1.0


def bound_excess(row: Row, known: Mapping[str, Known]) -> float:
    """How far above the best known STE the proved bound is, bound / best - 1; inf without a bound."""
    return row.bound / known[row.fingerprint].ste - 1.0


def success(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether the evaluator accepts the allocation, or there is none and the solver said so."""
    rightly_infeasible = row.stop == Stop.INFEASIBLE and known[row.fingerprint].infeasible
    return row.feasible or rightly_infeasible


def correct(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether what the solver claims agrees with what is known.

    Its own STE is the evaluated one, its bound is not below an accepted STE (both within tolerances),
    and it says infeasible only where no allocation was accepted. Saying that it failed is correct.
    """
    best = known[row.fingerprint] if row.fingerprint else Known(-math.inf, math.inf, infeasible=True)
    claim = math.isnan(row.claimed_ste) or abs(row.claimed_ste - row.ste) <= CLAIM * abs(row.ste)
    # An accepted allocation may exceed limits by FEASIBILITY, and its STE the optimum likewise.
    bound = row.claimed_bound >= best.ste * (1 - FEASIBILITY)
    return claim and bound and (row.stop != Stop.INFEASIBLE or best.infeasible)


def within_gap(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether the answer is as good as asked: its shortfall is within the asked gap."""
    return row.feasible and shortfall(row, known) <= max(row.asked_gap, FEASIBILITY)


def shifted_geometric_mean(values: Sequence[float], shift: float = TIME_SHIFT_S) -> float:
    """The mean exp(mean(log(v + shift))) - shift of values >= 0; nan of none."""
    if not values:
        return math.nan
    return math.exp(math.fsum(math.log(value + shift) for value in values) / len(values)) - shift


def counted_seconds(row: Row, known: Mapping[str, Known]) -> float:
    """The time of a run, s; the time limit where it had no success."""
    return row.solve_s if _knows(row) and success(row, known) else row.time_limit_s


def summarise(rows: Iterable[Row], known: Mapping[str, Known]) -> list[Summary]:
    """One summary per solver label, in the order of first appearance."""
    summaries = []
    for label, group in by_label(rows).items():
        ran = [row for row in group if not row.skipped]
        checked = [row for row in ran if _knows(row)]
        accepted = [row for row in checked if row.feasible]
        solvable = [row for row in ran if not _knows(row) or not known[row.fingerprint].infeasible]
        below = [shortfall(row, known) for row in accepted]
        summaries.append(
            Summary(
                label=label,
                runs=len(ran),
                skipped=len(group) - len(ran),
                errors=sum(row.stop == Stop.ERROR for row in ran),
                success=_share(sum(success(row, known) for row in checked), len(ran)),
                correct=_share(sum(correct(row, known) for row in ran), len(ran)),
                within_gap=_share(sum(within_gap(row, known) for row in accepted), len(solvable)),
                median_shortfall=median(below) if below else math.nan,
                worst_shortfall=max(below, default=math.nan),
                median_proved_gap=median(row.gap for row in accepted) if accepted else math.inf,
                mean_s=shifted_geometric_mean([counted_seconds(row, known) for row in ran]),
            )
        )
    return summaries


def by_label(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows grouped by solver label, in the order of first appearance."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.label].append(row)
    return dict(groups)


def median_by_family(
    rows: Iterable[Row], known: Mapping[str, Known], measure: Callable[[Row, Mapping[str, Known]], float]
) -> dict[str, dict[str, float]]:
    """Median of `shortfall` or `bound_excess` by family and label, over instances with a known STE > 0."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row.skipped and _knows(row) and known[row.fingerprint].ste > 0:
            values[row.family][row.label].append(measure(row, known))
    return {
        name: {label: median(entries) for label, entries in by_solver.items()}
        for name, by_solver in values.items()
    }


def median_seconds(rows: Iterable[Row]) -> dict[str, dict[int, float]]:
    """Median time of the accepted runs by label and number of clients, s."""
    seconds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.feasible:
            seconds[row.label][row.clients].append(row.solve_s)
    return {
        label: {clients: median(values) for clients, values in sorted(by_size.items())}
        for label, by_size in seconds.items()
    }


def growth_exponent(seconds: Mapping[int, float]) -> float:
    """Least-squares slope of log time over log clients; 1 is linear growth, nan for fewer than two sizes."""
    if len(seconds) < 2:
        return math.nan
    sizes, times = np.log(list(seconds)), np.log(list(seconds.values()))
    return float(np.polyfit(sizes, times, 1)[0])


def proved_gaps(known: Mapping[str, Known]) -> list[float]:
    """Best bound / best STE - 1 of each instance with both; negative means a contradiction."""
    return [
        entry.bound / entry.ste - 1.0
        for entry in known.values()
        if entry.ste > 0 and math.isfinite(entry.bound)
    ]


def performance_profile(
    rows: Iterable[Row], known: Mapping[str, Known], ratios: Sequence[float]
) -> dict[str, list[float]]:
    """Dolan-Moré profile: share of instances that a solver answers within a factor of the fastest time.

    A run counts as solved when it is `within_gap`; infeasible instances are left out.
    """
    times: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if not row.skipped and _knows(row) and not known[row.fingerprint].infeasible:
            times[row.fingerprint][row.label] = row.solve_s if within_gap(row, known) else math.inf
    labels = dict.fromkeys(label for by_solver in times.values() for label in by_solver)
    multiples = {
        label: np.array(
            [by_solver.get(label, math.inf) / min(by_solver.values()) for by_solver in times.values()]
        )
        for label in labels
    }
    # inf / inf, where nobody solved the instance, is nan and never within a ratio.
    return {
        label: [float(np.mean(values <= ratio)) for ratio in ratios] for label, values in multiples.items()
    }


def _knows(row: Row) -> bool:
    return bool(row.fingerprint)


def _share(count: int, total: int) -> float:
    return count / total if total else math.nan
