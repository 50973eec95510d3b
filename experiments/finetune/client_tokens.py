"""Tokens and scores from a frozen client half: importance of a batch, selection of what is sent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...models.vit.tokens import Selected, batch_importance, select
from ...solver.problem import FloatArray
from .config import Config


@dataclass(frozen=True, eq=False)
class Offer:
    """Offer of a client for a round: batch size and importance of its tokens.

    Attributes:
        samples: images in the batch.
        importance: (N,) batch importance, descending (paper eq. 18).
    """

    samples: int
    importance: FloatArray


@dataclass(frozen=True, eq=False)
class ClientTokens:
    """Tokens of some images behind a frozen client half, and the scores that rank them.

    Attributes:
        tokens: (n, P + N, C) in float16 if all are sent in 16 bits, else in float32.
        scores: (n, N).
        seconds: that it took.
    """

    tokens: Tensor
    scores: Tensor
    seconds: float = 0.0

    def take(self, index: Tensor) -> ClientTokens:
        """Tokens and scores of some of the images."""
        return ClientTokens(self.tokens[index], self.scores[index])

    def offer(self) -> Offer:
        """Offer for all images as one batch."""
        return Offer(len(self.scores), batch_importance(self.scores).numpy())

    def cut(self, config: Config, count: int) -> Selected:
        """Select the K best tokens per image, the rest merged if the scheme merges. Raises as `select`."""
        prefix_tokens = self.tokens.shape[1] - self.scores.shape[1]
        return select(
            self.tokens.float(), self.scores, count, prefix_tokens=prefix_tokens, merge=config.sent_merge
        )


def kept_dtype(config: Config) -> torch.dtype:
    """Type of tokens before selection: float32 if any are sent in it or quantised."""
    return torch.float16 if [depth.bits for depth in config.bit_depths] == [16] else torch.float32
