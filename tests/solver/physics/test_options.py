"""Options: the list lacks only what another one beats; needs, least rounds and delivery are right."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.choices import all_choices, draw_problem, needs, needs_by_bisection

from stsflora.solver import Problem, Retained, RoundTime, evaluate
from stsflora.solver.errors import ProblemError
from stsflora.solver.physics import option_loops
from stsflora.solver.physics.options import SKIP, Options, options_of, with_limits_of
from stsflora.solver.primal.choice_delivery import choice_to_allocation
from stsflora.solver.tolerances import BOUND_SHARE


def drawn(seed: int) -> tuple[np.random.Generator, Problem]:
    """A random general problem whose objective counts utilities."""
    rng = np.random.default_rng((31, seed))
    while True:
        try:
            return rng, draw_problem(rng, Retained(1e9))
        except ProblemError:  # no utility at all
            continue


def nats_of(problem: Problem, row: int, tokens: int) -> float:
    return float(problem.bits_of(np.array([row]), np.array([tokens]))[0]) * math.log(2.0)


def random_choice(rng: np.random.Generator, options: Options) -> np.ndarray:
    first = options.first
    return np.array([rng.integers(first[m], first[m + 1]) for m in range(first.size - 1)])


def test_the_oracle_of_needs_follows_from_the_rate() -> None:
    """Lambert's W and the larger of two needs, against bisection of the rate itself."""
    checked = 0
    for seed in range(150):
        rng, problem = drawn(seed)
        row = int(rng.integers(problem.row_count))
        bits = float(problem.bits_of(np.array([row]), problem.max_tokens[[row]])[0])
        round_s = float(problem.overhead_s[row] + 10 ** rng.uniform(-2, 2))
        with np.errstate(all="ignore"):
            formula = needs(problem, np.array([row]), np.array([bits]), np.array([round_s]))[0]
        if bits > 0.0:
            searched = needs_by_bisection(problem, row, bits, round_s)
            if searched < 1e15:  # next to the wideband limit Lambert's W loses its digits
                assert formula == pytest.approx(searched, rel=1e-7)
                checked += 1
    assert checked > 50


def test_needs_are_those_of_the_oracle_and_fall_as_their_slopes_say() -> None:
    capped = 0
    for seed in range(60):
        rng, problem = drawn(seed)
        options = options_of(problem)
        for _ in range(5):
            round_s = 10 ** rng.uniform(-3, 2)
            need_hz, slope = option_loops.needs(options, round_s)
            bits = options.nats / math.log(2.0)
            with np.errstate(all="ignore"):
                expected = needs(problem, options.row, bits, np.full(bits.size, round_s))
            near = np.isfinite(expected) & (expected < 1e14)
            np.testing.assert_allclose(need_hz[near], expected[near], rtol=1e-7)
            assert (np.isinf(need_hz) == np.isinf(expected))[near | np.isinf(expected)].all()
            later, _ = option_loops.needs(options, round_s * (1 + 1e-7))
            finite = np.isfinite(need_hz)
            change = (later[finite] - need_hz[finite]) / (round_s * 1e-7)
            assert (slope[finite] <= 1e-12).all()
            assert (change >= slope[finite] * (1 + 1e-6) - 1e-6).all()  # convex: the chord is no steeper
            capped += int(np.isfinite(problem.max_bps_per_hz).any())
    assert capped > 20


