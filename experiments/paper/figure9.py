"""The paper's figure 9: which tokens are kept, over images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ...benchmarks.report.drawing import canvas
from ...solver.problem import FloatArray
from .reproduce import Report, Statement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .pictures import Pictures

SHOWN: Final = 6
KEPT_SHARE: Final = 64 / 196
"""Of the patches, the paper's K_min."""

DIM: Final = 0.18
"""Brightness that is left of patches that were not kept."""


def figure9(pictures: Pictures, cut: int) -> Report:
    """Image, attention and kept patches, by the client's last block and by the model's.

    Args:
        pictures: images and model; the first few are drawn, all are counted.
        cut: the client's last block, from 1.
    """
    depth = len(pictures.vit.blocks)  # type: ignore[arg-type]
    scores = pictures.attention([cut, depth])
    patches = scores[cut].shape[1]
    count = max(1, round(KEPT_SHARE * patches))
    masks = {block: _kept(score, count) for block, score in scores.items()}
    digits = pictures.name == "digits"
    object_mask = _ink(pictures) if digits else _centre(pictures)
    share = float(object_mask.mean())
    on_object = {block: float(object_mask[mask].mean()) for block, mask in masks.items()}
    thing = "patches with ink" if digits else "the middle of the image"
    found = (
        f"{100 * on_object[cut]:.0f} % of the kept patches are {'' if digits else 'in '}{thing} by "
        f"attention after block {cut}, {100 * on_object[depth]:.0f} % after block {depth}; "
        f"{100 * share:.0f} % of all patches are"
    )
    return Report(
        target="fig9",
        title="Figure 9: kept tokens over images",
        setting=(
            f"{len(pictures.images)} test images of {pictures.name}, {pictures.model}, K = {count} of "
            f"{patches}. Kept are the patches that [CLS] attends to most after block {cut}, the client's "
            f"last, and for comparison after block {depth}, the model's last."
        ),
        statements=[
            Statement(
                "Kept tokens sit on the object", "B", on_object[cut] > 1.1 * share if digits else None, found
            )
        ],
        data=[
            {
                "block": block,
                "kept": count,
                "patches": patches,
                "share_on": thing,
                "kept_share": on_object[block],
                "all_share": share,
            }
            for block in masks
        ],
        figure=_draw(pictures, scores, masks, cut, depth),
        remarks=(
            []
            if digits
            else [
                "No outlines of the objects are at hand, so the sentence is not judged; the share of kept "
                "patches in the middle of the image (patches at most a quarter of its side away from the "
                "centre), where photographers put things, is a weak stand-in. The picture shows photographs "
                "and is not part of the project: their licences differ."
            ]
        ),
    )


def _kept(scores: FloatArray, count: int) -> NDArray[np.bool_]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    mask = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(mask, order, values=True, axis=1)
    return mask


def _ink(pictures: Pictures) -> NDArray[np.bool_]:
    """(n, N) patches whose mean is brighter than a quarter."""
    rows, columns = pictures.grid
    pixels = pictures.images.pixels.double().mean(dim=1).numpy() / 255.0
    side = pixels.shape[1] // rows
    blocks = pixels.reshape(len(pixels), rows, side, columns, side).mean(axis=(2, 4))
    return np.asarray(blocks.reshape(len(pixels), -1) > 0.25)


def _centre(pictures: Pictures) -> NDArray[np.bool_]:
    """(n, N) patches in the middle half of rows and of columns."""
    rows, columns = pictures.grid
    down = np.abs(np.arange(rows) + 0.5 - rows / 2) < rows / 4
    across = np.abs(np.arange(columns) + 0.5 - columns / 2) < columns / 4
    return np.tile((down[:, None] & across).reshape(1, -1), (len(pictures.images), 1))


def _draw(
    pictures: Pictures,
    scores: Mapping[int, FloatArray],
    masks: Mapping[int, NDArray[np.bool_]],
    cut: int,
    depth: int,
) -> Figure:
    rows, columns = pictures.grid
    chosen = np.linspace(0, len(pictures.images) - 1, min(SHOWN, len(pictures.images))).round().astype(int)
    names = ["image", f"attention,\nblock {cut}", f"kept by\nblock {cut}", f"kept by\nblock {depth}"]
    figure, panels = canvas(
        "reproduce", len(names), len(chosen), (1.45 * len(chosen) + 0.7, 1.5 * len(names))
    )
    side = pictures.images.size_px // rows
    for column, index in enumerate(chosen):
        image = pictures.images.pixels[index].permute(1, 2, 0).numpy() / 255.0
        heat = scores[cut][index].reshape(rows, columns)
        shown = [image, np.kron(heat, np.ones((side, side)))]
        for block in (cut, depth):
            mask = np.kron(masks[block][index].reshape(rows, columns), np.ones((side, side)))[:, :, None]
            shown.append(image * np.where(mask > 0, 1.0, DIM))
        for line, (name, picture) in enumerate(zip(names, shown, strict=True)):
            axes = panels[line * len(chosen) + column]
            axes.imshow(picture, cmap="cividis", vmax=np.quantile(picture, 0.98))  # of the attention alone
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.grid(visible=False)
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure
