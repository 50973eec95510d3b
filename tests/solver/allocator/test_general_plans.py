"""Plans beyond tokens and the STE: alternatives, tables of worth, skipping, caps, blocks, any objective."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.benchmarks.families import family
from stsflora.solver import (
    Allocation,
    Allocator,
    Alternative,
    Answer,
    Client,
    Energy,
    OptionError,
    Plan,
    Problem,
    ProblemError,
    Quality,
    Request,
    Retained,
    RoundTime,
    SolverFailedError,
    Ste,
    Stop,
    TotalTime,
    Weighted,
    plan_problem,
    register,
    solve,
)
from stsflora.solver.registry import lookup, unregister

BAND_HZ = 1e6
OBJECTIVES = (
    Ste(),
    Retained(0.5),
    RoundTime(),
    RoundTime(retained=9.0),
    Weighted(per_second=2.0),
    Weighted(per_second=2.0, per_joule=5.0),
    Energy(1.0),
    Energy(1.0, retained=9.0),
    TotalTime(),
)
CUTS = [
    Alternative(name="shallow", bits_per_token=2e5, overhead_s=0.02),
    Alternative(name="deep", bits_per_token=5e4, overhead_s=0.2, before_j=0.01),
]


def cell(**settings: Any) -> Allocator:
    return Allocator(bandwidth_hz=BAND_HZ, **settings)


def ada(**changes: Any) -> Client:
    given = {"gain": 1e-9, "importance": [3.0, 2.0, 1.0], "bits_per_token": 1e5, "max_power_w": 0.2}
    return Client(**({"id": "ada"} | given | changes))


def bob(**changes: Any) -> Client:
    """A client with an S-shaped worth of four tokens."""
    given = {"gain": 1e-10, "utility": [0.0, 0.1, 0.4, 3.0, 3.5], "bits_per_token": 5e4, "max_power_w": 0.2}
    return Client(**({"id": "bob"} | given | changes))


def adapter(**changes: Any) -> Client:
    return Client.fixed("eve", 1e-9, 3e5, **({"max_power_w": 0.1, "worth": 2.0} | changes))


def problem_of_three(objective: Any, **changes: Any) -> Problem:
    """The round of `ada` with two cuts, `bob` and `adapter`, by hand."""
    table = [
        [2e5 * (k + 2) for k in range(5)],
        [5e4 * (k + 2) for k in range(5)],
        [5e4 * (k + 2) for k in range(5)],
        [3e5, *[4e5] * 4],
    ]
    worth = [[0.0, 3.0, 5.0, 6.0, 6.0]] * 2 + [[0.0, 0.1, 0.4, 3.0, 3.5], [2.0] * 5]
    fields: dict[str, Any] = {
        "gain": [1e-9, 1e-9, 1e-10, 1e-9],
        "utility": worth,
        "payload_bits": table,
        "max_tokens": [3, 3, 4, 0],
        "bandwidth_hz": BAND_HZ,
        "max_power_w": [0.2, 0.2, 0.2, 0.1],
        "max_energy_j": math.inf,
        "overhead_s": [0.02, 0.2, 0.0, 0.0],
        "before_j": [0.0, 0.01, 0.0, 0.0],
        "client": [0, 0, 1, 2],
        "objective": objective,
    }
    return Problem(**(fields | changes))


def same(one: Plan, other: Plan) -> bool:
    return (one.grants, one.skipped, one.dropped, one.bound) == (
        other.grants,
        other.skipped,
        other.dropped,
        other.bound,
    )


# Agreement with `solve`


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_a_plan_is_what_solve_says(objective: Any) -> None:
    plan = cell(objective=objective).plan([ada(alternatives=CUTS), bob(), adapter()])
    if isinstance(objective, TotalTime):
        objective = TotalTime([1.0] * 3)
    problem = problem_of_three(objective)
    result = solve(problem)
    assert not plan.dropped
    assert plan.objective == objective
    assert plan.value == pytest.approx(result.value, rel=1e-12)
    assert plan.bound == pytest.approx(result.bound, rel=1e-12)
    assert plan.gap == pytest.approx(result.gap, abs=1e-12)
    assert (plan.quality, plan.stop, plan.message) == (Quality.OPTIMAL, Stop.CONVERGED, "")
    assert result.allocation is not None
    rows = result.allocation.rows_of(problem).tolist()
    assert [grant.row for grant in plan.grants.values()] == rows
    assert [grant.tokens for grant in plan.grants.values()] == result.allocation.tokens.tolist()
    names = [("shallow", "deep")[rows[0]], None, None]
    assert [grant.alternative for grant in plan.grants.values()] == names
    assert ("STE" if plan.objective == Ste() else f"{objective.name} {plan.value:.6g}") in str(plan)


@pytest.mark.parametrize("objective", [Ste(), Retained(0.5), RoundTime(retained=9.0)], ids=str)
def test_bandwidth_is_granted_in_whole_blocks(objective: Any) -> None:
    block_hz = 3e4
    allocator = cell(objective=objective, block_hz=block_hz)
    plan = allocator.plan([ada(alternatives=CUTS), bob(), adapter()])
    result = solve(problem_of_three(objective, block_hz=block_hz))
    assert plan.value == pytest.approx(result.value, rel=1e-12)
    assert plan.quality is Quality.OPTIMAL
    counts = [grant.blocks for grant in plan.grants.values()]
    assert all(type(count) is int for count in counts)
    assert [grant.bandwidth_hz for grant in plan.grants.values()] == [count * block_hz for count in counts]
    assert sum(counts) <= 33


def test_caps_reach_the_problem() -> None:
    free, capped = (
        cell(objective=RoundTime()).plan([ada(max_bps_per_hz=bps, max_psd_w_per_hz=psd)])
        for bps, psd in ((math.inf, math.inf), (2.0, 1e-6))
    )
    assert free.round_s < capped.round_s == pytest.approx(3e5 / (2.0 * BAND_HZ))


def test_alternatives_may_differ_in_all_that_is_not_the_clients() -> None:
    """Also in how their tokens are worth and how many there are; without a name they are called by index."""
    ways = [
        Alternative(gain=1e-12),
        Alternative(utility=[0.0, 9.0], payload_bits=[0.0, 2e5]),
        Alternative(importance=[1.0] * 6, max_power_w=0.3, deadline_s=9.0, max_tokens=4),
    ]
    plan = cell().plan([ada(alternatives=ways)])
    assert plan.grants["ada"].alternative == 1
    assert plan.grants["ada"].retained == 9.0
    spelled = cell().plan([ada(importance=None, utility=[0.0, 9.0], payload_bits=[0.0, 2e5])])
    assert plan.ste == pytest.approx(spelled.ste, rel=1e-12)


@pytest.mark.parametrize("none", [(), []])
def test_no_alternatives_are_none(none: Any) -> None:
    assert same(cell().plan([ada(alternatives=none)]), cell().plan([ada()]))


def test_importances_of_different_lengths_stay_apart_beside_tables() -> None:
    plan = cell(objective=Retained(100.0)).plan([ada(importance=[1.0, 2.0]), bob(), adapter()])
    assert [grant.tokens for grant in plan.grants.values()] == [2, 4, 0]
    assert plan.retained == 3.0 + 3.5 + 2.0


def test_fewer_tokens_may_be_asked_for_than_there_are() -> None:
    plan = cell(objective=Retained(100.0)).plan([ada(max_tokens=2)])
    assert plan.grants["ada"].tokens == 2
    assert cell(objective=RoundTime()).plan([ada(min_tokens=0)]).grants["ada"].tokens == 0
    assert cell(objective=RoundTime()).plan([ada(min_tokens=2)]).grants["ada"].tokens == 2


def test_an_s_shaped_table_is_not_cut_at_its_foot() -> None:
    """Greedy by increments it would stop at one token."""
    assert cell().plan([bob()]).grants["bob"].tokens == 3


def test_times_are_weighed_by_client() -> None:
    """Whoever weighs more is done sooner."""
    pair = [adapter(), replace(adapter(weight=9.0), id="sam")]
    plan = cell(objective=TotalTime()).plan(pair)
    assert plan.objective == TotalTime([1.0, 9.0])
    assert plan.grants["sam"].finish_s < plan.grants["eve"].finish_s
    left = plan.without(["eve"])
    assert left.objective == TotalTime([9.0])
    assert left.value == pytest.approx(9.0 * plan.grants["sam"].finish_s)
    assert (left.bound, left.gap) == (-math.inf, math.inf)
    assert plan.without(["eve", "sam"]).value == 0.0


# Skipping


def test_who_may_be_skipped_is_named_when_it_is() -> None:
    """A slow client that may be left out does not hold up the round; it is not dropped for a fault."""
    slow = bob(gain=1e-14, may_skip=True)
    plan = cell().plan([ada(), slow, ada(id="sam", may_skip=np.array(True))])
    assert list(plan.grants) == ["ada", "sam"]
    assert plan.skipped == ("bob",)
    assert plan.dropped == ()
    assert "2 clients, 1 skipped, 0 dropped" in str(plan)
    assert plan.quality is Quality.OPTIMAL
    kept = cell().plan([ada(), bob(gain=1e-14), ada(id="sam")])
    assert kept.ste < plan.ste


def test_nobody_need_send_where_time_costs_too_much() -> None:
    plan = cell(objective=Weighted(per_second=1e9)).plan([ada(may_skip=True), bob(may_skip=True)])
    assert (dict(plan.grants), plan.skipped, plan.value, plan.gap) == ({}, ("ada", "bob"), 0.0, 0.0)
    assert plan.quality is Quality.OPTIMAL


def test_who_cannot_send_and_may_be_skipped_is_skipped() -> None:
    plan = cell().plan([ada(), bob(max_energy_j=1e-12, may_skip=True)])
    assert (list(plan.grants), plan.skipped, plan.dropped) == (["ada"], ("bob",), ())


# Malformed reports


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"alternatives": 3}, "alternatives is malformed, got type int"),
    ({"alternatives": [Alternative(), "deep"]}, "alternatives is malformed, got type str"),
    ({"alternatives": [Alternative()] * 257}, "alternatives is malformed, got 257; allowed: up to 256"),
    ({"alternatives": [Alternative(name="x")] * 2}, "alternatives is malformed, got name='x'"),
    ({"alternatives": [Alternative(name=3)]}, "alternatives is malformed, got name=3; allowed: names of up"),
    ({"alternatives": [Alternative(gain=-1)]}, "alternative 0, gain is malformed, got -1"),
    ({"alternatives": [*CUTS, Alternative(name="x", overhead_s="1")]}, "alternative 'x', overhead_s is"),
    ({"alternatives": [*CUTS, Alternative(name="x", min_tokens=9)]}, "alternative 'x', min_tokens is"),
    ({"alternatives": [*CUTS, Alternative(name="x", before_j=-1)]}, "alternative 'x', before_j is malf"),
    ({"utility": [0.0, math.nan]}, "utility is malformed, got values from nan to nan"),
    ({"utility": [0.0, -1.0]}, "utility is malformed, got values from -1 to 0; allowed: finite and >= 0"),
    ({"utility": np.ones((2, 2))}, "utility is malformed, got shape (2, 2); allowed: (N + 1,)"),
    ({"utility": []}, "utility is malformed, got shape (0,)"),
    ({"utility": np.ones(4098)}, "utility is malformed, got 4098 values"),
    ({"utility": [0.0, 0.0]}, "utility is malformed, got zeros; allowed: a positive one, for ste"),
    ({"importance": None}, "importance is malformed, got type NoneType"),
    ({"max_tokens": 4}, "max_tokens is malformed, got 4; allowed: at most N = 3"),
    ({"max_tokens": 1, "min_tokens": 2}, "min_tokens is malformed, got 2; allowed: at most max_tokens = 1"),
    ({"max_tokens": 0.5}, "max_tokens is malformed, got 0.5; allowed: whole numbers from 0 to N"),
    ({"may_skip": "no"}, "may_skip is malformed, got type str; allowed: True or False"),
    ({"may_skip": 1}, "may_skip is malformed, got type int"),
    ({"before_j": -1.0}, "before_j is malformed, got -1; allowed: finite and >= 0"),
    ({"max_psd_w_per_hz": 0.0}, "max_psd_w_per_hz is malformed, got 0"),
    ({"max_bps_per_hz": math.nan}, "max_bps_per_hz is malformed, got nan"),
    ({"weight": 0.0}, "weight is malformed, got 0; allowed: finite and > 0"),
    ({"payload_bits": [0.0], "utility": [1.0]}, "utility is malformed, got 1 for 0 bits in 0 s; allowed: 0"),
    ({"payload_bits": [3.0, 2.0], "utility": [0.0, 1.0]}, "payload_bits is malformed, got values from 2"),
    ({"payload_bits": [-1.0], "utility": [1.0]}, "payload_bits is malformed, got values from -1 to -1"),
]


@pytest.mark.parametrize(("changes", "words"), MALFORMED, ids=lambda value: str(value)[:40])
def test_malformed_data_drop_their_client_alone(changes: dict[str, Any], words: str) -> None:
    """A malformed alternative too: what the client meant to offer is not known."""
    allocator = cell()
    plan = allocator.plan([ada(), bob(), ada(id="bad", **changes)])
    (dropped,) = plan.dropped
    assert (dropped.position, dropped.id, dropped.cause) == (2, "bad", "malformed")
    assert dropped.reason.startswith(f"client 'bad': {words}")
    assert plan.grants == allocator.plan([ada(), bob()]).grants
    with pytest.raises(ProblemError, match=r"^client 'bad', "):
        replace(allocator, strict=True).plan([ada(), bob(), ada(id="bad", **changes)])


@pytest.mark.parametrize(
    ("objective", "changes", "words"),
    [
        (RoundTime(), {"may_skip": True}, "may_skip is malformed, got True; allowed: False, for round_time"),
        (TotalTime(), {"may_skip": True}, "may_skip is malformed, got True; allowed: False, for total_time"),
        (Weighted(0.0, 1.0), {"deadline_s": math.inf}, "deadline_s is malformed, got inf; allowed: finite"),
        (
            Weighted(0.0, 1.0),
            {"alternatives": [Alternative(), Alternative(name="x", deadline_s=math.inf)]},
            "alternative 'x', deadline_s is malformed",
        ),
        (Retained(1.0), {"utility": [0.0, 0.0]}, "utility is malformed, got zeros; allowed: a positive one"),
    ],
)
def test_what_leaves_an_objective_without_an_optimum_is_refused(
    objective: Any, changes: dict[str, Any], words: str
) -> None:
    plan = cell(objective=objective).plan(
        [ada(deadline_s=9.0), ada(id="bad", **({"deadline_s": 9.0} | changes))]
    )
    assert list(plan.grants) == ["ada"]
    assert plan.dropped[0].reason.startswith(f"client 'bad': {words}")


def test_where_utility_does_not_count_it_may_be_zero() -> None:
    for objective in (RoundTime(), Energy(1.0), TotalTime(), Weighted(1.0)):
        plan = cell(objective=objective).plan([adapter(worth=0.0), bob(utility=np.zeros(5))])
        assert len(plan.grants) == 2


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 5),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.floats(0, 1), max_size=5),
    st.lists(st.one_of(st.floats(), st.none()), max_size=4),
)
FIELDS = (
    *("importance", "utility", "payload_bits", "bits_per_token", "min_tokens", "max_tokens", "before_j"),
    *("overhead_s", "deadline_s", "max_energy_j", "max_psd_w_per_hz", "max_bps_per_hz"),
)


@given(
    st.lists(
        st.tuples(st.sampled_from((*FIELDS, "may_skip", "weight", "alternatives")), JUNK),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=3), min_size=1, max_size=3),
    st.sampled_from([Ste(), RoundTime(retained=1.0), Weighted(1.0)]),
)
@settings(max_examples=60)
def test_whatever_comes_in_a_feasible_plan_comes_out(
    junk: list[tuple[str, Any]], ways: list[dict[str, Any]], objective: Any
) -> None:
    clients = [
        ada(),
        *(ada(id=f"junk{m}", **{name: value}) for m, (name, value) in enumerate(junk)),
        ada(id="ways", alternatives=[Alternative(**way) for way in ways]),
    ]
    plan = cell(objective=objective, time_limit_s=2.0).plan(clients)
    assert len(plan.grants) + len(plan.skipped) + len(plan.dropped) == len(clients)
    assert sum(grant.bandwidth_hz for grant in plan.grants.values()) <= BAND_HZ * (1 + 1e-6)
    assert all(math.isfinite(value) for grant in plan.grants.values() for value in grant[:8])
    assert not objective.contradicts(plan.value, plan.bound)


# Clients that cannot be served


def test_a_client_is_dropped_where_none_of_its_alternatives_can_be_sent() -> None:
    ways = [Alternative(name="big", payload_bits=1e12), Alternative(name="small", payload_bits=3e10)]
    poor = Client("poor", 1e-9, max_power_w=0.2, max_energy_j=0.02, alternatives=ways)
    spent = Client("spent", 1e-9, max_power_w=0.2, max_energy_j=0.02, payload_bits=1e3, before_j=0.02)
    late = Client("late", 1e-9, max_power_w=0.2, payload_bits=1e9, deadline_s=1e-4)
    plan = cell(objective=RoundTime()).plan([poor, ada(), spent, late])
    assert list(plan.grants) == ["ada"]
    assert [(lost.position, lost.id, lost.cause) for lost in plan.dropped] == [
        (0, "poor", "energy"),
        (2, "spent", "energy"),
        (3, "late", "deadline"),
    ]
    assert "of 2 alternatives none can be sent, 'small' comes closest: sending" in plan.dropped[0].reason
    assert "it spends 0.02 J before it sends, the energy budget gives 0.02 J" in plan.dropped[1].reason
    one_left = replace(poor, alternatives=[*ways, Alternative(payload_bits=1e3)])
    assert cell(objective=RoundTime()).plan([one_left]).grants["poor"].alternative == 2


def test_what_no_round_of_the_objective_takes_is_dropped() -> None:
    late, slow = ada(id="late", overhead_s=2.0), ada(id="slow", bits_per_token=1e13)
    plan = cell(objective=Retained(1.0)).plan([late, ada(), slow])
    assert list(plan.grants) == ["ada"]
    assert [(lost.id, lost.cause) for lost in plan.dropped] == [("late", "round"), ("slow", "round")]
    assert "it can send after 2 s only, the round is to end after 1 s" in plan.dropped[0].reason
    assert "full power until the round is to end gives 0.2 J" in plan.dropped[1].reason


def test_of_more_clients_than_blocks_the_largest_set_is_served() -> None:
    crowd = [ada(id=m, deadline_s=100.0) for m in range(7)]
    plan = cell(objective=RoundTime(), block_hz=BAND_HZ / 5.5).plan(crowd)
    assert len(plan.grants) == 5
    assert [lost.cause for lost in plan.dropped] == ["bandwidth"] * 2
    assert "in whole blocks of 1.818e+05 Hz" in plan.dropped[0].reason


def test_a_requirement_that_nobody_meets_leaves_everybody_out_by_name() -> None:
    plan = cell(objective=RoundTime(retained=99.0)).plan([ada(), adapter()])
    assert dict(plan.grants) == {}
    assert [lost.cause for lost in plan.dropped] == ["retained"] * 2
    assert "all clients together can retain 8 at most, 99 is required" in plan.dropped[0].reason
    assert (plan.stop, plan.quality) == (Stop.INFEASIBLE, Quality.NONE)
    assert (plan.value, plan.bound, plan.gap) == (0.0, -math.inf, math.inf)
    hasty = [ada(deadline_s=0.06), bob(deadline_s=0.06), ada(id="sam", deadline_s=0.06)]
    plan = cell(objective=RoundTime(retained=15.0)).plan(hasty)
    assert {lost.cause for lost in plan.dropped} == {"retained"}
    assert "no allocation within all limits retains the 15 that are required" in plan.message


def test_a_required_share_is_one_of_whoever_is_served() -> None:
    """Seven of eight that `ada` and `eve` offer; `bob` cannot send and does not count."""
    allocator = cell(objective=RoundTime(), retained_share=7.0 / 8.0)
    plan = allocator.plan([ada(), bob(max_energy_j=1e-12), adapter()])
    assert plan.objective == RoundTime(retained=7.0)
    assert [lost.id for lost in plan.dropped] == ["bob"]
    assert plan.grants["ada"].tokens == 2
    everything = replace(allocator, retained_share=1.0).plan([ada(), bob(may_skip=True), adapter()])
    assert everything.retained == pytest.approx(6.0 + 3.5 + 2.0)
    energy = cell(objective=Energy(1.0), retained_share=0.5).plan([ada(), adapter()])
    assert energy.objective == Energy(1.0, retained=4.0)
    assert energy.retained >= 4.0
    assert energy.value == energy.energy_j


@pytest.mark.parametrize("limit_s", [1e-9, 1e-3])
@pytest.mark.parametrize("objective", [Ste(), Retained(2.0), RoundTime(), Weighted(1.0)], ids=str)
def test_out_of_time_a_plan_is_still_feasible(objective: Any, limit_s: float) -> None:
    rng = np.random.default_rng(3)
    crowd = [
        ada(id=m, gain=10 ** rng.uniform(-10, -8), importance=rng.random(9), alternatives=CUTS)
        for m in range(12)
    ]
    plan = cell(objective=objective, time_limit_s=limit_s).plan(crowd)
    assert len(plan.grants) == 12
    assert plan.quality in {Quality.FEASIBLE, Quality.STATIONARY, Quality.OPTIMAL}
    assert not objective.contradicts(plan.value, plan.bound)


# Solvers


def test_what_a_solver_does_not_take_exact_does() -> None:
    """What clients report decides that, so it is no error."""
    allocator = cell(solver="alternating")
    assert allocator.plan([ada()]).solver == "alternating"
    plan = allocator.plan([ada(alternatives=CUTS)])
    assert (plan.solver, plan.quality) == ("exact", Quality.OPTIMAL)
    assert plan.message.startswith("'exact' stands in. solver 'alternating': got a problem with ")
    with pytest.raises(ProblemError, match="solver 'alternating'"):
        replace(allocator, strict=True).plan([ada(alternatives=CUTS)])


@pytest.fixture
def broken() -> Iterator[None]:
    """A solver that takes anything and raises, and one whose uploads all take their fewest tokens."""
    everything = lookup("exact").takes

    @register("raises", always_feasible=False, takes=everything)
    def raises(problem: Problem, request: Request) -> Answer:
        """Fails."""
        raise ZeroDivisionError("no luck")

    @register("careless", always_feasible=False, takes=everything)
    def careless(problem: Problem, request: Request) -> Answer:
        """Sends the last row's fewest tokens at full power over equal shares; skips whom it may."""
        rows = np.array([np.flatnonzero(problem.client == m)[-1] for m in range(problem.clients)])
        sends = ~problem.may_skip
        share = np.where(sends, problem.bandwidth_hz / problem.clients, 0.0)
        power = np.where(sends, problem.max_power_w[rows], 0.0)
        tokens = np.where(sends, problem.min_tokens[rows], 0)
        return Answer(Allocation(tokens, share, power, np.where(sends, rows, -1)))

    yield
    unregister("raises")
    unregister("careless")


