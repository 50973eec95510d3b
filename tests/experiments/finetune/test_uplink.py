"""Clients that upload one after another: a plan each, over the whole band."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("peft")

from stsflora.benchmarks.families import family
from stsflora.experiments.finetune.uplink import plan_one_by_one
from stsflora.solver import Quality, solve


def test_finish_times_of_clients_that_upload_in_turn_add_up():
    problem = family("round_time", 3, seed=0)
    problem = replace(problem, gain=problem.gain * [1.0, 1e-12, 1.0])
    plan = plan_one_by_one(problem, [4, 5, 9], seed=3, on_violation="drop")
    alone = [solve(problem.subset([row]), seed=3) for row in (0, 2)]
    assert list(plan.grants) == [4, 9]
    assert [client[:3] for client in plan.dropped] == [(1, 5, "energy")]
    for grant, result in zip(plan.grants.values(), alone, strict=True):
        assert grant.bandwidth_hz == pytest.approx(problem.bandwidth_hz)
        assert grant.uplink_s == result.evaluation.uplink_s[0]
    ends = np.cumsum([result.evaluation.round_s for result in alone])
    assert [grant.finish_s for grant in plan.grants.values()] == ends.tolist()
    assert plan.round_s == ends[-1]
    assert plan.energy_j == sum(result.evaluation.energy_j[0] for result in alone)
    assert (plan.bound, plan.quality) == (math.inf, Quality.OPTIMAL)
