"""Pool of a run's clients: their offers in a round, and their uploads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...models.vit.tokens import Selected
from ...solver import Grant
from .client import draw_batch
from .client_tokens import ClientTokens, Offer
from .run import Run
from .training_steps import ClientBatch, ImageBatch, TokenBatch


class ClientPool(ABC):
    """Interface of the clients of a run, in this process or remote."""

    @abstractmethod
    def offers(self, index: int, awake: Sequence[int]) -> tuple[dict[int, Offer], dict[int, str]]:
        """Round `index`: what each client that is awake offers, ascending, and why others do not."""

    @abstractmethod
    def uploads(
        self, index: int, grants: Mapping[int, Grant], bits: Mapping[int, int]
    ) -> tuple[Sequence[ClientBatch], dict[int, str]]:
        """What arrives of the granted uploads, ascending, and why the others do not.

        Args:
            index: of the round.
            grants: by client.
            bits: per element of the tokens that each of these clients sends.
        """


@dataclass(frozen=True, eq=False)
class LocalClients(ClientPool):
    """Clients in this process that train; all tokens are worth the same, and nothing is lost."""

    run: Run

    def offers(self, index: int, awake: Sequence[int]) -> tuple[dict[int, Offer], dict[int, str]]:
        """Offers of all clients that are awake."""
        return {client: self.offer(drawn) for client, drawn in self.batches(index, awake)}, {}

    def uploads(
        self, index: int, grants: Mapping[int, Grant], bits: Mapping[int, int]
    ) -> tuple[Sequence[ClientBatch], dict[int, str]]:
        """Batches of image indices to train on; all their tokens have the same bits."""
        labels = self.run.context.images.labels
        return [ImageBatch(client, labels[drawn], drawn) for client, drawn in self.batches(index, grants)], {}

    def batches(self, index: int, clients: Iterable[int]) -> list[tuple[int, Tensor]]:
        """Random batch of each client in a round."""
        parts, config = self.run.parts, self.run.config
        return [(client, draw_batch(parts[client], config, index, client)) for client in clients]

    def offer(self, drawn: Tensor) -> Offer:
        """Offer with uniform importance."""
        samples, patches = len(drawn), self.run.context.halves.patches
        return Offer(samples, np.full(patches, samples / patches))


@dataclass(frozen=True, eq=False)
class LocalFrozenClients(LocalClients):
    """Clients in this process that only run forward; their tokens go over the run's link."""

    tokens: ClientTokens

    def offer(self, drawn: Tensor) -> Offer:
        """Offer with the batch importance of its tokens."""
        return self.tokens.take(drawn).offer()

    def uploads(
        self, index: int, grants: Mapping[int, Grant], bits: Mapping[int, int]
    ) -> tuple[Sequence[ClientBatch], dict[int, str]]:
        """Tokens cut to K and sent over the link, and labels. Raises FloatingPointError as `encode`."""
        context, sent = self.run.context, []
        for client, drawn in self.batches(index, grants):
            cut = self.tokens.take(drawn).cut(self.run.config, grants[client].tokens)
            arrived = Selected(context.link.up_tokens(cut.tokens, bits[client]), cut.valid)
            sent.append(TokenBatch(client, context.images.labels[drawn], arrived))
        return sent, {}


def local_clients(run: Run) -> ClientPool:
    """Pool of a run's clients in this process."""
    return LocalClients(run) if run.train_tokens is None else LocalFrozenClients(run, run.train_tokens)
