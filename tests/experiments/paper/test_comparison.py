"""The paper's numbers and statements beside ours: values file, agreement, judged statements."""

from __future__ import annotations

import json
from configparser import ConfigParser

import pytest
from helpers.paths import ROOT

from stsflora.experiments.paper.comparison import (
    VALUES,
    Claim,
    OurValue,
    PaperValue,
    compare,
    judge,
    paper_values,
    statement_table,
)
from stsflora.experiments.paper.settings import TARGETS
from stsflora.solver import FileFormatError


def test_every_value_has_a_place_a_number_and_a_grade():
    entries = json.loads(VALUES.read_text())["values"]
    assert {entry["place"] for entry in entries} == set(TARGETS) - {
        "fig8c",
        "fig9",
        "joint",
    }  # those give no number
    assert all(set(entry) == {"place", "row", "column", "value", "unit", "grade"} for entry in entries)
    assert sum(len(paper_values(place)) for place in TARGETS) == len(entries)


def test_values_that_arithmetic_gives():
    values = {key: entry.value for key, entry in paper_values("table2").items()}
    assert values["SplitLoRA", "tokens per batch"] == 3 * 196 / 16
    assert values["ST-SFLora", "one kept token per batch"] == 64 * 768 * 4 / 2**20
    full, cut = paper_values("table1")["SFLora", "CUB-200"], paper_values("table1")["ST-SFLora", "CUB-200"]
    assert (full.value, full.grade, cut.value, cut.grade) == (79.84, "A", 73.69, "A")


@pytest.mark.parametrize(
    "change",
    [{"grade": "D"}, {"value": "9"}, {"value": True}, {"row": ""}, {"more": 1}],
    ids=["grade", "text", "truth", "no row", "one more"],
)
def test_a_malformed_value_is_refused(tmp_path, change):
    entry = {"place": "fig6", "row": "r", "column": "c", "value": 1.0, "unit": "s", "grade": "A"}
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"values": [{**entry, **change}]}))
    with pytest.raises(FileFormatError, match=r"paper values 'values\.json'"):
        paper_values("fig6", file)


def test_a_value_given_twice_is_refused(tmp_path):
    entry = {"place": "fig6", "row": "r", "column": "c", "value": 1.0, "unit": "s", "grade": "A"}
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"values": [entry, {**entry, "value": 2.0}]}))
    with pytest.raises(FileFormatError, match="r, c of fig6 twice"):
        paper_values("fig6", file)


@pytest.mark.parametrize(
    ("ours", "grade", "allowed", "at_most", "verdict"),
    [
        (101.0, "A", 1.0, False, "yes"),
        (99.0, "B", 1.0, False, "yes"),
        (101.1, "A", 1.0, False, "no"),
        (90.0, "A", 0.0, True, "yes"),
        (100.5, "A", 0.0, True, "no"),
        (100.0, "C", 1.0, False, "grade C, not judged"),
        (100.0, "A", None, False, "another setting"),
        (None, "A", 1.0, False, "not run here"),
    ],
)
def test_agreement(ours, grade, allowed, at_most, verdict):
    values = {("r", "c"): PaperValue("fig6", "r", "c", 100.0, "s", grade)}
    ours = OurValue(("r", "c"), ours, same_setting=allowed is not None)
    (entry,) = compare(values, [ours], lambda paper: allowed, at_most=at_most)
    assert (entry["agrees"], entry["unit"], entry["paper"]) == (verdict, "s", 100.0)


def test_without_a_reference_nothing_is_judged():
    values = {("r", "c"): PaperValue("fig6", "r", "c", 100.0, "s", "A")}
    (entry,) = compare(values, [OurValue(("other", "c"), 1.0)], lambda paper: 1.0)
    assert (entry["difference"], entry["agrees"], entry["unit"]) == (None, "no reference", "s")


def test_statements_say_what_they_found():
    claims = [
        Claim("{what} holds.", "A", lambda found: found["yes"], "{seen} of it"),
        Claim("More.", "B", lambda found: found["more"], "{more}", needs=("more",)),
    ]
    found = judge(claims, [{"what": "It", "yes": None, "seen": 0}, {"what": "That", "yes": False, "seen": 2}])
    assert statement_table(found).lines == (
        ("It holds.", "A", "not judged", "0 of it"),
        ("That holds.", "A", "does not hold", "2 of it"),
    )
    (more,) = judge(claims[1:], [{"more": True}, {"more": None}])
    assert (more.text, more.verdict) == ("More.", "holds")


def test_an_installed_copy_has_the_values_and_the_results():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options.package_data"]
    patterns = {
        "experiments": ("results/*.csv", "results/memory/*.csv"),
        "experiments/paper": ("paper_values.json",),
    }
    for folder, pattern in ((folder, pattern) for folder, several in patterns.items() for pattern in several):
        assert pattern in listed["stsflora." + folder.replace("/", ".")].split()
        assert list((ROOT / folder).glob(pattern))
