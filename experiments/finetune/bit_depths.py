"""Bits per element of sent tokens as a setting: one depth for all, or several of which each client gets one.

As text, "8" or "8:worth=0.95,16,32". `worth` is what a token in that depth is worth beside one in full
precision, 1 where it is not given: fewer bits of the same worth always win, so that lower depths need one
below 1 to be a choice. Nothing here loads numpy before a setting is wrong.

The bits are the only alternative in the training loop. A cut per client is none: the server's half would
differ per client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...models.vit.names import BIT_DEPTHS

EXAMPLE: Final = "8:worth=0.95,16,32"


@dataclass(frozen=True)
class BitDepth:
    """A depth in which a client may send its tokens.

    Attributes:
        bits: per element, one of `BIT_DEPTHS`.
        worth: factor on the importance of tokens, 0 < worth <= 1.
    """

    bits: int
    worth: float = 1.0

    def __str__(self) -> str:
        return f"{self.bits}" if self.worth == 1.0 else f"{self.bits}:worth={self.worth!r}"


def parse_bit_depths(text: str) -> tuple[BitDepth, ...]:
    """Depths of a text, ascending.

    >>> [depth.bits for depth in parse_bit_depths("32,8:worth=0.9")]
    [8, 32]

    Raises:
        OptionError: no depth, an unknown one or one twice, or a worth out of range.
    """
    depths = tuple(sorted(map(_parsed, text.split(",")), key=lambda depth: depth.bits))
    if len({depth.bits for depth in depths}) < len(depths):
        raise _refusal(text)
    return depths


def bit_depths_text(depths: tuple[BitDepth, ...]) -> str:
    """Inverse of `parse_bit_depths`."""
    return ",".join(map(str, depths))


def _parsed(part: str) -> BitDepth:
    bits, colon, option = part.strip().partition(":")
    name, _, value = option.partition("=")
    try:
        depth = BitDepth(int(bits), float(value) if colon else 1.0)
    except ValueError:
        raise _refusal(part) from None
    if depth.bits not in BIT_DEPTHS or name != ("worth" if colon else "") or not 0 < depth.worth <= 1:
        raise _refusal(part)
    return depth


def _refusal(text: str) -> Exception:
    from ...solver import OptionError  # loads numpy, which help can do without

    allowed = f"{', '.join(map(str, BIT_DEPTHS))}, each once, with 0 < worth <= 1, as in {EXAMPLE}"
    return OptionError("Config", f"bits_per_element={text.strip()!r:.40}", allowed, "Correct --bits")
