"""Rows of finished runs: what they hold, that they survive a file, and that broken files are refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from stsflora.experiments.finetune.checkpoint import RoundLog, save_checkpoint
from stsflora.experiments.finetune.config import Config
from stsflora.experiments.finetune.run_records import (
    RECORDS,
    committed,
    curve,
    finished_run,
    from_csv,
    from_folders,
    save_records,
)
from stsflora.solver import FileFormatError


def log(index: int, accuracy: float | None, tokens: list[int], ste: float | None) -> RoundLog:
    return RoundLog(
        index=index,
        accuracy=accuracy,
        accuracy_selected=None,
        loss=1.0 / (index + 1),
        clients=list(range(len(tokens))),
        left_out={},
        tokens=tokens,
        ste=ste,
        bound=None,
        quality="feasible",
        energy_j=0.25,
        round_s=0.5,
        uplink_bytes=2**20,
        formula_bytes=2**20,
        downlink_bytes=0,
        seconds=1.0,
    )


LOGS = [log(0, None, [4, 8], 10.0), log(1, 0.8, [], None), log(2, None, [6], 20.0), log(3, 0.95, [6], 30.0)]


def test_a_row_sums_costs_and_takes_the_last_accuracy():
    row = finished_run(Config(data="a/b/flowers102"), LOGS, run="one", target=0.9)
    assert (row.run, row.data, row.rounds, row.top1) == ("one", "flowers102", 4, 0.95)
    assert (row.mean_tokens, row.ste, row.uplink_mb) == (6.0, 20.0, 4.0)
    assert (row.air_s, row.energy_j) == (2.0, 1.0)
    assert (row.rounds_to_target, row.air_s_to_target, row.energy_j_to_target) == (4, 2.0, 1.0)
    assert row.top1_selected is None


def test_a_target_that_is_not_reached_costs_nothing_known():
    row = finished_run(Config(), LOGS, target=0.99)
    assert (row.target, row.rounds_to_target, row.air_s_to_target) == (0.99, None, None)


def test_a_curve_has_the_evaluated_rounds_and_cumulative_costs():
    points = curve("one", LOGS)
    assert [(point.round, point.top1) for point in points] == [(2, 0.8), (4, 0.95)]
    assert [(point.air_s, point.energy_j, point.uplink_mb) for point in points] == [
        (1.0, 0.5, 2.0),
        (2.0, 1.0, 4.0),
    ]


def test_rows_survive_a_file(tmp_path):
    config = Config(
        seed=3,
        min_tokens=5,
        solver="fixed",
        solver_options={"tokens": 7},
        max_power_w=0.1,
        count_forward=True,
    )
    save_records(tmp_path, {"one": (config, LOGS)}, target=0.9)
    assert {file.name for file in tmp_path.iterdir()} == set(RECORDS)
    (row,) = from_csv(tmp_path / RECORDS[0])
    assert row == finished_run(config, LOGS, run="one", target=0.9)
    assert (row.solver, row.max_power_w, row.count_forward, row.rank) == ("fixed:tokens=7", 0.1, 1, 16)


def test_rows_are_taken_from_checkpoints(tmp_path):
    configs = {name: Config(seed=seed, weights=f"/home/{name}") for seed, name in enumerate(("one", "two"))}
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        save_checkpoint(
            tmp_path / name / "checkpoint.safetensors", config, LOGS, {"model": {"x": torch.zeros(2)}}
        )
    rows = from_folders(tmp_path)
    assert rows == [finished_run(config, LOGS, run=name) for name, config in configs.items()]
    assert [row.weights for row in rows] == ["one", "two"]
    (tmp_path / "two" / "checkpoint.safetensors").write_bytes(b"{}")
    with pytest.raises(FileFormatError, match=r"checkpoint 'checkpoint\.safetensors'"):
        from_folders(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data,model\nx,y\n", "no column 'method'"),
        ("data,model,partition,method,top1\nx,y,iid,sflora,high\n", "top1 = 'high'"),
    ],
)
def test_broken_files_are_refused_by_column(tmp_path: Path, text: str, said: str):
    file = tmp_path / "rows.csv"
    file.write_text(text)
    with pytest.raises(FileFormatError, match=said):
        from_csv(file)


def test_committed_rows_are_finished_runs_of_known_accuracy():
    rows = committed()
    assert len({row.run for row in rows}) == len(rows) > 0
    assert all(row.top1 is not None and 0 <= row.top1 <= 1 and row.rounds for row in rows)
    assert all(math.isfinite(row.air_s) for row in rows if row.air_s is not None)
