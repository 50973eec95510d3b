"""Training steps of all schemes: forward and backward passes, optimiser steps, wireless link, batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...models.data import Images
from ...models.vit.adapter import State, trainable
from ...models.vit.quantisation import FLOATS, encode
from ...models.vit.split import Split
from ...models.vit.tokens import Selected
from .config import Config
from .device import autocast


@dataclass(eq=False)
class Link:
    """The wireless link: tensors go through it as they are sent, and their bytes are counted.

    Attributes:
        dtype: of adapters and gradients; tokens have a depth of their own.
        up_bytes: sent by clients.
        down_bytes: sent to clients.
    """

    dtype: torch.dtype = torch.float32
    up_bytes: int = 0
    down_bytes: int = 0

    def up(self, tensor: Tensor) -> Tensor:
        """Upload a tensor: what arrives at the server, detached from the client's graph."""
        sent = tensor.detach().to(self.dtype)
        self.up_bytes += sent.nbytes
        return sent.to(tensor.dtype)

    def up_tokens(self, tokens: Tensor, bits: int) -> Tensor:
        """Upload tokens in 8, 16 or 32 bits per element: what arrives, detached. Raises as `quantise`."""
        sent = encode(tokens, bits)
        self.up_bytes += sent.nbytes
        return sent.restored().to(tokens.dtype)

    def down(self, tensor: Tensor) -> Tensor:
        """Download a tensor: what arrives at the client, detached."""
        sent = tensor.detach().to(self.dtype)
        self.down_bytes += sent.nbytes
        return sent.to(tensor.dtype)

    def up_all(self, state: State) -> State:
        """Upload a state."""
        return {name: self.up(value) for name, value in state.items()}

    def down_all(self, state: State) -> State:
        """Download a state."""
        return {name: self.down(value) for name, value in state.items()}


@dataclass(eq=False)
class ClientBatch:
    """Batch of one client in a round.

    Attributes:
        client: its id.
        labels: (b,).
    """

    client: int
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, steps: int) -> Iterator[Tensor]:
        """Positions within the batch for each step; with fewer samples than steps some repeat."""
        count = len(self)
        for step in range(steps):
            start = step * count // steps
            yield torch.arange(start, max(start + 1, (step + 1) * count // steps))


Batch = TypeVar("Batch", bound=ClientBatch)


@dataclass(eq=False)
class ImageBatch(ClientBatch):
    """Batch of a client that trains: image indices.

    Attributes:
        index: (b,) its images of this round.
    """

    index: Tensor


@dataclass(eq=False)
class TokenBatch(ClientBatch):
    """Batch of a client that only runs forward: tokens and labels as they arrived at the server.

    Attributes:
        arrived: tokens of b images.
    """

    arrived: Selected


@dataclass(eq=False)
class TrainingContext:
    """Model, images, link and learning rates of a run, shared by all schemes.

    Attributes:
        model: ViT with adapters on the scheme's side; head trainable.
        halves: the same model, split.
        images: to train on.
        device: of the model.
        config: settings.
        link: between clients and server.
    """

    model: PeftModel
    halves: Split
    images: Images
    device: torch.device
    config: Config
    link: Link = field(init=False)

    def __post_init__(self) -> None:
        self.link = Link(FLOATS[max(self.bits, 16)])

    @property
    def bits(self) -> int:
        """Per element of tokens whose client has no choice, and the most of one that has."""
        return self.config.bit_depths[-1].bits

    def optimiser(self, module: nn.Module) -> torch.optim.Optimizer:
        """A fresh AdamW over a module's trainable parameters."""
        adapter_rate = self.config.learning_rate
        head_rate = self.config.head_learning_rate or adapter_rate
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in trainable(module).items():
            rate = adapter_rate if "lora_" in name else head_rate
            groups.setdefault(rate, []).append(parameter)
        return torch.optim.AdamW([{"params": group, "lr": rate} for rate, group in groups.items()])

    def batch(self, batch: ImageBatch, part: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of a part of a batch, on the device."""
        images = self.images.normalised(batch.index[part])
        return images.to(self.device), batch.labels[part].to(self.device)


def backward(logits: Tensor, labels: Tensor, client: int, share: float) -> float:
    """Cross-entropy of a client's samples; its gradients times `share` are added up.

    Raises:
        FloatingPointError: it is not finite; no gradient has reached a parameter.
    """
    loss = cross_entropy(logits.float(), labels)
    if not bool(torch.isfinite(loss)):
        raise FloatingPointError(f"loss {float(loss.detach())} on client {client}")
    torch.autograd.backward(loss * share)
    return float(loss.detach())


def gradient(tensor: Tensor) -> Tensor:
    """Gradient of a tensor after a backward pass. Raises RuntimeError if none has reached it."""
    if tensor.grad is None:
        raise RuntimeError("no backward pass has reached this tensor")
    return tensor.grad


def whole_step(context: TrainingContext, batch: ImageBatch, part: Tensor, share: float) -> float:
    """Forward and backward through the whole model; arguments as of `split_step`."""
    images, labels = context.batch(batch, part)
    with autocast(context.device):
        logits = context.model(images)
    return backward(logits, labels, batch.client, share)


def split_step(context: TrainingContext, batch: ImageBatch, part: Tensor, share: float) -> float:
    """Forward and backward through both halves; gradients are added up, nothing else changes.

    Args:
        context: model, images, link.
        batch: of one client.
        part: positions within it.
        share: factor on the loss, for averages over clients.

    Returns:
        The loss, without the factor.
    """
    images, labels = context.batch(batch, part)
    with autocast(context.device):
        h = context.halves.client(images)
        h_server = context.link.up_tokens(h, context.bits).requires_grad_()
        logits = context.halves.server(h_server)
    loss = backward(logits, labels, batch.client, share)
    h.backward(context.link.down(gradient(h_server)))
    return loss


def server_step(context: TrainingContext, batch: TokenBatch, part: Tensor, share: float) -> float:
    """Forward and backward through the server half on tokens that arrived; arguments as of `split_step`."""
    sent = (batch.arrived.tokens, batch.arrived.valid, batch.labels)
    tokens, valid, labels = (tensor[part].to(context.device) for tensor in sent)
    with autocast(context.device):
        logits = context.halves.server(tokens, valid)
    return backward(logits, labels, batch.client, share)


def optimise(
    context: TrainingContext,
    optimiser: torch.optim.Optimizer,
    batches: Sequence[Batch],
    client_step: Callable[[Batch, Tensor, float], float],
) -> list[float]:
    """Take `local_steps` optimiser steps, one per part of the batches; the clients' losses in each.

    Args:
        context: says how many steps.
        optimiser: of the parameters that move by the mean over clients.
        batches: of the clients, which take each step together.
        client_step: adds up the gradients of a client's part, weighted by a share, and returns its loss.
    """
    losses = list[float]()
    for parts in zip(*(batch.parts(context.config.local_steps) for batch in batches), strict=True):
        optimiser.zero_grad()
        losses += map(client_step, batches, parts, shares(batches))
        optimiser.step()
    return losses


def shares(batches: Sequence[ClientBatch]) -> list[float]:
    """Each client's share of the samples."""
    total = sum(map(len, batches))
    return [len(batch) / total for batch in batches]
