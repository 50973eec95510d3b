"""`solve`, the one entry point: checks the call, times the method, re-scores and judges its answer."""

from __future__ import annotations

import math
import time
import traceback
from typing import Any

from .allocation import Allocation
from .checks import real_number, whole_number
from .errors import (
    AllocationError,
    FileFormatError,
    InfeasibleError,
    MissingDependencyError,
    OptionError,
    ProblemError,
    SolverFailedError,
)
from .evaluation import Evaluation, evaluate
from .feasibility import diagnose
from .method import Answer, Request
from .problem import Problem
from .registry import lookup
from .result import Diagnosis, Quality, Result, Stop
from .tolerances import OPTIMALITY


def solve(
    problem: Problem,
    solver: str = "exact",
    *,
    time_limit_s: float | None = None,
    gap: float = 1e-4,
    seed: int = 0,
    start: Allocation | Result | None = None,
    throw: bool = False,
    **options: Any,
) -> Result:
    """Choose rows, tokens, bandwidth and power that are best by the problem's objective, by default the STE.

    Args:
        problem: the instance.
        solver: a name of `solvers()`.
        time_limit_s: wall time in s, > 0; the best point and bound so far are returned when it ends.
        gap: relative optimality gap asked of a solver with a bound, >= 0; 0 asks for 1e-9.
        seed: whole number >= 0; the same seed gives the same answer.
        start: an allocation or an earlier result to start from.
        throw: raise InfeasibleError or SolverFailedError instead of returning `stop` = infeasible or error.
        **options: the solver's own options (`solvers()` lists them).

    Returns:
        A Result whose figures come from `evaluate`; a feasible allocation unless `quality` says otherwise.

    Raises:
        ProblemError, OptionError, UnknownNameError, MissingDependencyError: the call is wrong.
        AllocationError: `start` does not fit the problem.
        FileFormatError: an option names a file that cannot be written.
        InfeasibleError, SolverFailedError: with `throw`; without, an infeasible instance or a failing engine
            is a result.

    Examples:
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import solve
        >>> problem = family("paper", clients=3, seed=0)
        >>> result = solve(problem)
        >>> result.quality, result.gap <= 1e-4, result.allocation.tokens
        (<Quality.OPTIMAL: 'optimal'>, True, array([3, 7, 3]))
        >>> solve(problem, "fixed", tokens=20).ste < result.ste
        True
        >>> solve(problem, start=result).stats["reoptimised"]
        True
    """
    if not isinstance(problem, Problem):
        raise ProblemError(
            "solve",
            f"{type(problem).__name__} as problem",
            "stsflora.solver.Problem",
            "Build one, or use Problem.load",
        )
    info = lookup(solver)
    info.check_options(options)
    info.check_problem(problem)
    info.require()
    request = request_of(problem, time_limit_s, gap, seed, start)
    diagnosis = diagnose(problem)
    if diagnosis is not None:
        if throw:
            raise InfeasibleError(
                "solve", "an infeasible instance", "limits that all clients can meet", f"Cause: {diagnosis}"
            )
        return infeasible_result(problem, solver, request, diagnosis)
    cause: Exception | None = None
    try:
        answer = info.method(problem, request, **options)
        seconds = request.elapsed_s()
        if not isinstance(answer, Answer):
            raise TypeError(f"the method returned {type(answer).__name__}, not Answer")
        evaluation = None if answer.allocation is None else evaluate(problem, answer.allocation)
    except (OptionError, MissingDependencyError, FileFormatError):
        raise
    except Exception as error:  # a failing engine is a result with the reason in it
        cause = error
    if cause is not None:
        seconds = request.elapsed_s()
        evaluation = None
        answer = Answer(
            allocation=None,
            stop=Stop.ERROR,
            message=f"{type(cause).__name__}: {cause}",
            stats={"traceback": "".join(traceback.format_exception(cause))},
        )
    result = judge(problem, solver, request, answer, evaluation, seconds)
    if throw and result.quality in {Quality.NONE, Quality.INFEASIBLE}:
        raise SolverFailedError(
            f"solver {solver!r}",
            result.message or f"stop = {result.stop}, quality = {result.quality}",
            "a feasible allocation",
            result.stop.remedy.rstrip(".")
            if result.quality is Quality.NONE
            else "Take a solver that is always feasible, solvers() tells",
        ) from cause
    return result


