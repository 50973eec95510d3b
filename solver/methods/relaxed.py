"""`relaxed`: the convex relaxation on an engine of the user's choice, rounded, with a certified bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..allocation import Allocation
from ..bounds.bound_tightening import tighten
from ..bounds.goal import Point, best_point, consider, new_goal, offer
from ..bounds.interval_search import AXIS
from ..bounds.price_cover import PriceCover
from ..checks import choice
from ..conic.data import Centre, least_snr, retained
from ..conic.engine_run import EngineRun, form_for
from ..conic.engines import ENGINES, FORMS, ConicEngine
from ..conic.program import Programs, Solution
from ..conic.round_search import RoundSearch
from ..errors import OptionError
from ..gap_budget import RECENTRING, RELAXATION, STALLED
from ..method import Answer, Request
from ..physics.bracket import advance, new_bracket, width
from ..physics.demand import Demand
from ..primal.delivery import deliver
from ..primal.rounding import best_common_tokens, round_and_improve
from ..problem import FloatArray, Problem
from ..registry import EVERYTHING, register
from ..result import TracePoint
from ..tolerances import BOUND_SHARE, PERMITTED_SHARE

JOINT_PROGRAMS: Final = 12
FIXED_ROUNDS: Final = 64
CENTRINGS: Final = 4
"""Most programs with a free round time, most fixed round times, and most programs at each of those."""

FITTED: Final = 2e-6
"""Accuracy of the share by which tokens are moved to fit into a round."""

DENSE: Final = 2.0
"""The kept pieces of f_m are dense up to this many tokens from the centre."""

WHO: Final = "solver 'relaxed'"


ONE_ROW: Final = EVERYTHING - {"alternatives", "blocks"}

TAKES: Final = {
    "ste": {"overheads"},
    "retained": ONE_ROW,
    "round_time": ONE_ROW,
    "weighted": ONE_ROW,
    "energy": ONE_ROW,
}


@register("relaxed", proves="bound", takes=TAKES, needs=("cvxpy",), extra="convex")
def relaxed(
    problem: Problem,
    request: Request,
    *,
    engine: str = "clarabel",
    form: str = "auto",
    joint: bool = True,
    programs: Programs | None = None,
) -> Answer:
    """The convex relaxation (P5) on a conic engine, rounded, with a certified bound.

    Where all clients share one overhead, the Charnes-Cooper program has the round time as a variable; it
    is solved, re-centred and solved again until it is exact. Where overheads differ, deadlines bind or
    a gap is left, programs at fixed round times follow, each where the bound is worst. Every answer
    gives tokens, which are rounded and improved by exchanges, and a price, which `bounds.price_cover`
    turns into a bound for all round times. A gap that no price closes is the relaxation's own: then the token
    vectors within it are excluded by dominance.

    Args:
        problem: the instance.
        request: gap, time limit and start are used. An engine that is still at work half a second after the
            limit is left behind: it ends by itself, and `message` says so.
        engine: clarabel, ecos, scs, mosek or highs.
        form: "cone" (exponential cones), "cuts" (their tangents: a linear program), or "auto": the one
            that suits engine and instance; cuts for many clients, whose cones take long to compile.
        joint: whether to use the program with a free round time where it applies.
        programs: keeps compiled programs for later calls with as many clients.

    `stats` has engine, form, programs (how many were solved), statuses (the engines' words for them),
    engine_s, evaluations (of the dual function), relaxation_ste (the engine's own value of the last program
    with a free round time; None without one) and fallbacks (engines that took over, also named in
    `message`).

    Raises:
        OptionError, MissingDependencyError: the engine or form is unknown, does not fit or is absent.
    """
    asked = _checked(engine, form, joint, programs)
    kept = Programs() if programs is None else programs
    if problem.is_plain:
        return _RelaxationRun(problem, request, kept, joint).run(asked, form)
    return RoundSearch(problem, request, kept).run(asked, form)


def _checked(engine: Any, form: Any, joint: Any, programs: Any) -> ConicEngine:
    """The engine of that name, once all options are in order."""
    asked = ENGINES[choice(WHO, "engine", engine, ENGINES)]
    choice(WHO, "form", form, ("auto", *FORMS))
    if form == "cone" and not asked.conic:
        raise OptionError(WHO, f"form='cone' for engine {engine!r}", "'cuts'", "It has no exponential cones")
    if not isinstance(joint, bool):
        raise OptionError(WHO, f"joint={joint!r}", "True or False", "Leave it out")
    if not (programs is None or isinstance(programs, Programs)):
        kind = type(programs).__name__
        raise OptionError(WHO, f"programs of type {kind}", "a Programs object", "Leave it out")
    asked.require()
    return asked


class _RelaxationRun(EngineRun):
    """One call for the token problem: the incumbent and the cover of round times."""

    def __init__(self, problem: Problem, request: Request, programs: Programs, joint: bool) -> None:
        super().__init__(request, programs)
        self.permitted = Demand(problem.with_raised_limits(PERMITTED_SHARE))
        self.goal = new_goal(problem, request)
        consider(self.goal, best_common_tokens(self.permitted))
        if request.start is not None:
            tokens = np.clip(request.start.tokens, problem.min_tokens, problem.tokens)
            offer(self.goal, tokens, math.inf)
        box = tighten(Demand(problem.with_raised_limits(BOUND_SHARE)), self.best.ste)
        self.problem, self.most = box.problem, box.most
        self.demand = Demand(self.problem)
        self.cover = PriceCover(self.demand.instance, box.low_s, box.high_s, self.best.round_s)
        self.joint = joint and bool(np.ptp(problem.overhead_s) == 0.0)
        self.relaxation_ste: float | None = None
        self.trace: list[TracePoint] = []

    @property
    def best(self) -> Point:
        """The best point so far."""
        return best_point(self.goal)

    @property
    def is_open(self) -> bool:
        """Whether some round times are not done with."""
        return bool(self.cover.open)

    def run(self, engine: ConicEngine, form: str) -> Answer:
        """Search with the engine asked for, and with others while those before them fail."""
        snr = least_snr(self.demand, self._centre_of(self.best))
        stop, message, stats = self.search(engine, form_for(engine, form, self.problem.clients, snr))
        bound = max(self.cover.bound, self.best.ste) * (1.0 + AXIS)
        bandwidth_hz, power_w, share = deliver(self.goal, bound)
        return Answer(
            allocation=Allocation(self.goal.tokens, bandwidth_hz, power_w),
            stop=stop,
            bound=bound,
            claimed_value=self.best.ste,
            trace=tuple(self.trace),
            stats=stats
            | {
                "evaluations": self.cover.evaluations,
                "relaxation_ste": self.relaxation_ste,
                "tolerance_used": share,
            },
            message=message,
        )

    def solve_with(self, engine: ConicEngine, form: str) -> bool:
        """Search with one engine; False where it fails or is not accurate enough to go on."""
        if self.joint and not self.done:
            accurate = self._solve_joint(engine, form)
            if self.done or not accurate:
                return self.done
        for at_fixed_rounds in dict.fromkeys((form, "cuts")):
            # What cones leave open may be closed by chords, which are tighter between whole counts.
            if not self.done and not self._solve_fixed(engine, at_fixed_rounds):
                return False
        return True

    def _solve_joint(self, engine: ConicEngine, form: str) -> bool:
        """Solve and re-centre until the program is exact at its own answer, or a deadline binds there."""
        centres = [self._centre_of(self.best)]
        for _ in range(JOINT_PROGRAMS):
            *earlier, before = centres
            solution = self._ask(engine, form, True, before, earlier)
            if solution is None or self.request.expired():
                return False
            self.relaxation_ste = solution.ste
            centre = self._centre_at(solution.tokens)
            centres.append(centre)
            if not centre.round_s <= self.demand.instance.concave_until_s:
                self.relaxation_ste = None  # of a program without the deadlines that bind
                return True
            if solution.ste <= self._relaxed_ste(centre) * (1.0 + RECENTRING * self.goal.gap):
                return True
            stalled = abs(centre.round_s - before.round_s) <= STALLED * self.goal.gap * centre.round_s
            if stalled:
                return False
        return False

    def _solve_fixed(self, engine: ConicEngine, form: str) -> bool:
        """Solve where the bound is worst, until it is within the gap or the engine is at a loss."""
        tokens = self.best.tokens.astype(np.float64)
        for _ in range(FIXED_ROUNDS):
            round_s = self.cover.worst.peak_s
            solution = self._solve_at(round_s, tokens, engine, form)
            if solution is None:
                return False
            tokens = solution.tokens
            if not self.done and self.cover.contains(round_s):
                # The best price for this round time leaves it open: this gap is the relaxation's own.
                self.cover.exclude(self.goal, solution.price)
            if self.done:
                return True
            if self.cover.contains(round_s):
                own_gap = self.cover.bound / self._relaxed_ste(self._centre_at(tokens)) - 1.0
                return own_gap <= RELAXATION * self.goal.gap
        return True

    def _solve_at(
        self, round_s: float, tokens: FloatArray, engine: ConicEngine, form: str
    ) -> Solution | None:
        """Solve and re-centre at one round time, until the pieces kept are dense around the answer."""
        for _ in range(CENTRINGS):
            centre = Centre(self._fitted(tokens, round_s), round_s)
            solution = self._ask(engine, form, False, centre)
            if solution is None or self.done:
                return solution
            tokens = solution.tokens
            if np.abs(tokens - centre.tokens).max() <= DENSE:
                return solution
        return solution

    def _ask(
        self, engine: ConicEngine, form: str, joint: bool, centre: Centre, earlier: Sequence[Centre] = ()
    ) -> Solution | None:
        """Solve a program; take its tokens for the incumbent and its price for the bound."""
        solution: Solution | None = self.ask(
            lambda: self.programs.take(self.problem.clients, engine, form, joint),
            lambda program, left_s: program.solve(self.demand, centre, self.most, left_s, earlier),
        )
        if solution is None:
            return None
        rounded = round_and_improve(
            self.permitted, solution.tokens, self.most, solution.round_s, self.request.expired
        )
        consider(self.goal, rounded)
        self.cover.tighten(self.goal, solution.price)
        self.trace.append(
            TracePoint(self.request.elapsed_s(), len(self.statuses), self.best.ste, self.cover.bound)
        )
        return solution

    def _fitted(self, tokens: FloatArray, round_s: float) -> FloatArray:
        """Tokens moved towards K_min or the most until they just fit into a round."""
        fewest, most = self.problem.min_tokens, self.most

        def moved(share: float) -> FloatArray:
            return fewest + min(share, 1.0) * (tokens - fewest) + max(share - 1.0, 0.0) * (most - tokens)

        bracket, share = new_bracket(0.0, 2.0), 1.0
        while width(bracket) > FITTED and not self.request.expired():
            fits = self.demand.bandwidth_hz(moved(share), round_s).sum() <= self.problem.bandwidth_hz
            bracket, share = advance(bracket, share, math.inf if fits else -math.inf)
        return moved(bracket.low)

    def _centre_of(self, point: Point) -> Centre:
        return Centre(point.tokens.astype(np.float64), point.round_s)

    def _centre_at(self, tokens: FloatArray) -> Centre:
        return Centre(tokens, self.demand.least_round_s(tokens))

    def _relaxed_ste(self, centre: Centre) -> float:
        """STE of fractional tokens, their attention interpolated."""
        return float(retained(self.demand, centre.tokens).sum()) / centre.round_s
