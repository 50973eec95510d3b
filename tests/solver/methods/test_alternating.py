"""The alternating scheme: never down, always feasible, stationary, its options and its limits."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from helpers.instances import feasible_problem, small_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from stsflora.benchmarks.families import family
from stsflora.solver import Allocation, OptionError, Problem, Quality, Result, Stop, evaluate, solve
from stsflora.solver.physics.demand import Demand
from stsflora.solver.physics.uplink import rate_bps
from stsflora.solver.primal.blocks import power_block, token_block
from stsflora.solver.reference import references

BLOCKS = ("power", "bandwidth", "tokens")
HOLDS = [held for size in range(4) for held in itertools.combinations(BLOCKS, size)]


def alternate(problem: Problem, **arguments: Any) -> Result:
    result = solve(problem, "alternating", **arguments)
    assert result.stop is not Stop.ERROR, result.message
    assert result.evaluation is not None
    assert result.evaluation.violation <= 1e-9
    stes = [line.value for line in result.trace]
    assert all(earlier <= later for earlier, later in itertools.pairwise(stes))
    assert stes[-1] == pytest.approx(result.ste, rel=1e-12)
    assert [line.iteration for line in result.trace] == list(range(len(stes)))
    return result


@settings(max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["min_tokens", "full", "random"]),
    st.sampled_from(HOLDS),
    st.sampled_from(["exact", "paper"]),
)
def test_feasible_and_never_down(seed: int, starts: str, hold: tuple[str, ...], rule: str) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    alternate(problem, starts=starts, hold=hold, token_rule=rule, seed=seed)


@pytest.mark.parametrize("name", ["paper", "round_time", "energy_tight", "deadline_tight", "heterogeneous"])
@pytest.mark.parametrize("clients", [5, 40])
def test_converges_within_few_sweeps(name: str, clients: int) -> None:
    """The paper reports five outer iterations (figure 8a)."""
    result = alternate(family(name, clients, 0), starts="full")
    assert result.stop is Stop.CONVERGED
    assert result.quality is Quality.STATIONARY
    assert len(result.trace) - 1 <= 30


@given(st.integers(0, 2**32 - 1))
def test_no_block_improves_a_stationary_point(seed: int) -> None:
    problem = feasible_problem(np.random.default_rng(seed))
    result = alternate(problem, tolerance=0.0)
    assert result.stop is Stop.CONVERGED
    point = result.allocation
    assert point is not None
    power = power_block(problem, point.tokens, point.bandwidth_hz)
    stronger = evaluate(problem, Allocation(point.tokens, point.bandwidth_hz, power))
    rate = rate_bps(point.bandwidth_hz, power, problem.gain, problem.noise_w_per_hz)
    fuller = evaluate(problem, Allocation(token_block(problem, rate, power), point.bandwidth_hz, power))
    assert max(stronger.ste, fuller.ste) <= result.ste * (1 + 1e-9)


def test_with_tokens_held_and_slack_energy_the_round_is_the_least() -> None:
    problem = family("round_time", 8, 0, max_energy_j=np.inf, deadline_s=np.inf)
    result = alternate(problem, starts="full", hold="tokens", tolerance=0.0)
    tokens = np.full(8, problem.tokens)
    np.testing.assert_array_equal(result.allocation.tokens, tokens)  # type: ignore[union-attr]
    assert result.evaluation is not None
    assert result.evaluation.round_s == pytest.approx(Demand(problem).least_round_s(tokens), rel=1e-9)


@pytest.mark.parametrize("hold", BLOCKS)
def test_held_blocks_stay_as_they_start(hold: str) -> None:
    problem = family("round_time", 6, 1)
    start = alternate(problem, hold=BLOCKS, starts="random").allocation
    end = alternate(problem, hold=hold, starts="random").allocation
    field = {"power": "power_w", "bandwidth": "bandwidth_hz", "tokens": "tokens"}
    for block, name in field.items():
        same = np.array_equal(getattr(start, name), getattr(end, name))
        assert same or block != hold
    assert not all(np.array_equal(getattr(start, name), getattr(end, name)) for name in field.values())


def test_holding_everything_returns_the_start() -> None:
    problem = small_problem()
    wanted = Allocation([1, 2, 3], [2e5, 3e5, 4e5], [0.1, 0.05, 0.2])
    result = alternate(problem, start=wanted, hold=BLOCKS)
    assert result.ste == evaluate(problem, wanted).ste
    assert result.allocation is not None
    np.testing.assert_array_equal(result.allocation.power_w, wanted.power_w)


def test_a_given_start_is_never_lost() -> None:
    problem = family("round_time", 10, 3)
    first = alternate(problem, starts="random", max_iterations=1)
    again = alternate(problem, start=first)
    assert [row["start"] for row in again.stats["starts"]] == ["given"]
    assert again.ste >= first.ste
    both = alternate(problem, start=first, starts=("full", "random"))
    assert [row["start"] for row in both.stats["starts"]] == ["given", "full", "random"]
    assert both.ste >= again.ste


def test_the_best_of_several_starts_is_returned() -> None:
    problem = family("round_time", 10, 0)
    result = alternate(problem, starts=("min_tokens", "full", "random", "random"), seed=5)
    rows = result.stats["starts"]
    assert [row["start"] for row in rows] == ["min_tokens", "full", "random", "random"]
    assert result.ste == pytest.approx(max(row["ste"] for row in rows), rel=1e-12)
    assert rows[2]["ste"] != rows[3]["ste"]
    assert result.stats["iterations"] == sum(row["iterations"] for row in rows)
    default = alternate(problem)
    assert [row["start"] for row in default.stats["starts"]] == ["min_tokens", "full"]


def test_a_replaced_start_is_reported() -> None:
    problem = small_problem(deadline_s=0.2, gain=[1e-9, 1e-9, 1e-13])
    result = alternate(problem, starts="full")
    assert [row["bandwidth_replaced"] for row in result.stats["starts"]] == [True]


def test_random_starts_follow_the_seed() -> None:
    problem = family("round_time", 10, 0)
    first = [alternate(problem, starts="random", seed=seed).trace[0].value for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize(
    ("block", "answer", "rule", "held"),
    [
        ("power_block", lambda problem, *_: 1e-3 * problem.max_power_w, "exact", BLOCKS),
        ("bandwidth_block", lambda problem, *_: np.geomspace(1, 1e3, problem.clients), "exact", "bandwidth"),
        ("bandwidth_block", lambda *_: None, "exact", "bandwidth"),
        ("token_block", lambda problem, *_: problem.min_tokens, "exact", BLOCKS),
        ("largest_tokens", lambda problem, *_: 0 * problem.min_tokens, "paper", "tokens"),
    ],
)
def test_a_block_that_loses_is_not_followed(
    block: str, answer: object, rule: str, held: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rounding makes a block look worse than its start, that is as good as holding it."""
    problem = family("round_time", 10, 0)
    without = alternate(problem, starts="full", hold=held)
    monkeypatch.setattr(f"stsflora.solver.methods.alternating.{block}", answer)
    assert alternate(problem, starts="full", token_rule=rule).ste == without.ste


