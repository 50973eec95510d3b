"""`relaxed` beyond the token problem: programs at fixed round times, by the objective that is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from ..bounds.choice_goal import most_utility
from ..bounds.choice_loops import clear_choices
from ..bounds.priced_menu import energy_menu
from ..gap_budget import CLEARING, PROOF
from ..method import Answer, Request
from ..objective import LEAST_SCALE, Energy, Retained, RoundTime, Weighted
from ..physics.bracket import advance, new_bracket
from ..physics.loops import LONGEST_S
from ..physics.option_loops import fastest_choice, fastest_sender
from ..physics.price_loops import replies
from ..primal.best_choice import BestChoice
from ..problem import IntArray, Problem
from ..result import Stop, TracePoint
from .engine_run import EngineRun, form_for
from .engines import ConicEngine
from .program import Programs
from .round_bounds import NetCover, RoundBounds
from .round_data import Hulls, RoundCentre, hulls_of
from .round_program import RoundProgram, RoundSolution

CENTRINGS: Final = 8
"""Most programs at one round time."""

STALE: Final = 2
"""Programs in a row after which no other is solved there if neither bound nor choice has changed."""

ROUNDS: Final = 40
"""Most round times."""

SETTLED: Final = 1e-3
"""Change of the payloads, relative to the largest, at which the program is exact at its own answer."""

GRID: Final = 8
"""Round times at which choices are sought before an engine is asked."""

FILLS: Final = 20
"""Round times tried above a lower bound until one has what is required."""

SWAPS: Final = 200
"""Options exchanged one by one, until utilities are enough and none is dearer than need be."""


class RoundSearch(EngineRun):
    """One call for a problem of one row per client, which may be skipped.

    Args:
        problem: with `Retained`, `RoundTime`, `Energy`, or `Weighted` and one overhead for all; no blocks.
        request: gap, clock and start.
        programs: kept from call to call.

    Attributes:
        best: the best known choice.
        bounds: the dual functions.
        bound: proved.
    """

    def __init__(self, problem: Problem, request: Request, programs: Programs) -> None:
        super().__init__(request, programs)
        self.problem, self.objective = problem, problem.objective
        self.best, self.bounds = BestChoice(problem, request), RoundBounds(problem)
        self.bound = problem.objective.unproved
        self.trace: list[TracePoint] = []
        self.price = 0.0
        self.infeasible = False
        raised = self.bounds.problem.objective
        self.required, self.longest_s = raised.least_retained, raised.longest_round_s
        rows = self.bounds.options.rows
        self.last_s = min(float((rows["overhead_s"] + rows["deadline_s"]).max()), LONGEST_S)
        self.per_joule = 1.0 if isinstance(self.objective, Energy) else 0.0
        if isinstance(self.objective, Weighted):
            self.per_joule = self.objective.per_joule
        if request.start is not None:
            self.best.offer_start(request.start)

    @property
    def is_open(self) -> bool:
        """Whether the asked gap is not proved."""
        if self.infeasible:
            return False
        totals = self.best.totals
        return totals is None or not self.objective.gap(totals, self.bound) <= self.request.gap

    def run(self, engine: ConicEngine, form: str) -> Answer:
        """Seek choices, then bounds."""
        self._first_choices()
        hulls = hulls_of(self.bounds.options, self._first_round_s())
        snr = math.inf if hulls is None else _least_snr(hulls, self.bounds.options.bandwidth_hz)
        stop, message, stats = self.search(engine, form_for(engine, form, self.problem.clients, snr))
        stats |= {"relaxation_ste": None}
        if not self.best.has_choice():
            if self.infeasible:
                stop, self.bound = Stop.INFEASIBLE, -self.objective.unproved
                message = "The required sum of utilities cannot be had in any round."
            elif stop is not Stop.TIME_LIMIT:
                stop = Stop.ITERATION_LIMIT
                message = f"{message} No rounded choice has the required sum of utilities.".strip()
            return Answer(None, stop=stop, bound=self.bound, stats=stats, message=message)
        allocation, share = self.best.deliver(self.bound)
        return Answer(
            allocation=allocation,
            stop=stop,
            bound=self.bound,
            claimed_value=self.best.value,
            trace=tuple(self.trace),
            stats=stats | {"tolerance_used": share},
            message=message,
        )

    def solve_with(self, engine: ConicEngine, form: str) -> bool:
        """Search with one engine; False where it fails."""
        for at_form in dict.fromkeys((form, "cuts")):
            # What cones leave open may be closed by cuts, which are tighter between whole counts.
            if not self.done and not self._solve_in(engine, at_form):
                return False
        return True

    def _solve_in(self, engine: ConicEngine, form: str) -> bool:
        """The same in one form."""
        if isinstance(self.objective, RoundTime):
            return self._shortest_round(engine, form)
        if isinstance(self.objective, Weighted):
            return self._net_value(self.objective, engine, form)
        return self._at(self.longest_s, engine, form, self._bound_here) is not None

    # Choices

    def _first_choices(self) -> None:
        """Offer the fastest choice, and fills at some round times."""
        options = self.best.permitted
        fastest, least_s = fastest_choice(options, math.inf)
        if not least_s < math.inf:
            return
        self.best.offer(fastest, least_s)
        if isinstance(self.objective, Retained | Energy):
            self._fill(self.best.limits.objective.longest_round_s)
            return
        if not self.objective.counts_utility:
            return
        sender, sender_s = fastest_sender(options)
        round_s = max(least_s, sender_s if sender >= 0 else least_s)
        if isinstance(self.objective, RoundTime):
            while round_s < self.last_s and not self.best.has_choice() and not self.request.expired():
                round_s = min(max(2.0 * round_s, 1e-9), self.last_s)
                self._fill(round_s)
            return
        high_s = min(self._longest_s(), 1e6 * round_s)
        if high_s > round_s > 0.0:
            for at_s in np.geomspace(round_s, high_s, GRID).tolist():
                if self.request.expired():
                    return
                self._fill(at_s)

    def _fill(self, round_s: float) -> None:
        """Offer the choice of most utility per hertz within a round."""
        clearing, choice, _ = clear_choices(
            self.best.permitted, round_s, self.price, CLEARING * self.request.gap
        )
        if choice.size:
            self.price = clearing.price
            self.best.offer(choice, round_s)

    def _offer_rounded(self, solution: RoundSolution, round_s: float) -> None:
        """Offer what a solution rounds to."""
        options = self.best.permitted
        if self.per_joule == 0.0:
            self.price = solution.price
            self._fill(round_s)
            return
        worth = solution.utility_price if isinstance(self.objective, Energy) else 1.0
        menu = energy_menu(options, round_s, per_joule=self.per_joule)
        can = menu.options["low_hz"] <= menu.options["high_hz"]
        _, charged = replies(menu.options, can, solution.price)
        choice = _cheapest(options.first, charged - worth * options.utility)
        if not np.isfinite(charged[choice]).all():
            return
        self.best.offer(choice, round_s)
        needed = self.best.limits.objective.least_retained
        if needed > 0.0:
            self.best.offer(_with_enough(options.first, options.utility, charged, choice, needed), round_s)

    # Bounds

    def _at(
        self,
        round_s: float,
        engine: ConicEngine,
        form: str,
        take: Callable[[RoundSolution, float], None],
    ) -> RoundSolution | None:
        """Solve and re-centre at one round time; None where the engine fails."""
        hulls = hulls_of(self.bounds.options, round_s)
        if hulls is None:
            return None
        centre = self._centre(hulls)
        priced, required = self.per_joule > 0.0, isinstance(self.objective, Energy) and self.required > 0.0
        clients = self.problem.clients
        key = clients, engine.name, form, priced, required
        counts = self.objective.maximises or isinstance(self.objective, RoundTime)
        band_hz, needed = self.bounds.options.bandwidth_hz, self.required if required else 0.0
        solution: RoundSolution | None = None

        def take_program() -> RoundProgram:
            taken: RoundProgram = self.programs.take_or_make(
                key, lambda: RoundProgram(clients, engine, form, priced, required)
            )
            return taken

        def solve(program: RoundProgram, left_s: float) -> RoundSolution | str:
            return program.solve(hulls, centre, band_hz, self.per_joule, needed, counts, left_s)

        stale = 0
        for _ in range(CENTRINGS):
            found = self.ask(take_program, solve)
            if found is None:
                return solution
            solution, bound, value = found, self.bound, self.best.value
            self._offer_rounded(found, round_s)
            take(found, round_s)
            self.trace.append(
                TracePoint(self.request.elapsed_s(), len(self.statuses), self.best.value, self.bound)
            )
            moved = np.abs(found.nats - centre.nats) / hulls.nats.max(axis=1).clip(1e-300)
            wider = np.abs(found.area - centre.area) / np.maximum(centre.area, 1e-300) if priced else moved
            settled = max(moved.max(), wider.max()) <= SETTLED
            stale = stale + 1 if (bound, value) == (self.bound, self.best.value) else 0
            if self.done or settled or stale == STALE:
                break
            centre = RoundCentre(found.nats, found.area)
        return solution

    def _centre(self, hulls: Hulls) -> RoundCentre:
        """The best known choice, or the least payloads, where it can be sent in the round."""
        clients = np.arange(self.problem.clients)
        nats, area = hulls.nats[:, 0], hulls.area[:, 0]
        if self.best.has_choice():
            known = self.best.permitted.nats[self.best.choice]
            nats = np.clip(known, nats, hulls.nats[clients, hulls.last])
            area = self.best.bandwidth_hz * hulls.slot_s
        return RoundCentre(nats, area)

    def _bound_here(self, solution: RoundSolution, round_s: float) -> None:
        """The bound of a given round time."""
        if isinstance(self.objective, Energy):
            found = self.bounds.least_energy(round_s, self.required, solution.price, solution.utility_price)
            self.bound = max(self.bound, found)
        else:
            self.bound = min(self.bound, self.bounds.most_utility(round_s, solution.price))

    def _shortest_round(self, engine: ConicEngine, form: str) -> bool:
        """Round times too short for what is required, excluded from below.

        At a price the bound of the utilities supports the relaxation where the price was found, so that the
        round time at which it reaches what is required comes nearer from below, as in Newton's method.
        """
        _, least_s = fastest_choice(self.bounds.options, math.inf)
        self.bound = max(self.bound, least_s * (1.0 - 1e-12))
        high_s = self.best.value if self.best.has_choice() else self.last_s
        if self.required > 0.0 and not self.best.has_choice():
            clearing, _, _ = clear_choices(self.bounds.options, high_s, 0.0, CLEARING * self.request.gap)
            self.infeasible = self.bounds.most_utility(high_s, clearing.price) < self.required
        round_s = high_s

        def exclude(solution: RoundSolution, at_s: float) -> None:
            low_s = self.bounds.least_round(solution.price, self.required, self.bound, high_s)
            self.bound = max(self.bound, low_s * (1.0 - 1e-12))

        for _ in range(ROUNDS):
            if self.done:
                return True
            before = self.bound
            if self._at(round_s, engine, form, exclude) is None:
                return False
            for k in range(FILLS):
                at_s = self.bound * (1.0 + 0.1 * self.request.gap * 2.0**k)
                if self.done or at_s >= self.best.value:
                    break
                self._fill(at_s)
            if self.bound <= before * (1.0 + 0.01 * self.request.gap) and round_s < high_s:
                return True
            round_s = self.bound * (1.0 + 0.1 * self.request.gap)
        return True

    def _net_value(self, objective: Weighted, engine: ConicEngine, form: str) -> bool:
        """A cover of all round times, closed where it is worst."""
        most = most_utility(self.bounds.options)
        origin_s = self.bounds.origin_s
        _, least_s = fastest_choice(self.bounds.options, math.inf)
        if not least_s > 0.0:  # where nobody need send, nothing is worth anything before the first who can
            least_s = min(fastest_sender(self.bounds.options)[1], self.last_s)
        low_s = least_s * (1.0 - 1e-12)
        cover = NetCover(self.bounds, low_s, max(self._longest_s(), low_s) * (1.0 + 1e-12), most)

        def tighten(solution: RoundSolution, at_s: float) -> None:
            if at_s > origin_s:
                cover.tighten(solution.price / (at_s - origin_s), self._target(), self.request.expired)
                self.bound = min(self.bound, max(cover.bound, self.best.value))

        found = self._best_round(objective, engine, form, low_s)
        if found is None:
            return False
        solution, round_s = found
        for _ in range(ROUNDS):
            before = self.bound
            tighten(solution, round_s)
            if self.done or not cover.is_open(self._target()):
                return True
            left_s, right_s = cover.worst
            if left_s <= round_s <= right_s and self.bound >= before:
                return True
            round_s = 0.5 * (left_s + right_s)
            again = self._at(round_s, engine, form, tighten)
            if again is None:
                return False
            solution = again
        return True

    def _best_round(
        self, objective: Weighted, engine: ConicEngine, form: str, low_s: float
    ) -> tuple[RoundSolution, float] | None:
        """The round time of best relaxed net value, and the program's solution there.

        Its price bounds all others too, where they are jointly convex. Without a price of energy the round
        grows while a second more is worth more than it costs, as in `primal.first_choices`; else it is the
        best one of the choices found.
        """
        round_s = min(max(self.best.round_s, low_s), self.last_s)
        bracket = new_bracket(math.log(low_s), math.log(max(self._longest_s(), low_s)), longest=0.7)
        solution = None
        for _ in range(GRID):
            found = self._at(round_s, engine, form, lambda *_: None)
            if found is None or self.done:
                break
            solution, at_s = (found, round_s), round_s
            if objective.per_joule > 0.0:
                round_s = min(max(self.best.round_s, low_s), self.last_s)
                if abs(round_s - at_s) <= 0.01 * at_s:
                    break
                continue
            _, choice, falls = clear_choices(self.best.permitted, round_s, found.price, 1e-6)
            worth = found.price * falls
            pull = math.inf
            if choice.size and objective.per_second > 0.0:
                pull = math.log(worth / objective.per_second) if worth > 0.0 else -1.0
            if abs(pull) <= 0.1 * math.sqrt(self.request.gap):
                break
            bracket, logarithm = advance(bracket, math.log(round_s), pull)
            round_s = math.exp(logarithm)
            if abs(round_s - at_s) <= self.request.gap * at_s:
                break
        return solution

    def _target(self) -> float:
        """A bound on the net value up to here proves the asked gap."""
        totals = self.best.totals
        if totals is None:
            return -math.inf
        weighed = 2.0 * totals.retained - self.best.value
        return self.best.value + PROOF * self.request.gap * max(abs(self.best.value), LEAST_SCALE * weighed)

    def _longest_s(self) -> float:
        """No longer round is better than the best known choice, s."""
        per_second = self.objective.per_second if isinstance(self.objective, Weighted) else 0.0
        if not (per_second > 0.0 and self.best.has_choice()):
            return self.last_s
        gain = most_utility(self.bounds.options) - self.best.value
        return min(self.last_s, gain / per_second * (1.0 + 1e-12))

    def _first_round_s(self) -> float:
        """Where the first program is solved, s."""
        if self.longest_s < math.inf:
            return self.longest_s
        return min(self.best.round_s, self.last_s) if self.best.has_choice() else self.last_s


def _least_snr(hulls: Hulls, bandwidth_hz: float) -> float:
    """Smallest signal-to-noise ratio over the senders on equal shares."""
    share = bandwidth_hz * hulls.slot_s / hulls.slot_s.size
    sends = hulls.nats.max(axis=1) > 0.0
    return float(np.min((hulls.energy / share)[sends], initial=math.inf))


def _cheapest(first: IntArray, charged: np.ndarray) -> IntArray:
    """(M,) the option of least charge of each client."""
    owner = np.repeat(np.arange(first.size - 1), np.diff(first))
    order = np.lexsort((charged, owner))
    return np.asarray(order[first[:-1]])


def _with_enough(
    first: IntArray, utility: np.ndarray, charged: np.ndarray, choice: IntArray, needed: float
) -> IntArray:
    """A choice with enough utility: the cheapest exchanges per utility, then those that save without need."""
    owner = np.repeat(np.arange(first.size - 1), np.diff(first))
    choice = choice.copy()
    for _ in range(SWAPS):
        short = needed - float(utility[choice].sum())
        gain, cost = utility - utility[choice][owner], charged - charged[choice][owner]
        if short > 0.0:
            rate = np.where(gain > 0.0, cost / np.where(gain > 0.0, np.minimum(gain, short), 1.0), math.inf)
        else:
            rate = np.where((gain >= short) & (cost < 0.0), cost, math.inf)
        best = int(np.argmin(rate))
        if not rate[best] < math.inf:
            break
        choice[owner[best]] = best
    return choice
