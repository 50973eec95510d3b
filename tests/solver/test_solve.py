"""`solve`: what it refuses, how it judges answers, how failures end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers.instances import small_problem

from stsflora.solver import (
    Allocation,
    AllocationError,
    Answer,
    InfeasibleError,
    OptionError,
    Problem,
    ProblemError,
    Quality,
    Request,
    SolverFailedError,
    Stop,
    TracePoint,
    evaluate,
    register,
    solve,
)
from stsflora.solver.registry import unregister
from stsflora.solver.tolerances import OPTIMALITY

Method = Callable[[Problem, Request], Answer]


@pytest.fixture
def install() -> Iterator[Callable[[Method], str]]:
    """Register a method under a name of the test's own; removed afterwards."""
    names: list[str] = []

    def one(method: Method) -> str:
        def documented(problem: Problem, request: Request) -> Answer:
            """A method of this test."""
            return method(problem, request)

        register(f"test-{len(names)}", proves="optimum")(documented)
        names.append(f"test-{len(names)}")
        return names[-1]

    yield one
    for name in names:
        unregister(name)


def point(problem: Problem) -> Allocation:
    share = problem.bandwidth_hz / problem.clients
    return Allocation(problem.min_tokens, np.full(problem.clients, share), problem.max_power_w)


