"""A split model is the whole model: outputs and gradients, for several architectures."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from stsflora.models.vit.backbone import small_vit
from stsflora.models.vit.split import split
from stsflora.models.vit.tokens import select
from stsflora.solver import OptionError

SIZE = 16
TINY = {"img_size": SIZE, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 5}

MODELS = {
    "vit": lambda: small_vit(**TINY),
    "registers": lambda: small_vit(**TINY, reg_tokens=2, no_embed_class=True),
    "qk_norm": lambda: small_vit(**TINY, qk_norm=True, init_values=1e-1),
    "average": lambda: small_vit(**{**TINY, "global_pool": "avg"}, class_token=True),
    "deit": lambda: timm.create_model("deit_tiny_patch16_224", **TINY),
    "distilled": lambda: timm.create_model("deit_tiny_distilled_patch16_224", **TINY),
}


def make(kind):
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def pictures(count=3):
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("kind", MODELS)
def test_outputs_and_gradients_are_the_same_bit_for_bit(kind, cut):
    model, images = make(kind), pictures()
    whole = model(images)
    whole.square().sum().backward()
    expected = {
        name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None
    }
    model.zero_grad()

    halves = split(model, cut)
    h = halves.client(images)
    h_server = h.detach().requires_grad_()
    logits = halves.server(h_server)
    logits.square().sum().backward()
    h.backward(h_server.grad)

    assert torch.equal(logits, whole)
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_halves_share_the_parameters_and_between_them_have_all():
    model = make("distilled")
    halves = split(model, 1)
    ours = {id(p) for p in model.parameters()}
    client, server = ({id(p) for p in half.parameters()} for half in (halves.client, halves.server))
    assert client | server == ours
    assert not client & server


@pytest.mark.parametrize("kind", ["vit", "registers", "distilled"])
def test_clients_of_different_k_padded_together_equal_each_alone(kind):
    model = make(kind)
    halves = split(model, 2)
    x = halves.client(pictures())
    scores = torch.rand(3, halves.patches, generator=torch.Generator().manual_seed(2))
    counts = [2, halves.patches, 7]
    batch = select(x, scores, torch.tensor(counts), prefix_tokens=halves.prefix_tokens)
    together = halves.server(batch.tokens, batch.valid)
    for b, count in enumerate(counts):
        alone = select(x[b : b + 1], scores[b : b + 1], count, prefix_tokens=halves.prefix_tokens)
        torch.testing.assert_close(
            together[b], halves.server(alone.tokens, alone.valid)[0], rtol=1e-4, atol=1e-4
        )
    torch.testing.assert_close(together[1], model(pictures())[1], rtol=1e-4, atol=1e-4)


def test_prefix_tokens_and_grid():
    assert (split(make("vit"), 1).prefix_tokens, split(make("distilled"), 1).prefix_tokens) == (1, 2)
    assert split(make("registers"), 1).prefix_tokens == 3
    assert (split(make("vit"), 1).grid, split(make("vit"), 1).width) == ((4, 4), 24)


@pytest.mark.parametrize("cut", [0, 4, -1, 1.0, True])
def test_a_cut_out_of_range_is_named(cut):
    with pytest.raises(OptionError) as caught:
        split(make("vit"), cut)
    allowed = "allowed: a whole number from 1 to 3. Choose the client's blocks."
    assert str(caught.value) == f"split: got cut={cut!r}; {allowed}"


def test_models_without_a_class_token_are_refused():
    model = small_vit(**{**TINY, "global_pool": "avg"}, class_token=False)
    with pytest.raises(OptionError, match=r"got a model without \[CLS\] \('avg' pooling\)"):
        split(model, 1)
    with pytest.raises(OptionError, match="got a Linear; allowed: a timm VisionTransformer"):
        split(torch.nn.Linear(2, 2), 1)


def test_padding_is_refused_where_the_model_averages():
    halves = split(make("average"), 1)
    x = halves.client(pictures())
    valid = torch.ones(x.shape[:2], dtype=torch.bool)
    valid[0, -1] = False
    with pytest.raises(OptionError, match="tokens to ignore, in a model with 'avg' pooling"):
        halves.server(x, valid)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_large_patch16_224"]
)
def test_timms_models_of_every_size(name):
    model = timm.create_model(name, pretrained=False, num_classes=3, img_size=32).eval()
    halves = split(model, 2)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(halves.server(halves.client(images)), model(images))
