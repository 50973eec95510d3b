"""What rows say about solvers, against values computed by hand."""

import math
import sys

import pytest
from helpers.rows import FAILED, benchmark_row

from stsflora.benchmarks.report.standing import (
    Judged,
    Known,
    best_known,
    comparable,
    gap_between,
    growth_exponent,
    judge,
    label_of,
    shifted_geometric_mean,
    shortfall,
    standings,
    time_ratios,
)
from stsflora.solver import Retained, RoundTime, Weighted


def test_best_known_takes_accepted_points_and_the_least_bound():
    rows = [
        benchmark_row(ste=100.0, bound=130.0),
        benchmark_row(ste=120.0, quality="optimal", bound=121.0),
        benchmark_row(ste=500.0, quality="infeasible", violation=0.3),
        benchmark_row(fingerprint="g", **(FAILED | {"stop": "infeasible"})),
        benchmark_row(fingerprint="h", **FAILED),
        benchmark_row(fingerprint="", **FAILED),
        benchmark_row(fingerprint="i", **(FAILED | {"stop": "skipped"})),
    ]
    assert best_known(rows) == {
        "f": Known(value=120.0, bound=121.0, infeasible=False),
        "g": Known(value=-math.inf, bound=math.inf, infeasible=True),
        "h": Known(value=-math.inf, bound=math.inf, infeasible=False),
    }


def test_the_distance_is_relative_to_the_best_and_one_without_an_allocation():
    known = Known(120.0)
    assert Judged(benchmark_row(ste=90.0), known).shortfall == pytest.approx(0.25)
    assert Judged(benchmark_row(ste=120.0), known).shortfall == 0.0
    assert Judged(benchmark_row(**FAILED), known).shortfall == 1.0
    assert Judged(benchmark_row(ste=500.0, quality="infeasible"), known).shortfall == 1.0


@pytest.mark.parametrize(
    ("changes", "known", "expected"),
    [
        ({}, Known(100.0, 101.0, infeasible=False), (True, True, True)),
        ({"ste": 98.0}, Known(100.0, 101.0, infeasible=False), (True, True, False)),
        ({"quality": "infeasible"}, Known(100.0, 101.0, infeasible=False), (False, True, False)),
        (FAILED, Known(100.0, 101.0, infeasible=False), (False, True, False)),
        ({"claimed_value": 100.00001}, Known(100.0, 101.0, infeasible=False), (True, True, True)),
        ({"claimed_value": 100.01}, Known(100.0, 101.0, infeasible=False), (True, False, True)),
        ({"bound": 99.0, "ste": 98.0}, Known(100.0, 99.0, infeasible=False), (True, False, False)),
        ({"claimed_bound": 99.0}, Known(100.0, math.inf, infeasible=False), (True, False, True)),
        ({"bound": 100.0 - 1e-11}, Known(100.0, 100.0 - 1e-11, infeasible=False), (True, True, True)),
        ({"bound": 100.0 - 1e-8}, Known(100.0, 100.0 - 1e-8, infeasible=False), (True, False, True)),
        (FAILED | {"stop": "infeasible"}, Known(100.0, 101.0, infeasible=False), (False, False, False)),
        (FAILED | {"stop": "infeasible"}, Known(-math.inf, math.inf, infeasible=True), (True, True, False)),
        (FAILED, Known(-math.inf, math.inf, infeasible=True), (False, True, False)),
    ],
)
def test_success_correctness_and_quality_are_three_things(changes, known, expected):
    entry = Judged(benchmark_row(**changes), known)
    assert (entry.success, entry.correct, entry.within_gap) == expected


def test_shifted_geometric_mean():
    assert shifted_geometric_mean([1.0, 7.0], shift=1.0) == pytest.approx(3.0)
    assert shifted_geometric_mean([2.0, 2.0, 2.0]) == pytest.approx(2.0)
    assert math.isnan(shifted_geometric_mean([]))


def test_summary_of_handmade_rows():
    rows = [
        benchmark_row(ste=100.0, gap=0.1, solve_s=0.99),
        benchmark_row(fingerprint="g", ste=90.0, gap=0.3, solve_s=0.99),
        benchmark_row(fingerprint="h", **FAILED, solve_s=0.5, time_limit_s=9.99),
        benchmark_row(fingerprint="i", **(FAILED | {"stop": "skipped"})),
        benchmark_row(fingerprint="g", solver="other", ste=100.0),
    ]
    found = standings(judge(rows, best_known(rows)), label_of)
    first, other = found["exact"], found["other"]
    assert (first.runs, first.skipped, first.errors) == (3, 1, 1)
    assert (first.success, first.correct, first.within_gap, first.solvable) == (2, 3, 1, 3)
    assert first.accepted_shortfall == pytest.approx((0.05, 0.1))
    assert first.median_proved_gap == pytest.approx(0.2)
    assert first.mean_s == pytest.approx(10 ** (1 / 3) - 0.01)
    assert (other.runs, other.within_gap) == (1, 1)