PROBLEM = small_problem()
STE = evaluate(PROBLEM, point(PROBLEM)).ste


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (
            {"problem": "p"},
            ProblemError,
            "solve: got str as problem; allowed: stsflora.solver.Problem. Build one, or use Problem.load.",
        ),
        (
            {"time_limit_s": 0},
            OptionError,
            "solve: got time_limit_s=0; allowed: seconds > 0, or None. Leave it out for none.",
        ),
        ({"time_limit_s": math.nan}, OptionError, "solve: got time_limit_s=nan; allowed: seconds > 0"),
        ({"time_limit_s": "1"}, OptionError, "solve: got time_limit_s='1'; allowed: seconds > 0"),
        (
            {"gap": -1e-9},
            OptionError,
            "solve: got gap=-1e-09; allowed: a finite number >= 0. Use 1e-4, or 0 for proved optimality.",
        ),
        ({"gap": math.inf}, OptionError, "solve: got gap=inf; allowed: a finite number >= 0"),
        ({"gap": math.nan}, OptionError, "solve: got gap=nan; allowed: a finite number >= 0"),
        ({"gap": None}, OptionError, "solve: got gap=None; allowed: a finite number >= 0"),
        ({"gap": True}, OptionError, "solve: got gap=True; allowed: a finite number >= 0"),
        ({"gap": np.True_}, OptionError, "solve: got gap="),
        ({"gap": np.float64(math.nan)}, OptionError, "solve: got gap="),
        ({"gap": 10**400}, OptionError, "solve: got gap=1000"),
        ({"time_limit_s": True}, OptionError, "solve: got time_limit_s=True; allowed: seconds > 0"),
        ({"seed": -1}, OptionError, "solve: got seed=-1; allowed: a whole number >= 0. Pass an int."),
        ({"seed": 0.5}, OptionError, "solve: got seed=0.5; allowed: a whole number >= 0"),
        ({"seed": True}, OptionError, "solve: got seed=True; allowed: a whole number >= 0"),
        (
            {"start": [1, 2, 3]},
            OptionError,
            "solve: got start of type list; allowed: Allocation or Result. Pass result itself.",
        ),
        (
            {"start": Allocation([1], [1.0], [0.1])},
            AllocationError,
            "solve: got a start for 1 clients; allowed: 3, as in the problem. "
            "Leave start out when clients join or leave.",
        ),
    ],
)
def test_refuses_in_words(
    install: Callable[[Method], str], arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    def never(problem: Problem, request: Request) -> Answer:
        raise AssertionError("the method must not run")

    call: dict[str, Any] = {"problem": PROBLEM, "solver": install(never)}
    with pytest.raises(error) as caught:
        solve(**(call | arguments))
    assert str(caught.value).startswith(text)


def test_the_method_gets_the_request(install: Callable[[Method], str]) -> None:
    seen: list[Request] = []

    def note(problem: Problem, request: Request) -> Answer:
        seen.append(request)
        return Answer(point(problem))

    name = install(note)
    first = solve(PROBLEM, name, time_limit_s=5, gap=1e-3, seed=4)
    solve(PROBLEM, name, start=first, gap=0)
    solve(PROBLEM, name, start=first.allocation)
    solve(PROBLEM, name, time_limit_s=math.inf)
    solve(PROBLEM, name, time_limit_s=np.int64(5), gap=np.float32(0.5), seed=np.int32(4))
    assert (seen[0].time_limit_s, seen[0].gap, seen[0].seed, seen[0].start) == (5.0, 1e-3, 4, None)
    assert 0 < seen[0].remaining_s() <= 5
    assert not seen[0].expired()
    assert seen[1].start is first.allocation
    assert seen[1].start_result is first
    assert seen[1].gap == OPTIMALITY
    assert seen[1].remaining_s() == math.inf
    assert seen[2].start is first.allocation
    assert seen[2].start_result is None
    assert seen[3].time_limit_s == math.inf
    assert (seen[4].time_limit_s, seen[4].gap, seen[4].seed) == (5.0, 0.5, 4)
    assert [type(value) for value in (seen[4].time_limit_s, seen[4].gap, seen[4].seed)] == [float, float, int]


def test_time_runs_out(install: Callable[[Method], str]) -> None:
    def wait(problem: Problem, request: Request) -> Answer:
        while not request.expired():
            pass
        return Answer(point(problem), stop=Stop.TIME_LIMIT)

    result = solve(PROBLEM, install(wait), time_limit_s=0.01)
    assert result.stop is Stop.TIME_LIMIT
    assert result.quality is Quality.FEASIBLE
    assert 0.01 <= result.seconds < 1.0


@pytest.mark.parametrize(
    ("bound", "gap", "quality"),
    [
        (math.inf, math.inf, Quality.FEASIBLE),
        (1.01 * STE, 0.01, Quality.FEASIBLE),
        (1.00005 * STE, 0.00005, Quality.OPTIMAL),
        (STE, 0.0, Quality.OPTIMAL),
        (STE * (1 - 1e-12), 0.0, Quality.OPTIMAL),
    ],
)
def test_quality_follows_from_the_evidence(
    install: Callable[[Method], str], bound: float, gap: float, quality: Quality
) -> None:
    result = solve(PROBLEM, install(lambda problem, request: Answer(point(problem), bound=bound)))
    assert result.ste == STE
    assert result.gap == pytest.approx(gap, rel=1e-6, abs=1e-12)
    assert result.gap >= 0
    assert result.quality is quality
    assert result.message == ""


def test_optimal_is_relative_to_the_gap_asked(install: Callable[[Method], str]) -> None:
    name = install(lambda problem, request: Answer(point(problem), bound=STE * (1 + 1e-5)))
    assert solve(PROBLEM, name, gap=1e-4).quality is Quality.OPTIMAL
    assert solve(PROBLEM, name, gap=1e-6).quality is Quality.FEASIBLE
    assert solve(PROBLEM, name, gap=0).quality is Quality.FEASIBLE


def test_a_contradicted_bound_is_withdrawn(install: Callable[[Method], str]) -> None:
    result = solve(PROBLEM, install(lambda problem, request: Answer(point(problem), bound=0.9 * STE)))
    assert result.bound == math.inf
    assert result.quality is Quality.FEASIBLE
    assert result.message == f"The claimed bound {0.9 * STE:.9g} is below the value and is withdrawn."


def test_a_bound_that_is_no_number_is_withdrawn(install: Callable[[Method], str]) -> None:
    result = solve(PROBLEM, install(lambda problem, request: Answer(point(problem), bound=math.nan)))
    assert result.bound == math.inf
    assert result.message == "The method's bound was not a number and is withdrawn."


def test_a_claim_is_kept_beside_the_score(install: Callable[[Method], str]) -> None:
    result = solve(PROBLEM, install(lambda problem, request: Answer(point(problem), claimed_value=1e9)))
    assert result.claimed_value == 1e9
    assert result.ste == STE


def test_stationary_is_the_methods_word_but_not_for_infeasible_points(
    install: Callable[[Method], str],
) -> None:
    name = install(lambda problem, request: Answer(point(problem), stationary=True))
    assert solve(PROBLEM, name).quality is Quality.STATIONARY

    def greedy_for_power(problem: Problem, request: Request) -> Answer:
        allocation = point(problem)
        return Answer(
            Allocation(allocation.tokens, allocation.bandwidth_hz, 2 * allocation.power_w),
            bound=1e9,
            stationary=True,
        )

    name = install(greedy_for_power)
    result = solve(PROBLEM, name)
    assert result.quality is Quality.INFEASIBLE
    assert result.evaluation is not None
    assert result.evaluation.violations["power"] == 1.0
    assert result.gap == math.inf
    with pytest.raises(SolverFailedError) as caught:
        solve(PROBLEM, name, throw=True)
    assert str(caught.value) == (
        f"solver {name!r}: got stop = converged, quality = infeasible; allowed: a feasible allocation. "
        "Take a solver that is always feasible, solvers() tells."
    )


def test_trace_and_stats_are_passed_on(install: Callable[[Method], str]) -> None:
    line = TracePoint(0.0, 1, STE, math.inf)
    name = install(lambda problem, request: Answer(point(problem), trace=(line,), stats={"evaluations": 3}))
    result = solve(PROBLEM, name)
    assert result.trace == (line,)
    assert result.stats == {"evaluations": 3}
    assert str(result).startswith(f"{name}: STE {STE:.6g}/s, no proved gap, feasible, converged, ")


def broken(problem: Problem, request: Request) -> Answer:
    raise ZeroDivisionError("the engine stumbled")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (broken, "ZeroDivisionError: the engine stumbled"),
        (lambda problem, request: None, "TypeError: the method returned NoneType, not Answer"),
        (
            lambda problem, request: Answer(Allocation([1], [1.0], [0.1])),
            "AllocationError: Allocation: got an allocation for 1 clients; allowed: 3, as in the problem. "
            "Pass the problem that it was made for.",
        ),
    ],
)
def test_a_failing_method_is_a_result(install: Callable[[Method], str], method: Method, message: str) -> None:
    name = install(method)
    result = solve(PROBLEM, name)
    assert result.stop is Stop.ERROR
    assert result.quality is Quality.NONE
    assert result.allocation is None
    assert result.ste == -math.inf
    assert result.bound == math.inf
    assert result.message == message
    assert "Traceback" in result.stats["traceback"]
    assert str(result) == f"{name}: error ({message})"
    with pytest.raises(SolverFailedError) as caught:
        solve(PROBLEM, name, throw=True)
    assert str(caught.value) == (
        f"solver {name!r}: got {message}; allowed: a feasible allocation. "
        "Read result.message; try solver='exact', which needs no engine."
    )
    assert caught.value.__cause__ is not None


