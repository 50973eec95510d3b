"""Reads the attention of timm ViT blocks without changing what they compute.

Fused attention hides its weights. They are recomputed here from the block's own queries and keys: for
[CLS] alone that is one row, so all blocks stay fused and their outputs the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from ...solver import OptionError
from . import tokens
from .names import MEASURES


@dataclass(frozen=True, eq=False)
class Heads:
    """Queries, keys and values of one block's forward pass, (B, H, T, C / H) each, and the logits' scale."""

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float

    def attention(self) -> Tensor:
        """(B, H, T, T) softmax attention."""
        return (self.query * self.scale @ self.key.transpose(-2, -1)).softmax(dim=-1)

    def class_row(self) -> Tensor:
        """(B, H, T) softmax attention of [CLS] to all tokens; O(B T C)."""
        logits = self.query[:, :, :1] * self.scale @ self.key.transpose(-2, -1)
        return logits.softmax(dim=-1)[:, :, 0]


@contextmanager
def reading(blocks: Sequence[nn.Module]) -> Iterator[list[Heads]]:
    """While open, every forward pass of the blocks appends its heads to the list, without gradients.

    Raises:
        OptionError: a block without timm's `Attention`.
    """
    seen: list[Heads] = []
    with ExitStack() as hooks:
        for block in blocks:
            attention = getattr(block, "attn", None)
            if not isinstance(attention, Attention):
                raise OptionError(
                    "reading",
                    f"a {type(block).__name__} with attention of type {type(attention).__name__}",
                    "blocks of a timm VisionTransformer",
                    "Take another model, or the measure 'random' or 'grid'",
                )
            hooks.enter_context(_removed(attention.qkv.register_forward_hook(_keep(attention, seen))))
        yield seen


def token_scores(
    measure: str,
    seen: Sequence[Heads],
    prefix_tokens: int,
    grid: tuple[int, int],
    generator: torch.Generator,
) -> Tensor:
    """(B, N) scores of the patches by a measure of `names.MEASURES`.

    Args:
        measure: its name.
        seen: heads of the client's blocks, first block first; only the last counts but for "rollout".
        prefix_tokens: P.
        grid: patches per column and per row of the image.
        generator: for "random".

    Raises:
        OptionError: unknown measure.
    """
    last = seen[-1]
    samples = last.query.shape[0]
    if measure == "attention":
        return tokens.class_attention(last.class_row(), prefix_tokens)
    if measure == "value_norm":
        return tokens.value_weighted_attention(last.class_row(), last.value, prefix_tokens)
    if measure == "rollout":
        return tokens.attention_rollout([heads.attention() for heads in seen], prefix_tokens)
    if measure == "random":
        return tokens.random_scores(samples, grid[0] * grid[1], generator).to(last.query.device)
    if measure == "grid":
        return tokens.grid_scores(samples, *grid).to(last.query.device)
    raise OptionError("token_scores", f"measure {measure!r:.40}", ", ".join(MEASURES), "Choose one")


def _keep(attention: Attention, seen: list[Heads]) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        with torch.no_grad():
            samples, length, _ = output.shape
            shape = (samples, length, 3, attention.num_heads, attention.head_dim)
            query, key, value = output.detach().reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
            seen.append(Heads(attention.q_norm(query), attention.k_norm(key), value, attention.scale))

    return hook


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
