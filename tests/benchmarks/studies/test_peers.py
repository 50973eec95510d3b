"""Peers solve what `exact` solves, and an absent one is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stsflora.benchmarks.families import family
from stsflora.benchmarks.studies import peers
from stsflora.benchmarks.studies.peers import PEER_COLUMNS, PEERS, peer_lines
from stsflora.solver import solve


def test_peers_agree_with_exact() -> None:
    for package in ("cvxpy", "clarabel", "pyomo", "pyscipopt"):
        pytest.importorskip(package)
    lines = list(peer_lines((2,), seeds=1, repeats=1))
    assert [line[0] for line in lines] == [peer.name for peer in PEERS]
    assert {len(line) for line in lines} == {len(PEER_COLUMNS)}
    assert lines[0][3] == "1.0"
    for line in lines:
        assert float(line[4]) == pytest.approx(1.0, abs=1e-3), line
        assert line[-1] == "1 of 1", line


def test_an_absent_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda package: None)
    lines = {line[0]: line for line in peer_lines((6,), seeds=1, repeats=1)}
    assert "SCIP" not in lines
    assert lines["Clarabel, own API"][2:] == ("–", "–", "–", "continuous value", "not installed")
    assert lines["SLSQP"][-1] == "1 of 1"


def test_slopes_of_the_model_over_real_tokens() -> None:
    problem = family("energy_tight", 3, 0, tokens=8)
    model = peers._RealTokens(problem, solve(problem, "equal"))
    assert model.cost(model.start)[0] == pytest.approx(-1.0)
    x = model.start * np.linspace(0.9, 1.1, model.start.size)

    def slopes(function: Any) -> np.ndarray:
        steps = 1e-6 * np.eye(x.size)
        return np.transpose([(function(x + step) - function(x - step)) / 2e-6 for step in steps])

    assert slopes(lambda at: model.cost(at)[0]) == pytest.approx(model.cost(x)[1], rel=1e-6, abs=1e-8)
    assert slopes(model.slacks) == pytest.approx(model.slack_slopes(x), rel=1e-6, abs=1e-8)
