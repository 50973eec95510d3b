"""Adapters: sizes of the paper, copies that stay copies, averages, peft's own format."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
peft = pytest.importorskip("peft")

from stsflora.models.cell.device import Architecture
from stsflora.models.vit import adapter
from stsflora.models.vit.backbone import small_vit
from stsflora.solver import FileFormatError, OptionError

TINY = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 5}


def vit(seed=0):
    torch.manual_seed(seed)
    return small_vit(**TINY).eval()


def adapted(**options):
    return adapter.add_lora(vit(), 1, **options)


def images():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def disturbed(model):
    rng = torch.Generator().manual_seed(3)
    state = {
        name: torch.randn(value.shape, generator=rng) for name, value in adapter.get_state(model).items()
    }
    adapter.set_state(model, state)
    return state


@pytest.mark.parametrize(("side", "megabytes"), [("both", 7.875), ("client", 1.3125)])
def test_the_papers_megabytes(side, megabytes):
    with torch.device("meta"):
        model = adapter.add_lora(timm.create_model("vit_base_patch16_224"), 2, side=side)
    size = adapter.size_bits(adapter.trainable(model), heads=False)
    assert size == 8 * megabytes * 2**20
    assert Architecture().lora_parameters(12 if side == "both" else 2) * 32 == size


@pytest.mark.parametrize(("side", "blocks"), [("server", {1, 2}), ("client", {0}), ("both", {0, 1, 2})])
def test_only_the_chosen_side_and_the_head_train(side, blocks):
    model = adapted(side=side)
    names = list(adapter.trainable(model))
    assert {int(name.split("blocks.")[1].split(".")[0]) for name in names if "blocks." in name} == blocks
    assert sum("lora_" not in name for name in names) == 2  # weight and bias of the head


def test_a_fresh_adapter_changes_nothing_and_its_seed_decides_it():
    assert torch.equal(adapted()(images()), vit()(images()))
    states = [adapter.get_state(adapted(seed=seed)) for seed in (1, 1, 2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_global_random_numbers_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = vit(5)
    torch.manual_seed(5)
    adapter.add_lora(model, 1)
    assert torch.equal(torch.rand(3), expected)


def test_states_are_copies_both_ways():
    model = adapted()
    state = adapter.get_state(model)
    before = {name: value.clone() for name, value in state.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(state[name], before[name]) for name in state)
    adapter.set_state(model, state)
    for value in state.values():
        value.fill_(torch.nan)
    assert all(torch.equal(adapter.get_state(model)[name], before[name]) for name in before)


def test_averages_weigh_by_samples_and_alias_nothing():
    model = adapted()
    first, second = (
        {name: v + shift for name, v in adapter.get_state(model).items()} for shift in (0.0, 4.0)
    )
    mean = adapter.average([first, second], [30, 10])
    for name, value in mean.items():
        torch.testing.assert_close(value, first[name] + 1.0)
        assert value.dtype == first[name].dtype
    alone = adapter.average([first], [3])
    next(iter(alone.values())).fill_(7.0)
    assert not (next(iter(first.values())) == 7.0).any()


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_do_not_fit_are_named(weights):
    state = adapter.get_state(adapted())
    with pytest.raises(OptionError, match="average: got 2 states with weights"):
        adapter.average([state, state], weights)


def test_saved_in_pefts_own_format_head_included(tmp_path):
    model = adapted()
    disturbed(model)
    expected = model(images())
    adapter.save_adapter(model, tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    elsewhere = peft.PeftModel.from_pretrained(vit(), str(tmp_path / "adapter")).eval()
    assert torch.equal(elsewhere(images()), expected)
    ours = adapter.load_adapter(vit(), tmp_path / "adapter").eval()
    assert torch.equal(ours(images()), expected)
    assert adapter.trainable(ours).keys() == adapter.trainable(model).keys()


def test_a_distilled_model_keeps_both_heads():
    torch.manual_seed(0)
    model = adapter.add_lora(timm.create_model("deit_tiny_distilled_patch16_224", **TINY), 1)
    names = adapter.trainable(model)
    assert sum("head_dist" in name for name in names) == 2


def test_bad_options_and_files_are_named(tmp_path):
    with pytest.raises(OptionError, match="side='left'; allowed: server or client or both"):
        adapted(side="left")
    with pytest.raises(OptionError, match=r"rank=0; .* The paper uses 16"):
        adapted(rank=0)
    with pytest.raises(OptionError, match=r"no linear layer 'blocks.1.attn.query'"):
        adapted(targets=["attn.query"])
    with pytest.raises(OptionError, match="no block on the server side of cut 3"):
        adapter.add_lora(vit(), 3)
    with pytest.raises(OptionError, match=r"set_state: got nothing for .*lora_A"):
        adapter.set_state(adapted(), {})
    with pytest.raises(FileFormatError, match="no readable file"):
        adapter.load_adapter(vit(), tmp_path)
    model = adapted()
    adapter.save_adapter(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "r": 3}))
    with pytest.raises(FileFormatError, match="an adapter that does not load"):
        adapter.load_adapter(vit(), tmp_path)
