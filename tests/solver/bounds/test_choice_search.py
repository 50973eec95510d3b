"""Bounds over choices: intervals with kinks, options left out, and dominance, against every choice."""

from __future__ import annotations

import math

import numpy as np
from helpers.choices import all_choices, draw_problem

from stsflora.solver import Problem, Retained
from stsflora.solver.bounds import choice_loops
from stsflora.solver.bounds.choice_search import contenders
from stsflora.solver.errors import ProblemError
from stsflora.solver.physics import option_loops
from stsflora.solver.physics.options import SKIP, Options, options_of


class Instance:
    """The options of a random problem, every choice of them, and what each takes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng((47, seed))
        self.problem = self._problem()
        self.options: Options = options_of(self.problem)
        choices = all_choices(self.problem)
        place = {key: j for j, key in enumerate(zip(self.options.row, self.options.tokens, strict=True))}
        skips = {m: self.options.first[m] for m in range(self.problem.clients) if self.problem.may_skip[m]}
        picked = [
            [
                skips[m] if r == SKIP else place.get((r, k))
                for m, (r, k) in enumerate(zip(row, tokens, strict=True))
            ]
            for row, tokens in zip(choices.row, choices.tokens, strict=True)
        ]
        listed = np.array([None not in one for one in picked], dtype=bool)
        self.choice = np.array([one for one in picked if None not in one], dtype=np.int64)
        self.retained = choices.retained[listed]
        self.round_s = choices.round_s[listed]

    def _problem(self) -> Problem:
        while True:
            try:
                return draw_problem(self.rng, Retained(1e9), most_clients=3)
            except ProblemError:
                continue

    def interval(self) -> tuple[float, float, bool]:
        """Round times of any width around the kink where a need changes to its cap; whether there is one."""
        options, rng = self.options, self.rng
        kink_s, kinked = 10 ** rng.uniform(-2, 1), False
        senders = np.flatnonzero((options.row != SKIP) & (options.nats > 0.0))
        if senders.size:
            j = rng.choice(senders)
            row = options.rows[options.row[j]]
            slot_s = 10 ** rng.uniform(-3, 1)
            if row["capped_below"] > 0.0:
                rate = row["capped_below"] * row["max_power_w"] * row["gain_over_noise"]
                slot_s = float(options.nats[j] / rate)
                kinked = slot_s < min(row["deadline_s"], row["energy_j"] / row["max_power_w"])
            kink_s = float(row["overhead_s"]) + slot_s
        below, above = 10 ** rng.uniform(-5, 0.3, 2)
        return kink_s / (1 + below), kink_s * (1 + above), kinked


def test_no_choice_exceeds_the_bound_of_an_interval_or_loses_an_option() -> None:
    """3,000 intervals, most with a kink of a cap inside."""
    kinked = winners = 0
    for seed in range(100):
        instance = Instance(seed)
        options, rng = instance.options, instance.rng
        if not instance.choice.size:
            continue
        for _ in range(30):
            low_s, high_s, _ = instance.interval()
            ends = [
                [option_loops.need_and_condition(options, j, t) for t in (low_s, high_s)]
                for j in range(options.row.size)
            ]
            for (_, _, _, before), (_, _, _, after) in ends:
                kinked += any(after <= row["capped_below"] < before < 1.0 for row in options.rows)
            # A choice that fits earlier fits at the lower end too.
            there = instance.round_s <= high_s
            at_s = np.maximum(instance.round_s[there], low_s)
            retained, choice = instance.retained[there], instance.choice[there]
            slope = float(rng.choice([0.0, 1.0])) * 10 ** rng.uniform(-2, 2)
            offset = float(np.quantile(retained - slope * at_s, rng.random())) if retained.size else 0.0
            found = choice_loops.visit(options, low_s, high_s, offset, slope, 0.0, 1e-5)
            if retained.size:
                share = (at_s - low_s) / (high_s - low_s)
                bound = found.most_low + share * (found.most_high - found.most_low)
                assert (retained <= bound * (1 + 1e-7) + 1e-12).all()
            wins = retained > offset + slope * at_s + 1e-9
            for vector, round_s in zip(choice[wins], at_s[wins], strict=True):
                assert found.keep[vector].all()
                assert found.low_s <= round_s * (1 + 1e-9)
                assert round_s <= found.high_s * (1 + 1e-9)
                winners += 1
    assert kinked > 1000
    assert winners > 1000


def test_dominance_leaves_out_no_winner() -> None:
    """An empty answer is right, with utilities in proportion to falls or not, hidden ones or none."""
    empty = full = 0
    for seed in range(100):
        instance = Instance(1000 + seed)
        rng = instance.rng
        if not instance.choice.size:
            continue
        for _ in range(6):
            low_s, high_s, _ = instance.interval()
            if rng.random() < 0.5:
                high_s = low_s * (1 + 10 ** rng.uniform(-5, -1))
            there = instance.round_s <= high_s
            at_s = np.maximum(instance.round_s[there], low_s)
            retained = instance.retained[there]
            slope = float(rng.choice([0.0, 1.0])) * 10 ** rng.uniform(-1, 2)
            offset = float(rng.choice([0.0, 1.0])) * rng.uniform(-1, 2)
            if slope == 0.0:
                low_s = high_s
            hidden = float(rng.choice([0.0, 1e-3]))
            contact_s = high_s if slope == 0.0 or rng.random() < 0.5 else 0.5 * (low_s + high_s)
            complete, found = contenders(
                instance.options, low_s, high_s, offset, slope, hidden, contact_s, math.inf
            )
            assert complete
            excess = retained - (offset + slope * (high_s if slope == 0.0 else at_s))
            if found.shape[0] == 0:
                assert (excess <= 1e-7).all()
                empty += 1
            else:
                assert found.shape[1] == instance.problem.clients
                full += 1
    assert empty > 100
    assert full > 100


def test_clearing_bounds_the_knapsack_and_its_fill_fits() -> None:
    for seed in range(60):
        instance = Instance(2000 + seed)
        for round_s in 10 ** instance.rng.uniform(-2, 2, 5):
            clearing, choice, _ = choice_loops.clear_choices(instance.options, round_s, 0.0, 1e-9)
            fits = instance.round_s <= round_s
            if not choice.size:
                assert not (instance.round_s <= round_s * (1 - 1e-9)).any()
                continue
            best = instance.retained[fits].max(initial=0.0)
            assert clearing.bound >= best * (1 - 1e-9)
            need_hz, _ = option_loops.needs(instance.options, round_s)
            assert need_hz[choice].sum() <= instance.options.bandwidth_hz * (1 + 1e-12)
