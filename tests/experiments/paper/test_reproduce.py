"""The paper's numbers beside ours: values file, agreement, tables, figures, command, provenance."""

from __future__ import annotations

import csv
import json
import sys
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import torch
from safetensors.torch import save_file

from stsflora.experiments.cli.main import main
from stsflora.experiments.finetune.run_records import FinishedRun, committed, from_csv
from stsflora.experiments.paper import reproduce as core
from stsflora.experiments.paper import tables
from stsflora.experiments.paper.figure6 import evenness_for_peak, figure6, fixed_time_for_peak, peak_of
from stsflora.experiments.paper.figure8 import figure8a, figure8b, figure8c
from stsflora.experiments.paper.figure9 import figure9
from stsflora.experiments.paper.figure10 import accuracy_configs, figure10
from stsflora.experiments.paper.figures import UPLOAD, WHOLE, Attention, cell_round, drawn_attention
from stsflora.experiments.paper.pictures import Pictures
from stsflora.experiments.paper.reproduce import Compared, PaperValue, Statement, paper_values
from stsflora.experiments.paper.settings import BACKBONES, Settings
from stsflora.experiments.paper.targets import TARGETS
from stsflora.experiments.paper.targets import reproduce as make
from stsflora.models.cell.device import Architecture, block_activation_bytes
from stsflora.models.data import Images
from stsflora.models.vit.backbone import DIGITS_VIT_FILE, small_vit
from stsflora.models.vit.memory import LivingTensors, client_step_peak
from stsflora.solver import FileFormatError, OptionError, UnknownNameError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with an untrained ViT: what is tested here does not depend on its skill."""
    folder = tmp_path / "cache" / "stsflora"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(small_vit().state_dict(), folder / DIGITS_VIT_FILE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent))
    return folder


@pytest.fixture
def run(capsys):
    """Calls the command; returns exit code, output and errors."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["reproduce", *arguments])
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, " ".join(err.split())

    return call


def never(configs):
    raise AssertionError("nothing is to be trained")


# the values file


def test_every_value_has_a_place_a_number_and_a_grade():
    entries = json.loads(core.VALUES.read_text())["values"]
    assert {entry["place"] for entry in entries} == set(TARGETS) - {"fig8c", "fig9"}  # those give no number
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


# agreement


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
    paper = PaperValue("fig6", "r", "c", 100.0, "s", grade)
    entry = Compared("r", "c", "s", ours, paper, allowed, at_most=at_most)
    assert entry.verdict == verdict
    assert entry.agrees == {"yes": True, "no": False}.get(verdict)


def test_without_a_reference_nothing_is_judged():
    entry = Compared("r", "c", "s", 1.0)
    assert (entry.agrees, entry.difference, entry.verdict) == (None, None, "no reference")


# Table I

RUN = FinishedRun(
    data="flowers102",
    model="vit_tiny_patch16_224",
    partition="dirichlet",
    method="sflora",
    cut=2,
    rounds=60,
    top1=0.9,
)


def filled(runs):
    report = tables.table1(runs)
    return {
        (row["dataset"], row["backbone"], row["partition"], row["scheme"]): row["top1"]
        for row in report.data
        if row["top1"] != "not run here"
    }


def test_an_empty_table_says_so_everywhere():
    report = tables.table1([])
    assert len(report.data) == 3 * 4 * 2 * 6
    assert {row["top1"] for row in report.data} == {"not run here"}
    assert {entry.verdict for entry in report.compared} == {"not run here"}
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
        partition: {entry.verdict for entry in tables.table1([replace(base, partition=partition)]).compared}
        for partition in ("dirichlet", "iid")
    }
    assert verdicts == {"dirichlet": {"yes", "not run here"}, "iid": {"another setting", "not run here"}}


def test_the_order_of_schemes_is_judged():
    top1 = {"split-lora": 0.97, "sflora": 0.96, "st-sflora-full": 0.95, "st-sflora": 0.955, "fed-lora": 0.93}
    runs = [
        replace(RUN, method=scheme, top1=value, solver="exact", measure="attention", merge="attention")
        for scheme, value in top1.items()
    ]
    found = {entry.text.split(" (")[0]: entry.holds for entry in tables.table1(runs).statements}
    assert found == {
        "SplitLoRA, SFLora and Full are not below ST-SFLora": True,  # within a point
        "ST-SFLora is far above FedLoRA": False,
    }