def test_medians_by_family_leave_infeasible_instances_out():
    rows = [
        benchmark_row(ste=100.0),
        benchmark_row(ste=80.0, solver="other"),
        benchmark_row(fingerprint="g", ste=100.0),
        benchmark_row(fingerprint="g", solver="other", **FAILED),
        benchmark_row(fingerprint="h", ste=100.0),
        benchmark_row(fingerprint="h", ste=100.0, solver="other"),
        benchmark_row(fingerprint="i", family="infeasible", **(FAILED | {"stop": "infeasible"})),
    ]
    competing = [entry for entry in judge(rows, best_known(rows)) if entry.competes]
    found = standings(competing, lambda entry: (entry.row.family, entry.row.label))
    medians = {key: group.shortfall.median for key, group in found.items()}
    assert medians == {("paper", "exact"): 0.0, ("paper", "other"): pytest.approx(0.2)}


def test_bounds_are_measured_from_the_best_known():
    rows = [
        benchmark_row(ste=100.0, bound=101.0),
        benchmark_row(ste=80.0, bound=110.0, solver="other"),
        benchmark_row(solver="simple"),
    ]
    judged = judge(rows, best_known(rows))
    assert [entry.bound_distance for entry in judged] == pytest.approx([0.01, 0.1, math.inf])
    assert standings(judged, label_of)["other"].median_bound_distance == pytest.approx(0.1)
    assert math.isnan(standings(judged, label_of)["simple"].median_bound_distance)


def test_only_rows_of_one_version_and_instance_are_compared():
    now, before = {"stsflora": "0.1.0+new"}, {"stsflora": "0.1.0+old"}
    rows = [benchmark_row(versions=now)]
    others = [
        benchmark_row(versions=now, key="a"),
        benchmark_row(versions=before),
        benchmark_row(versions=now, fingerprint="g"),
    ]
    assert comparable(rows, others) == others[:1]


def test_growth_is_the_slope_in_log_log():
    rows = [
        benchmark_row(clients=size, solve_s=factor * 1e-4 * size**1.5)
        for size in (10, 100, 1000)
        for factor in (0.5, 1.0, 9.0)
    ]
    seconds = {size: 1e-4 * size**1.5 for size in (10, 100, 1000)}
    found = standings(judge(rows, best_known(rows)), lambda entry: entry.row.clients)
    assert {size: group.seconds.median for size, group in found.items()} == pytest.approx(seconds)
    assert growth_exponent(seconds) == pytest.approx(1.5)
    assert math.isnan(growth_exponent({100: 1.0}))


def test_gaps_between_bound_and_best_show_contradictions():
    assert Known(100.0, 110.0).gap == pytest.approx(0.1)
    assert Known(100.0, 99.0).gap == pytest.approx(-0.01)
    assert Known(100.0).gap == Known(infeasible=True).gap == math.inf


def test_time_ratios_are_over_the_fastest_good_answer():
    rows = [
        benchmark_row(solve_s=1.0),
        benchmark_row(solve_s=3.0, solver="slow"),
        benchmark_row(fingerprint="g", solve_s=4.0),
        benchmark_row(fingerprint="g", solve_s=2.0, solver="slow"),
        benchmark_row(fingerprint="h", ste=50.0, solve_s=0.1),
        benchmark_row(fingerprint="h", ste=100.0, solve_s=9.0, solver="slow"),
        benchmark_row(fingerprint="i", **FAILED),
        benchmark_row(fingerprint="i", solver="slow", **FAILED),
        benchmark_row(fingerprint="j", **(FAILED | {"stop": "infeasible"})),
        benchmark_row(fingerprint="j", solver="slow", **(FAILED | {"stop": "infeasible"})),
    ]
    found = time_ratios(judge(rows, best_known(rows)))
    assert set(found) == {"exact", "slow"}
    assert found["exact"] == pytest.approx([1.0, 2.0, math.inf, math.nan], nan_ok=True)
    assert found["slow"] == pytest.approx([3.0, 1.0, 1.0, math.nan], nan_ok=True)


def test_skipped_and_unbuilt_rows_do_not_compete():
    rows = [benchmark_row(fingerprint="", **FAILED), benchmark_row(**(FAILED | {"stop": "skipped"}))]
    unbuilt, skipped = judge(rows, best_known(rows))
    assert not unbuilt.competes
    assert not skipped.competes
    assert (unbuilt.success, unbuilt.correct, unbuilt.counted_s) == (False, True, 10.0)
    found = standings([unbuilt, skipped], label_of)["exact"]
    assert (found.runs, found.skipped, found.solvable) == (1, 1, 1)