@pytest.mark.usefixtures("broken")
def test_exact_stands_in_where_the_rule_does_not_take_the_round() -> None:
    with pytest.warns(RuntimeWarning, match="'raises' failed its trial round"):
        allocator = cell(solver="raises", objective=RoundTime(), block_hz=1e4)
    clients = [ada(alternatives=CUTS), bob(), adapter()]
    plan = allocator.plan(clients)
    assert plan.grants == cell(objective=RoundTime(), block_hz=1e4).plan(clients).grants
    assert "ended with error and no feasible allocation: ZeroDivisionError: no luck" in plan.message
    assert plan.quality in {Quality.FEASIBLE, Quality.OPTIMAL}


# The core: rows, names, starts


def two_cuts(clients: int) -> Problem:
    """Every client of a cell with its tokens as they are, or half as large after a second."""
    base = family("paper", clients, seed=0, deadline_s=np.inf)
    pick = np.tile(np.arange(clients), 2)
    fields = {name: value[pick] for name, value in base.as_dict().items() if isinstance(value, np.ndarray)}
    fields |= {
        "client": pick,
        "may_skip": False,
        "overhead_s": np.repeat([0.0, 1.0], clients),
        "bits_per_token": base.bits_per_token[pick] * np.repeat([1.0, 0.5], clients),
    }
    return replace(base, **fields)


def test_rows_are_those_of_the_problem_given() -> None:
    """Also where clients are dropped before, and in whatever order the rows are."""
    problem = two_cuts(3)
    poor = replace(problem, gain=problem.gain * np.where(problem.client == 1, 1e-12, 1.0))
    plan = plan_problem(poor, ["a", "b", "c"])
    assert [lost.id for lost in plan.dropped] == ["b"]
    result = solve(poor.subset([0, 2]))
    assert (plan.value, plan.bound) == (result.value, result.bound)
    chosen = [0 if grant.row < 3 else 1 for grant in plan.grants.values()]
    assert [grant.row for grant in plan.grants.values()] == [3 * chosen[0], 2 + 3 * chosen[1]]
    assert [grant.alternative for grant in plan.grants.values()] == chosen
    for grant in plan.grants.values():
        assert grant.finish_s == poor.overhead_s[grant.row] + grant.uplink_s
    named = plan_problem(poor, ["a", "b", "c"], alternatives=[*"uvwxyz"])
    assert [grant.alternative for grant in named.grants.values()] == [
        "uvwxyz"[g.row] for g in plan.grants.values()
    ]


@pytest.fixture
def starts() -> Iterator[list[Allocation | None]]:
    """The starts that a registered solver named `spy` was given."""
    seen: list[Allocation | None] = []

    @register("spy", takes=lookup("exact").takes)
    def spy(problem: Problem, request: Request) -> Answer:
        """Notes its start."""
        seen.append(request.start)
        if request.start is not None:
            request.start.rows_of(problem)
        return Answer(solve(problem).allocation)

    yield seen
    unregister("spy")


