"""Training schemes of Table I: LocalLoRA, FedLoRA, SplitLoRA, SFLora, ST-SFLora-Full, ST-SFLora.

All see the same images in a round: every client one batch, in `local_steps` parts. They differ in what a
client runs, what it sends, and whose parameters move. Whatever is sent passes a `Link`, which counts the
bytes of the very tensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Generic, Literal

from torch import Tensor

from ...models.vit.adapter import State, average, get_state, set_state
from .config import METHODS
from .training_steps import (
    Batch,
    ImageBatch,
    TokenBatch,
    TrainingContext,
    optimise,
    server_step,
    shares,
    split_step,
    whole_step,
)


class Scheme(ABC, Generic[Batch]):
    """Base of training schemes: how one round's batches move the parameters.

    Class attributes:
        side: blocks with adapters, as in `add_lora`.
        sends: "nothing", "adapter", "all" tokens or "selected" tokens.
        one_by_one: clients upload one after another.
        one_way: client halves are frozen and only run forward.
    """

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

    def states(self) -> dict[str, State]:
        """State for a checkpoint, by part: all that the next round depends on, as copies."""
        return {"model": get_state(self.context.model)}

    def restore(self, states: Mapping[str, State]) -> None:
        """Load what `states` gave."""
        set_state(self.context.model, states.get("model", {}))


class WholeModelScheme(Scheme[ImageBatch]):
    """Schemes whose clients train the whole model by themselves."""

    side = "both"

    def train_each(
        self, batches: Sequence[ImageBatch], start: Callable[[int], State]
    ) -> tuple[dict[int, State], float]:
        """Train every client from `start(client)`; its state afterwards by client, and the mean loss."""
        context, states, losses = self.context, {}, []
        for batch in batches:
            set_state(context.model, start(batch.client))
            optimiser = context.optimiser(context.model)
            losses.append(_mean(optimise(context, optimiser, [batch], partial(whole_step, context))))
            states[batch.client] = get_state(context.model)
        return states, _mean(losses)


class LocalLora(WholeModelScheme):
    """LocalLoRA: each client trains the whole model alone; nothing is exchanged."""

    sends = "nothing"

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        self._initial = get_state(context.model)
        self._clients: dict[int, State] = {}

    def train(self, batches: Sequence[ImageBatch]) -> float:
        """Each client goes on from its own state."""
        states, loss = self.train_each(batches, lambda client: self._clients.get(client, self._initial))
        self._clients |= states
        return loss

    def tested_states(self) -> Iterator[State | None]:
        """States of all clients that have trained."""
        yield from (self._clients[client] for client in sorted(self._clients)) if self._clients else (None,)

    def states(self) -> dict[str, State]:
        """State of each client; training replaces it and never changes it."""
        return {f"client/{client}": state for client, state in self._clients.items()}

    def restore(self, states: Mapping[str, State]) -> None:
        """Load each client's state."""
        self._clients = {int(part.removeprefix("client/")): state for part, state in states.items()}


class FedLora(WholeModelScheme):
    """FedLoRA: clients train the whole model from the common adapter; adapters are averaged by samples."""

    sends = "adapter"

    def train(self, batches: Sequence[ImageBatch]) -> float:
        """FedAvg on adapters and head."""
        model, link = self.context.model, self.context.link
        common = get_state(model)
        states, loss = self.train_each(batches, lambda _: link.down_all(common))
        sent = [link.up_all(state) for state in states.values()]
        set_state(model, average(sent, [len(batch) for batch in batches]))
        return loss


class ServerScheme(Scheme[Batch]):
    """Schemes whose server keeps one optimiser over the rounds: of its half; of all if clients take turns."""

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        self.optimiser = context.optimiser(context.model if self.one_by_one else context.halves.server)

    def states(self) -> dict[str, State]:
        """State of the model and of the optimiser, moments included."""
        moments = {
            f"optimiser/{index}": {name: value.clone() for name, value in entry.items()}
            for index, entry in self.optimiser.state_dict()["state"].items()
        }
        return {**super().states(), **moments}

    def restore(self, states: Mapping[str, State]) -> None:
        """Load the model's and the optimiser's state."""
        super().restore(states)
        moments = {
            int(part.removeprefix("optimiser/")): state
            for part, state in states.items()
            if part.startswith("optimiser/")
        }
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})


class SplitLora(ServerScheme[ImageBatch]):
    """SplitLoRA: sequential split learning; each client hands its adapter on to the next."""

    side, sends, one_by_one = "both", "all", True

    def train(self, batches: Sequence[ImageBatch]) -> float:
        """One optimiser step for each part of each client's batch."""
        context, losses = self.context, list[float]()
        client_half, link = context.halves.client, context.link
        for batch in batches:
            set_state(client_half, link.down_all(get_state(client_half)))
            losses += optimise(context, self.optimiser, [batch], partial(split_step, context))
            set_state(client_half, link.up_all(get_state(client_half)))
        return _mean(losses)


class SFLora(ServerScheme[ImageBatch]):
    """SFLora: parallel split learning; gradients are averaged at the server, client adapters as in FedAvg."""

    side, sends = "both", "all"

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

        losses = optimise(self.context, self.optimiser, batches, client_step)
        set_state(client_half, average([link.up_all(state) for state in states.values()], shares(batches)))
        return _mean(losses)


class OneWayScheme(ServerScheme[TokenBatch]):
    """Schemes whose client half is frozen and only runs forward; the server trains on what arrives."""

    side, one_way = "server", True

    def train(self, batches: Sequence[TokenBatch]) -> float:
        """Each step moves the server's adapter by the mean over clients."""
        step = partial(server_step, self.context)
        return _mean(optimise(self.context, self.optimiser, batches, step))


class StSFLoraFull(OneWayScheme):
    """ST-SFLora-Full: all tokens of a frozen client half."""

    sends = "all"


class StSFLora(OneWayScheme):
    """ST-SFLora: the tokens that a solver grants, the rest merged into one."""

    sends = "selected"


SCHEMES: Final[Mapping[str, type[Scheme[Any]]]] = dict(
    zip(METHODS, (LocalLora, FedLora, SplitLora, SFLora, StSFLoraFull, StSFLora), strict=True)
)
"""Training schemes by method, in the order of `METHODS`."""


def _mean(losses: Sequence[float]) -> float:
    return sum(losses) / len(losses)
