"""The drop-in allocator: optimal for whoever can be served, a reason for whoever cannot."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.instances import brute_force
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.benchmarks.families import family
from stsflora.solver import (
    Allocation,
    Allocator,
    Answer,
    Client,
    Cqi,
    OptionError,
    Plan,
    Problem,
    ProblemError,
    Quality,
    Request,
    Snr,
    Stop,
    StsfloraError,
    UnknownNameError,
    Utility,
    evaluate,
    register,
    solve,
)
from stsflora.solver.allocator.channel_state import gain_from_cqi, gain_from_snr_db
from stsflora.solver.registry import unregister
from stsflora.solver.units import THERMAL_NOISE_W_PER_HZ

PER_CLIENT = (
    *("gain", "importance", "bits_per_token", "max_power_w"),
    *("max_energy_j", "deadline_s", "overhead_s", "min_tokens"),
)
GOOD = {"gain": 1e-9, "importance": [3.0, 2.0, 1.0], "bits_per_token": 1e5, "max_power_w": 0.2}
GOOD |= {"min_tokens": 1}


def clients_of(problem: Problem) -> list[Client]:
    """Client m is called `c<m>`."""
    return [
        Client(f"c{m}", *(getattr(problem, name)[m] for name in PER_CLIENT)) for m in range(problem.clients)
    ]


def allocator_for(problem: Problem, **settings: Any) -> Allocator:
    return Allocator(
        bandwidth_hz=problem.bandwidth_hz,
        noise_w_per_hz=problem.noise_w_per_hz,
        extra_tokens=problem.extra_tokens,
        **settings,
    )


def problem_of(allocator: Allocator, clients: list[Client]) -> Problem:
    """The round of clients whose data are plain numbers and all of one N."""
    return Problem(
        **{name: np.array([getattr(client, name) for client in clients]) for name in PER_CLIENT},
        bandwidth_hz=allocator.bandwidth_hz,
        noise_w_per_hz=allocator.noise_w_per_hz,
        extra_tokens=allocator.extra_tokens,
    )


def allocation_of(plan: Plan, names: list[str]) -> Allocation:
    columns = zip(*(plan.grants[name][:3] for name in names), strict=True)
    return Allocation(*(np.array(column) for column in columns))


def good(name: str, **changes: Any) -> Client:
    return Client(name, **(GOOD | changes))


def small_cell(**settings: Any) -> Allocator:
    return Allocator(bandwidth_hz=1e6, **settings)


def same(one: Plan, other: Plan) -> bool:
    return one.grants == other.grants and one.dropped == other.dropped and one.bound == other.bound


# Agreement with `solve`


@pytest.mark.parametrize("name", ["paper", "round_time", "deadline_tight", "energy_tight", "min64"])
def test_a_plan_is_what_solve_says(name: str) -> None:
    problem = family(name, 6, seed=1)
    result = solve(problem)
    plan = allocator_for(problem).plan(clients_of(problem))
    names = [f"c{m}" for m in range(6)]
    assert list(plan.grants) == names
    assert not plan.dropped
    assert (plan.ste, plan.bound, plan.gap) == (result.ste, result.bound, result.gap)
    assert (plan.stop, plan.quality, plan.solver) == (result.stop, result.quality, "exact")
    assert plan.seconds >= plan.solver_seconds > 0
    evaluation = evaluate(problem, allocation_of(plan, names))
    assert evaluation.feasible
    assert evaluation.round_s == plan.round_s
    assert [plan.grants[name].uplink_s for name in names] == evaluation.uplink_s.tolist()
    assert "optimal (exact, converged)" in str(plan)


def test_a_mapping_is_as_good_as_a_list() -> None:
    problem = family("paper", 4, seed=0)
    clients, allocator = clients_of(problem), allocator_for(problem)
    assert same(allocator.plan({client.id: client for client in clients}), allocator.plan(clients))
    assert same(allocator.plan(iter(clients)), allocator.plan(clients))


def test_numbers_may_come_in_any_dress() -> None:
    torch = pytest.importorskip("torch")
    importance = [3.0, 2.5, 1.0, 0.25]  # exact in bfloat16
    plain = {"gain": 2.0**-30, "bits_per_token": 1024, "max_power_w": 0.25, "min_tokens": 2}
    dresses: list[dict[str, Any]] = [
        {"importance": importance} | plain,
        {"importance": tuple(importance)} | {name: np.float32(value) for name, value in plain.items()},
        {"importance": np.array(importance, dtype=np.float16)}
        | {name: np.array([value]) for name, value in plain.items()},
        {"importance": torch.tensor(importance, dtype=torch.bfloat16, requires_grad=True)}
        | {name: torch.tensor(value, dtype=torch.bfloat16) for name, value in plain.items()},
        {"importance": torch.tensor(importance, requires_grad=True) * 1.0}
        | {name: torch.tensor([value], dtype=torch.float64) for name, value in plain.items()},
        {"importance": torch.tensor([12, 10, 4, 1]) / 4} | plain | {"min_tokens": torch.tensor(2)},
    ]
    plans = [small_cell().plan([Client("one", **dress), good("other")]) for dress in dresses]
    assert all(same(plan, plans[0]) for plan in plans)
    assert not plans[0].dropped


def test_importances_may_differ_in_length() -> None:
    lengths = (4, 1, 3)
    rng = np.random.default_rng(5)
    clients = [good(f"c{m}", importance=rng.random(n), gain=10.0 ** -(8 + m)) for m, n in enumerate(lengths)]
    plan = small_cell(gap=0).plan(clients)
    padded = [np.pad(client.importance, (0, 4 - len(client.importance))) for client in clients]
    problem = problem_of(
        small_cell(), [replace(client, importance=row) for client, row in zip(clients, padded, strict=True)]
    )
    best, _ = brute_force(problem)
    assert plan.ste == pytest.approx(best, rel=1e-9)
    assert all(plan.grants[f"c{m}"].tokens <= n for m, n in enumerate(lengths))


def test_nobody_is_granted_tokens_it_does_not_have() -> None:
    """Even by a rule that grants all N to everyone; the shorter upload counts in the score."""
    clients = [good("long", importance=[1.0] * 50), good("short", importance=[1.0, 1.0])]
    plan = small_cell(solver="full").plan(clients)
    assert [grant.tokens for grant in plan.grants.values()] == [50, 2]
    assert plan.grants["short"].uplink_s < 0.1 * plan.grants["long"].uplink_s
    assert plan.ste == pytest.approx(52 / plan.round_s)


# What clients may hold instead


def test_an_snr_and_a_cqi_stand_for_gains() -> None:
    allocator = small_cell()
    noise = allocator.noise_w_per_hz
    held = [
        good("snr", gain=Snr(12.0)),
        good("elsewhere", gain=Snr(12.0, power_w=0.1, bandwidth_hz=2e5)),
        good("cqi", gain=Cqi(9)),
        good("margin", margin_db=7.0),
    ]
    gains = [
        float(gain_from_snr_db(12.0, 0.2, 1e6, noise)),
        float(gain_from_snr_db(12.0, 0.1, 2e5, noise)),
        float(gain_from_cqi(9, 0.2, 1e6, noise)),
        1e-9 * 10**-0.7,
    ]
    spelled = [replace(client, gain=gain, margin_db=0.0) for client, gain in zip(held, gains, strict=True)]
    plan, expected = allocator.plan(held), allocator.plan(spelled)
    assert not plan.dropped
    assert plan.ste == pytest.approx(expected.ste, rel=1e-12)


def test_a_table_of_utilities_stands_for_importances() -> None:
    allocator = small_cell()
    table = [0.5, 3.5, 5.0, 5.5]
    plan = allocator.plan([good("table", importance=Utility(table)), good("other")])
    expected = allocator.plan([good("table", importance=[3.5, 1.5, 0.5]), good("other")])
    assert same(plan, expected)


@given(st.floats(0, 20), st.floats(0, 1), st.integers(0, 5))
@settings(max_examples=30)
def test_what_is_planned_with_a_margin_holds_at_every_channel_within_it(
    margin_db: float, share: float, seed: int
) -> None:
    problem = family("heterogeneous", 4, seed=seed, tokens=12)
    allocator = allocator_for(problem)
    plan = allocator.plan([replace(client, margin_db=margin_db) for client in clients_of(problem)])
    names = list(plan.grants)
    served = problem.subset([int(name[1:]) for name in names])
    worse = replace(served, gain=served.gain * 10 ** (-share * margin_db / 10))
    evaluation = evaluate(worse, allocation_of(plan, names))
    assert evaluation.feasible
    assert evaluation.ste >= plan.ste * (1 - 1e-9)


def test_a_table_of_payloads_stands_beside_bits_per_token() -> None:
    """For some clients or all, of different lengths; nobody pays for tokens that only others have."""
    allocator = small_cell(gap=0)
    line = [2e5, 3e5, 4e5, 5e5]
    steps = np.array([0.0, 1e5, 2e5, 2.1e5, 2.2e5, 9e5])
    clients = [
        good("line"),
        good("spelled", payload_bits=line, bits_per_token=None, importance=[3.0, 2.0, 1.0]),
        good("steps", payload_bits=steps, importance=[2.0, 1.0, 1.0, 1.0, 1.0]),
    ]
    plan = allocator.plan(clients)
    assert not plan.dropped
    plain = {"gain": 1e-9, "bits_per_token": 1e5, "max_power_w": 0.2, "max_energy_j": np.inf}
    longest = np.array([*line, 6e5, 7e5])
    problem = Problem(
        **plain | {"gain": [1e-9] * 3},
        importance=[[3.0, 2.0, 1.0, 0, 0], [3.0, 2.0, 1.0, 0, 0], [2.0, 1.0, 1.0, 1.0, 1.0]],
        bandwidth_hz=1e6,
        payload_bits=[longest, longest, steps],
    )
    best, tokens = brute_force(problem)
    assert plan.ste == pytest.approx(best, rel=1e-9)
    assert tuple(grant.tokens for grant in plan.grants.values()) == tokens
    alone = allocator.plan([good("line"), good("spelled", payload_bits=line)])
    assert alone.ste == pytest.approx(allocator.plan([good("line"), good("spelled")]).ste, rel=1e-9)


def test_extreme_payloads_stay_within_their_client() -> None:
    """What is fine alone is fine beside a table: rows are spelled out and padded without overflow."""
    clients = [
        good("heavy", bits_per_token=1e40, gain=1e30),
        good("short", importance=[1.0], payload_bits=[2.0**53 - 1, 2.0**53]),
        good("long", importance=np.ones(4096), payload_bits=np.arange(4097.0)),
        good("largest", importance=[1.0], payload_bits=[1e39, 1e40], gain=1e30),
    ]
    plan = small_cell(time_limit_s=0.5).plan(clients)
    assert not plan.dropped
    assert plan.grants["short"].tokens == 1


# Malformed data


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"gain": math.nan}, "gain is malformed, got nan; allowed: finite and > 0"),
    ({"gain": -1.0}, "gain is malformed, got -1;"),
    ({"gain": "1e-9"}, "gain is malformed, got type str"),
    ({"gain": None}, "gain is malformed, got type NoneType"),
    ({"gain": True}, "gain is malformed, got type bool"),
    ({"gain": 1e-9 + 0j}, "gain is malformed, got type complex"),
    ({"gain": 10**400}, "gain is malformed, got an int beyond all floats"),
    ({"gain": [1e-9, 1e-9]}, "gain is malformed, got 2 values"),
    ({"gain": -90.0}, "gain is malformed, got -90"),
    ({"gain": Snr(math.nan)}, "gain is malformed, got nan"),
    ({"gain": Snr(1e9)}, "gain is malformed, got inf"),
    ({"gain": Snr("3")}, "gain.snr_db is malformed, got type str"),
    ({"gain": Cqi(0)}, "gain is malformed, got 0; allowed: finite and > 0"),
    ({"gain": Cqi(16)}, "cqi is malformed, got 16; allowed: whole numbers from 0 to 15"),
    ({"margin_db": math.inf}, "margin_db is malformed, got inf"),
    ({"importance": [1.0, math.nan]}, "importance is malformed, got values from nan to nan"),
    ({"importance": [1.0, -1.0]}, "importance is malformed, got values from -1 to 1"),
    ({"importance": [0.0, 0.0]}, "importance is malformed, got values from 0 to 0"),
    ({"importance": [1e300]}, "importance is malformed, got values from 1e+300 to 1e+300"),
    ({"importance": []}, r"importance is malformed, got shape (0,)"),
    ({"importance": np.ones((2, 2))}, "importance is malformed, got shape (2, 2)"),
    (
        {"importance": np.ones(4097)},
        "importance is malformed, got 4097 values; allowed: real numbers, at most 4096",
    ),
    ({"importance": [[1.0]] * 10}, "importance is malformed, got a list of other things"),
    ({"importance": ["a"]}, "importance is malformed, got a list of other things"),
    ({"importance": b"abc"}, "importance is malformed, got type bytes"),
    ({"importance": {"a": 1.0}}, "importance is malformed, got type dict"),
    ({"importance": Utility([0, 1, 3])}, "utility is malformed, got token 2 adds 2, the one before 1"),
    ({"importance": Utility([0, 0])}, "importance is malformed, got values from 0 to 0"),
    ({"min_tokens": 4}, "min_tokens is malformed, got 4; allowed: at most N = 3"),
    ({"min_tokens": 1.5}, "min_tokens is malformed, got 1.5; allowed: whole numbers"),
    ({"min_tokens": math.nan}, "min_tokens is malformed, got nan"),
    ({"max_power_w": 0}, "max_power_w is malformed, got 0"),
    ({"max_energy_j": -1}, "max_energy_j is malformed, got -1"),
    ({"deadline_s": 0}, "deadline_s is malformed, got 0"),
    ({"overhead_s": math.inf}, "overhead_s is malformed, got inf"),
    ({"payload_bits": [0, 1, 2]}, "payload_bits is malformed, got shape (3,); allowed: (4,): K = 0..N"),
    ({"payload_bits": [0, 1, 2, 2]}, "payload_bits is malformed, got values from 0 to 2; allowed: strictly"),
    ({"payload_bits": [-1, 1, 2, 3]}, "payload_bits is malformed, got values from -1 to 3"),
    ({"payload_bits": [0, 1, 2, math.nan]}, "payload_bits is malformed, got values from nan to nan"),
    ({"payload_bits": np.arange(4098)}, "payload_bits is malformed, got 4098 values"),
    ({"bits_per_token": None}, "bits_per_token is malformed, got type NoneType"),
    ({"bits_per_token": 1e99}, "bits_per_token is malformed, got 1e+99"),
]


@pytest.mark.parametrize(("changes", "words"), MALFORMED, ids=lambda value: str(value)[:40])
def test_malformed_data_drop_their_client_alone(changes: dict[str, Any], words: str) -> None:
    served = [good("a"), good("b", gain=1e-11)]
    allocator = small_cell()
    plan = allocator.plan([served[0], good("bad", **changes), served[1]])
    (dropped,) = plan.dropped
    assert (dropped.position, dropped.id, dropped.cause) == (1, "bad", "malformed")
    assert dropped.reason.startswith(f"client 'bad': {words}")
    assert dropped.reason.endswith(".")
    assert plan.grants == allocator.plan(served).grants
    with pytest.raises(ProblemError) as caught:
        replace(allocator, strict=True).plan([served[0], good("bad", **changes), served[1]])
    assert str(caught.value).startswith("client 'bad', ")


def test_tensors_that_cannot_be_read_drop_their_client() -> None:
    torch = pytest.importorskip("torch")
    strange = [
        torch.ones(3, device="meta"),
        torch.ones(3).to_sparse(),
        torch.ones(3, dtype=torch.bool),
        torch.ones(3, dtype=torch.complex64),
        torch.ones(5000),
    ]
    clients = [good(f"c{m}", importance=value) for m, value in enumerate(strange)]
    plan = small_cell().plan([*clients, good("ok")])
    assert list(plan.grants) == ["ok"]
    assert [dropped.cause for dropped in plan.dropped] == ["malformed"] * len(strange)


def test_all_bearers_of_an_id_are_dropped() -> None:
    plan = small_cell().plan([good("a"), good("twin"), good("b"), good("twin", gain=1e-7)])
    assert list(plan.grants) == ["a", "b"]
    assert [(dropped.position, dropped.id) for dropped in plan.dropped] == [(1, "twin"), (3, "twin")]
    assert plan.dropped[0].reason == (
        "client 'twin': id is malformed, got 2 clients of that id; allowed: unique ids."
    )


@pytest.mark.parametrize("name", [None, 1.5, True, ("a",), "x" * 201, np.ones(2), [1]], ids=repr)
def test_a_client_without_a_usable_id_is_named_by_its_position(name: Any) -> None:
    plan = small_cell().plan([good("a"), Client(name, **GOOD)])
    assert plan.dropped[0][:3] == (1, None, "malformed")
    assert plan.dropped[0].reason.startswith("client at position 1: id is malformed, got type ")
    assert plan.dropped[0].reason.endswith("allowed: a whole number, or text of up to 200 characters.")


def test_whole_numbers_of_numpy_are_ids() -> None:
    plan = small_cell().plan(
        [Client(np.int64(7), **GOOD), Client(np.int32(7), **GOOD), Client(np.int8(8), **GOOD)]
    )
    assert list(plan.grants) == [8]
    assert [type(name) for name in plan.grants] == [int]
    assert [dropped.id for dropped in plan.dropped] == [7, 7]


def test_entries_that_are_no_clients_are_dropped() -> None:
    plan = small_cell().plan([good("a"), {"id": "b"}, None])  # type: ignore[list-item]
    assert [dropped.reason for dropped in plan.dropped] == [
        "client at position 1: entry is malformed, got type dict; allowed: a Client.",
        "client at position 2: entry is malformed, got type NoneType; allowed: a Client.",
    ]


def test_a_key_of_a_mapping_is_its_clients_id() -> None:
    plan = small_cell().plan({"a": good("a"), "b": good("c"), "d": 3})  # type: ignore[dict-item]
    assert list(plan.grants) == ["a"]
    assert [dropped.reason for dropped in plan.dropped] == [
        "client 'b': id is malformed, got one that is not its key; allowed: the key in the mapping.",
        "client 'd': entry is malformed, got type int; allowed: a Client.",
    ]


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.lists(st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=2)), max_size=4),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.one_of(st.floats(), st.none()).map(Snr),
    st.integers(-1, 16).map(Cqi),
    st.tuples(st.lists(st.floats(-1, 1), max_size=4), st.integers(-1, 2)).map(Utility._make),
)


@given(
    st.lists(
        st.tuples(st.sampled_from((*PER_CLIENT, "margin_db", "payload_bits")), JUNK), min_size=1, max_size=4
    )
)
@settings(max_examples=150)
def test_whatever_comes_in_a_feasible_plan_comes_out(junk: list[tuple[str, Any]]) -> None:
    clients = [good("a"), *(good(f"junk{m}", **{name: value}) for m, (name, value) in enumerate(junk))]
    plan = small_cell().plan(clients)
    assert "a" in plan.grants or plan.dropped
    assert len(plan.grants) + len(plan.dropped) == len(clients)
    assert plan.quality is Quality.OPTIMAL
    assert plan.ste <= plan.bound
    assert sum(grant.bandwidth_hz for grant in plan.grants.values()) <= 1e6 * (1 + 1e-6)
    assert all(math.isfinite(value) for grant in plan.grants.values() for value in grant[:8])


@pytest.mark.parametrize("overhead_s", [2.0**exponent for exponent in range(40, 52)])
def test_a_bound_is_not_below_its_plan_when_an_overhead_dwarfs_the_upload(overhead_s: float) -> None:
    plan = small_cell().plan([good("a"), good("far", overhead_s=overhead_s)])
    assert plan.ste <= plan.bound


def test_collections_that_are_none_are_refused() -> None:
    for given_ in (3, None, "abc", good("a")):
        with pytest.raises(
            ProblemError, match=r"Allocator.plan: got type .* allowed: a mapping or sequence of Client"
        ):
            small_cell().plan(given_)  # type: ignore[arg-type]


def test_too_many_clients_are_refused_before_they_are_read() -> None:
    endless = (good(str(count)) for count in iter(int, 1))
    with pytest.raises(ProblemError, match="got more than 3 clients; allowed: at most 3"):
        small_cell(most_clients=3).plan(endless)


# Clients that cannot be served


def test_clients_that_are_infeasible_alone_are_dropped_and_the_rest_is_optimal() -> None:
    served = [good("a"), good("b", gain=1e-11)]
    poor = good("poor", max_energy_j=1e-9)
    late = good("late", deadline_s=1e-9)
    plan = small_cell().plan([poor, served[0], late, served[1]])
    assert [(d.position, d.id, d.cause) for d in plan.dropped] == [
        (0, "poor", "energy"),
        (2, "late", "deadline"),
    ]
    assert "takes more than" in plan.dropped[0].reason
    assert "the energy budget gives 1e-09 J" in plan.dropped[0].reason
    assert "full power until the deadline gives 2e-10 J" in plan.dropped[1].reason
    result = solve(problem_of(small_cell(), served))
    assert list(plan.grants) == ["a", "b"]
    assert (plan.ste, plan.bound) == (result.ste, result.bound)


def test_of_clients_that_are_infeasible_together_the_largest_set_is_served() -> None:
    """Ten equal clients whose deadline needs a bit less than a fifth of the band each, and a hopeless one."""
    deadline_s, snr_of_share = 0.2, 1e-9 * 0.2 / (THERMAL_NOISE_W_PER_HZ * 2e5)
    bits = 0.999 * deadline_s * 2e5 * math.log2(1 + snr_of_share)
    hasty = [good(f"c{m}", deadline_s=deadline_s, bits_per_token=bits / 3) for m in range(10)]
    plan = small_cell().plan([*hasty, good("poor", max_energy_j=1e-9), good("bad", gain=0)])
    assert len(plan.grants) == 5
    assert plan.quality is Quality.OPTIMAL
    assert [dropped.cause for dropped in plan.dropped] == ["bandwidth"] * 5 + ["energy", "malformed"]
    positions = [dropped.position for dropped in plan.dropped]
    assert positions == sorted(positions)
    assert "together need 1.99" in plan.dropped[0].reason
    assert "1e+06 Hz is available; it is not among the 5 of least need" in plan.dropped[0].reason


@pytest.mark.parametrize("clients", [[], {}, [good("poor", max_energy_j=1e-9), good("bad", gain=0)]])
def test_a_round_without_anybody_is_empty(clients: Any) -> None:
    plan = small_cell().plan(clients)
    assert plan.grants == {}
    assert (plan.ste, plan.bound, plan.gap, plan.round_s) == (0, 0, 0, 0)
    assert (plan.stop, plan.quality, plan.message) == (Stop.CONVERGED, Quality.OPTIMAL, "")
    assert len(plan.dropped) == len(clients)
    assert small_cell().plan([good("a")], start=plan).grants  # nothing to start from


# Rounds, threads, time


@pytest.fixture
def starts() -> Iterator[list[Allocation | None]]:
    """The starts that a registered solver named `spy` was given."""
    seen: list[Allocation | None] = []

    @register("spy")
    def spy(problem: Problem, request: Request) -> Answer:
        """Notes its start."""
        seen.append(request.start)
        return Answer(solve(problem, "shi").allocation)

    yield seen
    unregister("spy")


def test_a_round_starts_from_the_one_before_where_ids_agree(starts: list[Allocation | None]) -> None:
    allocator = small_cell(solver="spy")
    first = allocator.plan([good("a"), good("b", gain=1e-11), good("gone")])
    second = allocator.plan([good("new", max_power_w=0.3), good("b", gain=1e-11), good("a")], start=first)
    assert second.grants
    given_ = starts[-1]
    assert given_ is not None
    kept = [first.grants["b"], first.grants["a"]]
    assert given_.tokens.tolist()[1:] == [grant.tokens for grant in kept]
    assert given_.bandwidth_hz.tolist()[1:] == [grant.bandwidth_hz for grant in kept]
    assert given_.tokens[0] == int(np.median([grant.tokens for grant in kept]))
    assert given_.power_w[0] == 0.3
    allocator.plan([good("stranger")], start=first)
    assert starts[-1] is None


def test_a_start_changes_the_plan_within_the_gap_only() -> None:
    plan = None
    for seed in range(3):
        problem = family("paper", 8, seed=seed, tokens=40)
        allocator = allocator_for(problem)
        plan, cold = allocator.plan(clients_of(problem), start=plan), allocator.plan(clients_of(problem))
        assert plan.quality is cold.quality is Quality.OPTIMAL
        assert plan.ste == pytest.approx(cold.ste, rel=2e-4)


def test_only_a_plan_can_be_a_start() -> None:
    with pytest.raises(OptionError, match="start of type dict; allowed: a Plan"):
        small_cell().plan([], start={})  # type: ignore[arg-type]


def test_threads_that_share_an_allocator_get_the_plans_of_one() -> None:
    rounds = [family("heterogeneous", 10, seed=seed, tokens=60) for seed in range(12)]
    allocator = Allocator(bandwidth_hz=rounds[0].bandwidth_hz)
    alone = [allocator.plan(clients_of(problem)) for problem in rounds]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda problem: allocator.plan(clients_of(problem)), rounds * 3))
    assert all(same(plan, alone[index % 12]) for index, plan in enumerate(together))


@pytest.mark.parametrize("limit_s", [1e-9, 1e-4, 1e-3])
@pytest.mark.parametrize("solver", ["exact", "greedy", "alternating", "shi"])
def test_out_of_time_a_plan_is_still_feasible(solver: str, limit_s: float) -> None:
    problem = family("extreme", 30, seed=2)
    plan = allocator_for(problem, solver=solver, time_limit_s=limit_s).plan(clients_of(problem))
    names = list(plan.grants)
    served = problem.subset([int(name[1:]) for name in names])
    evaluation = evaluate(served, allocation_of(plan, names))
    assert evaluation.feasible
    assert evaluation.ste == plan.ste <= plan.bound
    assert plan.gap == plan.bound / plan.ste - 1
    assert plan.seconds < limit_s + 2.0


def test_an_out_of_time_plan_of_exact_keeps_a_proved_gap() -> None:
    problem = family("paper", 30, seed=2)
    plan = allocator_for(problem, time_limit_s=1e-9).plan(clients_of(problem))
    best = solve(problem)
    assert plan.stop is Stop.TIME_LIMIT
    assert plan.ste <= best.ste
    assert best.ste <= plan.bound < math.inf


# A solver that fails


@pytest.fixture
def broken() -> Iterator[None]:
    @register("raises", always_feasible=False)
    def raises(problem: Problem, request: Request) -> Answer:
        """Always fails."""
        raise ZeroDivisionError("no luck")

    @register("breaks", proves="bound", always_feasible=False)
    def breaks(problem: Problem, request: Request) -> Answer:
        """Breaks the band, with a bound that holds."""
        fine = solve(problem)
        assert fine.allocation is not None
        wide = Allocation(fine.allocation.tokens, 2 * fine.allocation.bandwidth_hz, fine.allocation.power_w)
        return Answer(wide, bound=fine.bound)

    yield
    unregister("raises")
    unregister("breaks")


@pytest.mark.usefixtures("broken")
def test_where_a_solver_fails_a_named_rule_stands_in() -> None:
    clients = [good("a"), good("b", gain=1e-11)]
    with pytest.warns(RuntimeWarning, match="'raises' failed its trial round .ZeroDivisionError: no luck"):
        cell = small_cell(solver="raises")
    plan = cell.plan(clients)
    assert plan.grants == small_cell(solver="shi").plan(clients).grants
    assert (plan.solver, plan.stop, plan.quality) == ("shi", Stop.ERROR, Quality.FEASIBLE)
    assert (plan.bound, plan.gap) == (math.inf, math.inf)
    assert "no proved gap" in str(plan)
    assert plan.message == (
        "Solver 'raises' ended with error and no feasible allocation: ZeroDivisionError: no luck; "
        "the rule 'shi' stood in, this is its allocation."
    )


@pytest.mark.usefixtures("broken")
def test_an_infeasible_allocation_is_replaced_and_its_bound_kept() -> None:
    clients = [good("a"), good("b", gain=1e-11)]
    with pytest.warns(RuntimeWarning, match="'breaks' failed its trial round .*quality = infeasible"):
        cell = small_cell(solver="breaks")
    plan, best = cell.plan(clients), small_cell().plan(clients)
    assert plan.solver == "shi"
    assert plan.ste <= best.ste <= plan.bound == best.bound
    assert plan.gap == plan.bound / plan.ste - 1


@pytest.mark.usefixtures("broken")
def test_when_the_fallback_fails_too_nobody_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stsflora.solver.allocator.plan_problem.FALLBACK", "breaks")
    with pytest.warns(RuntimeWarning, match="'raises'"):
        cell = small_cell(solver="raises")
    plan = cell.plan([good("a"), good("bad", gain=0)])
    assert plan.grants == {}
    assert [dropped.cause for dropped in plan.dropped] == ["solver", "malformed"]
    assert "client 'a': Solver 'raises' ended with error" in plan.dropped[0].reason
    assert "'breaks' stood in, which found none either" in plan.dropped[0].reason
    assert (plan.quality, plan.stop, plan.gap) == (Quality.NONE, Stop.ERROR, math.inf)


# Settings


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"bandwidth_hz": -1}, ProblemError, "bandwidth_hz: got -1"),
        ({"noise_w_per_hz": 0}, ProblemError, "noise_w_per_hz: got 0"),
        ({"extra_tokens": 0.5}, ProblemError, "extra_tokens"),
        ({"solver": "best"}, UnknownNameError, "'best'"),
        ({"options": {"speed": 9}}, OptionError, "option 'speed'"),
        ({"options": {"max_nodes": 0}}, OptionError, "max_nodes=0"),
        ({"gap": -1}, OptionError, "gap=-1"),
        ({"seed": -1}, OptionError, "seed=-1"),
        ({"time_limit_s": 0}, OptionError, "time_limit_s=0"),
        ({"most_tokens": 0}, OptionError, "most_tokens=0"),
        ({"most_clients": 0}, OptionError, "most_clients=0"),
    ],
)
def test_wrong_settings_are_errors_at_once(
    settings: dict[str, Any], error: type[StsfloraError], words: str
) -> None:
    with pytest.raises(error, match=words):
        Allocator(**({"bandwidth_hz": 1e6} | settings))


def test_options_reach_the_solver() -> None:
    plan = small_cell(solver="fixed", options={"tokens": 2}).plan([good("a"), good("b")])
    assert [grant.tokens for grant in plan.grants.values()] == [2, 2]


def test_plans_and_allocators_travel_between_processes() -> None:
    allocator = pickle.loads(pickle.dumps(small_cell()))
    plan = allocator.plan([good("a"), good("bad", gain=0)])
    assert same(pickle.loads(pickle.dumps(plan)), plan)
    assert same(copy.deepcopy(plan), plan)


# Overhead: `python -m stsflora.benchmarks.studies.drop_in` times it


def test_the_import_loads_nothing_but_numpy() -> None:
    code = "import sys; import stsflora.solver; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    ours = {name for name in loaded.split() if not name.startswith("_")}
    assert ours - set(sys.stdlib_module_names) == {"numpy", "stsflora"}
