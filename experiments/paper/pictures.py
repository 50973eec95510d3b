"""Attention of a pretrained ViT on test images; digits and the small ViT where no others are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from ...models.data import Images, load_data
from ...models.vit.attention import reading, token_scores
from ...models.vit.backbone import DIGITS_VIT, create, digits_vit
from ...models.vit.quantisation import encode
from ...models.vit.split import split
from ...models.vit.tokens import select
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

    @property
    def depth(self) -> int:
        """Blocks of the model."""
        return len(split(self.vit, 1).server.vit.blocks) + 1

    @torch.no_grad()
    def fidelity(
        self, cuts: Sequence[int], counts: Sequence[int], depths: Sequence[int]
    ) -> dict[tuple[int, int], FloatArray]:
        """How well tokens stand for their image, by (cut, bits per element): (n, len(counts)) similarities.

        The cosine of the class token's last feature with that of the uncut model, when the K patches of
        most attention and the merged token are sent in so many bits.
        """
        vit = self.vit.eval()
        found: dict[tuple[int, int], list[FloatArray]] = {(c, b): [] for c in cuts for b in depths}
        for index in torch.split(torch.arange(len(self.images)), READ_AT_ONCE):
            images = self.images.normalised(index)
            for cut in cuts:
                halves = split(vit, cut)
                with reading(halves.client.blocks[-1:]) as seen:
                    tokens = halves.client(images)
                whole = halves.server(tokens, pre_logits=True)
                scores = token_scores("attention", seen, halves.prefix_tokens, halves.grid, torch.Generator())
                for bits in depths:
                    columns = []
                    for count in counts:
                        chosen = select(tokens, scores, count, prefix_tokens=halves.prefix_tokens)
                        sent = encode(chosen.tokens, bits).restored()
                        feature = halves.server(sent, chosen.valid, pre_logits=True)
                        columns.append(cosine_similarity(feature, whole).double().numpy())
                    found[cut, bits].append(np.stack(columns, axis=1))
        return {key: np.concatenate(parts) for key, parts in found.items()}

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
