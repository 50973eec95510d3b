"""Names of the ways to score and to merge tokens, for command lines and settings that load no torch."""

from typing import Final

MEASURES: Final = ("attention", "value_norm", "rollout", "random", "grid")
"""Ways to score patches: [CLS] attention (paper), times value length, rolled out over the client's blocks,
in random order, evenly over the image."""

MERGES: Final = ("attention", "mean", "tome", "none")
"""What becomes of discarded tokens: one token weighted by score (paper eq. 14), one plain mean, each
averaged into the kept token it resembles most (after ToMe, Bolya et al., ICLR 2023), or nothing."""

BIT_DEPTHS: Final = (8, 16, 32)
"""Bits per element in which tokens may be sent: quantised with a range per token, float16, float32."""
