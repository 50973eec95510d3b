"""The paper's figure 9: which tokens are kept, over images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ...benchmarks.report.drawing import canvas
from ...solver.problem import FloatArray
from .comparison import Claim, judge
from .report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .pictures import Pictures

SHOWN: Final = 6
KEPT_SHARE: Final = 64 / 196
"""Of the patches, the paper's K_min."""

DIM: Final = 0.18
"""Brightness that is left of patches that were not kept."""

CLAIMS: Final = (
    Claim(
        "Kept tokens sit on the object",
        "B",
        lambda found: found["first"] > 1.1 * found["all"] if found["judged"] else None,
        "{first:.0f} % of the kept patches are {thing} by attention after block {cut}, {last:.0f} % after "
        "block {depth}; {all:.0f} % of all patches are",
    ),
)

STAND_IN: Final = (
    "No outlines of the objects are at hand, so the sentence is not judged; the share of kept patches in the "
    "middle of the image (patches at most a quarter of its side away from the centre), where photographers "
    "put things, is a weak stand-in. The picture shows photographs and is not part of the project: their "
    "licences differ."
)


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
    on_object = _ink(pictures) if digits else _centre(pictures)
    thing = "patches with ink" if digits else "the middle of the image"
    share = float(on_object.mean())
    rows = [
        {
            "block": block,
            "kept": count,
            "patches": patches,
            "share_on": thing,
            "kept_share": float(on_object[mask].mean()),
            "all_share": share,
        }
        for block, mask in masks.items()
    ]
    first, last = 100 * rows[0]["kept_share"], 100 * rows[-1]["kept_share"]
    found = {"first": first, "last": last, "all": 100 * share, "cut": cut, "depth": depth, "judged": digits}
    return Report(
        target="fig9",
        title="Figure 9: kept tokens over images",
        setting=(
            f"{len(pictures.images)} test images of {pictures.name}, {pictures.model}, K = {count} of "
            f"{patches}. Kept are the patches that [CLS] attends to most after block {cut}, the client's "
            f"last, and for comparison after block {depth}, the model's last."
        ),
        statements=judge(CLAIMS, [{**found, "thing": thing if digits else f"in {thing}"}]),
        data=rows,
        figure=_draw(pictures, scores[cut], masks),
        remarks=[] if digits else [STAND_IN],
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


def _draw(pictures: Pictures, scores: FloatArray, masks: Mapping[int, NDArray[np.bool_]]) -> Figure:
    """A column per image: itself, attention after the first block of `masks`, what each block keeps."""
    images = pictures.images
    chosen = np.linspace(0, len(images) - 1, min(SHOWN, len(images))).round().astype(int)
    names = ["image", f"attention,\nblock {min(masks)}", *(f"kept by\nblock {block}" for block in masks)]
    figure, panels = canvas(
        "reproduce", len(names), len(chosen), (1.45 * len(chosen) + 0.7, 1.5 * len(names))
    )
    patch = np.ones((images.size_px // pictures.grid[0],) * 2)
    for column, index in enumerate(chosen):
        image = images.pixels[index].permute(1, 2, 0).numpy() / 255.0
        maps = [values[index].reshape(pictures.grid) for values in (scores, *masks.values())]
        heat, *kept = (np.kron(values, patch) for values in maps)
        shown = [image, heat, *(image * np.where(mask > 0, 1.0, DIM)[:, :, None] for mask in kept)]
        for name, picture, axes in zip(names, shown, panels[column :: len(chosen)], strict=True):
            axes.imshow(picture, cmap="cividis", vmax=np.quantile(picture, 0.98))  # of the attention alone
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.grid(visible=False)
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure
