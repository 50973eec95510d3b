"""Tokens in 8 bits: how far they come back from what they were, bytes, what is refused."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from stsflora.models.vit.quantisation import LEVELS, quantise, token_bits

EPSILON = torch.finfo(torch.float32).eps


def drawn(seed, *shape, scale=1.0, offset=0.0):
    return offset + scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(
    seed=st.integers(0, 99),
    width=st.integers(1, 40),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e4, 1e30]),
    offset=st.sampled_from([-1e4, 0.0, 1.0]),
)
def test_no_element_is_off_by_more_than_half_a_step(seed, width, scale, offset):
    tokens = drawn(seed, 3, 5, width, scale=scale, offset=offset)
    sent = quantise(tokens)
    span = tokens.amax(dim=-1) - tokens.amin(dim=-1)
    torch.testing.assert_close(sent.step, span / LEVELS, rtol=1e-6, atol=1e-44)
    rounding = 8 * EPSILON * tokens.abs().amax(dim=-1, keepdim=True)
    assert ((sent.restored() - tokens).abs() <= sent.step[..., None] / 2 + rounding).all()


def test_the_lowest_and_the_highest_element_take_the_outermost_codes():
    tokens = drawn(0, 4, 6, 9)
    sent = quantise(tokens)
    assert (sent.codes.amin(dim=-1), sent.codes.amax(dim=-1)) == (
        pytest.approx(torch.zeros(4, 6)),
        pytest.approx(torch.full((4, 6), LEVELS)),
    )
    assert torch.equal(sent.restored().amin(dim=-1), tokens.amin(dim=-1))


def test_each_token_has_a_range_of_its_own():
    small, large = drawn(1, 1, 1, 8), drawn(2, 1, 1, 8, scale=1e4)
    together = quantise(torch.cat([small, large], dim=1)).restored()
    assert torch.equal(together[:, :1], quantise(small).restored())
    assert torch.equal(together[:, 1:], quantise(large).restored())


@pytest.mark.parametrize("value", [0.0, -0.1, 7.25, 65504.0, 1e-44])
def test_constant_tokens_come_back_exactly(value):
    tokens = torch.full((2, 3, 5), value)
    assert torch.equal(quantise(tokens).restored(), tokens)


def test_tokens_of_one_element_come_back_exactly():
    tokens = drawn(3, 2, 3, 1)
    assert torch.equal(quantise(tokens).restored(), tokens)


def test_what_came_back_comes_back_again():
    once = quantise(drawn(4, 5, 6, 16)).restored()
    torch.testing.assert_close(quantise(once).restored(), once, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("samples", "length", "width"), [(2, 3, 48), (1, 1, 1), (4, 7, 192)])
def test_bytes_are_those_of_the_formula(samples, length, width):
    sent = quantise(drawn(5, samples, length, width))
    assert 8 * sent.nbytes == samples * length * token_bits(width, 8)
    assert sent.codes.dtype == torch.uint8
    assert sent.low.dtype == sent.step.dtype == torch.float32


def test_without_ranges_the_formula_is_the_width_times_the_bits():
    assert [token_bits(48, bits) for bits in (16, 32)] == [48 * 16, 48 * 32]
    assert token_bits(192, 8) == 192 * 8 + 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_taken_as_float32(dtype):
    tokens = drawn(6, 2, 3, 8).to(dtype)
    assert torch.equal(quantise(tokens).restored(), quantise(tokens.float()).restored())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_tokens_that_are_not_finite_or_too_far_apart_are_refused(value):
    tokens = torch.full((2, 3, 4), -1e38)
    tokens[1, 2, 3] = value
    with pytest.raises(FloatingPointError, match="not finite"):
        quantise(tokens)


def test_no_gradient_flows_through_what_is_sent():
    assert not quantise(torch.ones(2, 2, requires_grad=True)).restored().requires_grad