def test_a_round_starts_from_the_alternatives_of_the_one_before(starts: list[Allocation | None]) -> None:
    allocator = cell(solver="spy")
    clients = [ada(alternatives=CUTS), bob(gain=1e-14, may_skip=True), adapter()]
    first = allocator.plan(clients)
    assert first.skipped == ("bob",)
    other_way_round = ada(alternatives=CUTS[::-1])
    second = allocator.plan(
        [adapter(), clients[1], other_way_round, ada(id="new", max_tokens=1)], start=first
    )
    given_ = starts[-1]
    assert given_ is not None
    assert given_.row is not None
    was = ["deep", "shallow"].index(str(first.grants["ada"].alternative))
    assert given_.row.tolist() == [0, -1, 2 + was, 4]
    assert given_.tokens.tolist()[:3] == [0, 0, first.grants["ada"].tokens]
    assert given_.tokens[3] <= 1
    assert second.grants["ada"].alternative is not None
    allocator.plan([ada(alternatives=[Alternative(name="other")])], start=first)
    assert starts[-1] is None


def test_a_start_changes_a_plan_within_the_gap_only() -> None:
    for objective in (Ste(), RoundTime(), Retained(0.4), Energy(1.0), TotalTime()):
        allocator, clients = cell(objective=objective), [ada(alternatives=CUTS), bob(), adapter()]
        plan = allocator.plan(clients)
        again = allocator.plan(clients, start=plan)
        assert again.quality is Quality.OPTIMAL
        assert again.value == pytest.approx(plan.value, rel=2e-4)


