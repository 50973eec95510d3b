"""The options of `stsflora finetune` are the settings of `Config`."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")
pytest.importorskip("sklearn")

from stsflora.experiments.cli.main import main
from stsflora.experiments.field_info import field_infos
from stsflora.experiments.finetune.config import METHODS, Config

pytestmark = pytest.mark.usefixtures("one_thread")

SOME = {
    "data": "hf:flowers",
    "model": "vit_tiny_patch16_224",
    "weights": "/a/weights",
    "solver": "greedy",
    "bits_per_element": "8:worth=0.9,16",
}
"""Values of text that has no closed set."""


@pytest.fixture
def configs(monkeypatch):
    """What a call of `stsflora finetune` would train."""

    def called(*arguments) -> dict[str, Config]:
        seen = {}

        def train_all(configs, output, **how):
            seen.update(configs)
            raise typer.Exit(0)

        monkeypatch.setattr("stsflora.experiments.cli.finetune.train_all", train_all)
        with pytest.raises(SystemExit) as ended:
            main(["finetune", *arguments])
        assert ended.value.code == 0
        return seen

    return called


def another(setting):
    """A value that is not the default."""
    if setting.kind is bool:
        return not setting.default
    if setting.allowed:
        return next(value for value in setting.allowed if value != setting.default)
    return SOME[setting.name] if setting.kind is str else setting.kind((setting.default or 2) + 1)


@pytest.mark.parametrize("name", field_infos(Config))
def test_every_setting_can_be_set(name, configs):
    setting = field_infos(Config)[name]
    value = another(setting)
    flag = f"--{(setting.many or setting.option or name).replace('_', '-')}"
    chosen = [] if name == "method" else ["--methods", "st-sflora"]
    (config,) = configs(*chosen, flag, *([] if setting.kind is bool else [str(value)])).values()
    assert config == Config(**{"method": "st-sflora", name: value})


def test_without_options_the_defaults_of_all_methods_run(configs):
    assert list(configs().values()) == [Config(method=method) for method in METHODS]


def test_lists_run_in_all_combinations_once(configs):
    found = configs(
        *("--methods", "fed-lora,st-sflora", "--seeds", "0,1", "--cuts", "1,2"),
        *("--solvers", 'alternating:starts=["full","random"],fixed:tokens=20'),
    )
    assert list(found)[:3] == [
        "fed-lora_dirichlet_seed0_cut1",
        "st-sflora_dirichlet_seed0_cut1_alternating-starts=[full,random]_attention_attention",
        "st-sflora_dirichlet_seed0_cut1_fixed-tokens=20_attention_attention",
    ]
    assert len(found) == 2 * 2 * 3
    assert [dict(config.solver_options) for config in found.values()][1:3] == [
        {"starts": ["full", "random"]},
        {"tokens": 20},
    ]


def test_files_are_found_from_anywhere(configs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (config,) = configs("--methods", "sflora", "--data", "flowers", "--weights", "vit.safetensors").values()
    assert (config.data, config.weights) == (str(tmp_path / "flowers"), str(tmp_path / "vit.safetensors"))


def test_ctrl_c_says_what_is_kept(monkeypatch, capsys, tmp_path):
    def finetune(config: Config, folder: Path, *, on_round, **how):
        on_round(None)
        raise KeyboardInterrupt

    monkeypatch.setattr("stsflora.experiments.finetune.train.finetune", finetune)
    with pytest.raises(SystemExit) as ended:
        main(["finetune", "--methods", "sflora", "--output", str(tmp_path)])
    assert ended.value.code == 130
    said = f"Stopped: 1 rounds are kept in {tmp_path}; the same command goes on from there."
    assert said in capsys.readouterr().err
