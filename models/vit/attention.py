"""Attention maps and patch scores of timm ViT blocks, read without changing what the blocks compute.

Fused attention hides its weights. They are recomputed here from the block's own queries and keys: for
[CLS] alone that is one row, so all blocks stay fused and their outputs the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...solver import OptionError
from ...solver.checks import choice
from . import tokens
from .names import MEASURES
from .timm_parts import Attention, attention_of, split_heads


@dataclass(frozen=True, eq=False)
class Heads:
    """Queries, keys and values of one block's attention, (B, H, T, C / H) each, and the logits' scale."""

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
    """Record attention: while open, every forward pass of a block appends its heads to the list.

    No gradients are kept; outputs stay the same bit for bit.

    Raises:
        OptionError: a block without timm's `Attention`.
    """
    seen: list[Heads] = []
    with ExitStack() as hooks:
        for block in blocks:
            attention = attention_of(block)
            if attention is None:
                kind = type(getattr(block, "attn", None)).__name__
                raise OptionError(
                    "reading",
                    f"a {type(block).__name__} with attention of type {kind}",
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
        prefix_tokens: P >= 1.
        grid: patches per column and per row of the image; N is their product.
        generator: for "random".

    Returns:
        Scores >= 0; each row sums to 1.

    Raises:
        OptionError: unknown measure.
    """
    choice("token_scores", "measure", measure, MEASURES)
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
    return tokens.grid_scores(samples, *grid).to(last.query.device)


def _keep(attention: Attention, seen: list[Heads]) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        with torch.no_grad():
            seen.append(Heads(*split_heads(attention, output.detach())))

    return hook


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
