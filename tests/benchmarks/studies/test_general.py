"""The study of the general problem: peers agree with the solver, and tables hold what was measured."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stsflora.benchmarks.families import family
from stsflora.benchmarks.studies import general
from stsflora.benchmarks.studies.general_peers import conic_energy, lambert_bisection
from stsflora.benchmarks.studies.timing import Timed
from stsflora.solver import solve


@pytest.mark.parametrize("clients", [1, 7, 100])
def test_bisection_finds_the_same_round_time(clients):
    problem = family("makespan", clients, 1)
    assert solve(problem).value == pytest.approx(lambert_bisection(problem)(), rel=1e-12)


def test_bisection_honours_energies_and_deadlines():
    problem = family("makespan", 5, 0)
    free = solve(problem)
    for changes in (
        {"max_energy_j": 0.8 * free.evaluation.energy_j},
        {"deadline_s": 0.8 * free.evaluation.uplink_s * np.array([1.0, 2.0, 2.0, 2.0, 2.0])},
    ):
        limited = replace(problem, **changes)
        assert lambert_bisection(limited)() > 1.001 * free.value
        assert solve(limited).value == pytest.approx(lambert_bisection(limited)(), rel=1e-12)
    assert lambert_bisection(replace(problem, max_energy_j=1e-9))() == math.inf


@pytest.mark.parametrize("clients", [1, 6, 40])
def test_clarabel_finds_the_same_energy(clients):
    pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    problem = family("energy", clients, 2)
    best = solve(problem, gap=1e-7)
    assert best.value == pytest.approx(conic_energy(problem, best.allocation.bandwidth_hz)(), rel=1e-6)


def test_the_fair_share_is_near_enough_for_few_clients():
    pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    problem = family("energy", 4, 0)
    fair = np.full(4, problem.bandwidth_hz / 4)
    assert conic_energy(problem, fair)() == pytest.approx(solve(problem, gap=1e-7).value, rel=1e-6)


def test_lines_hold_proofs_times_ratios_and_differences():
    ours = [Timed(0.001, (2.0,), 1), Timed(0.003, (4.0,), 0), Timed(0.002, (4.0,), 1)]
    theirs = [Timed(0.004, (2.0,), 1), Timed(0.004, (float("nan"),), 0), Timed(0.004, (5.0,), 1)]
    assert general._solved(ours) == "2 of 3"
    assert general._ms_beside(ours, theirs) == ("2.00", "4.00", "2.0")
    assert general._difference(ours, theirs) == "2.0e-01"
    assert general._difference(ours[1:2], theirs[1:2]) == "nan"


def test_every_table_has_as_many_columns_as_lines_have_cells(capsys, monkeypatch):
    monkeypatch.setattr(general, "MENU_TOKENS", (3,))
    monkeypatch.setattr(general, "MENU_CLIENTS", 2)
    monkeypatch.setattr(general, "SKIP_CLIENTS", 3)
    parts = [part for part in general.PARTS if part != "plain"]  # `test_speed` has that one
    general.main(part=",".join(parts), clients="2", seeds=1, repeats=1)
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == len(parts)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
        assert "1 of 1" in table