TIME = RoundTime()


def timed_row(**changes):
    """A row whose round time, here in `ste` as well, is to be small."""
    return benchmark_row(objective="round_time", **({"bound": -math.inf} | changes))


def test_where_less_is_better_the_least_value_and_the_largest_bound_are_known():
    rows = [
        timed_row(ste=2.0, bound=1.5),
        timed_row(ste=1.6, bound=1.2),
        timed_row(ste=0.5, quality="infeasible"),
        timed_row(ste=math.inf, quality="none"),
    ]
    known = best_known(rows)["f"]
    assert known == Known(value=1.6, bound=1.5, infeasible=False, goal=rows[0].goal)
    assert known.gap == pytest.approx(1.6 / 1.5 - 1.0)
    assert [entry.shortfall for entry in judge(rows, {"f": known})] == pytest.approx([0.2, 0.0, 1.0, 1.0])
    assert [entry.bound_distance for entry in judge(rows[:3], {"f": known})] == pytest.approx(
        [1.6 / 1.5 - 1.0, 1.6 / 1.2 - 1.0, math.inf]
    )


def test_nothing_known_of_what_is_minimised_is_infinite():
    rows = [timed_row(**(FAILED | {"value": math.inf, "stop": "infeasible"}))]
    known = best_known(rows)["f"]
    assert (known.value, known.bound, known.infeasible, known.found) == (math.inf, -math.inf, True, False)
    assert not Judged(rows[0], known).competes
    assert Judged(rows[0], known).correct


@pytest.mark.parametrize(
    ("changes", "correct"),
    [
        ({"ste": 2.0, "bound": 1.6}, True),
        ({"ste": 2.0, "claimed_bound": 1.6 + 1e-13}, True),
        ({"ste": 2.0, "claimed_bound": 1.6001}, False),
        ({"ste": 2.0, "claimed_bound": sys.float_info.max}, False),
        ({"ste": 2.0, "claimed_value": 2.0 + 1e-7}, True),
        ({"ste": 2.0, "claimed_value": 1.9}, False),
        ({"ste": math.inf, "quality": "none", "stop": "infeasible"}, False),
    ],
)
def test_a_bound_above_a_feasible_value_is_wrong_where_less_is_better(changes, correct):
    assert Judged(timed_row(**changes), Known(1.6, 1.5, goal=TIME)).correct == correct


@pytest.mark.parametrize(
    ("goal", "value", "bound", "gap"),
    [
        (TIME, 2.0, 1.6, 0.25),
        (TIME, 2.0, 0.0, math.inf),
        (TIME, 0.0, 0.0, 0.0),
        (TIME, 2.0, -math.inf, math.inf),
        (TIME, 1.6, 2.0, -0.2),
        (Weighted(1.0), -4.0, -3.0, 0.25),
        (Weighted(1.0), -4.0, 3.0, 1.75),
        (Weighted(1.0), 0.0, 3.0, math.inf),
        (Weighted(1.0), 4.0, 5.0, 0.25),
    ],
)
def test_gaps_have_the_sense_of_the_objective(goal, value, bound, gap):
    assert gap_between(goal, value, bound) == pytest.approx(gap)


@pytest.mark.parametrize(
    ("goal", "best", "value", "expected"),
    [
        (TIME, 1.0, 2.0, 0.5),
        (TIME, 0.0, 2.0, 1.0),
        (TIME, 0.0, 0.0, 0.0),
        (Retained(1.0), 0.0, 0.0, 0.0),
        (Retained(1.0), 4.0, 0.0, 1.0),
        (Weighted(1.0), -1.0, -2.0, 0.5),
        (Weighted(1.0), 1.0, -2.0, 1.0),
        (Weighted(1.0), 0.0, -2.0, 1.0),
    ],
)
def test_shortfalls_are_shares_of_the_larger_of_both(goal, best, value, expected):
    assert shortfall(Known(best, goal=goal), value) == expected


def test_what_a_solver_does_not_take_is_no_failure():
    refused = timed_row(solver="other", stop="not taken", quality="none", value=math.inf, message="no time")
    rows = [timed_row(ste=2.0), refused]
    judged = judge(rows, best_known(rows))
    assert not judged[1].competes
    group = standings(judged, label_of)["other"]
    assert (group.runs, group.not_taken, group.skipped, group.errors) == (0, 1, 0, 0)
    assert time_ratios(judged) == {"exact": [1.0]}