def test_every_cell_has_a_run(tmp_path):
    configs = [cell.config(tmp_path / cell.dataset, None, 3, 1) for cell in tables.cells()]
    assert len({json.dumps(config.as_dict()) for config in configs}) == len(configs) == 144
    assert {config.model for config in configs} == set(BACKBONES.values())
    with pytest.raises(UnknownNameError, match=r"backbone 'vit_huge'.*vit_base"):
        tables.Cell("cub200", "vit_huge", "iid", "sflora")


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


# Table II


def test_traffic_is_within_one_percent_of_the_paper():
    report = tables.table2({})
    traffic = [entry for entry in report.compared if entry.unit == "MB" and entry.paper is not None]
    assert len(traffic) == 16
    assert {entry.verdict for entry in traffic} == {"yes"}


def test_measured_memory_stands_beside_the_paper():
    gib = 2.0**30
    sizes = {"local": 8.5, "fed": 8.5, "split": 3.0, "full": 1.4, "selected": 1.4}
    measured = {
        scheme: {"whole GPU, fused attention": size * gib, "other": gib} for scheme, size in sizes.items()
    }
    found = [
        (entry.row, entry.ours, entry.verdict)
        for entry in tables.table2(measured).compared
        if entry.note == "whole GPU, fused attention"
    ]
    assert found[0] == ("LocalLoRA", pytest.approx(8.5), "yes")
    assert found[2] == ("SplitLoRA", pytest.approx(3.0), "no")
    assert len(found) == 6


def test_living_tensors_are_counted_until_they_die():
    weight = torch.zeros(100)
    with LivingTensors([weight]) as living:
        first = weight + 1
        view = first.reshape(10, 10)
        assert living.now == 800
        second = first * 2
        del first
        assert living.now == 1200  # the view holds it
        del view
        assert living.now == 800
        del second
    assert (living.now, living.peak) == (400, 1200)


def peak(scheme, batch=8):
    return client_step_peak(scheme, "vit_tiny_patch16_224", batch=batch, kept=9).tensors


def test_measured_memory_grows_with_the_batch_as_the_formula_says():
    attention = 4 * 3 * 197**2  # that of three heads, which the formula for fused attention leaves out
    expected = 12 * (block_activation_bytes(Architecture(width=192), 1) + attention)
    assert (peak("local", 16) - peak("local")) / 8 == pytest.approx(expected, rel=0.01)


def test_a_whole_model_takes_more_than_its_half_and_a_frozen_half_least():
    assert peak("local") > 2 * peak("split") > 2 * peak("full")
    assert peak("selected") == peak("full")  # choosing tokens takes less than a block


def test_memory_of_what_is_not_there():
    with pytest.raises(UnknownNameError, match="scheme='both'"):
        client_step_peak("both")
    with pytest.raises(OptionError, match="device 'tpu'"):
        client_step_peak("local", device="tpu")


# Figure 6


@given(st.lists(st.floats(0.01, 1.0), min_size=8, max_size=40, unique=True), st.data())
def test_the_fixed_time_and_the_evenness_that_put_the_peak_anywhere(weights, data):
    profile = np.sort(np.array(weights))[::-1]
    profile /= profile.sum()
    count = data.draw(st.integers(2, len(profile) - 2))
    assume(profile[count - 1] - profile[count] > 1e-6)
    fixed, share = fixed_time_for_peak(profile, count), evenness_for_peak(profile, count)
    if fixed is None or share is None:
        assert fixed is share is None
        assert peak_of(profile, 0.0) >= count
        return
    assert peak_of(profile, fixed) == count
    assert 0 <= share < 1
    assert peak_of((1 - share) * profile + share / len(profile), 0.0) == count


def test_even_attention_peaks_at_the_end_and_steep_attention_early():
    even, steep = np.full(50, 0.02), np.eye(1, 50)[0]
    assert peak_of(even, 0.0) == 50
    assert peak_of(steep, 1000.0) == 1


