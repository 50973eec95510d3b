"""What a frozen client half gives for some images: what it is worth, and what is cut from it to be sent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...models.vit.tokens import Selected, batch_importance, select
from ...solver.problem import FloatArray
from .config import Config


@dataclass(frozen=True, eq=False)
class Offer:
    """What a client says of its batch before it is granted anything.

    Attributes:
        samples: images in the batch.
        importance: (N,) batch importance, descending (paper eq. 18).
    """

    samples: int
    importance: FloatArray


@dataclass(frozen=True, eq=False)
class ClientTokens:
    """What a frozen client half gives for some images.

    Attributes:
        tokens: (n, P + N, C) in the payload's precision.
        scores: (n, N).
        seconds: that it took.
    """

    tokens: Tensor
    scores: Tensor
    seconds: float = 0.0

    def take(self, index: Tensor) -> ClientTokens:
        """Those of some of the images."""
        return ClientTokens(self.tokens[index], self.scores[index])

    def offer(self) -> Offer:
        """What they are worth as one batch."""
        return Offer(len(self.scores), batch_importance(self.scores).numpy())

    def cut(self, config: Config, count: int) -> Selected:
        """The K best tokens of each image, the rest merged if the method merges. Raises as `select`."""
        prefix_tokens = self.tokens.shape[1] - self.scores.shape[1]
        return select(
            self.tokens.float(), self.scores, count, prefix_tokens=prefix_tokens, merge=config.sent_merge
        )


def payload_dtype(config: Config) -> torch.dtype:
    """In which tokens travel."""
    return torch.float16 if config.bits_per_element == 16 else torch.float32