@pytest.mark.usefixtures("broken")
def test_to_drop_is_to_go_on_without_whose_limit_is_broken() -> None:
    """By the limits of the row that it was sent by; who is skipped breaks none."""
    problem = replace(two_cuts(3), objective=Retained(100.0), may_skip=[False, False, True])
    full = solve(problem, "careless").evaluation
    assert full is not None
    tight = replace(problem, max_energy_j=np.where(problem.client == 1, 0.9 * full.energy_j[1], np.inf))
    plan = plan_problem(tight, [4, 5, 9], solver="careless", on_violation="drop")
    assert (list(plan.grants), plan.skipped) == ([4], (9,))
    assert [lost[:3] for lost in plan.dropped] == [(1, 5, "energy")]
    assert (plan.bound, plan.gap, plan.quality) == (math.inf, math.inf, Quality.FEASIBLE)
    middle = float(np.sort(full.totals.finish_s)[1:].mean())
    hasty = replace(problem, objective=Retained(middle))
    plan = plan_problem(hasty, [4, 5, 9], solver="careless", on_violation="drop")
    assert [lost.cause for lost in plan.dropped] == ["round"]
    assert plan.dropped[0].reason.endswith(f"the round is to end after {middle:.4g} s.")
    blocks = replace(problem, block_hz=problem.bandwidth_hz / 7.0)
    with pytest.raises(SolverFailedError, match="an allocation that breaks blocks"):
        plan_problem(blocks, [4, 5, 9], solver="careless", on_violation="drop")


