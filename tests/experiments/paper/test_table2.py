"""Table II: traffic and memory beside the paper's."""

from __future__ import annotations

import pytest

from stsflora.experiments.paper.table2 import table2


def test_traffic_is_within_one_percent_of_the_paper():
    report = table2({})
    traffic = [entry for entry in report.compared if entry["unit"] == "MB" and entry["paper"] is not None]
    assert len(traffic) == 16
    assert {entry["agrees"] for entry in traffic} == {"yes"}


def test_measured_memory_stands_beside_the_paper():
    gib = 2.0**30
    sizes = {"local": 8.5, "fed": 8.5, "split": 3.0, "full": 1.4, "selected": 1.4}
    measured = {
        scheme: {"whole GPU, fused attention": size * gib, "other": gib} for scheme, size in sizes.items()
    }
    found = [
        (entry["row"], entry["ours"], entry["agrees"])
        for entry in table2(measured).compared
        if entry["note"] == "whole GPU, fused attention"
    ]
    assert found[0] == ("LocalLoRA", pytest.approx(8.5), "yes")
    assert found[2] == ("SplitLoRA", pytest.approx(3.0), "no")
    assert len(found) == 6
