"""Named random streams: every random number of the project comes from a text that says what it is for.

The text is hashed (SHA-256). Streams of different names are independent, and a name gives the same numbers in
every process and on every machine. Sums such as seed + round are not independent: seed 0 of round 1 would
draw what seed 1 draws in round 0.

    rng = random_stream(f"fine-tuning batch, seed {seed}, round {index}, client {client}")
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # `import stsflora.solver` stays light: numpy loads its generators at the first use
    from numpy.random import Generator


def random_stream(name: str) -> Generator:
    """A generator (PCG64) at the start of the stream of that name."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(_entropy(name))))


def derived_seed(name: str) -> int:
    """A seed for what takes whole numbers only, such as torch or an engine: 0 to 2^31 - 1, by name."""
    return _entropy(name) % 2**31


def _entropy(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
