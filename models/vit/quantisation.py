"""Tokens as they are sent: in float32, in float16, or quantised to 8 bits per element.

Quantisation is uniform and affine, each token by a lowest value and a step of its own (Jacob et al., CVPR
2018, the zero point kept as a value): a token's C elements x become codes c = round((x - low) / step) in
0..255 with step = (max - min) / 255 and low = min, and come back as low + step c. The error is at most half a
step; a token whose elements are all the same comes back exactly. With a range per token the payload stays
linear in the number of tokens, as in S = beta (K + e).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

LEVELS: Final = 255
"""Steps between a token's lowest and highest value."""

FLOATS: Final = {16: torch.float16, 32: torch.float32}
"""Types of tokens that are sent unquantised, by bits per element."""

RANGE_BITS: Final = 64
"""Sent along with each token: its lowest value and its step, 32 bits each."""


class EncodedTokens(ABC):
    """Tokens as they are sent."""

    @property
    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What is sent, by name."""

    @property
    def nbytes(self) -> int:
        """Bytes of all that is sent."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @abstractmethod
    def restored(self) -> Tensor:
        """(..., C) float32, what the receiver computes with."""


@dataclass(frozen=True, eq=False)
class FloatTokens(EncodedTokens):
    """Tokens in a floating type.

    Attributes:
        values: (..., C).
    """

    values: Tensor

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The values."""
        return {"tokens": self.values}

    def restored(self) -> Tensor:
        """The values in float32."""
        return self.values.float()


@dataclass(frozen=True, eq=False)
class QuantisedTokens(EncodedTokens):
    """Tokens in 8 bits per element, as they are sent.

    Attributes:
        codes: (..., C) uint8.
        low: (...) float32, each token's lowest value.
        step: (...) float32, >= 0, between two codes.
    """

    codes: Tensor
    low: Tensor
    step: Tensor

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Codes and ranges."""
        return {"tokens": self.codes, "low": self.low, "step": self.step}

    def restored(self) -> Tensor:
        """Lowest value plus codes times step."""
        return self.low[..., None] + self.step[..., None] * self.codes


def quantise(tokens: Tensor) -> QuantisedTokens:
    """Quantise tokens to 8 bits per element.

    >>> sent = quantise(torch.tensor([[0.0, 0.5, 2.55], [7.0, 7.0, 7.0]]))
    >>> sent.codes.tolist(), sent.nbytes
    ([[0, 50, 255], [0, 0, 0]], 22)

    Args:
        tokens: (..., C) in any floating type, C >= 1.

    Raises:
        FloatingPointError: an element is not finite, or a token's range exceeds what float32 can hold.

    Cost: O(elements).
    """
    x = tokens.detach().float()
    low, high = x.aminmax(dim=-1)
    span = high - low  # not finite where any element is not
    if not bool(torch.isfinite(span).all()):
        raise FloatingPointError("tokens to quantise that are not finite")
    step = span / LEVELS
    codes = (x - low[..., None]) / torch.where(step > 0, step, 1.0)[..., None]
    return QuantisedTokens(codes.round().clamp(0, LEVELS).to(torch.uint8), low, step)


def encode(tokens: Tensor, bits: int) -> EncodedTokens:
    """Tokens in one of `names.BIT_DEPTHS`, detached.

    >>> encode(torch.tensor([[0.0, 0.1, 1.0]]), 8).restored()
    tensor([[0.0000, 0.1020, 1.0000]])

    Raises:
        FloatingPointError: as of `quantise`, at 8 bits.
    """
    return FloatTokens(tokens.detach().to(FLOATS[bits])) if bits in FLOATS else quantise(tokens)


def token_bits(width: int, bits: int) -> int:
    """Bits of one token of C = `width` elements as it is sent, a quantised one with its range.

    >>> token_bits(48, 32), token_bits(48, 8)
    (1536, 448)
    """
    return width * bits + (RANGE_BITS if bits == 8 else 0)
