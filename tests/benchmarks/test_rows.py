"""Rows survive files and kills."""

import json
import math

import pytest
from helpers.rows import FAILED, benchmark_row

from stsflora.benchmarks.rows import RowWriter, read_rows
from stsflora.solver import FileFormatError


def test_undefined_figures_are_equal_to_themselves_and_nothing_else():
    """Tuples of fields with nan differ from each other when the nan are other objects."""
    row = benchmark_row(solve_s=float("nan"), claimed_value=float("nan"))
    assert row == benchmark_row(solve_s=float("nan"), claimed_value=float("nan"))
    assert row == type(row).from_dict(row.as_dict())
    assert row != benchmark_row(solve_s=1.0, claimed_value=float("nan"))
    assert row != benchmark_row(solve_s=float("nan"), claimed_value=float("nan"), key="other")
    assert row != row.as_dict()


def test_rows_survive_the_file_with_undefined_figures(tmp_path):
    rows = [
        benchmark_row(
            key="a", trace=((0.1, 5.0, math.inf), (0.2, 6.0, 7.0)), options={"engine": "highs", "n": 3}
        ),
        benchmark_row(key="b", **FAILED, solve_s=math.nan, time_limit_s=math.inf),
    ]
    with RowWriter(tmp_path / "rows.jsonl") as writer:
        for entry in rows:
            writer.append(entry)
    assert read_rows(tmp_path / "rows.jsonl") == rows
    for line in (tmp_path / "rows.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_torn_last_line_is_left_out_and_repaired(tmp_path):
    path = tmp_path / "rows.jsonl"
    with RowWriter(path) as writer:
        writer.append(benchmark_row(key="a"))
        writer.append(benchmark_row(key="b"))
    path.write_bytes(path.read_bytes()[:-40])
    assert [entry.key for entry in read_rows(path)] == ["a"]
    with RowWriter(path) as writer:
        writer.append(benchmark_row(key="c"))
    assert [entry.key for entry in read_rows(path)] == ["a", "c"]


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"key": "a"}',
        json.dumps(benchmark_row().as_dict() | {"ste": "many"}),
        json.dumps(benchmark_row().as_dict() | {"objective": "speed"}),
        json.dumps(benchmark_row().as_dict() | {"objective": ["ste"]}),
        json.dumps(benchmark_row().as_dict() | {"claimed_ste": 1.0}),
        "[" * 10_000,
    ],
)
def test_a_broken_line_inside_is_an_error_that_names_it(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    good = json.dumps(benchmark_row().as_dict())
    path.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(FileFormatError, match=r"line 2 with .*--fresh"):
        read_rows(path)


def test_rows_of_what_is_minimised_survive_the_file(tmp_path):
    none = {"value": math.inf, "bound": -math.inf, "claimed_bound": -math.inf}
    rows = [
        benchmark_row(
            objective="energy", value=3.0, bound=2.5, trace=((0.1, math.inf, -math.inf), (0.2, 3.0, 2.5))
        ),
        benchmark_row(objective="round_time", **(FAILED | none)),
        benchmark_row(objective="total_time", ste=math.nan, value=3.0, bound=-math.inf),
    ]
    with RowWriter(tmp_path / "rows.jsonl") as writer:
        for entry in rows:
            writer.append(entry)
    assert read_rows(tmp_path / "rows.jsonl") == rows
    assert read_rows(tmp_path / "rows.jsonl")[1].value == math.inf
    assert not rows[0].goal.maximises


def test_rows_of_before_there_were_objectives_are_read(tmp_path):
    """They have `claimed_ste`; their value is the STE."""
    row = benchmark_row(ste=98.0, claimed_value=98.5)
    old = row.as_dict()
    old["claimed_ste"] = old.pop("claimed_value")
    del old["objective"], old["value"]
    (tmp_path / "rows.jsonl").write_text(json.dumps(old) + "\n")
    assert read_rows(tmp_path / "rows.jsonl") == [row]
    assert (row.objective, row.value) == ("ste", 98.0)
    failed = benchmark_row(**FAILED)
    old = failed.as_dict() | {"claimed_ste": None}
    del old["objective"], old["value"], old["claimed_value"]
    (tmp_path / "rows.jsonl").write_text(json.dumps(old) + "\n")
    assert read_rows(tmp_path / "rows.jsonl")[0].value == -math.inf
