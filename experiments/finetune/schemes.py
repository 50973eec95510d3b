"""The six training schemes of Table I, one class each over shared steps.

All see the same images in a round: every client one batch, in `local_steps` parts. They differ in what a
client runs, what it sends, and whose parameters move. Whatever is sent passes a `Link`, which counts the
bytes of the very tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

from torch import Tensor, nn

from ...models.vit.adapter import State, average, get_state, set_state
from ...solver import UnknownNameError
from .config import SELECTING
from .training_steps import (
    ClientBatch,
    ImageBatch,
    TokenBatch,
    TrainingContext,
    server_step,
    split_step,
    whole_steps,
)

Batch = TypeVar("Batch", bound=ClientBatch)


class Scheme(ABC, Generic[Batch]):
    """How one round's batches move the parameters.

    Class attributes:
        name: for `--methods`.
        side: blocks with adapters, as in `add_lora`.
        sends: "nothing", "adapter", "all" tokens or "selected" tokens.
        one_by_one: clients upload one after another.
        one_way: client halves are frozen and only run forward.
    """

    name: ClassVar[str]
    side: ClassVar[str]
    sends: ClassVar[Literal["nothing", "adapter", "all", "selected"]]
    one_by_one: ClassVar[bool] = False
    one_way: ClassVar[bool] = False

    def __init__(self, context: TrainingContext) -> None:
        self.context = context

    @abstractmethod
    def train(self, batches: Sequence[Batch]) -> float:
        """Train on one round's batches, in ascending order of clients; mean loss.

        Raises:
            FloatingPointError: a loss is not finite.
        """

    def tested_states(self) -> Iterator[State | None]:
        """States whose accuracies are averaged; None for the model as it is."""
        yield None

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next round depends on, as copies."""
        return {f"model/{name}": value for name, value in get_state(self.context.model).items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` gave."""
        set_state(self.context.model, _below("model/", tensors))


class WholeModelScheme(Scheme[ImageBatch]):
    """Schemes whose clients train the whole model by themselves."""

    side = "both"

    def train_each(
        self, batches: Sequence[ImageBatch], start: Callable[[int], State]
    ) -> tuple[dict[int, State], float]:
        """Train every client from `start(client)`; its state afterwards by client, and the mean loss."""
        states, losses = {}, []
        for batch in batches:
            set_state(self.context.model, start(batch.client))
            losses.append(whole_steps(self.context, batch))
            states[batch.client] = get_state(self.context.model)
        return states, sum(losses) / len(losses)


class LocalLora(WholeModelScheme):
    """Each client trains the whole model alone; nothing is exchanged."""

    name, sends = "local-lora", "nothing"

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        self._initial = get_state(context.model)
        self._states: dict[int, State] = {}

    def train(self, batches: Sequence[ImageBatch]) -> float:
        """Each client goes on from its own state."""
        states, loss = self.train_each(batches, lambda client: self._states.get(client, self._initial))
        self._states |= states
        return loss

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


class FedLora(WholeModelScheme):
    """Each client trains the whole model from the common adapter; adapters are averaged by samples."""

    name, sends = "fed-lora", "adapter"

    def train(self, batches: Sequence[ImageBatch]) -> float:
        """FedAvg on adapters and head."""
        model, link = self.context.model, self.context.link
        common = get_state(model)
        states, loss = self.train_each(batches, lambda _: link.down_all(common))
        sent = [link.up_all(state) for state in states.values()]
        set_state(model, average(sent, [len(batch) for batch in batches]))
        return loss


class ServerScheme(Scheme[Batch]):
    """Schemes whose server keeps one optimiser over the rounds; `trained` is what it moves."""

    def __init__(self, context: TrainingContext, trained: nn.Module) -> None:
        super().__init__(context)
        self.optimiser = context.optimiser(trained)

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


class SplitLora(ServerScheme[ImageBatch]):
    """Sequential split learning: one client after another, which hands its adapter on to the next."""

    name, side, sends, one_by_one = "split-lora", "both", "all", True

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context, context.model)

    def train(self, batches: Sequence[ImageBatch]) -> float:
        """One optimiser step for each part of each client's batch."""
        client_half, link, losses = self.context.halves.client, self.context.link, []
        for batch in batches:
            set_state(client_half, link.down_all(get_state(client_half)))
            for part in batch.parts(self.context.local_steps):
                self.optimiser.zero_grad()
                losses.append(split_step(self.context, batch, part))
                self.optimiser.step()
            set_state(client_half, link.up_all(get_state(client_half)))
        return sum(losses) / len(losses)


class ParallelScheme(ServerScheme[Batch]):
    """Schemes in which all clients take each step together, and the server half moves by their mean."""

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context, context.halves.server)

    def step_together(
        self, batches: Sequence[Batch], client_step: Callable[[Batch, Tensor, float], float]
    ) -> float:
        """The server's optimiser steps, one per part of the batches; mean loss.

        Args:
            batches: of the clients.
            client_step: adds up the gradients of a client's part, weighted by a share, and returns its loss.
        """
        shares, losses = _shares(batches), list[float]()
        for parts in zip(*(batch.parts(self.context.local_steps) for batch in batches), strict=True):
            self.optimiser.zero_grad()
            losses += map(client_step, batches, parts, shares)
            self.optimiser.step()
        return sum(losses) / len(losses)


class SFLora(ParallelScheme[ImageBatch]):
    """Parallel split learning: the server averages the clients' gradients, client adapters are averaged."""

    name, side, sends = "sflora", "both", "all"

    def train(self, batches: Sequence[ImageBatch]) -> float:
        """Each step moves every client's own adapter, and the server's by the mean over clients."""
        client_half, link = self.context.halves.client, self.context.link
        common = get_state(client_half)
        states = {batch.client: link.down_all(common) for batch in batches}
        optimisers = {batch.client: self.context.optimiser(client_half) for batch in batches}

        def client_step(batch: ImageBatch, part: Tensor, share: float) -> float:
            set_state(client_half, states[batch.client])
            optimisers[batch.client].zero_grad()
            loss = split_step(self.context, batch, part, share)
            optimisers[batch.client].step()
            states[batch.client] = get_state(client_half)
            return loss

        loss = self.step_together(batches, client_step)
        set_state(client_half, average([link.up_all(state) for state in states.values()], _shares(batches)))
        return loss


class OneWay(ParallelScheme[TokenBatch]):
    """The client half is frozen and only runs forward; the server trains on what arrives."""

    side, one_way = "server", True

    def train(self, batches: Sequence[TokenBatch]) -> float:
        """Each step moves the server's adapter by the mean over clients."""
        return self.step_together(batches, partial(server_step, self.context))


class StSFLoraFull(OneWay):
    """All tokens of a frozen client half."""

    name, sends = "st-sflora-full", "all"


class StSFLora(OneWay):
    """The tokens that the solver grants, the rest merged into one."""

    name, sends = SELECTING, "selected"


AnyScheme = Scheme[Any]
"""A scheme, of whichever batches."""

SCHEMES: Final[tuple[type[AnyScheme], ...]] = (
    *(LocalLora, FedLora, SplitLora, SFLora),
    *(StSFLoraFull, StSFLora),
)


def scheme(name: str) -> type[AnyScheme]:
    """The scheme of that name. Raises UnknownNameError."""
    by_name = {kind.name: kind for kind in SCHEMES}
    if name not in by_name:
        raise UnknownNameError("method", f"method {name!r:.40}", ", ".join(by_name), "Choose one")
    return by_name[name]


def _shares(batches: Sequence[ClientBatch]) -> list[float]:
    total = sum(map(len, batches))
    return [len(batch) / total for batch in batches]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