def test_what_is_left_out_has_a_better_option_at_every_round_and_tolerance() -> None:
    left_out = 0
    for seed in range(120):
        rng, problem = drawn(seed)
        options = options_of(problem)
        kept = set(zip(options.row.tolist(), options.tokens.tolist(), strict=True))
        raised = with_limits_of(options, problem.with_raised_limits(BOUND_SHARE))
        rounds = 10 ** rng.uniform(-3, 2, 20)
        for row in range(problem.row_count):
            for tokens in range(problem.min_tokens[row], problem.max_tokens[row] + 1):
                if (row, tokens) in kept:
                    continue
                m = problem.client[row]
                mine = slice(options.first[m], options.first[m + 1])
                one = np.array([row]), np.array([tokens])
                bits, worth = problem.bits_of(*one), problem.worth_of(*one)[0]
                with np.errstate(all="ignore"):
                    need = np.array([needs(problem, one[0], bits, np.array([t]))[0] for t in rounds])
                if np.isinf(need).all():
                    continue
                left_out += 1
                for listed in (options, raised):
                    better = np.array([option_loops.needs(listed, t)[0][mine] for t in rounds])
                    beats = (better <= need[:, None] * (1 + 1e-6)).all(axis=0)
                    assert (beats & (options.utility[mine] >= worth * (1 - 1e-12))).any()
    assert left_out > 100


def test_of_equal_options_the_first_stays_and_a_rising_row_stays_whole() -> None:
    problem = Problem(
        gain=1e-10,
        importance=[[0.5, 0.3, 0.2]] * 2,
        client=[0, 0],
        bits_per_token=1e5,
        bandwidth_hz=1e6,
        max_power_w=0.2,
        max_energy_j=1.0,
    )
    options = options_of(problem)
    assert options.row.tolist() == [0, 0, 0]
    assert options.tokens.tolist() == [1, 2, 3]
    assert options.dominated == 3
    worthless = replace(problem, importance=[[0.5, 0.0, 0.0]] * 2)
    assert options_of(worthless).tokens.tolist() == [1]
    assert options_of(replace(problem, objective=RoundTime())).tokens.tolist() == [1]
    skipping = options_of(replace(problem, may_skip=True))
    assert skipping.row.tolist() == [SKIP, 0, 0, 0]


def test_least_rounds_are_those_of_every_choice() -> None:
    """Of the choices that are listed, by bisection with another formula; and the fastest of all."""
    for seed in range(25):
        rng, problem = drawn(seed)
        options = options_of(problem)
        choices = all_choices(problem)
        table = {
            (tuple(row), tuple(tokens)): round_s
            for row, tokens, round_s in zip(
                choices.row.tolist(), choices.tokens.tolist(), choices.round_s.tolist(), strict=True
            )
        }
        for _ in range(10):
            choice = random_choice(rng, options)
            key = tuple(options.row[choice].tolist()), tuple(options.tokens[choice].tolist())
            guess_s = math.inf if rng.random() < 0.5 else 10 ** rng.uniform(-4, 3)
            found = option_loops.least_round_of_choice(options, choice, guess_s)
            expected = table.get(key, math.inf)
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12) or (
                found > 1e8 and expected == math.inf
            )
        _, fastest_s = option_loops.fastest_choice(options, math.inf)
        assert fastest_s == pytest.approx(choices.round_s.min(initial=math.inf), rel=1e-9, abs=1e-12)


def test_a_delivered_choice_keeps_all_limits_and_ends_on_time() -> None:
    """With the least power on the final bandwidth, also where much of the band is left over."""
    delivered = 0
    for seed in range(80):
        rng, problem = drawn(seed)
        options = options_of(problem)
        choice = random_choice(rng, options)
        round_s = option_loops.least_round_of_choice(options, choice, math.inf)
        if not 0.0 < round_s < 1e6:
            continue
        longer_s = round_s * (1.0 if rng.random() < 0.5 else rng.uniform(1, 3))
        hertz, watts = option_loops.allocate_choice(options, choice, longer_s)
        allocation = choice_to_allocation(options, choice, hertz, watts)
        evaluation = evaluate(replace(problem, objective=Retained(longer_s)), allocation)
        assert evaluation.violation <= 1e-12
        sends = options.nats[choice] > 0.0
        row = options.row[choice][sends]
        slot_s = np.minimum(longer_s - problem.overhead_s[row], problem.deadline_s[row])
        np.testing.assert_allclose(evaluation.uplink_s[sends], slot_s, rtol=1e-9)
        delivered += 1
    assert delivered > 40
