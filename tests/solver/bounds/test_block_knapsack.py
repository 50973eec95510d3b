"""Whole blocks: upload times, needs, and the knapsack of one round, against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers.whole_blocks import least_upload_s, random_blocks

from stsflora.solver import Problem, ProblemError
from stsflora.solver.bounds import block_knapsack as knapsack
from stsflora.solver.physics.options import Options, options_of


def instances(count: int, objective: str = "ste") -> list[tuple[Problem, Options, knapsack.BlockOptions]]:
    """Random problems as options with the limits as given."""
    found = []
    for seed in itertools.count():
        try:
            problem = random_blocks(np.random.default_rng([seed, 11]), objective)
        except ProblemError:
            continue
        options = options_of(problem)
        blocks = math.floor(problem.bandwidth_hz / 1e5 * (1.0 + 1e-12))
        if (np.diff(options.first) > 0).all():
            found.append((problem, options, knapsack.block_options(options, 1e5, blocks)))
        if len(found) == count:
            return found
    raise AssertionError


def test_upload_times_are_those_of_the_most_power_that_energy_and_caps_allow() -> None:
    compared = 0
    for problem, options, blocks in instances(60):
        for j, n in itertools.product(range(options.row.shape[0]), range(1, blocks.blocks + 1)):
            if options.row[j] < 0:
                continue
            row = int(options.row[j])
            bits = float(problem.bits_of(options.row[j : j + 1], options.tokens[j : j + 1])[0])
            finish_s = knapsack.finish_s(blocks, j, n)
            assert finish_s == pytest.approx(
                problem.overhead_s[row] + least_upload_s(problem, row, bits, n), rel=1e-9
            )
            compared += finish_s < math.inf
    assert compared > 500


def test_nothing_sent_ends_at_once_and_needs_no_blocks() -> None:
    problem = Problem(
        gain=1e-11 * np.ones(2),
        utility=[[1.0], [1.0]],
        payload_bits=[[0.0], [1e5]],
        bandwidth_hz=1e6,
        max_power_w=0.1,
        max_energy_j=1.0,
        overhead_s=0.25,
        block_hz=1e5,
        may_skip=[False, True],
    )
    options = options_of(problem)
    blocks = knapsack.block_options(options, 1e5, 10)
    skip = int(np.flatnonzero(options.row < 0)[0])
    assert knapsack.finish_s(blocks, skip, 0) == 0.0
    assert knapsack.least_blocks(blocks, skip, 0.0, 5) == 0
    assert knapsack.finish_s(blocks, 0, 0) == 0.25
    assert knapsack.least_blocks(blocks, 0, 0.25, 5) == 0
    assert knapsack.least_blocks(blocks, 0, 0.2, 5) == knapsack.NEVER


@pytest.mark.parametrize("guess", [0, 1, 3, 100])
def test_the_need_at_a_round_of_exactly_n_blocks_is_n(guess: int) -> None:
    """No block more at an exact multiple, and one more just before it."""
    met = 0
    for _, _, blocks in instances(30):
        for j in range(blocks.nats.shape[0]):
            for n in range(1, blocks.blocks + 1):
                end_s = knapsack.finish_s(blocks, j, n)
                if blocks.nats[j] == 0.0 or end_s == math.inf:
                    continue
                assert knapsack.least_blocks(blocks, j, end_s, guess) == n
                shorter = knapsack.least_blocks(blocks, j, math.nextafter(end_s, 0.0), guess)
                assert shorter == (n + 1 if n < blocks.blocks else knapsack.NEVER)
                met += 1
    assert met > 200


def test_the_fastest_round_of_a_choice_is_the_best_share_of_the_blocks() -> None:
    rng, ended = np.random.default_rng(2), 0
    for problem, _, blocks in instances(60):
        choice = np.array([rng.integers(*blocks.first[m : m + 2]) for m in range(problem.clients)])
        shares = itertools.product(range(blocks.blocks + 1), repeat=problem.clients)
        best_s = min(
            max(knapsack.finish_s(blocks, choice[m], share[m]) for m in range(problem.clients))
            for share in shares
            if sum(share) <= blocks.blocks
        )
        for guess_s in (math.inf, best_s, 1e-9, 3.0):
            round_s, used = knapsack.fastest_round(blocks, choice, guess_s)
            assert round_s == best_s
            if round_s < math.inf:
                ended += 1
                assert used.sum() <= blocks.blocks
                assert round_s == max(
                    knapsack.finish_s(blocks, choice[m], used[m]) for m in range(problem.clients)
                )
    assert ended > 100


def test_the_knapsack_is_solved_and_its_relaxation_bounds_it() -> None:
    rng, solved = np.random.default_rng(3), 0
    for problem, _, blocks in instances(80):
        round_s = 10.0 ** rng.uniform(-1.0, 1.0)
        everything = knapsack.all_of(blocks)
        need = [knapsack.least_blocks(blocks, j, round_s, 1) for j in range(blocks.nats.shape[0])]
        own = [range(*blocks.first[m : m + 2]) for m in range(problem.clients)]
        fitting = [c for c in itertools.product(*own) if sum(need[j] for j in c) <= blocks.blocks]
        relaxation = knapsack.relaxed(blocks, everything, round_s)
        if not fitting:
            assert relaxation.bound == relaxation.value == -math.inf
            continue
        utility = {c: sum(blocks.utility[j] for j in c) for c in fitting}
        best = max(utility.values())
        assert relaxation.value <= best * (1 + 1e-14) <= relaxation.bound * (1 + 2e-14)
        assert sum(need[j] for j in relaxation.choice) <= blocks.blocks
        for least in (-1.0, 0.5 * best, best * (1.0 - 1e-9)):
            complete, bound, choice = knapsack.best_choice(blocks, everything, relaxation, least, math.inf)
            assert complete
            if best > 0.0 or least < 0.0:
                assert utility[tuple(int(j) for j in choice)] == pytest.approx(best, rel=1e-13)
            assert best <= bound <= best + 1e-12
            kept = knapsack.survivors(everything, relaxation, least)
            for c, worth in utility.items():
                assert worth < least or set(c) <= set(kept.option.tolist())
        complete, bound, choice = knapsack.best_choice(
            blocks, everything, relaxation, 1.1 * best + 1, math.inf
        )
        assert complete
        assert bound == 1.1 * best + 1
        assert choice.shape == (0,)
        solved += 1
    assert solved > 30


def test_a_knapsack_that_is_too_large_is_not_begun() -> None:
    _, _, blocks = instances(1)[0]
    everything = knapsack.all_of(blocks)
    relaxation = knapsack.relaxed(blocks, everything, 1e9)
    complete, bound, choice = knapsack.best_choice(blocks, everything, relaxation, -1.0, 0.0)
    assert not complete
    assert bound == relaxation.bound
    assert choice.shape == (0,)


def test_the_utility_of_a_round_changes_only_where_a_need_does() -> None:
    for _, _, blocks in instances(20):
        everything = knapsack.all_of(blocks)
        relaxation = knapsack.relaxed(blocks, everything, 1.0)
        now = knapsack.survivors(everything, relaxation, -math.inf)
        since_s = knapsack.last_change_s(blocks, now)
        assert since_s <= 1.0
        if relaxation.bound > -math.inf and since_s > 0.0:
            then = knapsack.relaxed(blocks, everything, since_s)
            assert (then.blocks == relaxation.blocks).all()
            before = knapsack.relaxed(blocks, everything, math.nextafter(since_s, 0.0))
            assert (before.blocks >= relaxation.blocks).all()
            assert (before.blocks > relaxation.blocks).any()
