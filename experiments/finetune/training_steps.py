"""Training steps on one client's part of a batch, and what they share: model, batches, wireless link."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...models.data import Images
from ...models.vit.adapter import State, trainable
from ...models.vit.split import Split
from ...models.vit.tokens import Selected
from .device import autocast


@dataclass(eq=False)
class Link:
    """The wireless link: tensors go through it in the payload's precision, and their bytes are counted.

    Attributes:
        dtype: of the payload.
        up_bytes: sent by clients.
        down_bytes: sent to clients.
    """

    dtype: torch.dtype = torch.float32
    up_bytes: int = 0
    down_bytes: int = 0

    def up(self, tensor: Tensor) -> Tensor:
        """What arrives at the server, cut from the client's graph."""
        sent = tensor.detach().to(self.dtype)
        self.up_bytes += sent.nbytes
        return sent.to(tensor.dtype)

    def down(self, tensor: Tensor) -> Tensor:
        """What arrives at the client."""
        sent = tensor.detach().to(self.dtype)
        self.down_bytes += sent.nbytes
        return sent.to(tensor.dtype)

    def up_all(self, state: State) -> State:
        """A state sent up."""
        return {name: self.up(value) for name, value in state.items()}

    def down_all(self, state: State) -> State:
        """A state sent down."""
        return {name: self.down(value) for name, value in state.items()}


@dataclass(eq=False)
class ClientBatch(ABC):
    """One client's part of a round.

    Attributes:
        client: its id.
    """

    client: int

    @abstractmethod
    def __len__(self) -> int:
        """Samples."""

    def parts(self, steps: int) -> Iterator[Tensor]:
        """Positions within the batch for each step; with fewer samples than steps some repeat."""
        count = len(self)
        for step in range(steps):
            start = step * count // steps
            yield torch.arange(start, max(start + 1, (step + 1) * count // steps))


@dataclass(eq=False)
class ImageBatch(ClientBatch):
    """The batch of a client that trains.

    Attributes:
        index: (b,) its images of this round.
    """

    index: Tensor

    def __len__(self) -> int:
        return len(self.index)


@dataclass(eq=False)
class TokenBatch(ClientBatch):
    """The batch of a client that only runs forward, as it arrived at the server.

    Attributes:
        arrived: tokens of b images.
        labels: (b,) that came with them.
    """

    arrived: Selected
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(eq=False)
class TrainingContext:
    """What all schemes work with.

    Attributes:
        model: ViT with adapters on the scheme's side; head trainable.
        halves: the same model, split.
        images: to train on.
        device: of the model.
        learning_rate: of AdamW on adapters.
        head_learning_rate: of AdamW on heads.
        local_steps: parts of a batch.
        link: between clients and server.
    """

    model: PeftModel
    halves: Split
    images: Images
    device: torch.device
    learning_rate: float
    head_learning_rate: float
    local_steps: int
    link: Link = field(default_factory=Link)

    def optimiser(self, module: nn.Module) -> torch.optim.Optimizer:
        """A fresh AdamW over a module's trainable parameters."""
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in trainable(module).items():
            rate = self.learning_rate if "lora_" in name else self.head_learning_rate
            groups.setdefault(rate, []).append(parameter)
        return torch.optim.AdamW([{"params": group, "lr": rate} for rate, group in groups.items()])

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels on the device."""
        return self.images.normalised(index).to(self.device), self.images.labels[index].to(self.device)

    def autocast(self) -> AbstractContextManager[None]:
        """Mixed precision on a GPU, none on a CPU."""
        return autocast(self.device)


def loss_of(logits: Tensor, labels: Tensor, client: int) -> Tensor:
    """Cross-entropy. Raises FloatingPointError before a loss that is not finite can reach a parameter."""
    loss = cross_entropy(logits.float(), labels)
    if not bool(torch.isfinite(loss)):
        raise FloatingPointError(f"loss {float(loss.detach())} on client {client}")
    return loss


def gradient(tensor: Tensor) -> Tensor:
    """What a backward pass left at a tensor. Raises RuntimeError if none has reached it."""
    if tensor.grad is None:
        raise RuntimeError("no backward pass has reached this tensor")
    return tensor.grad


def split_step(context: TrainingContext, batch: ImageBatch, part: Tensor, share: float = 1.0) -> float:
    """Forward and backward through both halves; gradients are added up, nothing else changes.

    Args:
        context: model, images, link.
        batch: of one client.
        part: positions within it.
        share: factor on the loss, for averages over clients.
    """
    images, labels = context.batch(batch.index[part])
    with context.autocast():
        h = context.halves.client(images)
        h_server = context.link.up(h).requires_grad_()
        loss = loss_of(context.halves.server(h_server), labels, batch.client)
    torch.autograd.backward(loss * share)
    h.backward(context.link.down(gradient(h_server)))
    return float(loss.detach())


def server_step(context: TrainingContext, batch: TokenBatch, part: Tensor, share: float) -> float:
    """Forward and backward through the server half on tokens that arrived; gradients are added up."""
    tokens, valid = batch.arrived.tokens[part], batch.arrived.valid[part]
    with context.autocast():
        loss = loss_of(context.halves.server(tokens, valid), batch.labels[part], batch.client)
    torch.autograd.backward(loss * share)
    return float(loss.detach())


def whole_steps(context: TrainingContext, batch: ImageBatch) -> float:
    """A client's optimiser steps on the whole model, from its present state; mean loss."""
    optimiser = context.optimiser(context.model)
    total = 0.0
    for part in batch.parts(context.local_steps):
        images, labels = context.batch(batch.index[part])
        with context.autocast():
            loss = loss_of(context.model(images), labels, batch.client)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        total += float(loss.detach())
    return total / context.local_steps
