"""`repair`: bandwidth and power that carry given tokens within the limits, in the least round time."""

from __future__ import annotations

import math

import numpy as np

from .allocation import Allocation
from .errors import AllocationError, InfeasibleError
from .physics import loops
from .physics.instance import instance_of
from .problem import Problem
from .tolerances import FEASIBILITY, PERMITTED_SHARE


def repair(problem: Problem, allocation: Allocation) -> Allocation:
    """The feasible allocation of the same tokens with the least round time.

    For allocations that lost digits on their way (a float32 copy exceeds its limits by 1.5e-8), or that were
    made for nearly the same problem. `solve` never repairs what a method hands back.

    Args:
        problem: the instance.
        allocation: whose tokens are kept; its bandwidths and powers count for nothing.

    Raises:
        AllocationError: the number of clients differs, or tokens lie outside `min_tokens`..N.
        InfeasibleError: no bandwidths and powers carry these tokens.

    Cost: one least round time, a few closed forms per client.

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
    if allocation.clients != problem.clients:
        raise AllocationError(
            "repair",
            f"an allocation for {allocation.clients} clients",
            f"{problem.clients}, as in the problem",
            "Pass the problem that it was made for",
        )
    tokens = allocation.tokens
    good = (tokens >= problem.min_tokens) & (tokens <= problem.tokens)
    if not good.all():
        m = int(np.argmin(good))
        raise AllocationError(
            "repair",
            f"{tokens[m]} tokens of client {m}",
            f"{problem.min_tokens[m]} to {problem.tokens}",
            "Clip the tokens first",
        )
    given = instance_of(problem)
    for share in (0.0, 0.5 * FEASIBILITY, PERMITTED_SHARE):
        instance = loops.with_raised_limits(given, share)
        round_s, _ = loops.least_round(instance, tokens.copy(), math.inf)
        if round_s < math.inf:
            return Allocation(tokens, *loops.allocate(instance, tokens.copy(), round_s))
    raise InfeasibleError(
        "repair",
        f"{int(tokens.sum())} tokens of {problem.clients} clients that fit into no round",
        "tokens that energy, deadlines and bandwidth allow",
        "Take fewer, or solve(problem)",
    )
