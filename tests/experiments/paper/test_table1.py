"""Table I: which runs fill which cell, what is judged, and the runs by name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from helpers.finished_runs import RUN

from stsflora.experiments.finetune.run_records import committed, from_csv
from stsflora.experiments.paper.settings import BACKBONES
from stsflora.experiments.paper.table1 import Table1Cell, cells, table1
from stsflora.solver import FileFormatError, UnknownNameError


def filled(runs):
    report = table1(runs)
    return {
        (row["dataset"], row["backbone"], row["partition"], row["scheme"]): row["top1"]
        for row in report.data
        if row["top1"] != "not run here"
    }


def test_an_empty_table_says_so_everywhere():
    report = table1([])
    assert len(report.data) == 3 * 4 * 2 * 6
    assert {row["top1"] for row in report.data} == {"not run here"}
    assert {entry["agrees"] for entry in report.compared} == {"not run here"}
    assert report.statements == []


def test_a_run_fills_its_cell_and_no_other():
    assert filled([RUN]) == {("flowers102", "vit_tiny", "dirichlet", "sflora"): 90.0}
    assert filled([RUN, replace(RUN, seed=1, top1=0.8)]) == {
        ("flowers102", "vit_tiny", "dirichlet", "sflora"): pytest.approx(85.0)
    }
    assert filled([replace(RUN, rounds=5, top1=0.1), RUN]) == filled([RUN])


@pytest.mark.parametrize(
    "change",
    [
        {"cut": 4},
        {"data": "digits"},
        {"model": "vit_tiny_r_s16_p8_224"},
        {"top1": None},
        {"min_tokens": 1},
        {"count_forward": 1},
        {"method": "st-sflora", "solver": "fixed:tokens=32", "measure": "attention", "merge": "attention"},
        {"method": "st-sflora", "solver": "exact", "measure": "grid", "merge": "attention"},
    ],
    ids=str,
)
def test_runs_of_other_settings_fill_nothing(change):
    assert filled([replace(RUN, **change)]) == {}


def test_only_the_papers_backbone_and_partition_are_judged_by_number():
    base = replace(RUN, model="vit_base_patch16_224", top1=0.98)
    verdicts = {
        partition: {entry["agrees"] for entry in table1([replace(base, partition=partition)]).compared}
        for partition in ("dirichlet", "iid")
    }
    assert verdicts == {"dirichlet": {"yes", "not run here"}, "iid": {"another setting", "not run here"}}


def test_the_order_of_schemes_is_judged():
    top1 = {"split-lora": 0.97, "sflora": 0.96, "st-sflora-full": 0.95, "st-sflora": 0.955, "fed-lora": 0.93}
    runs = [
        replace(RUN, method=scheme, top1=value, solver="exact", measure="attention", merge="attention")
        for scheme, value in top1.items()
    ]
    found = {entry.text.split(" (")[0]: entry.holds for entry in table1(runs).statements}
    assert found == {
        "SplitLoRA, SFLora and Full are not below ST-SFLora": True,  # within a point
        "ST-SFLora is far above FedLoRA": False,
    }


def test_every_cell_has_a_run(tmp_path):
    configs = [cell.config(tmp_path / cell.dataset, None, 3, 1) for cell in cells()]
    assert len({json.dumps(config.as_dict()) for config in configs}) == len(configs) == 144
    assert {config.model for config in configs} == set(BACKBONES.values())
    with pytest.raises(UnknownNameError, match=r"backbone 'vit_huge'.*vit_base"):
        Table1Cell("cub200", "vit_huge", "iid", "sflora")


def test_results_that_come_with_the_toolkit_are_read():
    rows = committed()
    assert rows
    assert all(0 <= row.top1 <= 1 for row in rows if row.top1 is not None)
    assert any(value != "not run here" for value in filled(rows).values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data,model,partition,method\na,b,c,d\n", "no column 'top1'"),
        ("data,model,partition,method,top1\na,b,c,d,high\n", "top1 = 'high'"),
    ],
)
def test_malformed_results_are_refused(tmp_path, text, message):
    file = tmp_path / "results.csv"
    file.write_text(text)
    with pytest.raises(FileFormatError, match=message):
        from_csv(file)
