"""The families beyond the token problem: what each promises, for every size and seed."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from stsflora.benchmarks.families import families, family, general_families
from stsflora.benchmarks.job import fingerprint
from stsflora.solver import Problem, RoundTime, Ste, solve
from stsflora.solver.feasibility import diagnose
from stsflora.solver.physics.demand import Demand
from stsflora.solver.registry import features_of

FEATURES = {
    "makespan": ("round_time", {"token_limits", "overheads"}),
    "energy": ("energy", {"token_limits", "overheads"}),
    "total_time": ("total_time", {"token_limits", "overheads"}),
    "selection": ("retained", {"token_limits", "overheads", "utility", "skip"}),
    "weighted": ("weighted", {"overheads"}),
    "tokens_x_bits": ("ste", {"alternatives", "overheads"}),
    "tokens_x_bits_x_cut": ("ste", {"alternatives", "overheads"}),
    "cut_x_frequency": ("round_time", {"alternatives", "before_j", "overheads", "token_limits"}),
    "skip": ("ste", {"skip", "overheads"}),
    "psd_limited": ("ste", {"caps", "overheads"}),
    "resource_blocks": ("ste", {"blocks", "overheads"}),
}
"""Objective and features of each."""

NAMES = tuple(FEATURES)


SUMS = {
    "makespan": -1403.702888365845,
    "energy": -1392.3889764136086,
    "total_time": -1403.702888365845,
    "selection": -1409.4776786374612,
    "weighted": 532.8802546912575,
    "tokens_x_bits": 8533.068450924224,
    "tokens_x_bits_x_cut": 138995.25677134606,
    "cut_x_frequency": -58492.2651892336,
    "skip": 523.4126927632735,
    "psd_limited": -806.9916436407112,
    "resource_blocks": 589.9269631875196,
}
"""Of `family(name, 3, 1, tokens=5)`, by `moment`."""


def moment(problem: Problem) -> float:
    """One number that moves when any field of any row does, the same on every processor to 1e-12."""
    total = 0.0
    values = problem.as_dict() | problem.objective.settings()
    for place, name in enumerate(sorted(set(values) - {"objective"}), start=1):
        numbers = np.ravel(np.asarray(values[name], dtype=np.float64))
        positive = np.isfinite(numbers) & (numbers > 0)
        order = np.arange(1, len(numbers) + 1)
        total += place * float((order[positive] * np.log(numbers[positive])).sum())
    return total


@pytest.mark.parametrize("name", NAMES)
def test_instances_have_not_moved(name: str) -> None:
    """Fails when a change moves published instances; then benchmark results start anew."""
    assert moment(family(name, 3, 1, tokens=5)) == pytest.approx(SUMS[name], rel=1e-10)


def test_names() -> None:
    assert general_families() == NAMES
    assert not set(NAMES) & set(families())


@pytest.mark.parametrize("name", NAMES)
def test_a_family_has_what_it_is_for(name: str) -> None:
    problem = family(name, 7, 0)
    objective, features = FEATURES[name]
    assert problem.clients == 7
    assert not problem.is_plain
    assert (problem.objective.name, features_of(problem)) == (objective, features)


@pytest.mark.parametrize("name", NAMES)
def test_same_arguments_same_instance(name: str) -> None:
    assert family(name, 6, 4) == family(name, 6, 4)
    assert family(name, 6, 4) != family(name, 6, 5)
    assert not np.isin(family(name, 5, 4).gain, family(name, 6, 4).gain).any()


def test_all_families_share_their_places_and_fading() -> None:
    gain = family("round_time", 5, 3).gain
    for name in NAMES:
        problem = family(name, 5, 3)
        assert problem.gain[problem.row_of_client].tolist() == gain.tolist()
        assert len(np.unique(problem.gain)) == 5


def test_other_process_same_instances() -> None:
    code = (
        "from stsflora.benchmarks.families import family, general_families\n"
        "from stsflora.benchmarks.job import fingerprint\n"
        "print([fingerprint(family(name, 3, 1, tokens=5)) for name in general_families()])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == str([fingerprint(family(name, 3, 1, tokens=5)) for name in NAMES])


@pytest.mark.parametrize("clients", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("name", NAMES)
def test_feasible(name: str, clients: int) -> None:
    for seed in range(10):
        assert diagnose(family(name, clients, seed)) is None, seed


@pytest.mark.parametrize("tokens", [1, 2, 12, 300])
@pytest.mark.parametrize("name", NAMES)
def test_feasible_at_other_token_counts(name: str, tokens: int) -> None:
    for seed in range(3):
        assert diagnose(family(name, 1 + 2 * seed, seed, tokens=tokens)) is None, seed


@pytest.mark.parametrize("name", ["makespan", "energy", "total_time"])
def test_fixed_payloads_are_all_tokens_and_cls(name: str) -> None:
    problem = family(name, 4, 0)
    rows = np.arange(4)
    bits = problem.bits_of(rows, problem.min_tokens)
    assert set(bits) == {64 * 768 * 32 * 197.0}
    assert (problem.tokens, set(problem.max_tokens)) == (0, {0})


def test_round_times_are_shares_of_the_least() -> None:
    tokens = family("round_time", 6, 2, extra_tokens=1)
    shortest_s = Demand(tokens).least_round_s(np.full(6, 196))
    assert family("energy", 6, 2).objective.longest_round_s == 1.5 * shortest_s
    assert family("selection", 6, 2).objective.longest_round_s == 0.6 * shortest_s


def test_bits_halve_and_worth_falls() -> None:
    problem, cell = family("tokens_x_bits", 3, 0), family("round_time", 3, 0)
    assert problem.client.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for m in range(3):
        rows = slice(3 * m, 3 * m + 3)
        assert problem.bits_per_token[rows].tolist() == [64 * 768 * bits for bits in (32, 16, 8)]
        worth = problem.importance[rows] / cell.importance[m]
        loss = 1.0 - worth[1, 0]
        assert 0.02 <= loss <= 0.3
        np.testing.assert_allclose(worth, [[1.0] * 196, [1.0 - loss] * 196, [1.0 - 3.0 * loss] * 196])
    assert problem.overhead_s.tolist() == np.repeat(cell.overhead_s, 3).tolist()


def test_three_depths_of_four_cuts_are_twelve_rows() -> None:
    problem, cell = family("tokens_x_bits_x_cut", 2, 0, tokens=12), family("round_time", 2, 0, tokens=12)
    assert (problem.row_count, problem.tokens) == (24, 12)
    first = problem.overhead_s[:12].reshape(3, 4)
    assert np.all(first == first[0])
    assert np.all(np.diff(first[0]) > 0)
    assert first[0, 1] == cell.overhead_s[0], "two blocks are what the cell has"
    assert np.all(np.diff(problem.importance[:4, 0]) > 0)


def test_cuts_and_clocks_trade_bits_seconds_and_joules() -> None:
    problem = family("cut_x_frequency", 2, 0)
    bits = problem.bits_per_token[:12].reshape(4, 3)
    seconds, joules = problem.overhead_s[:12].reshape(4, 3), problem.before_j[:12].reshape(4, 3)
    np.testing.assert_allclose(bits[:-1] / bits[1:], 2.0)
    np.testing.assert_allclose(seconds[:, 0] / seconds[:, 2], 1.25 / 0.8)
    np.testing.assert_allclose(joules[:, 2] / joules[:, 0], (1.25 / 0.8) ** 2)
    assert np.all(np.diff(seconds, axis=0) > 0)
    np.testing.assert_allclose(problem.max_energy_j - joules[-1, 0], 0.8)
    cores = seconds[0, 0] / problem.overhead_s.reshape(-1, 12)[:, 0]
    np.testing.assert_allclose(problem.before_j.reshape(-1, 12), joules.ravel()[None].repeat(2, axis=0))
    assert cores[0] == 1.0
    assert np.any(joules > problem.max_energy_j[0]), "a fast clock is too much for late cuts"


def test_overrides_replace_the_objective() -> None:
    assert family("makespan", 3, 0, objective=RoundTime(0.0)) == family("makespan", 3, 0)
    assert family("skip", 3, 0, may_skip=False, objective=Ste()).is_plain
    assert isinstance(family("psd_limited", 3, 0, max_bps_per_hz=2.0), Problem)


class TestRegimes:
    """Where the optimum sits, as `exact` finds it."""

    @pytest.mark.parametrize("seed", range(3))
    def test_makespan_ends_at_once_on_the_whole_band(self, seed: int) -> None:
        problem = family("makespan", 20, seed)
        result = solve(problem)
        np.testing.assert_allclose(result.evaluation.totals.finish_s, result.value, rtol=1e-9)
        assert result.allocation.bandwidth_hz.sum() == pytest.approx(problem.bandwidth_hz)

    @pytest.mark.parametrize("seed", range(3))
    def test_energy_takes_all_the_time_at_low_power(self, seed: int) -> None:
        problem = family("energy", 20, seed)
        result = solve(problem, gap=1e-6)
        finish_s = result.evaluation.totals.finish_s
        latest_s = np.minimum(problem.objective.longest_round_s, problem.overhead_s + problem.deadline_s)
        np.testing.assert_allclose(finish_s, latest_s, rtol=1e-6)
        assert result.allocation.bandwidth_hz.sum() == pytest.approx(problem.bandwidth_hz)
        assert np.all(result.allocation.power_w < 0.9 * problem.max_power_w)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_sum_of_times_takes_full_power_and_ends_apart(self, seed: int) -> None:
        problem = family("total_time", 20, seed)
        result = solve(problem)
        spent = result.evaluation.energy_j >= 0.999 * problem.max_energy_j
        assert np.all(spent | (result.allocation.power_w >= 0.999 * problem.max_power_w))
        assert result.evaluation.uplink_s.max() > 1.3 * result.evaluation.uplink_s.min()

    @pytest.mark.parametrize("seed", range(3))
    def test_selection_leaves_some_out(self, seed: int) -> None:
        result = solve(family("selection", 20, seed))
        assert 5 <= result.value <= 19

    @pytest.mark.parametrize("seed", range(3))
    def test_weighted_is_interior(self, seed: int) -> None:
        problem = family("weighted", 20, seed)
        tokens = solve(problem).allocation.tokens
        assert np.mean((tokens > problem.min_tokens) & (tokens < problem.tokens)) > 0.9

    @pytest.mark.parametrize("seed", range(3))
    def test_bits_are_mixed(self, seed: int) -> None:
        rows = solve(family("tokens_x_bits", 20, seed), gap=1e-3).allocation.row
        assert len(set(rows % 3)) > 1

    def test_bits_and_cuts_are_mixed(self) -> None:
        rows = solve(family("tokens_x_bits_x_cut", 20, 0, tokens=12), gap=1e-3).allocation.row % 12
        assert len(set(rows // 4)) > 1
        assert len(set(rows % 4)) > 1

    @pytest.mark.parametrize("seed", range(3))
    def test_few_cores_cut_early(self, seed: int) -> None:
        problem = family("cut_x_frequency", 20, seed)
        cut = solve(problem).allocation.row % 12 // 3
        slow = problem.overhead_s[::12] > np.median(problem.overhead_s[::12])
        assert len(set(cut)) > 1
        assert cut[slow].mean() < cut[~slow].mean()

    @pytest.mark.parametrize("seed", range(3))
    def test_the_slow_are_skipped(self, seed: int) -> None:
        problem = family("skip", 20, seed)
        skipped = solve(problem, gap=1e-3).allocation.row < 0
        assert 0.0 < skipped.mean() < 1.0
        assert problem.overhead_s[skipped].mean() > problem.overhead_s[~skipped].mean()

    @pytest.mark.parametrize("seed", range(3))
    def test_a_cap_binds_for_most(self, seed: int) -> None:
        problem = family("psd_limited", 20, seed)
        allocation = solve(problem, gap=1e-3).allocation
        snr = allocation.power_w * problem.gain / (problem.noise_w_per_hz * allocation.bandwidth_hz)
        density = allocation.power_w / allocation.bandwidth_hz
        capped = (np.log2(1.0 + snr) >= 9.99) | (density >= 0.999 * problem.max_psd_w_per_hz)
        assert capped.mean() > 0.5
        assert np.all((allocation.tokens > 1) & (allocation.tokens < 196))

    def test_blocks_are_whole(self) -> None:
        problem = family("resource_blocks", 20, 0)
        blocks = solve(problem, gap=1e-3).allocation.bandwidth_hz / 360e3
        np.testing.assert_allclose(blocks, np.round(blocks), rtol=1e-9)
        assert blocks.sum() <= 138.5