def test_option_errors_of_a_method_reach_the_caller(install: Callable[[Method], str]) -> None:
    def picky(problem: Problem, request: Request) -> Answer:
        raise OptionError("solver 'picky'", "option x=3", "x < 3", "Lower it")

    with pytest.raises(OptionError, match=r"solver 'picky': got option x=3; allowed: x < 3\. Lower it\."):
        solve(PROBLEM, install(picky))


def test_a_false_claim_of_infeasibility_is_an_error(install: Callable[[Method], str]) -> None:
    result = solve(PROBLEM, install(lambda problem, request: Answer(None, stop=Stop.INFEASIBLE)))
    assert result.stop is Stop.ERROR
    assert result.message == "The method calls a feasible instance infeasible."


def test_infeasible_is_a_result_or_an_error_as_asked(install: Callable[[Method], str]) -> None:
    def never(problem: Problem, request: Request) -> Answer:
        raise AssertionError("the method must not run")

    name, problem = install(never), small_problem(max_energy_j=[1.0, 1.0, 1e-9])
    result = solve(problem, name)
    assert result.stop is Stop.INFEASIBLE
    assert result.diagnosis is not None
    assert result.diagnosis.clients == (2,)
    assert str(result) == f"{name}: infeasible ({result.diagnosis})"
    with pytest.raises(InfeasibleError) as caught:
        solve(problem, name, throw=True)
    assert str(caught.value) == (
        "solve: got an infeasible instance; allowed: limits that all clients can meet. "
        f"Cause: {result.diagnosis}."
    )


@pytest.mark.parametrize("stop", list(Stop))
def test_every_stop_has_a_remedy(stop: Stop) -> None:
    assert stop.remedy.endswith(".")
