"""`repair`: bandwidth and power that carry given tokens within the limits, in the least round time."""

from __future__ import annotations

import math

import numpy as np

from .allocation import SKIPPED, Allocation
from .errors import AllocationError, InfeasibleError, ProblemError
from .physics import loops
from .physics.instance import instance_of
from .primal.given_choice import soonest
from .problem import STE, FloatArray, IntArray, Problem
from .tolerances import FEASIBILITY, PERMITTED_SHARE


def repair(problem: Problem, allocation: Allocation) -> Allocation:
    """The feasible allocation of the same rows and tokens with the least round time; who is skipped stays so.

    For allocations that lost digits on their way (a float32 copy exceeds its limits by 1.5e-8), or that were
    made for nearly the same problem. `solve` never repairs what a method hands back.

    The objective counts only with its requirements, since a shorter round is better by most or no worse. By
    `Energy` it is not: there uploads end when the round must, on bandwidths in proportion of what they need.
    By `TotalTime` what comes back is feasible and no more. Resource blocks that are not needed stay idle.

    Args:
        problem: the instance.
        allocation: whose rows and tokens are kept; its bandwidths and powers count for nothing.

    Raises:
        ProblemError, AllocationError: these are none.
        AllocationError: the number of clients differs, a row is another client's, tokens lie outside
            `min_tokens`..`max_tokens`, or a client is skipped that must send.
        InfeasibleError: no bandwidths and powers carry these tokens, or they are worth less than is required.

    Cost: one least round time, a few closed forms per client; with blocks a hundred.

    Examples:
        >>> import numpy as np
        >>> from stsflora.benchmarks.families import family
        >>> from stsflora.solver import Allocation, evaluate, repair, solve
        >>> problem = family("paper", clients=3, seed=0)
        >>> best = solve(problem).allocation
        >>> sent = Allocation(best.tokens, np.float32(best.bandwidth_hz), np.float32(best.power_w) * 1.1)
        >>> evaluate(problem, sent).feasible, evaluate(problem, repair(problem, sent)).feasible
        (False, True)
    """
    if not isinstance(problem, Problem):
        raise ProblemError("repair", f"{type(problem).__name__:.40} as problem", "a Problem", "Build one")
    if not isinstance(allocation, Allocation):
        raise AllocationError(
            "repair", f"{type(allocation).__name__:.40} as allocation", "an Allocation", "Build one"
        )
    row, tokens = allocation.rows_of(problem), allocation.tokens
    _check_choice(problem, row, tokens)
    is_plain = problem.is_plain and allocation.row is None
    for share in (0.0, 0.5 * FEASIBILITY, PERMITTED_SHARE):
        found = _token_problem(problem, tokens, share) if is_plain else soonest(problem, row, tokens, share)
        if found is not None:
            return Allocation(tokens, *found, allocation.row)
    raise InfeasibleError(
        "repair",
        f"{int(tokens.sum())} tokens of {problem.clients} clients that fit into no round",
        "tokens that energy, deadlines and bandwidth allow",
        "Take fewer, or solve(problem)",
    )


def _check_choice(problem: Problem, row: IntArray, tokens: IntArray) -> None:
    sends = row != SKIPPED
    least, most = problem.min_tokens[row], problem.max_tokens[row]
    good = (~sends & problem.may_skip) | (sends & (tokens >= least) & (tokens <= most))
    if not good.all():
        m = int(np.argmin(good))
        got = f"{tokens[m]} tokens of client {m}" if sends[m] else f"client {m}, who must send, skipped"
        raise AllocationError("repair", got, f"{least[m]} to {most[m]}", "Clip the tokens first")
    if problem.objective == STE and not sends.any():
        raise AllocationError("repair", "nobody who sends", "a sender, for ste", "Take another choice")
    required = problem.objective.least_retained
    if required > 0.0:
        worth = float(problem.worth_of(row[sends], tokens[sends]).sum())
        if worth < required * (1.0 - FEASIBILITY):
            raise InfeasibleError(
                "repair", f"tokens worth {worth:.9g}", f"{required:.9g}, as required", "Solve(problem)"
            )


def _token_problem(problem: Problem, tokens: IntArray, share: float) -> tuple[FloatArray, FloatArray] | None:
    """Bandwidths and powers within limits raised by a share, by the loops of the token problem."""
    instance = loops.with_raised_limits(instance_of(problem), share)
    round_s, _ = loops.least_round(instance, tokens.copy(), math.inf)
    return loops.allocate(instance, tokens.copy(), round_s) if round_s < math.inf else None
