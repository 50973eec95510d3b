"""The six schemes: what moves, what stays, what crosses the wireless link."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")

from stsflora.experiments.finetune.checkpoint import flat
from stsflora.experiments.finetune.config import Config
from stsflora.experiments.finetune.schemes import SCHEMES
from stsflora.experiments.finetune.training_steps import (
    ImageBatch,
    Link,
    TokenBatch,
    TrainingContext,
    backward,
    split_step,
)
from stsflora.models.data import Images
from stsflora.models.vit.adapter import add_lora, average, get_state, set_state, size_bits, trainable
from stsflora.models.vit.backbone import small_vit
from stsflora.models.vit.split import split
from stsflora.models.vit.tokens import select

TINY = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 5}
CUT, STEPS = 1, 2
LABELS = torch.arange(24) % 5


def context(side, steps=STEPS):
    torch.manual_seed(0)
    vit = small_vit(**TINY).eval()
    model = add_lora(vit, CUT, side=side, rank=2)
    rng = torch.Generator().manual_seed(5)
    state = {n: 0.2 * torch.randn(v.shape, generator=rng) for n, v in get_state(model).items()}
    set_state(model, state)
    pixels = torch.randint(0, 256, (len(LABELS), 3, 16, 16), generator=rng, dtype=torch.uint8)
    images = Images(pixels, LABELS, 5)
    config = Config(learning_rate=1e-2, local_steps=steps)
    return TrainingContext(model.eval(), split(vit, CUT), images, torch.device("cpu"), config)


def batches(one_way=None, sizes=(4, 8, 2)):
    found, start = [], 0
    for client, size in enumerate(sizes):
        index = torch.arange(start, start + size)
        if one_way is None:
            found.append(ImageBatch(3 * client, LABELS[index], index))
            continue
        with torch.no_grad():
            x = one_way.halves.client(one_way.images.normalised(index))
        scores = torch.rand(x.shape[0], x.shape[1] - 1, generator=torch.Generator().manual_seed(client))
        sent = select(x, scores.softmax(1), 5 + client)
        arrived = type(sent)(one_way.link.up(sent.tokens), sent.valid)
        found.append(TokenBatch(3 * client, LABELS[index], arrived))
    return found


def trained(name, rounds=1):
    kind = SCHEMES[name]
    pieces = context(kind.side)
    learner = kind(pieces)
    losses = [learner.train(batches(pieces if kind.one_way else None)) for _ in range(rounds)]
    return learner, pieces, losses


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_every_method_has_its_scheme():
    assert {name: kind.__name__ for name, kind in SCHEMES.items()} == {
        "local-lora": "LocalLora",
        "fed-lora": "FedLora",
        "split-lora": "SplitLora",
        "sflora": "SFLora",
        "st-sflora-full": "StSFLoraFull",
        "st-sflora": "StSFLora",
    }


def test_the_split_step_gives_the_gradients_of_the_whole_model():
    pieces = context("both")
    batch = batches()[1]
    part = torch.arange(3)
    loss = split_step(pieces, batch, part, 1.0)
    found = {name: value.grad.clone() for name, value in trainable(pieces.model).items()}
    pieces.model.zero_grad()
    images, labels = pieces.batch(batch, part)
    whole = torch.nn.functional.cross_entropy(pieces.model(images), labels)
    whole.backward()
    assert loss == float(whole.detach())
    for name, value in trainable(pieces.model).items():
        assert torch.equal(found[name], value.grad), name
    assert pieces.link.up_bytes == pieces.link.down_bytes == 3 * 17 * 24 * 4


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_learns_its_training_images(name):
    _, _, losses = trained(name, rounds=12)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", SCHEMES)
def test_a_restored_scheme_goes_on_bit_for_bit(name):
    straight, pieces, _ = trained(name, rounds=2)
    halfway, _, _ = trained(name, rounds=1)
    fresh = context(SCHEMES[name].side)
    resumed = SCHEMES[name](fresh)
    resumed.restore(halfway.states())
    resumed.train(batches(fresh if resumed.one_way else None))
    assert equal(flat(straight.states()), flat(resumed.states()))
    assert pieces is not fresh


@pytest.mark.parametrize("name", SCHEMES)
def test_tensors_of_a_checkpoint_are_copies(name):
    learner, pieces, _ = trained(name)
    kept = flat(learner.states())
    before = {key: value.clone() for key, value in kept.items()}
    learner.train(batches(pieces if learner.one_way else None))
    assert equal(kept, before)


@pytest.mark.parametrize("name", ["st-sflora", "st-sflora-full"])
def test_one_way_schemes_leave_the_client_half_as_it_was(name):
    learner, pieces, _ = trained(name)
    torch.manual_seed(0)
    original = split(small_vit(**TINY).eval(), CUT).client
    images = pieces.images.normalised(torch.arange(4))
    assert torch.equal(pieces.halves.client(images), original(images))
    assert pieces.link.down_bytes == 0
    assert learner.side == "server"


def test_local_clients_never_hear_of_each_other():
    learner, pieces, _ = trained("local-lora")
    alone = SCHEMES["local-lora"](context("both"))
    alone.train([batches()[1]])
    states = {key: value for key, value in flat(learner.states()).items() if key.startswith("client/3/")}
    assert equal(states, flat(alone.states()))
    assert pieces.link.up_bytes == pieces.link.down_bytes == 0
    assert len(list(learner.tested_states())) == 3


def test_federated_lora_is_the_average_of_lone_clients():
    _, pieces, _ = trained("fed-lora")
    alone = []
    for batch in batches():
        single = SCHEMES["local-lora"](context("both"))
        single.train([batch])
        alone.append(next(single.tested_states()))
    expected = average(alone, [4, 8, 2])
    assert equal(get_state(pieces.model), expected)
    sent = 3 * size_bits(expected) // 8
    assert (pieces.link.up_bytes, pieces.link.down_bytes) == (sent, sent)


def test_parallel_and_sequential_split_agree_for_one_client():
    results = []
    for name in ("split-lora", "sflora"):
        pieces = context("both")
        SCHEMES[name](pieces).train(batches(sizes=(8,)))
        results.append(get_state(pieces.model))
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name])


def test_sequential_split_hands_the_adapter_on():
    pieces = context("both")
    learner = SCHEMES["split-lora"](pieces)
    learner.train(batches())
    one_by_one = context("both")
    again = SCHEMES["split-lora"](one_by_one)
    for batch in batches():
        again.train([batch])
    assert equal(get_state(pieces.model), get_state(one_by_one.model))


def test_server_gradients_are_weighted_by_samples():
    """Clients in one step equal one batch of all their images, when all send every token."""
    kind = SCHEMES["st-sflora-full"]
    pieces, union = context("server", steps=1), context("server", steps=1)
    parts, joint = (torch.arange(2), torch.arange(2, 8)), (torch.arange(8),)
    for piece, indices in ((pieces, parts), (union, joint)):
        joined = []
        for client, index in enumerate(indices):
            with torch.no_grad():
                x = piece.halves.client(piece.images.normalised(index))
            sent = select(x, torch.full((len(x), 16), 1 / 16), 16, merge="none")
            joined.append(TokenBatch(client, LABELS[index], sent))
        kind(piece).train(joined)
    for name, value in get_state(pieces.model).items():
        torch.testing.assert_close(value, get_state(union.model)[name], rtol=1e-4, atol=1e-6)


def test_heads_may_learn_at_their_own_rate():
    pieces = context("server")
    pieces.config = replace(pieces.config, head_learning_rate=1e-30)
    before = get_state(pieces.model)
    SCHEMES["st-sflora"](pieces).train(batches(pieces))
    after = get_state(pieces.model)
    moved = {name for name in before if not torch.allclose(before[name], after[name], rtol=0, atol=1e-9)}
    assert moved == {name for name in before if "lora_" in name}


def test_half_precision_halves_the_bytes():
    link = Link(torch.float16)
    x = torch.randn(3, 4)
    arrived = link.up(x)
    assert (link.up_bytes, arrived.dtype) == (24, torch.float32)
    assert torch.equal(arrived, x.half().float())


@pytest.mark.parametrize(("count", "steps"), [(8, 4), (7, 3), (2, 5), (1, 1)])
def test_parts_cover_the_batch(count, steps):
    parts = list(ImageBatch(0, torch.zeros(count), torch.arange(count)).parts(steps))
    assert len(parts) == steps
    assert min(map(len, parts)) >= 1
    assert {int(i) for part in parts for i in part} == set(range(count))


def test_a_loss_that_is_not_finite_names_the_client_and_changes_nothing():
    pieces = context("server")
    learner = SCHEMES["st-sflora"](pieces)
    arrived = batches(pieces)
    arrived[1].arrived.tokens[0, 0, 0] = torch.nan
    before = get_state(pieces.model)
    with pytest.raises(FloatingPointError, match="loss nan on client 3"):
        learner.train(arrived)
    assert equal(before, get_state(pieces.model))
    with pytest.raises(FloatingPointError, match="loss inf on client 7"):
        backward(torch.tensor([[0.0, -torch.inf]]), torch.tensor([1]), 7, 1.0)
