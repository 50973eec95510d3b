"""`stsflora reproduce`: reports with provenance, CSV and JSON, bad input, what is trained."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import torch
from safetensors.torch import save_file

from stsflora.experiments.cli.main import main
from stsflora.experiments.paper.settings import TARGETS, ReproductionSettings
from stsflora.experiments.paper.targets import reproduce as make
from stsflora.models.vit.backbone import DIGITS_VIT_FILE, small_vit

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
    assert [row["paper"] for row in rows] == [str(entry["paper"]) for entry in printed["compared"]]
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
    settings = ReproductionSettings(
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
    settings = ReproductionSettings(
        data=str(tmp_path / "flowers102"), weights=tmp_path / "vit.safetensors", cache=tmp_path
    )
    published = settings.as_dict()
    assert (published["data"], published["weights"]) == ("flowers102", "vit.safetensors")
    assert str(tmp_path) not in json.dumps(published)


def test_drawn_attention_serves_where_there_are_no_images(cache):
    report = make("fig8b", ReproductionSettings(quick=True, data="digits", cache=cache), never)
    assert "no images were at hand" in report.setting


@pytest.mark.slow
def test_everything_runs_offline(tmp_path, run, cache):
    folder = str(tmp_path / "out")
    code, _, _ = run("all", "--quick", "--data", "digits", "--rounds", "1", "--output", folder)
    assert code == 0
    assert {file.stem for file in (tmp_path / "out").glob("*.md")} == set(TARGETS)
