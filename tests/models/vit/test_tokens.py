"""Token functions against loops, timm's own attention and the paper's definitions."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from hypothesis import given
from hypothesis import strategies as st

from stsflora.models.vit import tokens
from stsflora.models.vit.attention import reading, token_scores
from stsflora.models.vit.backbone import small_vit
from stsflora.models.vit.names import MEASURES, MERGES
from stsflora.solver import OptionError

SAMPLES, PATCHES, WIDTH = 5, 12, 8


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(seed=0, prefix=1):
    rng = generator(seed)
    scores = torch.rand(SAMPLES, PATCHES, generator=rng).softmax(1)
    return torch.randn(SAMPLES, prefix + PATCHES, WIDTH, generator=rng), scores


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(1)
    return small_vit(img_size=16).eval()


# selection


@given(st.integers(0, 100), st.lists(st.integers(0, PATCHES), min_size=SAMPLES, max_size=SAMPLES))
def test_each_sample_keeps_its_best_in_image_order_and_merges_the_rest(seed, counts):
    x, scores = draw(seed, prefix=2)
    out = tokens.select(x, scores, torch.tensor(counts), prefix_tokens=2)
    assert out.tokens.shape == (SAMPLES, 2 + max(counts) + 1, WIDTH)
    for b, count in enumerate(counts):
        best = sorted(sorted(range(PATCHES), key=lambda n: -float(scores[b, n]))[:count])
        rest = [n for n in range(PATCHES) if n not in best]
        expected = [x[b, 0], x[b, 1], *(x[b, 2 + n] for n in best)]
        torch.testing.assert_close(out.tokens[b, : 2 + count], torch.stack(expected), rtol=0, atol=0)
        assert out.valid[b].tolist() == [True] * (2 + count) + [False] * (max(counts) - count) + [bool(rest)]
        assert not out.tokens[b, :-1][~out.valid[b, :-1]].any()
        if rest:
            weights = scores[b, rest] / scores[b, rest].sum()
            merged = sum(w * x[b, 2 + n] for w, n in zip(weights, rest, strict=True))
            torch.testing.assert_close(out.tokens[b, -1], merged)


def test_all_tokens_without_merge_is_the_identity():
    x, scores = draw()
    out = tokens.select(x, scores, PATCHES, merge="none")
    assert torch.equal(out.tokens, x)
    assert out.valid.all()


@pytest.mark.parametrize("merge", MERGES)
def test_a_batch_of_clients_equals_the_clients_one_by_one(merge):
    x, scores = draw()
    counts = [3, 7, 1, PATCHES, 5]
    together = tokens.select(x, scores, torch.tensor(counts), merge=merge)
    for b, count in enumerate(counts):
        alone = tokens.select(x[b : b + 1], scores[b : b + 1], count, merge=merge)
        torch.testing.assert_close(together.tokens[b][together.valid[b]], alone.tokens[0][alone.valid[0]])


def test_tome_averages_each_discarded_token_into_its_nearest():
    x, scores = draw(3)
    out = tokens.select(x, scores, 4, merge="tome")
    kept = tokens.keep_mask(scores, 4)
    for b in range(SAMPLES):
        groups = {n: [n] for n in range(PATCHES) if kept[b, n]}
        for n in range(PATCHES):
            if not kept[b, n]:
                like = {k: float(torch.cosine_similarity(x[b, 1 + n], x[b, 1 + k], dim=0)) for k in groups}
                groups[max(like, key=like.get)].append(n)
        expected = torch.stack([x[b, [1 + n for n in groups[k]]].mean(0) for k in groups])
        torch.testing.assert_close(out.tokens[b, 1:], expected)


def test_mean_merge_and_weights_of_zero():
    x, _ = draw()
    scores = torch.zeros(SAMPLES, PATCHES)
    scores[:, :2] = 0.5
    mean = tokens.select(x, scores, 2, merge="mean").tokens[:, -1]
    torch.testing.assert_close(mean, x[:, 3:].mean(1))
    torch.testing.assert_close(tokens.select(x, scores, 2).tokens[:, -1], mean)


def test_gradients_flow_to_every_token_that_is_sent():
    x, scores = draw()
    x.requires_grad_()
    tokens.select(x, scores, 4).tokens.sum().backward()
    assert (x.grad != 0).all()


def test_ties_go_to_the_earlier_patch():
    kept = tokens.keep_mask(torch.ones(2, 6), 2)
    assert kept.tolist() == [[True, True, False, False, False, False]] * 2


def test_importance_sorts_each_sample_before_it_adds():
    scores = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    torch.testing.assert_close(
        tokens.batch_importance(scores), torch.tensor([1.3, 0.5, 0.2]).double(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (torch.tensor([1, 2]), r"shape (2,); allowed: one integer, or (5,) of them, one per sample"),
        (torch.tensor([1.0] * 5), "torch.float32"),
        (13, "K = 13; allowed: 0 to 12 tokens"),
        (-1, "K = -1"),
    ],
)
def test_wrong_counts_are_named(counts, text):
    with pytest.raises(OptionError) as caught:
        tokens.select(*draw(), counts)
    assert text in str(caught.value)


def test_wrong_merge_and_scores_are_named():
    x, scores = draw()
    with pytest.raises(OptionError, match="merge='max'; allowed: attention or mean or tome or none"):
        tokens.select(x, scores, 3, merge="max")
    with pytest.raises(OptionError, match=r"scores of shape \(5, 11\); allowed: \(5, 12\)"):
        tokens.select(x, scores[:, 1:], 3)


# scores


def unfused_attention(vit, images, block):
    """What timm computes without fused attention, read at the dropout."""
    attention, seen = vit.blocks[block].attn, []
    attention.fused_attn = False
    handle = attention.attn_drop.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    vit(images)
    handle.remove()
    attention.fused_attn = True
    return seen[0].detach()


def test_attention_is_timms_own_and_reading_changes_nothing(vit):
    images = torch.randn(3, 3, 16, 16, generator=generator())
    plain = vit(images)
    with reading([vit.blocks[1], vit.blocks[2]]) as seen:
        read = vit(images)
    assert torch.equal(plain, read)
    for heads, block in zip(seen, (1, 2), strict=True):
        expected = unfused_attention(vit, images, block)
        torch.testing.assert_close(heads.attention(), expected, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(heads.class_row(), expected[:, :, 0], rtol=1e-5, atol=1e-7)
    vit(images)
    assert len(seen) == 2


def test_rollout_is_the_product_of_the_blocks(vit):
    images = torch.randn(2, 3, 16, 16, generator=generator())
    attentions = [unfused_attention(vit, images, block) for block in range(3)]
    product = torch.eye(17)
    for attention in attentions:
        product = (0.5 * attention.mean(1) + 0.5 * torch.eye(17)) @ product
    row = product[:, 0, 1:]
    torch.testing.assert_close(tokens.attention_rollout(attentions), row / row.sum(1, keepdim=True))


def test_value_weights_follow_the_length_of_values():
    row = torch.full((1, 2, 4), 0.25)
    values = torch.ones(1, 2, 4, 3)
    values[:, :, 2] *= 3
    scores = tokens.value_weighted_attention(row, values)
    torch.testing.assert_close(scores, torch.tensor([[0.2, 0.6, 0.2]]))


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_gives_shares_of_one(vit, measure):
    with reading(list(vit.blocks[:2])) as seen:
        vit(torch.randn(3, 3, 16, 16, generator=generator()))
    scores = token_scores(measure, seen, 1, (4, 4), generator())
    assert scores.shape == (3, 16)
    assert (scores > 0).all()
    torch.testing.assert_close(scores.sum(1), torch.ones(3))


def test_unknown_measure_and_foreign_blocks_are_named(vit):
    with reading(list(vit.blocks[:1])) as seen:
        vit(torch.zeros(1, 3, 16, 16))
    with pytest.raises(OptionError, match="measure='magic'; allowed: attention or value_norm"):
        token_scores("magic", seen, 1, (4, 4), generator())
    with (
        pytest.raises(OptionError, match="a Linear with attention of type NoneType"),
        reading([torch.nn.Linear(2, 2)]),
    ):
        pass


def test_random_order_is_new_for_each_sample_and_comes_again_with_the_seed():
    first, again = (tokens.random_scores(8, 30, generator(4)) for _ in range(2))
    assert torch.equal(first, again)
    orders = {tuple(row.argsort().tolist()) for row in first}
    assert len(orders) == 8
    assert first.max() / first.min() < 1.01


@pytest.mark.parametrize("count", [16, 49, 98])
def test_the_grid_leaves_no_large_hole(count):
    kept = tokens.keep_mask(tokens.grid_scores(1, 14, 14), count)[0].reshape(14, 14)
    place = kept.nonzero().double()
    everywhere = torch.ones(14, 14).nonzero().double()
    farthest = torch.cdist(everywhere, place).min(1).values.max()
    assert farthest <= 1.3 * (196 / count) ** 0.5
