"""Cost of a round for the devices: FLOP, forward time, memory and traffic of a ViT, analytic and measured.

Analytic figures are for a ViT with T = P + N tokens of width C, fused attention, and LoRA of rank r on
qkv, fc1 and fc2 of frozen blocks. One multiply-add is two FLOP.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike

from ...solver.checks import choice, nonnegative_numbers, positive_numbers
from ...solver.errors import UnknownNameError
from ...solver.problem import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

FLOP_PER_CYCLE_AND_CORE: Final = 256.0
"""Of a mobile GPU core; the paper gives cores and clock only, this is chosen plausibly."""

FLOAT_BYTES: Final = 4

SCHEMES: Final = ("local", "fed", "split", "full", "selected")
"""Training schemes: each client alone, averaged adapters, split with token gradients sent back, and split
with all or selected tokens sent one way."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of a vision transformer, with its numbers of parameters and FLOP; ViT-B/16 by default.

    Attributes:
        width: C.
        patches: N.
        patch_size: pixels per side of a patch.
        channels: of the image.
        prefix_tokens: P.
        mlp_ratio: hidden width of the MLP over C.
    """

    width: int = 768
    patches: int = 196
    patch_size: int = 16
    channels: int = 3
    prefix_tokens: int = 1
    mlp_ratio: float = 4.0

    @property
    def length(self) -> int:
        """T, tokens per image."""
        return self.patches + self.prefix_tokens

    @property
    def embedding_parameters(self) -> int:
        """Parameters of patch embedding, positions and prefix tokens."""
        pixels = self.patch_size**2 * self.channels
        return self.width * (pixels + 1 + self.length + self.prefix_tokens)

    @property
    def block_parameters(self) -> int:
        """Parameters of one block."""
        hidden = int(self.width * self.mlp_ratio)
        return self.width * (4 * self.width + 2 * hidden + 9) + hidden

    def lora_parameters(self, blocks: int, rank: int = 16) -> int:
        """Parameters of LoRA on fused qkv, fc1 and fc2 of some blocks."""
        hidden = int(self.width * self.mlp_ratio)
        return blocks * rank * (4 * self.width + 2 * (self.width + hidden))

    def embedding_flop(self) -> float:
        """FLOP of the patch embedding of one image."""
        return 2.0 * self.patches * self.width * self.patch_size**2 * self.channels

    def block_flop(self, length: int | None = None) -> float:
        """FLOP of one block's forward pass over `length` tokens of one image, T by default; no adapters."""
        tokens = self.length if length is None else length
        linear = (4.0 + 2.0 * self.mlp_ratio) * tokens * self.width**2
        return 2.0 * (linear + 2.0 * tokens**2 * self.width)

    def client_flop(self, cut: int) -> float:
        """FLOP of a client half's forward pass over one image: embedding and `cut` blocks."""
        return self.embedding_flop() + cut * self.block_flop()


def forward_s(
    flop: ArrayLike,
    cores: ArrayLike,
    clock_hz: ArrayLike,
    flop_per_cycle_and_core: float = FLOP_PER_CYCLE_AND_CORE,
) -> FloatArray:
    """Compute time in s: flop / (cores x clock x FLOP per cycle and core), arguments broadcast.

    Args:
        flop: floating-point operations, >= 0.
        cores: of the processor, > 0.
        clock_hz: Hz, > 0.
        flop_per_cycle_and_core: > 0.

    Raises:
        ProblemError: negative `flop`, or another argument that is not positive and finite.
    """
    work = nonnegative_numbers("forward_s", "flop", flop)
    speed = (
        positive_numbers("forward_s", "cores", cores)
        * positive_numbers("forward_s", "clock_hz", clock_hz)
        * positive_numbers("forward_s", "flop_per_cycle_and_core", flop_per_cycle_and_core)
    )
    return np.asarray(work / speed)


