"""Attention of a pretrained ViT on test images; digits and the small ViT where no others are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...models.data import Images, load_data
from ...models.vit.attention import reading, token_scores
from ...models.vit.backbone import DIGITS_VIT, create, digits_vit
from ...models.vit.split import split
from ...solver.problem import FloatArray

READ_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Pictures:
    """Some images and the model that looks at them.

    Attributes:
        name: of the images.
        model: name of the ViT.
        images: spread evenly over the test images.
        vit: pretrained, not adapted.
    """

    name: str
    model: str
    images: Images
    vit: nn.Module

    @property
    def grid(self) -> tuple[int, int]:
        """Patches per column and per row."""
        return split(self.vit, 1).grid

    @torch.no_grad()
    def attention(self, blocks: Sequence[int]) -> dict[int, FloatArray]:
        """(n, N) attention of [CLS] to the patches in some blocks, counted from 1, each row of sum 1.

        Raises:
            OptionError: a block out of range.
        """
        halves = split(self.vit, max(blocks))
        blocks = sorted(set(blocks))  # hooks answer in the order of the pass
        read = [halves.client.blocks[block - 1] for block in blocks]
        found: dict[int, list[FloatArray]] = {block: [] for block in blocks}
        for index in torch.split(torch.arange(len(self.images)), READ_AT_ONCE):
            with reading(read) as seen:
                halves.client(self.images.normalised(index))
            for block, heads in zip(blocks, seen, strict=True):
                place = (halves.prefix_tokens, halves.grid, torch.Generator())
                scores = token_scores("attention", [heads], *place)
                found[block].append(scores.double().numpy())
        return {block: np.concatenate(parts) for block, parts in found.items()}


def pictures(data: str | None, model: str, weights: Path | None, count: int, cache: Path) -> Pictures:
    """Test images with a pretrained ViT: those given, or digits with the small one.

    Args:
        data: as in `models.data.load_data`; None for digits.
        model: a timm ViT; not used for digits.
        weights: its safetensors; None for timm's own.
        count: images, spread evenly.
        cache: folder for the small ViT.

    Raises:
        OptionError, FileFormatError, MissingDependencyError: data or weights that are wrong or missing.
    """
    if data is None or data == "digits":
        dataset = load_data("digits", DIGITS_VIT["img_size"])
        vit, name = digits_vit(cache), "small"
    else:
        dataset = load_data(data, 224)
        vit, name = create(model, dataset.classes, 224, weights), model
    return Pictures(Path(data or "digits").stem, name, dataset.test.thinned(count), vit)