def test_whole_time_counts_what_comes_before_the_upload():
    importance = drawn_attention(0, 64).importance(4, 0)
    alone, whole = (cell_round(4, 0, importance, metric=metric) for metric in (UPLOAD, WHOLE))
    assert (alone.overhead_s == 0).all()
    assert (whole.overhead_s > 0.3).all()
    assert (whole.deadline_s == alone.deadline_s).all()
    assert (alone.min_tokens == 64).all()
    np.testing.assert_allclose(importance.sum(axis=1), 64)


def test_figure_6_says_where_the_peak_is():
    report = figure6(drawn_attention(0, 64), seeds=1, step=49)
    assert {row["tokens"] for row in report.data} == {1, 49, 98, 147, 196}
    best = max(
        (row["ste_per_s"], row["tokens"])
        for row in report.data
        if row["clients"] == 10 and row["metric"] == UPLOAD
    )
    compared = {(entry.row, entry.column): entry for entry in report.compared}
    assert compared["10 clients", "peak by upload time"].ours == best[1]
    assert compared["10 clients", "STE there, upload time"].verdict == "grade C, not judged"
    assert report.figure is not None


# Figure 8


@pytest.fixture(scope="module")
def attention():
    return drawn_attention(0, 64)


def test_the_loop_stays_below_the_certified_optimum_and_never_falls(attention):
    report = figure8a(attention, seeds=1)
    curves = {}
    for row in report.data:
        curves.setdefault((row["metric"], row["start"]), []).append(row)
    assert len(curves) == 6
    for rows in curves.values():
        ste = [row["ste_per_s"] for row in rows]
        assert ste == sorted(ste)
        assert ste[-1] <= rows[0]["certified_bound_per_s"] * (1 + 1e-9)
    assert {entry.paper.value for entry in report.compared} == {5}


def test_holding_a_block_is_told_as_a_share_of_the_optimum(attention):
    report = figure8b(attention, seeds=1)
    assert all(0 < row["share_of_optimum_percent"] <= 100 + 1e-6 for row in report.data)
    by_variant = {
        row["variant"]: row["share_of_optimum_percent"] for row in report.data if row["metric"] == UPLOAD
    }
    assert by_variant["without token selection"] < by_variant["all three optimised"]
    assert {entry.verdict for entry in report.compared} == {"grade C, not judged"}
    paper = {row["paper_grade_c_share_of_its_best_percent"] for row in report.data}
    assert paper == {100.0, 100 * 40.5 / 43.45, 100 * 38.1 / 43.45, 100 * 35.2 / 43.45}


def test_tokens_against_limits(attention):
    report = figure8c(attention, seeds=1, points=2)
    assert len(report.data) == len(report.statements) * 2 == 16
    assert all(row["mean_tokens"] is None or 64 <= row["mean_tokens"] <= 196 for row in report.data)


# Figures 9 and 10


def test_kept_patches_are_told_from_the_ink():
    pixels = torch.zeros(5, 3, 24, 24, dtype=torch.uint8)
    pixels[:, :, 8:16, 8:16] = 255
    torch.manual_seed(0)
    pictures = Pictures("digits", "small", Images(pixels, torch.arange(5), 5), small_vit().eval())
    report = figure9(pictures, cut=2)
    assert {row["all_share"] for row in report.data} == {4 / 36}
    assert {row["kept"] for row in report.data} == {12}
    assert [row["block"] for row in report.data] == [2, 4]
    assert report.statements[0].holds in {True, False}
    photographs = figure9(replace(pictures, name="flowers"), cut=2)
    assert photographs.statements[0].holds is None  # no outlines of objects


def test_attention_is_of_the_asked_blocks_in_any_order():
    torch.manual_seed(0)
    images = Images(torch.randint(0, 255, (3, 3, 24, 24), dtype=torch.uint8), torch.arange(3), 3)
    pictures = Pictures("digits", "small", images, small_vit().eval())
    together = pictures.attention([3, 1])
    np.testing.assert_array_equal(together[1], pictures.attention([1])[1])
    np.testing.assert_array_equal(together[3], pictures.attention([3])[3])
    np.testing.assert_allclose(together[1].sum(axis=1), 1, rtol=1e-5)


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
    compared = {entry.column: entry for entry in report.compared}
    assert compared["near all tokens from K, all tokens at test"].ours == 160
    assert compared["near all tokens from K, K at test"].verdict == "yes"
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