# Settings


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"objective": "ste"}, OptionError, "objective='ste'; allowed: ste, ret"),
        ({"objective": TotalTime([1.0, 2.0])}, OptionError, "TotalTime with several weights; allowed: one"),
        ({"block_hz": -1.0}, ProblemError, "block_hz: got -1"),
        ({"block_hz": 2 * BAND_HZ}, OptionError, "block_hz=2000000.0; allowed: at most"),
        ({"retained_share": 0.5}, OptionError, r"retained_share=0.5 with Ste\(\); allowed: RoundTime or Ene"),
        (
            {"retained_share": 0.5, "objective": RoundTime(retained=2.0)},
            OptionError,
            "allowed: RoundTime or Energy without retained",
        ),
        (
            {"retained_share": 0.0, "objective": RoundTime()},
            OptionError,
            "retained_share=0.0; allowed: ab",
        ),
        (
            {"retained_share": 1.1, "objective": RoundTime()},
            OptionError,
            "retained_share=1.1; allowed: ab",
        ),
        ({"most_alternatives": 0}, OptionError, "most_alternatives=0"),
        (
            {"objective": Weighted(1.0), "block_hz": 1e4},
            ProblemError,
            "solver 'exact': got a problem with",
        ),
        ({"objective": Energy(1.0), "solver": "alternating"}, ProblemError, "objective energy; allowed: obj"),
    ],
)
def test_wrong_settings_are_errors_at_once(
    settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        cell(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": Retained(1e-6)},
        {"objective": Energy(1e-6, retained=1e6)},
        {"objective": RoundTime(retained=1e-9)},
        {"objective": RoundTime(), "retained_share": 1.0},
        {"objective": Weighted(0.0, 1.0)},
        {"objective": Weighted(1.0)},
        {"block_hz": 0.9 * BAND_HZ},
        {"block_hz": 1.0, "objective": RoundTime()},
    ],
    ids=str,
)
def test_no_trial_round_is_infeasible_by_its_settings(settings: dict[str, Any], recwarn: Any) -> None:
    cell(**settings)
    assert not list(recwarn)


def test_plans_with_alternatives_travel_between_processes() -> None:
    allocator = pickle.loads(pickle.dumps(cell(objective=TotalTime(), block_hz=None)))
    plan = allocator.plan([ada(alternatives=CUTS), adapter()])
    assert same(pickle.loads(pickle.dumps(plan)), plan)
    assert same(copy.deepcopy(plan), plan)
