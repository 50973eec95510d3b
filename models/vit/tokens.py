"""Token selection and merging: scores of patches, which are kept, what becomes of the others.

Pure functions of tensors. B samples, H heads, P prefix tokens ([CLS] first, then a distillation token or
registers), N patch tokens, T = P + N tokens, C channels. A score is a sample's share of worth per patch:
(B, N), >= 0, each row sums to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ...solver import OptionError
from ...solver.checks import choice
from .names import MERGES

ORDER_TILT: Final = 1e-3
"""Scores that only order patches differ by this share, so that all are worth nearly the same."""


@dataclass(frozen=True, eq=False)
class Selected:
    """Tokens that a client sends, padded to one length.

    Attributes:
        tokens: (B, P + Kmax + E, C): prefix, kept patches in their order, merged token (E = 1 or 0).
        valid: (B, P + Kmax + E) bool; False where a sample of smaller K is padded with zeros, or where
            nothing was discarded and the merged token is empty. What is not valid is to be ignored.
    """

    tokens: Tensor
    valid: Tensor


def class_attention(class_row: Tensor, prefix_tokens: int = 1) -> Tensor:
    """(B, N) scores: attention of [CLS] to the patches (paper), averaged over heads, normalised.

    Args:
        class_row: (B, H, T) softmax attention of [CLS] to all tokens.
        prefix_tokens: P.
    """
    return _shares(class_row[:, :, prefix_tokens:].mean(dim=1))


def value_weighted_attention(class_row: Tensor, values: Tensor, prefix_tokens: int = 1) -> Tensor:
    """(B, N) scores: attention of [CLS] times the length of the value it fetches, averaged over heads.

    Args:
        class_row: (B, H, T) softmax attention of [CLS] to all tokens.
        values: (B, H, T, C / H) value vectors of the same block.
        prefix_tokens: P.
    """
    fetched = class_row * values.norm(dim=-1)
    return _shares(fetched[:, :, prefix_tokens:].mean(dim=1))


def attention_rollout(attentions: Sequence[Tensor], prefix_tokens: int = 1) -> Tensor:
    """(B, N) scores by attention rollout over several blocks (Abnar and Zuidema, ACL 2020).

    Each block passes on half of a token itself and half of what the token attends to.

    Args:
        attentions: (B, H, T, T) softmax attention of each block, first block first.
        prefix_tokens: P.
    """
    row = torch.zeros_like(attentions[0][:, 0, :1])
    row[:, :, 0] = 1.0
    for attention in reversed(attentions):  # one row from the left: T^2 work per block, not T^3
        row = 0.5 * row + 0.5 * row @ attention.mean(dim=1)
    return _shares(row[:, 0, prefix_tokens:])


def random_scores(samples: int, patches: int, generator: torch.Generator) -> Tensor:
    """(B, N) scores in random order: all patches are worth nearly the same, the order is drawn per sample."""
    return _ordered(torch.rand(samples, patches, generator=generator))


def grid_scores(samples: int, rows: int, columns: int) -> Tensor:
    """(B, rows x columns) scores whose K largest lie evenly over the image, for every K.

    A rank-one lattice with the plastic number (Roberts 2018): thresholds of it are nearly regular grids.
    """
    down = torch.arange(rows, dtype=torch.float64)[:, None] * 0.5698402909980532
    across = torch.arange(columns, dtype=torch.float64) * 0.7548776662466927
    return _ordered(((down + across) % 1.0).reshape(1, -1)).expand(samples, -1)


def batch_importance(scores: Tensor) -> Tensor:
    """(N,) float64 batch importance of (B, N) scores: sorted descending per sample, then summed (eq. 18)."""
    return scores.double().sort(dim=1, descending=True).values.sum(dim=0)


def keep_mask(scores: Tensor, counts: int | Tensor) -> Tensor:
    """(B, N) bool, True for the K patches of highest score of each sample, the earlier one among equals.

    Args:
        scores: (B, N).
        counts: K, one for all or (B,) integers; 0 to N.

    Raises:
        OptionError: counts of another length, or out of range.
    """
    wanted = _counts(scores, counts)
    rank = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return rank < wanted[:, None]


def select(
    tokens: Tensor,
    scores: Tensor,
    counts: int | Tensor,
    *,
    prefix_tokens: int = 1,
    merge: str = "attention",
) -> Selected:
    """Select tokens: keep the K patches of highest score of each sample and merge the others.

    Samples may differ in K, so one call serves a batch of clients; repeat each client's K over its samples.
    With K = N and merge "none" the tokens come back unchanged. Differentiable in `tokens`.

    Args:
        tokens: (B, P + N, C).
        scores: (B, N).
        counts: K, one for all or (B,) integers; 0 to N.
        prefix_tokens: P, always kept.
        merge: one of `names.MERGES`.

    Raises:
        OptionError: unknown merge, scores or counts that do not fit the tokens, counts out of range.

    Cost: O(B N log N + B N C); "tome" O(B N Kmax C).
    """
    choice("select", "merge", merge, MERGES)
    samples, length, _ = tokens.shape
    if scores.shape != (samples, length - prefix_tokens):
        raise OptionError(
            "select",
            f"scores of shape {tuple(scores.shape)}",
            f"({samples}, {length - prefix_tokens}), one per patch token",
            "Read the scores in the block that made the tokens",
        )
    wanted = _counts(scores, counts)
    prefix, patches = tokens[:, :prefix_tokens], tokens[:, prefix_tokens:]
    kept = keep_mask(scores, wanted)
    most = int(wanted.max()) if samples else 0
    # a stable sort of the mask puts kept patches first and leaves them in the order of the image
    index = kept.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    if merge == "tome":
        patches = _into_nearest(patches, kept)
    valid = torch.arange(most, device=tokens.device) < wanted[:, None]
    chosen = patches.gather(1, index[:, :, None].expand(-1, -1, patches.shape[2]))
    parts = [prefix, chosen.masked_fill(~valid[:, :, None], 0.0)]
    marks = [torch.ones_like(prefix[:, :, 0], dtype=torch.bool), valid]
    if merged_tokens(merge):
        parts.append(_merge_weights(scores, kept, merge).to(patches.dtype)[:, None] @ patches)
        marks.append((wanted < kept.shape[1])[:, None])
    return Selected(torch.cat(parts, dim=1), torch.cat(marks, dim=1))


def merged_tokens(merge: str) -> int:
    """Tokens that a way of merging, one of `MERGES`, adds to the kept ones: 1 or 0."""
    return int(merge in {"attention", "mean"})


def _counts(scores: Tensor, counts: int | Tensor) -> Tensor:
    samples, patches = scores.shape
    wanted = torch.as_tensor(counts, device=scores.device)
    if wanted.dtype.is_floating_point or wanted.dtype == torch.bool or wanted.shape not in {(), (samples,)}:
        raise OptionError(
            "select",
            f"counts of type {wanted.dtype} and shape {tuple(wanted.shape)}",
            f"one integer, or ({samples},) of them, one per sample",
            "Repeat each client's K over its samples",
        )
    outside = (wanted < 0) | (wanted > patches)
    if bool(outside.any()):
        raise OptionError(
            "select",
            f"K = {int(wanted[outside].flatten()[0])}",
            f"0 to {patches} tokens",
            "Correct the counts",
        )
    return wanted.expand(samples)


def _shares(worth: Tensor) -> Tensor:
    """Rows that sum to 1; even ones where nothing is worth anything."""
    total = worth.sum(dim=1, keepdim=True)
    return torch.where(total > 0, worth / total.clamp_min(torch.finfo(worth.dtype).tiny), 1 / worth.shape[1])


def _merge_weights(scores: Tensor, kept: Tensor, merge: str) -> Tensor:
    """(B, N) weights of the discarded patches in the merged token, even ones where all their scores are 0."""
    discarded = (~kept).to(scores.dtype)
    worth = scores * discarded
    even = (worth.sum(dim=1, keepdim=True) <= 0) | (merge == "mean")
    worth = torch.where(even, discarded, worth)
    return worth / worth.sum(dim=1, keepdim=True).clamp_min(torch.finfo(worth.dtype).tiny)


def _ordered(priority: Tensor) -> Tensor:
    """Scores in the descending order of a priority, (B, N), that differ by `ORDER_TILT` at most."""
    rank = priority.argsort(dim=1, descending=True).argsort(dim=1)
    return _shares(1.0 - ORDER_TILT * (rank / rank.shape[1])).float()


def _into_nearest(patches: Tensor, kept: Tensor) -> Tensor:
    """Patches with every discarded one averaged into the kept one of highest cosine similarity."""
    direction = torch.nn.functional.normalize(patches, dim=-1)
    likeness = direction @ direction.transpose(1, 2)  # (B, N, N)
    itself = torch.eye(kept.shape[1], dtype=torch.bool, device=kept.device)
    nearest = likeness.masked_fill(~kept[:, None], -torch.inf).argmax(dim=2)
    goes_to = torch.nn.functional.one_hot(nearest, kept.shape[1]).bool() & ~kept[:, :, None]
    share = (goes_to | (itself & kept[:, :, None])).to(patches.dtype)
    share = share * kept[:, None].any(dim=2, keepdim=True)  # with K = 0 there is nowhere to go
    return share.transpose(1, 2) @ patches / share.sum(dim=1).clamp_min(1.0)[:, :, None]
