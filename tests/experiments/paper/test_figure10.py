"""Figure 10: accuracy against K from finished runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("matplotlib")

from helpers.finished_runs import RUN

from stsflora.experiments.paper.figure10 import accuracy_configs, figure10


def selected(count, top1, kept, **change):
    names = {"solver": f"fixed:tokens={count}", "measure": "attention", "merge": "attention"}
    return replace(RUN, method="st-sflora", top1=top1, top1_selected=kept, **names, **change)


def test_accuracy_against_k_is_judged_for_both_tests():
    runs = [
        selected(64, 0.80, 0.70),
        selected(128, 0.93, 0.95, seed=0),
        selected(128, 0.95, 0.96, seed=1),
        selected(160, 0.95, 0.94),
        replace(RUN, method="st-sflora-full", top1=0.96),
        selected(32, 0.1, 0.1, cut=6),
    ]
    report = figure10(runs)
    assert [entry.holds for entry in report.statements] == [True, False, False, True]
    compared = {entry["column"]: entry for entry in report.compared}
    assert compared["near all tokens from K, all tokens at test"]["ours"] == 160
    assert compared["near all tokens from K, K at test"]["agrees"] == "yes"
    assert {row["tokens"]: row["seeds"] for row in report.data} == {64: 1, 128: 2, 160: 1}


def test_digits_are_drawn_and_not_judged():
    runs = [selected(count, 0.9, 0.9, data="digits", model="small") for count in (3, 6)]
    report = figure10(runs)
    assert (report.compared, report.statements[0].holds) == ([], None)
    assert report.figure is not None
    assert figure10([]).figure is None


def test_the_runs_of_figure_10():
    from stsflora.experiments.finetune.config import Config

    configs = accuracy_configs(Config(rounds=2), (3, 6))
    assert [(c.method, dict(c.solver_options)) for c in configs.values()] == [
        ("st-sflora", {"tokens": 3}),
        ("st-sflora", {"tokens": 6}),
        ("st-sflora-full", {}),
    ]
    assert {c.min_tokens for c in configs.values()} == {1}
