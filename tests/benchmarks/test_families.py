"""The named families: what each promises, for every size and seed."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest

from stsflora.benchmarks.families import _fair_share_gain, fading_sequence, families, family
from stsflora.solver import OptionError, Problem, ProblemError, UnknownNameError
from stsflora.solver.feasibility import diagnose
from stsflora.solver.physics.demand import Demand

NAMES = (
    "paper",
    "round_time",
    "energy_tight",
    "deadline_tight",
    "min64",
    "heterogeneous",
    "steep",
    "flat",
    "ties",
    "extreme",
    "infeasible",
)
FEASIBLE = tuple(name for name in NAMES if name != "infeasible")
SIZES = (1, 2, 5, 20, 100)

FINGERPRINTS = {
    "paper": 222.9603878576445,
    "round_time": 225.62206825592648,
    "energy_tight": 13.409368637977877,
    "deadline_tight": 103.35401457747889,
    "min64": 309.87003512908586,
    "heterogeneous": -218.54111458381027,
    "steep": -381.0087519446475,
    "flat": 385.1845639655485,
    "ties": 142.4752468380184,
    "extreme": 276.97860767214195,
    "infeasible": -13.245685584854016,
}


FIELDS = (
    *("gain", "importance", "bits_per_token", "bandwidth_hz", "max_power_w", "max_energy_j"),
    *("deadline_s", "overhead_s", "min_tokens", "extra_tokens", "noise_w_per_hz"),
)
"""Of a token problem."""


def fingerprint(problem: Problem) -> float:
    """One number that moves when any field of any client does, the same on every processor to 1e-12."""
    total = 0.0
    assert problem.is_plain
    for place, name in enumerate(FIELDS, start=1):
        numbers = np.ravel(np.asarray(getattr(problem, name), dtype=np.float64))
        positive = np.isfinite(numbers) & (numbers > 0)
        order = np.arange(1, len(numbers) + 1)
        total += place * float(
            np.sum((order * np.log(numbers, where=positive, out=0 * order * 1.0))[positive])
        )
    return total


def differing(one: Problem, other: Problem) -> set[str]:
    theirs = other.as_dict()
    return {name for name, value in one.as_dict().items() if not np.array_equal(value, theirs[name])}


def common_tokens_curve(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """STE and round time of every common K >= K_min with the best bandwidths; nan where it does not fit."""
    demand = Demand(problem)
    kept = np.cumsum(problem.importance.sum(axis=0))
    round_s = np.full(problem.tokens, np.nan)
    for count in range(int(problem.min_tokens.max()), problem.tokens + 1):
        shortest_s = demand.least_round_s(np.full(problem.clients, count))
        round_s[count - 1] = shortest_s if np.isfinite(shortest_s) else np.nan
    return kept / round_s, round_s


def best_common(problem: Problem) -> int:
    return int(np.nanargmax(common_tokens_curve(problem)[0])) + 1


class TestEveryFamily:
    def test_names(self) -> None:
        assert families() == NAMES

    @pytest.mark.parametrize("name", NAMES)
    def test_shape_and_sorting(self, name: str) -> None:
        problem = family(name, 7, 0)
        assert (problem.clients, problem.tokens, problem.extra_tokens) == (7, 196, 2)
        assert family(name, 7, 0, tokens=30).importance.shape == (7, 30)

    @pytest.mark.parametrize("name", NAMES)
    def test_same_arguments_same_instance(self, name: str) -> None:
        assert family(name, 6, 4) == family(name, 6, 4)
        assert "gain" in differing(family(name, 6, 4), family(name, 6, 5))
        assert not np.isin(family(name, 5, 4).gain, family(name, 6, 4).gain).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_instances_have_not_moved(self, name: str) -> None:
        """Fails when a change moves published instances; then benchmark results start anew."""
        assert fingerprint(family(name, 3, 1, tokens=5)) == pytest.approx(FINGERPRINTS[name], rel=1e-10)

    def test_other_process_same_instance(self) -> None:
        code = (
            "from stsflora.benchmarks.families import family\n"
            "print(family('heterogeneous', 4, 9).gain.tolist())"
        )
        environment = {**os.environ, "PYTHONHASHSEED": "12345"}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == str(family("heterogeneous", 4, 9).gain.tolist())

    @pytest.mark.parametrize("clients", SIZES)
    @pytest.mark.parametrize("name", FEASIBLE)
    def test_feasible(self, name: str, clients: int) -> None:
        for seed in range(20):
            assert diagnose(family(name, clients, seed)) is None, seed

    @pytest.mark.parametrize("tokens", [1, 2, 12, 300])
    @pytest.mark.parametrize("name", FEASIBLE)
    def test_feasible_at_other_token_counts(self, name: str, tokens: int) -> None:
        for seed in range(5):
            assert diagnose(family(name, 1 + 2 * seed, seed, tokens=tokens)) is None, seed

    def test_feasible_with_many_clients(self) -> None:
        for name in FEASIBLE:
            assert diagnose(family(name, 3000, 0, tokens=8)) is None, name

    @pytest.mark.slow
    @pytest.mark.parametrize("name", NAMES)
    def test_a_hundred_thousand_clients_in_a_gigabyte(self, name: str) -> None:
        tracemalloc.start()
        problem = family(name, 100_000, 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1e9
        assert (diagnose(problem) is None) == (name != "infeasible")


class TestPaper:
    def test_numbers(self) -> None:
        problem = family("paper", 100, 0)
        assert problem.bandwidth_hz == 50e6
        assert set(problem.bits_per_token) == {64 * 768 * 32}
        assert (set(problem.max_power_w), set(problem.max_energy_j)) == ({0.2}, {0.8})
        assert (set(problem.min_tokens), set(problem.overhead_s)) == ({1}, {0.0})
        assert problem.noise_w_per_hz == pytest.approx(3.98e-21, rel=1e-3)
        np.testing.assert_allclose(problem.importance.sum(axis=1), 64.0, rtol=1e-12)

    def test_bandwidth_grows_with_clients_beyond_a_hundred(self) -> None:
        assert [family("paper", m, 0, tokens=2).bandwidth_hz for m in (1, 100, 250)] == [50e6, 50e6, 125e6]

    def test_attention_is_uneven_but_not_peaked(self) -> None:
        tenth = family("paper", 500, 0).importance[:, :20].sum(axis=1) / 64.0
        assert 0.25 < tenth.min() < 0.4 < np.median(tenth) < 0.55 < tenth.max() < 0.75

    def test_selection_plans_with_196_tokens_at_most(self) -> None:
        """More would leave nobody who stays long enough."""
        few, usual, many = (family("paper", 30, 0, tokens=count).gain for count in (12, 196, 400))
        np.testing.assert_array_equal(many, usual)
        assert not np.array_equal(few, usual)

    @pytest.mark.parametrize("clients", SIZES)
    @pytest.mark.parametrize("name", ["paper", "round_time", "min64", "steep", "flat", "ties"])
    def test_even_all_tokens_are_feasible(self, name: str, clients: int) -> None:
        for seed in range(5):
            assert diagnose(family(name, clients, seed, min_tokens=196)) is None

    def test_deadlines_are_slack_at_the_optimum(self) -> None:
        problem = family("paper", 20, 0)
        curve, round_s = common_tokens_curve(problem)
        assert np.all(problem.deadline_s > 2 * round_s[np.nanargmax(curve)])

    @pytest.mark.parametrize(
        ("name", "changed"),
        [
            ("round_time", {"overhead_s"}),
            ("energy_tight", {"max_energy_j"}),
            ("deadline_tight", {"deadline_s", "importance"}),
            ("min64", {"min_tokens"}),
            ("steep", {"importance"}),
            ("flat", {"importance"}),
            ("ties", {"gain", "deadline_s", "importance"}),
            ("extreme", {"gain", "deadline_s", "max_energy_j", "max_power_w"}),
        ],
    )
    def test_a_family_changes_what_its_name_says(self, name: str, changed: set[str]) -> None:
        assert differing(family("paper", 9, 3), family(name, 9, 3)) == changed


class TestRegimes:
    """Where the best common K lies, by scanning all of them with the closed-form round time."""

    @pytest.mark.parametrize("seed", range(3))
    def test_at_the_least_tokens(self, seed: int) -> None:
        assert best_common(family("steep", 20, seed)) <= 2
        assert best_common(family("min64", 20, seed)) == 64

    @pytest.mark.parametrize("seed", range(3))
    def test_interior(self, seed: int) -> None:
        paper, slow, even = (best_common(family(name, 20, seed)) for name in ("paper", "round_time", "flat"))
        assert 2 <= paper <= 10
        assert 15 <= slow <= 100
        assert 10 <= even <= 150

    @pytest.mark.parametrize("seed", range(3))
    def test_overhead_is_of_the_order_of_the_upload(self, seed: int) -> None:
        problem = family("round_time", 50, seed)
        assert np.all((problem.overhead_s > 0.4) & (problem.overhead_s < 1.4))
        assert len(np.unique(problem.overhead_s)) == 50
        curve, round_s = common_tokens_curve(problem)
        assert 0.2 < problem.overhead_s.mean() / round_s[np.nanargmax(curve)] < 0.8

    @pytest.mark.parametrize("clients", [1, 5, 100])
    @pytest.mark.parametrize("seed", range(3))
    def test_energy_binds_in_every_round(self, clients: int, seed: int) -> None:
        """E < P t for the shortest round already, hence for all."""
        problem = family("energy_tight", clients, seed)
        shortest_s = Demand(problem).least_round_s(problem.min_tokens)
        assert np.all(problem.max_energy_j < problem.max_power_w * shortest_s)
        unlimited = replace(problem, max_energy_j=np.full(clients, np.inf))
        assert np.nanmax(common_tokens_curve(problem)[0]) < 0.95 * np.nanmax(
            common_tokens_curve(unlimited)[0]
        )

    @pytest.mark.parametrize("clients", [5, 20, 100])
    @pytest.mark.parametrize("seed", range(3))
    def test_deadlines_cut_the_best_round_short(self, clients: int, seed: int) -> None:
        problem = family("deadline_tight", clients, seed)
        patient = replace(problem, deadline_s=np.full(clients, np.inf))
        curve, round_s = common_tokens_curve(patient)
        assert np.mean(problem.deadline_s < round_s[np.nanargmax(curve)]) > 0.5
        assert np.nanmax(common_tokens_curve(problem)[0]) < 0.98 * np.nanmax(curve)
        assert diagnose(replace(problem, deadline_s=problem.deadline_s / 4)) is not None

    def test_steepness_is_ordered(self) -> None:
        first = {name: family(name, 200, 0).importance[:, 0] / 64 for name in ("flat", "paper", "steep")}
        assert first["flat"].max() < first["paper"].min() < first["paper"].max() < first["steep"].min()


class TestHeterogeneous:
    def test_every_client_has_its_own(self) -> None:
        problem = family("heterogeneous", 400, 0)
        for field in ("gain", "max_power_w", "max_energy_j", "deadline_s"):
            assert len(np.unique(getattr(problem, field))) == 400, field
        assert set(problem.min_tokens) == set(range(1, 50))
        batches = problem.importance.sum(axis=1)
        assert set(np.round(batches)) == {8, 16, 32, 64, 128}
        per_image = problem.bits_per_token / np.round(batches)
        assert set(per_image) == {w * b for w in (384, 768, 1024) for b in (8, 16, 32)}


class TestTies:
    def test_clients_tie(self) -> None:
        problem = family("ties", 20, 0)
        for name in FIELDS:
            value = getattr(problem, name)
            if isinstance(value, np.ndarray) and value.ndim == 1:
                assert len(np.unique(value)) == 1, name
        assert len(np.unique(problem.importance, axis=0)) == 4
        np.testing.assert_array_equal(problem.importance[0::8], problem.importance[1::8])

    def test_importances_tie(self) -> None:
        even, nothing, plateaus, half = family("ties", 20, 0).importance[:8:2]
        assert len(np.unique(even)) == 1
        assert not nothing.any()
        assert len(np.unique(plateaus)) == 14
        assert np.sum(half == 0) == 98

    @pytest.mark.parametrize("clients", [1, 2, 3])
    def test_few_clients_still_have_importance(self, clients: int) -> None:
        assert family("ties", clients, 0).importance[0].sum() == pytest.approx(64.0)


class TestExtreme:
    @pytest.mark.parametrize("clients", [2, 3, 20, 100])
    def test_gains_span_twelve_orders(self, clients: int) -> None:
        for seed in range(5):
            gain = family("extreme", clients, seed).gain
            assert np.log10(gain.max() / gain.min()) >= 12

    def test_some_energies_are_near_the_least(self) -> None:
        problem = family("extreme", 500, 0)
        least_j = 3 * problem.bits_per_token * np.log(2) * problem.noise_w_per_hz / problem.gain
        margin = problem.max_energy_j / least_j - 1
        assert 0.001 <= margin.min() < 0.002
        assert margin.max() > 1e6


class TestInfeasible:
    @pytest.mark.parametrize("clients", SIZES)
    @pytest.mark.parametrize("seed", range(20))
    def test_each_way_in_turn(self, seed: int, clients: int) -> None:
        problem = family("infeasible", clients, seed)
        diagnosis = diagnose(problem)
        assert diagnosis is not None
        limited = np.flatnonzero(np.isfinite(problem.deadline_s))
        if seed % 4 == 0:
            assert (diagnosis.limit, len(limited), len(diagnosis.clients)) == ("energy", 0, 1)
            assert diagnosis.needed[0] == pytest.approx(2 * diagnosis.available[0])
        elif seed % 4 == 1:
            assert (diagnosis.limit, diagnosis.clients) == ("deadline", tuple(limited))
            assert diagnosis.needed[0] == pytest.approx(2 * diagnosis.available[0])
        else:
            assert diagnosis.limit == "bandwidth"
            assert len(limited) == (clients if seed % 4 == 2 else 1)
            assert diagnosis.needed[0] == pytest.approx(2 * diagnosis.available[0], rel=1e-6)

    def test_one_client_is_the_only_obstacle(self) -> None:
        for seed in (0, 1, 3):
            problem = family("infeasible", 20, seed)
            diagnosis = diagnose(problem)
            assert diagnosis is not None
            assert len(diagnosis.clients_that_fit) == 19
            assert diagnose(problem.subset(diagnosis.clients_that_fit)) is None


class TestArguments:
    def test_overrides_replace_fields_and_nothing_else(self) -> None:
        problem = family("paper", 4, 0)
        wide = family("paper", 4, 0, bandwidth_hz=1e8, max_energy_j=[1.0, 2.0, 3.0, 4.0])
        assert differing(problem, wide) == {"bandwidth_hz", "max_energy_j"}
        assert wide.max_energy_j.tolist() == [1, 2, 3, 4]
        for field in fields(Problem):
            same = {field.name: getattr(problem, field.name)}
            assert family("paper", 4, 0, **same) == problem

    def test_min64_with_fewer_tokens(self) -> None:
        assert set(family("min64", 3, 0, tokens=12).min_tokens) == {12}

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            (("papr", 3, 0, {}), UnknownNameError, "family 'papr'; allowed: paper, round_time, .*infeasible"),
            (
                ("paper", 3, 0, {"bandwith": 1}),
                OptionError,
                "override 'bandwith'; allowed: tokens, gain, .*noise",
            ),
            (("paper", 0, 0, {}), OptionError, "clients=0; allowed: a whole number >= 1"),
            (("paper", 2.0, 0, {}), OptionError, "clients=2.0"),
            (("paper", True, 0, {}), OptionError, "clients=True"),
            (("paper", 3, -1, {}), OptionError, "seed=-1; allowed: a whole number >= 0"),
            (("paper", 3, 0, {"tokens": 0}), OptionError, "tokens=0"),
            (("paper", 3, 0, {"bandwidth_hz": 0.0}), ProblemError, "bandwidth_hz"),
            (("paper", 3, 0, {"gain": [1e-9, 1e-9]}), ProblemError, "gain"),
        ],
    )
    def test_bad_arguments_are_named(self, arguments, error, words) -> None:
        name, clients, seed, overrides = arguments
        with pytest.raises(error, match=words):
            family(name, clients, seed, **overrides)


class TestFadingSequence:
    def test_only_the_gain_moves(self) -> None:
        rounds = list(fading_sequence(8, 5, 2, 0.95))
        assert len(rounds) == 5
        assert rounds[0] == family("paper", 8, 2)
        for now, following in pairwise(rounds):
            assert differing(now, following) == {"gain"}

    def test_correlation_is_the_asked_one(self) -> None:
        """The log gain ratio of two rounds is near 0 at high correlation, and grows as it falls."""
        change = [
            np.median(np.abs(np.log(second.gain / first.gain)))
            for first, second in (tuple(fading_sequence(400, 2, 0, a)) for a in (1.0, 0.999, 0.9, 0.0))
        ]
        assert change[0] < 1e-12
        assert 0.01 < change[1] < 0.1 < change[2] < 0.6 < change[3] < 2.0

    @pytest.mark.parametrize("clients", [1, 3, 40])
    def test_every_round_is_feasible(self, clients: int) -> None:
        for problem in fading_sequence(clients, 200 // clients, 1, 0.0):
            assert diagnose(problem) is None

    def test_deep_fades_are_lifted(self) -> None:
        """One client's independent draw is beyond its energy in this sequence, by the wideband limit."""
        rounds = list(fading_sequence(2000, 12, 4, 0.0))
        lifted = [np.sum(problem.gain == 2 * _fair_share_gain(rounds[0])) for problem in rounds]
        assert sum(lifted) >= 1
        assert all(diagnose(problem) is None for problem in rounds)

    @pytest.mark.parametrize("deadline_s", [0.5, 60.0])
    def test_least_gain_takes_exactly_the_fair_share(self, deadline_s: float) -> None:
        """At 0.5 s full power does not spend the 0.8 J, at 60 s it would spend more."""
        problem = family("paper", 4, 0, deadline_s=deadline_s)
        faint = replace(problem, gain=_fair_share_gain(problem))
        need = Demand(faint).bandwidth_hz(faint.min_tokens, 1e9)
        np.testing.assert_allclose(need, problem.bandwidth_hz / 4, rtol=1e-6)

    def test_same_seed_same_sequence(self) -> None:
        assert list(fading_sequence(3, 4, 5, 0.9)) == list(fading_sequence(3, 4, 5, 0.9))

    def test_bad_arguments_are_named_at_once(self) -> None:
        with pytest.raises(OptionError, match="fading_sequence: got rounds=0"):
            fading_sequence(3, 0, 0, 0.9)
        with pytest.raises(OptionError, match="fading_sequence: got clients=-3"):
            fading_sequence(-3, 1, 0, 0.9)
        with pytest.raises(ProblemError, match=r"correlation = 1.5; allowed: numbers in \[-1, 1\]"):
            fading_sequence(3, 1, 0, 1.5)