@dataclass(frozen=True)
class Demands:
    """Memory and traffic that a scheme asks of one client, bytes.

    Attributes:
        memory: weights, adapters with gradients and two Adam moments, activations.
        broadcast: weights of a whole model that it has to get before it can start.
        adapter: LoRA that it trains, and sends per round except in "local".
        tokens_up: tokens that it sends per batch.
        gradients_down: token gradients that it gets per batch.
    """

    memory: float
    broadcast: float
    adapter: float
    tokens_up: float
    gradients_down: float


def client_demands(
    scheme: str, shape: Architecture, *, depth: int, cut: int, batch: int, kept: int, rank: int = 16
) -> Demands:
    """Memory and traffic of one client by training scheme, analytic (paper Table II).

    Local and federated schemes hold and train the whole model, split ones the client half, and the
    one-way ones run the client half without gradients, so that only one block's working set lives.
    [CLS] and the merged token are left out of the tokens, as the paper's table does.

    Args:
        scheme: one of `SCHEMES`.
        shape: the ViT.
        depth: blocks of the whole model.
        cut: client blocks, at most `depth`.
        batch: images per batch.
        kept: K of "selected", at most N; "split" and "full" send N.
        rank: of the adapters.

    Raises:
        UnknownNameError: no such scheme.
    """
    choice("client_demands", "scheme", scheme, SCHEMES, error=UnknownNameError)
    whole = scheme in {"local", "fed"}
    blocks = depth if whole else cut
    weights = FLOAT_BYTES * (shape.embedding_parameters + blocks * shape.block_parameters)
    adapter = FLOAT_BYTES * shape.lora_parameters(blocks, rank)
    trains = whole or scheme == "split"
    memory = weights + (4 * adapter + blocks * block_activation_bytes(shape, batch, rank) if trains else 0)
    if not trains:
        memory += FLOAT_BYTES * batch * shape.length * shape.width * (2 + shape.mlp_ratio)
    sent = 0 if whole else kept if scheme == "selected" else shape.patches
    tokens = FLOAT_BYTES * batch * sent * shape.width
    return Demands(
        memory=float(memory),
        broadcast=float(weights if whole else 0),
        adapter=float(adapter if trains else 0),
        tokens_up=float(tokens),
        gradients_down=float(tokens if scheme == "split" else 0),
    )


def block_activation_bytes(
    shape: Architecture, batch: int, rank: int = 16, length: int | None = None
) -> float:
    """Activation memory of one block in bytes: what its backward pass needs of a forward pass.

    Inputs of norms, GELU and adapters, and the queries, keys, values and output of the attention.

    Frozen linear layers keep nothing; their LoRA branches keep the layers' inputs. Per token: two norms
    2 C, their outputs 2 C, q, k, v and attention output 4 C, GELU in and out 2 mlp_ratio C, and 3 r.

    Args:
        shape: the ViT.
        batch: images.
        rank: r of the adapters.
        length: tokens per image; T by default.
    """
    tokens = batch * (shape.length if length is None else length)
    return FLOAT_BYTES * tokens * ((8 + 2 * shape.mlp_ratio) * shape.width + 3 * rank)


class SavedForBackward:
    """Activation memory, measured: bytes that autograd keeps, `with SavedForBackward(parameters) as saved:`.

    Each storage counts once; those of the given tensors (weights) do not count.
    """

    def __init__(self, ignored: Iterable[Tensor] = ()) -> None:
        self._ignored = {tensor.untyped_storage().data_ptr() for tensor in ignored}
        self._seen: dict[int, Tensor] = {}
        self._hooks = ExitStack()

    @property
    def bytes(self) -> int:
        """Bytes kept so far."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._seen.values())

    def __enter__(self) -> SavedForBackward:
        from torch.autograd.graph import saved_tensors_hooks

        self._hooks.enter_context(saved_tensors_hooks(self._pack, lambda tensor: tensor))
        return self

    def __exit__(self, *reason: object) -> None:
        self._hooks.close()

    def _pack(self, tensor: Tensor) -> Tensor:
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in self._ignored:
            self._seen[pointer] = tensor  # holds it, so that its address is not given away again
        return tensor
