"""The six schemes of Table I, one class each over shared pieces.

All see the same images in a round: every client one batch, in `local_steps` parts. They differ in what a
client runs, what it sends, and whose parameters move. Whatever crosses the air passes a `Link`, which
counts the bytes of the very tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar, Final

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...models.data import Images
from ...models.vit.adapter import State, average, get_state, set_state, trainable
from ...models.vit.split import Split
from ...models.vit.tokens import Selected
from ...solver import UnknownNameError
from .config import SELECTING
from .device import autocast


@dataclass(eq=False)
class Link:
    """The air between clients and server: tensors go through in the payload's precision and are counted.

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
class Work:
    """One client's part of a round.

    Attributes:
        client: its id.
        index: (b,) its images of this round.
        arrived: what the server received, in schemes whose clients only run forward.
        labels: (b,) that came with it.
    """

    client: int
    index: Tensor
    arrived: Selected | None = None
    labels: Tensor | None = None

    def parts(self, steps: int) -> Iterator[Tensor]:
        """Positions within the batch for each step; with fewer images than steps some repeat."""
        count = len(self.index)
        for step in range(steps):
            start = step * count // steps
            yield torch.arange(start, max(start + 1, (step + 1) * count // steps))


@dataclass(eq=False)
class Shared:
    """What all schemes work with.

    Attributes:
        model: ViT with adapters on the scheme's side; head trainable.
        halves: the same model, split.
        images: to train on.
        device: of the model.
        learning_rate: of AdamW on adapters.
        head_learning_rate: of AdamW on heads.
        local_steps: parts of a batch.
        link: the air.
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


def split_step(shared: Shared, work: Work, part: Tensor, share: float = 1.0) -> float:
    """Forward and backward through both halves; gradients are added up, nothing else changes.

    Args:
        shared: model, images, link.
        work: whose batch.
        part: positions within it.
        share: factor on the loss, for averages over clients.
    """
    images, labels = shared.batch(work.index[part])
    with shared.autocast():
        h = shared.halves.client(images)
        h_server = shared.link.up(h).requires_grad_()
        loss = loss_of(shared.halves.server(h_server), labels, work.client)
    torch.autograd.backward(loss * share)
    assert h_server.grad is not None
    h.backward(shared.link.down(h_server.grad))
    return float(loss.detach())


def whole_steps(shared: Shared, work: Work) -> float:
    """A client's optimiser steps on the whole model, from its present state; mean loss."""
    optimiser = shared.optimiser(shared.model)
    total = 0.0
    for part in work.parts(shared.local_steps):
        images, labels = shared.batch(work.index[part])
        with shared.autocast():
            loss = loss_of(shared.model(images), labels, work.client)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        total += float(loss.detach())
    return total / shared.local_steps


class Method(ABC):
    """A scheme: how one round's batches move the parameters.

    Class attributes:
        name: for `--method`.
        side: blocks with adapters, as in `add_lora`.
        sends: "nothing", "adapter", "all" tokens or "selected" tokens.
        one_by_one: clients upload one after another.
        one_way: client halves are frozen and only run forward.
    """

    name: ClassVar[str]
    side: ClassVar[str]
    sends: ClassVar[str]
    one_by_one: ClassVar[bool] = False
    one_way: ClassVar[bool] = False

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    @abstractmethod
    def train(self, works: Sequence[Work]) -> float:
        """Train on one round's batches; mean loss. Works come in ascending order of clients.

        Raises:
            FloatingPointError: a loss is not finite.
        """

    def tested_states(self) -> Iterator[State | None]:
        """States whose accuracies are averaged; None for the model as it is."""
        yield None

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next round depends on, as copies."""
        return {f"model/{name}": value for name, value in get_state(self.shared.model).items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        set_state(self.shared.model, _below("model/", tensors))


class LocalLora(Method):
    """Each client trains the whole model alone; nothing is exchanged."""

    name, side, sends = "local-lora", "both", "nothing"

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._initial = get_state(shared.model)
        self._states: dict[int, State] = {}

    def train(self, works: Sequence[Work]) -> float:
        """Each client goes on from its own state."""
        losses = []
        for work in works:
            set_state(self.shared.model, self._states.get(work.client, self._initial))
            losses.append(whole_steps(self.shared, work))
            self._states[work.client] = get_state(self.shared.model)
        return sum(losses) / len(losses)

    def tested_states(self) -> Iterator[State | None]:
        """Every client that has trained."""
        yield from (self._states[client] for client in sorted(self._states)) if self._states else (None,)

    def tensors(self) -> dict[str, Tensor]:
        """The clients' states."""
        return {
            f"client/{client}/{name}": value.clone()
            for client, state in self._states.items()
            for name, value in state.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The clients' states."""
        clients = {int(name.split("/")[1]) for name in tensors}
        self._states = {client: _below(f"client/{client}/", tensors) for client in clients}


class FedLora(Method):
    """Each client trains the whole model from the common adapter; adapters are averaged by samples."""

    name, side, sends = "fed-lora", "both", "adapter"

    def train(self, works: Sequence[Work]) -> float:
        """FedAvg on adapters and head."""
        model, link = self.shared.model, self.shared.link
        common, states, losses = get_state(model), [], []
        for work in works:
            set_state(model, link.down_all(common))
            losses.append(whole_steps(self.shared, work))
            states.append(link.up_all(get_state(model)))
        set_state(model, average(states, [len(work.index) for work in works]))
        return sum(losses) / len(losses)


class ServerMethod(Method):
    """Schemes whose server keeps one optimiser over the rounds; `trained` is what it moves."""

    def __init__(self, shared: Shared, trained: nn.Module) -> None:
        super().__init__(shared)
        self.optimiser = shared.optimiser(trained)

    def tensors(self) -> dict[str, Tensor]:
        """The model's and the optimiser's."""
        moments = {
            f"optimiser/{index}/{name}": value.clone()
            for index, entry in self.optimiser.state_dict()["state"].items()
            for name, value in entry.items()
        }
        return {**super().tensors(), **moments}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The model's and the optimiser's."""
        super().restore(tensors)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _below("optimiser/", tensors).items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})


class SplitLora(ServerMethod):
    """Sequential split learning: one client after another, which hands its adapter on to the next."""

    name, side, sends, one_by_one = "split-lora", "both", "all", True

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared, shared.model)

    def train(self, works: Sequence[Work]) -> float:
        """One optimiser step for each part of each client's batch."""
        client_half, link, losses = self.shared.halves.client, self.shared.link, []
        for work in works:
            set_state(client_half, link.down_all(get_state(client_half)))
            for part in work.parts(self.shared.local_steps):
                self.optimiser.zero_grad()
                losses.append(split_step(self.shared, work, part))
                self.optimiser.step()
            set_state(client_half, link.up_all(get_state(client_half)))
        return sum(losses) / len(losses)


class SFLora(ServerMethod):
    """Parallel split learning: the server averages the clients' gradients, client adapters are averaged."""

    name, side, sends = "sflora", "both", "all"

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared, shared.halves.server)

    def train(self, works: Sequence[Work]) -> float:
        """Each step moves every client's own adapter, and the server's by the mean over clients."""
        client_half, link = self.shared.halves.client, self.shared.link
        common = get_state(client_half)
        states = {work.client: link.down_all(common) for work in works}
        optimisers = {work.client: self.shared.optimiser(client_half) for work in works}
        parts = [list(work.parts(self.shared.local_steps)) for work in works]
        shares, losses = _shares(works), []
        for step in range(self.shared.local_steps):
            self.optimiser.zero_grad()
            for work, share, own in zip(works, shares, parts, strict=True):
                set_state(client_half, states[work.client])
                optimisers[work.client].zero_grad()
                losses.append(split_step(self.shared, work, own[step], share))
                optimisers[work.client].step()
                states[work.client] = get_state(client_half)
            self.optimiser.step()
        set_state(client_half, average([link.up_all(states[work.client]) for work in works], shares))
        return sum(losses) / len(losses)


class OneWay(ServerMethod):
    """The client half is frozen and only runs forward; the server trains on what arrives."""

    side, one_way = "server", True

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared, shared.halves.server)

    def train(self, works: Sequence[Work]) -> float:
        """Each step moves the server's adapter by the mean over clients."""
        parts = [list(work.parts(self.shared.local_steps)) for work in works]
        shares, losses = _shares(works), []
        for step in range(self.shared.local_steps):
            self.optimiser.zero_grad()
            for work, share, own in zip(works, shares, parts, strict=True):
                assert work.arrived is not None
                assert work.labels is not None
                labels = work.labels[own[step]]
                tokens, valid = work.arrived.tokens[own[step]], work.arrived.valid[own[step]]
                with self.shared.autocast():
                    loss = loss_of(self.shared.halves.server(tokens, valid), labels, work.client)
                torch.autograd.backward(loss * share)
                losses.append(float(loss.detach()))
            self.optimiser.step()
        return sum(losses) / len(losses)


class StSFLoraFull(OneWay):
    """All tokens of a frozen client half."""

    name, sends = "st-sflora-full", "all"


class StSFLora(OneWay):
    """The tokens that the solver grants, the rest merged into one."""

    name, sends = SELECTING, "selected"


METHODS: Final[tuple[type[Method], ...]] = (LocalLora, FedLora, SplitLora, SFLora, StSFLoraFull, StSFLora)


def method(name: str) -> type[Method]:
    """The scheme of that name. Raises UnknownNameError."""
    by_name = {kind.name: kind for kind in METHODS}
    if name not in by_name:
        raise UnknownNameError("method", f"method {name!r:.40}", ", ".join(by_name), "Choose one")
    return by_name[name]


def _shares(works: Sequence[Work]) -> list[float]:
    total = sum(len(work.index) for work in works)
    return [len(work.index) / total for work in works]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