def test_stops_at_the_iteration_limit() -> None:
    problem = family("round_time", 20, 0)
    result = alternate(problem, starts="full", max_iterations=1, tolerance=0.0)
    assert result.stop is Stop.ITERATION_LIMIT
    assert result.quality is Quality.FEASIBLE
    assert len(result.trace) == 2


def test_stops_at_the_time_limit() -> None:
    problem = family("round_time", 20, 0)
    result = alternate(problem, time_limit_s=1e-9)
    assert result.stop is Stop.TIME_LIMIT
    assert result.quality is Quality.FEASIBLE
    assert len(result.stats["starts"]) == 1


def test_the_papers_rule_keeps_tokens_that_the_bandwidths_tie() -> None:
    """After the bandwidth block all clients end together, so eq. 41 has no room to add a token."""
    problem = family("round_time", 10, 0, max_energy_j=np.inf, deadline_s=np.inf)
    tied = alternate(problem, starts="min_tokens", token_rule="paper")
    free = alternate(problem, starts="min_tokens")
    assert tied.allocation is not None
    np.testing.assert_array_equal(tied.allocation.tokens, problem.min_tokens)
    assert free.ste > tied.ste


def test_a_stationary_point_need_not_be_optimal() -> None:
    """Energy budgets tie power to bandwidth: no block moves alone, together they gain a third."""
    reference = next(reference for reference in references() if reference.name == "energy shared out")
    result = alternate(reference.problem)
    assert result.quality is Quality.STATIONARY
    assert result.ste == pytest.approx(0.75 * reference.value)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (
            {"starts": "middle"},
            "solver 'alternating': got starts='middle'; allowed: min_tokens, full, random. "
            "Name one or several of these.",
        ),
        (
            {"starts": ()},
            "solver 'alternating': got starts=() and no start; allowed: min_tokens, full, random. ",
        ),
        (
            {"hold": ("power", "gain")},
            "solver 'alternating': got hold='gain'; allowed: power, bandwidth, tokens. ",
        ),
        ({"token_rule": "best"}, "solver 'alternating': got token_rule='best'; allowed: exact or paper. "),
        ({"max_iterations": 0}, "solver 'alternating': got max_iterations=0; allowed: a whole number >= 1. "),
        ({"tolerance": -1.0}, "solver 'alternating': got tolerance=-1.0; allowed: a finite number >= 0. "),
        (
            {"iterations": 3},
            "solver 'alternating': got option 'iterations'; allowed: starts, hold, token_rule, "
            "max_iterations, tolerance. Correct the name.",
        ),
    ],
)
def test_refuses_in_words(option: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError) as caught:
        solve(small_problem(), "alternating", **option)
    assert str(caught.value).startswith(text)


def test_time_grows_with_the_clients() -> None:
    """A hundred times the clients take far less than ten thousand times as long, sweep by sweep."""
    seconds = {}
    for clients in (30, 3000):
        problem = family("round_time", clients, 0)
        results = [alternate(problem, starts="full", max_iterations=3, tolerance=0.0) for _ in range(3)]
        seconds[clients] = min(result.seconds / (len(result.trace) - 1) for result in results)
    assert seconds[3000] <= 200 * seconds[30]