# the command


def test_a_report_is_written_with_its_provenance(tmp_path, run, cache, monkeypatch):
    call = ["fig9", "--quick", "--data", "digits", "--seed", "3", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/stsflora", "reproduce", *call])
    code, out, _ = run(*call)
    assert code == 0
    assert "Kept tokens sit on the object" in out
    made = json.loads((tmp_path / "out" / "fig9_provenance.json").read_text())
    assert made["command"] == " ".join(["stsflora", "reproduce", *call])
    assert made["settings"]["seed"] == 3
    assert made["settings"]["quick"] is True
    assert {"commit", "sources", "hardware", "made", "seconds"} <= set(made)
    assert {"python", "numpy", "torch"} <= set(made["versions"])
    page = (tmp_path / "out" / "fig9.md").read_text()
    assert "![Figure 9: kept tokens over images](fig9.png)" in page
    assert f"commit: {made['commit']}" in page
    assert (tmp_path / "out" / "fig9.png").read_bytes().startswith(b"\x89PNG")


def test_json_and_csv_carry_the_same_numbers(tmp_path, run):
    code, out, _ = run("table1", "--json", "--output", str(tmp_path))
    assert code == 0
    (printed,) = json.loads(out).values()
    with (tmp_path / "table1.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["agrees"] for row in rows] == [entry["agrees"] for entry in printed["compared"]]
    assert [row["paper"] for row in rows] == [str(entry["paper"]["value"]) for entry in printed["compared"]]
    assert {"A", "B"} == {row["grade"] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig7"], "target 'fig7'"),
        (["table1", "--dataset", "cub200", "--data", "."], "folder named cub200"),
        (["table1", "--dataset", "mnist"], "--dataset 'mnist'"),
        (["table1", "--dataset", "cub200", "--schemes", "fedavg"], "--schemes 'fedavg'"),
        (["table1", "--runs", "."], "no checkpoint.safetensors"),
        (["fig9", "--data", "nowhere"], "source 'nowhere'"),
        (["table2", "--device", "tpu"], "device 'tpu'"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments, "--output", "out")
    assert code == 2
    assert message in err


def test_a_cell_of_table_1_is_run_by_name(tmp_path):
    asked = {}

    def train(configs):
        asked.update(configs)
        return []

    folder = tmp_path / "cub200"
    folder.mkdir()
    settings = Settings(
        data=str(folder),
        dataset="cub200",
        backbone="vit_large",
        partition="iid",
        schemes=("sflora",),
        rounds=7,
    )
    make("table1", settings, train)
    (config,) = asked.values()
    assert (config.method, config.model, config.partition) == ("sflora", "vit_large_patch16_224", "iid")
    assert (config.rounds, Path(config.data).name) == (7, "cub200")


def test_settings_that_are_published_name_no_folder_of_this_machine(tmp_path):
    settings = Settings(
        data=str(tmp_path / "flowers102"), weights=tmp_path / "vit.safetensors", cache=tmp_path
    )
    published = settings.as_dict()
    assert (published["data"], published["weights"]) == ("flowers102", "vit.safetensors")
    assert str(tmp_path) not in json.dumps(published)


def test_drawn_attention_serves_where_there_are_no_images(cache):
    report = make("fig8b", Settings(quick=True, data="digits", cache=cache), never)
    assert "no images were at hand" in report.setting


@pytest.mark.slow
def test_everything_runs_offline(tmp_path, run, cache):
    folder = str(tmp_path / "out")
    code, _, _ = run("all", "--quick", "--data", "digits", "--rounds", "1", "--output", folder)
    assert code == 0
    assert {file.stem for file in (tmp_path / "out").glob("*.md")} == set(TARGETS)


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


def test_statements_say_what_they_found():
    table = core.statement_table([Statement("It holds.", "A", None, "nothing")])
    assert table.lines == (("It holds.", "A", "not judged", "nothing"),)


def test_importance_is_of_whole_batches():
    attention = Attention("two images", "x", {"x": np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])})
    importance = attention.importance(2, 0)
    assert importance.shape == (2, 3)
    assert (np.diff(importance, axis=1) <= 0).all()
    np.testing.assert_allclose(importance.sum(axis=1), 64)
