"""`minlp`: the whole problem as a mixed-integer nonlinear program on a foreign engine (Pyomo, SCIP)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..allocation import Allocation
from ..bounds.goal import ROUND_S, STE, Point, consider, fastest_point, new_goal
from ..checks import choice
from ..errors import OptionError
from ..evaluation import evaluate
from ..gap_budget import PIECES
from ..method import Answer, Request
from ..minlp.engines import MinlpEngine, find_engine
from ..objective import OBJECTIVES
from ..physics.demand import Demand
from ..primal.delivery import deliver
from ..primal.rounding import improve, round_and_improve
from ..problem import FloatArray, Problem
from ..registry import EVERYTHING, register
from ..result import Stop, TracePoint
from ..tolerances import BOUND_SHARE, PERMITTED_SHARE
from .greedy import greedy

if TYPE_CHECKING:
    from ..minlp.process import Outcome

WHO: Final = "solver 'minlp'"

RUNS: Final = 3
"""Runs of an engine on a general problem: a model centred on a bad allocation ends with a gap left."""

TOLERANCES: Final = "its tolerances end here"
"""What is wrong when an engine has finished and a gap is left."""


@register(
    "minlp",
    proves="optimum",
    takes=dict.fromkeys(OBJECTIVES, EVERYTHING),
    needs=("pyomo",),
    extra="minlp",
)
def minlp(
    problem: Problem,
    request: Request,
    *,
    engine: str = "scip",
    form: str = "entropy",
    engine_options: Any = None,
    model_file: str | PathLike[str] | None = None,
) -> Answer:
    """The mixed-integer nonlinear program on a global engine: an independent optimum with its own bound.

    `greedy`, improved by exchanges, gives an incumbent; the model is centred on it and every variable is
    bounded by P1 to P6 (`minlp_model`). The engine runs in a process of its own and is killed at the time
    limit; its bounds and tokens up to then count. Its tokens are rounded, repaired and improved, and
    bandwidth and power recomputed exactly (P1, P2), so the answer is feasible whatever the engine does.
    The bound is the engine's, its tolerances added.

    Args:
        problem: the instance.
        request: gap, time limit, seed (SCIP's tie-breaking) and start (a candidate incumbent) are used.
        engine: scip, couenne, baron, gurobi, maingo (which prove), bonmin, ipopt, mindtpy (which do not;
            mindtpy with HiGHS and ipopt inside), or any other name that Pyomo's SolverFactory knows.
        form: "entropy", or "faithful" for the model as one would first write it.
        engine_options: the engine's own options by name, as `{"limits/nodes": 1000}` for SCIP.
        model_file: where to write the model before it is solved, ending in .nl or .gms.

    `stats` has engine, form, status (the engine's own word), nodes, engine_s, incumbent_value (before
    the engine ran) and found_value (the best that the engine's decisions gave; nan without any).

    Raises:
        OptionError, MissingDependencyError: an unknown, unsuitable or absent engine, form or option.
        FileFormatError: the model file cannot be written.
    """
    # Processes and files: a third of the time that importing all solvers would take.
    from ..minlp.model import FORMS, is_token_problem, minlp_model, write_minlp
    from ..minlp.process import run_worker

    choice(WHO, "form", form, FORMS)
    if not (engine_options is None or isinstance(engine_options, Mapping)):
        kind = type(engine_options).__name__
        raise OptionError(
            WHO, f"engine_options of type {kind}", "a mapping of names to values", "Leave it out"
        )
    chosen = find_engine(engine)
    settings = _plain(engine_options or {})
    accuracy = PIECES * request.gap
    general = not is_token_problem(problem)
    search = _OptionRun(problem, request, chosen) if general else _TokenRun(problem, request, chosen)
    if search.known is None:
        return search.without_model()
    if search.is_settled():
        return search.answer("none")
    # Bounds hold for all that `evaluate` accepts.
    relaxed = problem.with_raised_limits(BOUND_SHARE)
    if model_file is not None:
        write_minlp(minlp_model(relaxed, form, known=search.known, accuracy=accuracy), model_file)
    gap = request.gap
    for _ in range(RUNS if general else 1):
        names = ("tokens", "bandwidth_hz", "power_w", "row")
        known = {name: getattr(search.known, name) for name in names}
        job = {
            "engine": chosen.name,
            "form": form,
            "known": {name: value if value is None else value.tolist() for name, value in known.items()},
            "accuracy": accuracy,
            "gap": gap,
            "seed": request.seed,
            "options": settings,
        }
        search.collect(run_worker(relaxed, job, request.remaining_s()))
        if not search.may_prove_more():
            break
        gap /= RUNS
    return search.answer("options" if general else form)


class _EngineRun:
    """What is known so far: the incumbent, the engine's bound, how it ended."""

    def __init__(self, problem: Problem, request: Request, engine: MinlpEngine) -> None:
        self.problem, self.request, self.engine = problem, request, engine
        self.objective = problem.objective
        self.bound, self.nodes, self.found = self.objective.unproved, 0, math.nan
        self.stop, self.status, self.message = Stop.ERROR, "", ""
        self.trace: list[TracePoint] = []
        self.begun_s, self.ended_s = request.elapsed_s(), math.nan
        self.first, self.servable = math.nan, True
        self.known: Allocation | None = None

    @property
    def value(self) -> float:
        """Of the best allocation so far."""
        raise NotImplementedError

    def offer(self, decisions: FloatArray) -> None:
        """Take in what the engine decides."""
        raise NotImplementedError

    def deliver(self) -> tuple[Allocation | None, float]:
        """The best allocation, and the share of the tolerance that it uses."""
        raise NotImplementedError

    def proved_gap(self, allocation: Allocation | None) -> float:
        """Of the best value to the bound."""
        raise NotImplementedError

    def begin(self, known: Allocation | None, value: float) -> None:
        """The incumbent is there."""
        self.known, self.first, self.begun_s = known, value, self.request.elapsed_s()

    def without_model(self) -> Answer:
        """Nothing to centre a model on: proved to be so, or not."""
        if not self.servable:
            return Answer(None, Stop.INFEASIBLE, -self.objective.unproved)
        return Answer(None, Stop.ERROR, message="No choice was found that meets what the objective requires.")

    def collect(self, outcome: Outcome) -> None:
        """Take in what a worker said: its decisions become allocations, bounds count as they are."""
        seen: set[tuple[float, ...]] = set()
        for seconds, content in outcome.messages:
            if "refused" in content:
                raise OptionError(
                    WHO, f"engine option {content['refused']}", f"what {self.engine.name} takes", "Correct it"
                )
            decisions = tuple(content["tokens"] or ())
            if decisions and decisions not in seen:
                seen.add(decisions)
                self.offer(np.array(decisions))
            if content["bound"] is not None and self.objective.better(self.bound, content["bound"]):
                self.bound = content["bound"]
            self.nodes = content.get("nodes", 0)
            if "stop" in content:
                self.stop, self.status = Stop(content["stop"]), content["status"]
                self.message = f"{self.engine.name} ended with {self.status!r}; this is the best so far."
                # An engine that contradicts the incumbent is not believed.
                self.bound = self.objective.unproved if self.stop is Stop.ERROR else self.bound
            elapsed_s = seconds - self.request.started
            self.trace.append(TracePoint(elapsed_s, len(self.trace), self.value, self.bound))
        self.ended_s = self.request.elapsed_s()
        if outcome.killed:
            self.stop, self.status = Stop.TIME_LIMIT, "killed"
        elif not self.status:
            self.stop, self.status, self.message = Stop.ERROR, "crashed", f"{outcome.stderr_tail}."

    def is_settled(self) -> bool:
        """Whether no engine is needed."""
        return False

    def may_prove_more(self) -> bool:
        """Whether another run, centred on what is known by now, may close the gap."""
        return False

    def answer(self, form: str) -> Answer:
        """The incumbent, and a stop that fits the gap that is left."""
        stop, message = self.stop, self.message if self.stop is Stop.ERROR else ""
        allocation, share = self.deliver()
        if self.proved_gap(allocation) <= self.request.gap:
            stop, message = Stop.CONVERGED, ""
        elif stop is Stop.CONVERGED and self.engine.global_bound:
            stop, message = (
                Stop.ITERATION_LIMIT,
                f"{self.engine.name} cannot prove a smaller gap: {TOLERANCES}.",
            )
        return Answer(
            allocation=allocation,
            stop=stop,
            bound=self.bound,
            claimed_value=self.value,
            trace=tuple(self.trace),
            stats={
                "engine": self.engine.name,
                "form": form,
                "status": self.status,
                "nodes": self.nodes,
                "engine_s": self.ended_s - self.begun_s,
                "incumbent_value": self.first,
                "found_value": self.found,
                "tolerance_used": share,
            },
            message=message,
        )


class _TokenRun(_EngineRun):
    """The token problem: an incumbent by `greedy`, tokens rounded and improved."""

    def __init__(self, problem: Problem, request: Request, engine: MinlpEngine) -> None:
        super().__init__(problem, request, engine)
        self.demand = Demand(problem.with_raised_limits(PERMITTED_SHARE))
        first = _first(self.demand, problem, request)
        self.goal = new_goal(problem, request)
        consider(self.goal, first)
        self.trace = list(self.goal.monitor.trace)
        self.begin(self.demand.allocation(first.tokens, first.round_s), first.ste)

    @property
    def value(self) -> float:
        """STE, 1/s."""
        return float(self.goal.best[STE])

    def offer(self, decisions: FloatArray) -> None:
        """Tokens, rounded to what fits and improved."""
        problem = self.demand.problem
        most = np.full(problem.clients, problem.tokens)
        inside = np.clip(decisions, problem.min_tokens, most)
        point = round_and_improve(
            self.demand, inside, most, float(self.goal.best[ROUND_S]), self.request.expired
        )
        if point.ste > 0.0:
            consider(self.goal, point)
            self.found = float(np.fmax(point.ste, self.found))

    def deliver(self) -> tuple[Allocation | None, float]:
        """Within the limits as given where that costs no more than the gap."""
        bandwidth_hz, power_w, share = deliver(self.goal, self.bound)
        return Allocation(self.goal.tokens, bandwidth_hz, power_w), share

    def proved_gap(self, allocation: Allocation | None) -> float:
        """Of the STE."""
        return self.bound / self.value - 1.0


class _OptionRun(_EngineRun):
    """Any problem: one option per client, served in closed form."""

    def __init__(self, problem: Problem, request: Request, engine: MinlpEngine) -> None:
        super().__init__(problem, request, engine)
        from ..minlp.first_choices import UnservableError
        from ..minlp.option_search import OptionSearch

        self.search = OptionSearch(problem)
        try:
            self.search.begin(request)
        except UnservableError:
            self.servable = False
        best = self.search.best
        self.begin(None if best is None else best.allocation, self.search.value)

    @property
    def value(self) -> float:
        """By the problem's objective."""
        return self.search.value

    def offer(self, decisions: FloatArray) -> None:
        """The options of the largest binaries."""
        known = self.search.offer_values(decisions)
        if known is not None and not self.objective.better(self.found, known.score.value):
            self.found = known.score.value

    def deliver(self) -> tuple[Allocation | None, float]:
        """Within the limits as given where that costs no more than the gap."""
        return self.search.deliver(self.bound, self.request.gap)

    def is_settled(self) -> bool:
        """Whether a bound without an engine is enough."""
        from ..minlp.option_model import simple_bound

        if self.search.best is None:
            return False
        self.bound = simple_bound(self.search.relaxed, self.search.choices, self.search.best)
        self.ended_s = self.begun_s
        return self.proved_gap(self.known) <= self.request.gap

    def may_prove_more(self) -> bool:
        """Whether the engine finished, with a bound that is too far away."""
        best = self.search.best
        self.known = None if best is None else best.allocation
        finished = self.stop is Stop.CONVERGED and self.engine.global_bound and not self.request.expired()
        return finished and self.proved_gap(self.known) > self.request.gap

    def proved_gap(self, allocation: Allocation | None) -> float:
        """By `evaluate`."""
        if allocation is None:
            return math.inf
        return self.objective.gap(evaluate(self.problem, allocation).totals, self.bound)


def _first(demand: Demand, problem: Problem, request: Request) -> Point:
    """`greedy`, improved by exchanges of single tokens."""
    allocation = greedy(problem, request).allocation
    if allocation is None:
        raise ArithmeticError("greedy found no allocation")
    point = fastest_point(demand.instance, allocation.tokens.copy())
    return improve(demand, point, np.full(problem.clients, problem.tokens), request.expired)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as plain names, numbers and words, as they travel to the engine's process."""
    for name, value in options.items():
        if not isinstance(name, str) or not isinstance(value, bool | int | float | str):
            raise OptionError(
                WHO,
                f"engine option {name!r}: {value!r}",
                "names with numbers, words, True or False",
                "Correct it",
            )
    return dict(options)
