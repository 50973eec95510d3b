"""Among very many clients the search starts from a sample, and proves what it would have proved without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stsflora.benchmarks.families import family
from stsflora.solver import Problem, Quality, Request, solve
from stsflora.solver.bounds.goal import new_goal
from stsflora.solver.methods import exact
from stsflora.solver.primal.warm_start import sample_point

CLIENTS = 2000


@pytest.mark.parametrize("name", ["paper", "energy_tight", "deadline_tight", "round_time", "heterogeneous"])
def test_the_answer_is_as_good_as_without_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = family(name, CLIENTS, 1, tokens=8)
    monkeypatch.setattr(exact, "MANY", CLIENTS)
    sampled = solve(problem)
    monkeypatch.setattr(exact, "MANY", CLIENTS + 1)
    cold = solve(problem)
    assert sampled.quality is cold.quality is Quality.OPTIMAL
    assert sampled.ste <= cold.bound
    assert cold.ste <= sampled.bound
    assert sampled.stats["reoptimised"] == (name in {"paper", "energy_tight"})


def test_no_sample_is_no_start() -> None:
    """Where it has nothing to send, never fits, or affine bounds do not hold."""
    problem = family("paper", CLIENTS, 1, tokens=8)

    def start(changed: Problem) -> object:
        return sample_point(changed, new_goal(changed, Request()), Request())

    assert start(problem) is not None
    importance = np.array(problem.importance)
    importance[::100] = 0.0
    assert start(replace(problem, importance=importance)) is None
    energy = np.array(problem.max_energy_j)
    energy[::100] = 1e-12
    assert start(replace(problem, max_energy_j=energy)) is None
    assert start(replace(problem, overhead_s=np.linspace(0.0, 1.0, CLIENTS))) is None
    assert start(replace(problem, deadline_s=1e-9)) is None