def infeasible_result(problem: Problem, solver: str, request: Request, diagnosis: Diagnosis) -> Result:
    """What is known of an instance that has no feasible allocation."""
    return Result(
        problem=problem,
        solver=solver,
        allocation=None,
        evaluation=None,
        bound=-problem.objective.unproved,
        asked_gap=request.gap,
        stop=Stop.INFEASIBLE,
        quality=Quality.NONE,
        seconds=request.elapsed_s(),
        diagnosis=diagnosis,
    )


def request_of(
    problem: Problem, time_limit_s: Any, gap: Any, seed: Any, start: Allocation | Result | None
) -> Request:
    """The request of a call, its arguments checked."""
    started = time.perf_counter()
    limit_s = (
        math.inf
        if time_limit_s is None
        else real_number(
            "solve",
            "time_limit_s",
            time_limit_s,
            open_low=True,
            infinite=True,
            allowed="seconds > 0, or None",
            next_step="Leave it out for none",
        )
    )
    asked = real_number("solve", "gap", gap, next_step="Use 1e-4, or 0 for proved optimality")
    seed = whole_number("solve", "seed", seed, 0)
    if not (start is None or isinstance(start, Allocation | Result)):
        raise OptionError(
            "solve", f"start of type {type(start).__name__}", "Allocation or Result", "Pass result itself"
        )
    allocation = start.allocation if isinstance(start, Result) else start
    if allocation is not None and allocation.clients != problem.clients:
        raise AllocationError(
            "solve",
            f"a start for {allocation.clients} clients",
            f"{problem.clients}, as in the problem",
            "Leave start out when clients join or leave",
        )
    return Request(
        gap=max(asked, OPTIMALITY),
        seed=seed,
        start=allocation,
        start_result=start if isinstance(start, Result) else None,
        time_limit_s=limit_s,
        started=started,
    )


def judge(
    problem: Problem,
    solver: str,
    request: Request,
    answer: Answer,
    evaluation: Evaluation | None,
    seconds: float,
) -> Result:
    """Derive the quality from evidence; a bound that a feasible point contradicts is withdrawn."""
    objective = problem.objective
    bound, message, stop = answer.bound, answer.message, answer.stop
    if bound is None:
        bound = objective.unproved
    if stop is Stop.INFEASIBLE and not (objective.has_requirement and evaluation is None):
        stop, message = Stop.ERROR, f"{message} The method calls a feasible instance infeasible.".strip()
    if math.isnan(bound):
        bound = objective.unproved
        message = f"{message} The method's bound was not a number and is withdrawn.".strip()
    if evaluation is not None and evaluation.feasible and objective.contradicts(evaluation.value, bound):
        side = "below" if objective.maximises else "above"
        message = f"{message} The claimed bound {bound:.9g} is {side} the value and is withdrawn.".strip()
        bound = objective.unproved
    if evaluation is None:
        quality = Quality.NONE
    elif not evaluation.feasible:
        quality = Quality.INFEASIBLE
    elif objective.gap(evaluation.totals, bound) <= request.gap:
        quality = Quality.OPTIMAL
    else:
        quality = Quality.STATIONARY if answer.stationary else Quality.FEASIBLE
    return Result(
        problem=problem,
        solver=solver,
        allocation=answer.allocation,
        evaluation=evaluation,
        bound=bound,
        asked_gap=request.gap,
        stop=stop,
        quality=quality,
        seconds=seconds,
        trace=answer.trace,
        stats=answer.stats,
        claimed_value=answer.claimed_value,
        claimed_bound=answer.bound,
        message=message,
    )
