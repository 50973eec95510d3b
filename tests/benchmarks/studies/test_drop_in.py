"""The drop-in page runs as written, and its loop is as short as it says."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import pytest
from helpers.pages import python_blocks
from helpers.paths import ROOT

from stsflora.benchmarks.families import family
from stsflora.benchmarks.studies.drop_in import clients_of
from stsflora.solver import Client

BLOCKS = python_blocks(ROOT / "docs" / "drop_in.md")


def test_the_page_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(block, names)
    assert capsys.readouterr().out.startswith("3 clients, 0 dropped: STE ")
    plan = names["plan"]
    assert list(plan.grants) == ["ada", "bob", "eve"]
    assert plan.grants["ada"].tokens > plan.grants["eve"].tokens
    assert names["sent"].shape == (names["IMAGES"], plan.grants["eve"].tokens, names["WIDTH"])


def test_five_lines_are_new() -> None:
    before, after = (block.splitlines() for block in BLOCKS[1:3])
    changes = [line for line in difflib.ndiff(before, after) if line[0] in "+-" and line[1:].strip()]
    assert [line for line in changes if line[0] == "-"] == ["-     for name, h in hidden.items():"]
    assert len(changes) == 5 + 2  # the inner loop's header is changed: one line less, one more


def test_clients_report_all_that_the_problem_holds_of_them() -> None:
    problem = family("heterogeneous", 3, 0, tokens=8, overhead_s=0.1)
    clients = clients_of(problem, np.asarray)
    assert len(clients) == 3
    for name in ("gain", "bits_per_token", "max_power_w", "max_energy_j", "deadline_s", "overhead_s"):
        assert [getattr(client, name) for client in clients] == getattr(problem, name).tolist()
    assert [client.min_tokens for client in clients] == problem.min_tokens.tolist()
    assert (clients[1].importance == problem.importance[1]).all()
    plain = Client(0, 1.0, [1.0], 1.0, 1.0)
    assert (clients[0].margin_db, clients[0].payload_bits) == (plain.margin_db, plain.payload_bits)
