"""Client side of fine-tuning: images, partition, batches, forward pass of the frozen half. Loads no peft."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...models.data import Images, load_data
from ...models.partition import Parts, dirichlet_partition, iid_partition
from ...models.vit.attention import reading, token_scores
from ...models.vit.backbone import create, digits_vit
from ...models.vit.split import Split, split
from ...solver.random_streams import derived_seed, random_stream
from .client_tokens import ClientTokens, kept_dtype
from .config import SMALL, Config
from .device import autocast

FORWARD_BATCH: Final = 128


@torch.no_grad()
def client_tokens(config: Config, halves: Split, pictures: Images, device: torch.device) -> ClientTokens:
    """Tokens and scores of images by one forward pass of the frozen client half, without augmentation."""
    started = time.perf_counter()
    blocks = halves.client.blocks if config.measure == "rollout" else halves.client.blocks[-1:]
    generator = torch.Generator().manual_seed(derived_seed(f"fine-tuning random scores, seed {config.seed}"))
    tokens, scores = [], []
    for index in in_batches(len(pictures)):
        with reading(blocks) as seen, autocast(device):
            x = halves.client(pictures.normalised(index).to(device))
            worth = token_scores(config.measure, seen, halves.prefix_tokens, halves.grid, generator)
        tokens.append(x.to(kept_dtype(config)).cpu())
        scores.append(worth.float().cpu())
    return ClientTokens(torch.cat(tokens), torch.cat(scores), time.perf_counter() - started)


@dataclass(frozen=True, eq=False)
class FrozenClients:
    """Images, partition and frozen half that let a process be any client of a one-way scheme.

    Attributes:
        config: settings.
        images: to train on.
        parts: indices of each client's images.
        halves: the ViT, split.
        device: to run on.
    """

    config: Config
    images: Images
    parts: Parts
    halves: Split
    device: torch.device

    @classmethod
    def load(cls, config: Config, cache: Path, device: torch.device) -> Self:
        """Load images and model. Raises what `load_data`, `models.backbone` and `split` do."""
        images, _ = load_images(config)
        vit = backbone(config, images.classes, cache).to(device)
        return cls(config, images, partition(config, images), split(vit, config.cut), device)

    def batch(self, client: int, index: int) -> tuple[ClientTokens, Tensor]:
        """Tokens and labels of a client's batch of a round."""
        drawn = draw_batch(self.parts[client], self.config, index, client)
        held = self.images.take(drawn.numpy())
        return client_tokens(self.config, self.halves, held, self.device), held.labels


def backbone(config: Config, classes: int, cache: Path) -> nn.Module:
    """Pretrained ViT with a fresh head. Raises what `models.backbone` does."""
    if config.model == SMALL:
        return digits_vit(cache, classes, config.seed)
    return create(config.model, classes, config.size_px, config.weights, config.seed)


def load_images(config: Config) -> tuple[Images, Images]:
    """Training and test images, the latter thinned evenly. Raises what `load_data` does."""
    data = load_data(config.data, config.size_px)
    return data.train, data.test if config.test_images is None else data.test.thinned(config.test_images)


def partition(config: Config, held: Images) -> Parts:
    """Data partition: indices of each client's training images, Dirichlet or IID."""
    rng = random_stream(f"fine-tuning partition, seed {config.seed}")
    if config.partition == "iid":
        return iid_partition(len(held), config.clients, rng)
    return dirichlet_partition(held.labels.numpy(), config.clients, config.concentration, rng)


def draw_batch(part: NDArray[np.int64], config: Config, index: int, client: int) -> Tensor:
    """Random batch of a client in a round: image indices, the same whenever the round is repeated."""
    rng = random_stream(f"fine-tuning batch, seed {config.seed}, round {index}, client {client}")
    return torch.from_numpy(rng.permutation(part)[: config.batch])


def in_batches(count: int) -> tuple[Tensor, ...]:
    """Indices 0 to count - 1 in batches of `FORWARD_BATCH`."""
    return torch.split(torch.arange(count), FORWARD_BATCH)
