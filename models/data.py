"""Load image data sets: scikit-learn's digits, packed .npz files, image folders, torchvision, Hugging Face.

All are read into memory as uint8. Files from outside are untrusted: no pickle, sizes and ranges checked.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..solver import FileFormatError, MissingDependencyError, OptionError
from ..solver.files.file_access import existing_file
from ..solver.random_streams import random_stream

MAX_BYTES: Final = 4 * 2**30
MAX_PIXELS: Final = 50_000_000
PICTURES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

PIXEL_MEAN: Final = 0.5
PIXEL_DEVIATION: Final = 0.5
"""Of the ViTs that timm calls augreg: pixels to -1..1."""


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled square images in memory.

    Args:
        pixels: (n, 3, size, size) uint8, n >= 1.
        labels: (n,) int64, 0 to classes - 1.
        classes: how many there are, >= 1.

    Raises:
        OptionError: no images, or shapes, types or labels that do not fit.
    """

    pixels: Tensor
    labels: Tensor
    classes: int

    def __post_init__(self) -> None:
        shape, count = tuple(self.pixels.shape), len(self.labels)
        square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3]
        if not square or shape[0] != count or not count or self.pixels.dtype != torch.uint8:
            raise OptionError(
                "Images",
                f"{self.pixels.dtype} pixels of shape {shape} with {count} labels",
                "uint8 (n, 3, size, size) with n >= 1 labels",
                "Look at the source of the images",
            )
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= self.classes:
            raise OptionError(
                "Images", f"labels {low} to {high}", f"0 to {self.classes - 1}", "Number the classes from 0"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size_px(self) -> int:
        """Pixels per side."""
        return int(self.pixels.shape[-1])

    def normalised(self, index: Tensor) -> Tensor:
        """(b, 3, size, size) float32 from -1 to 1: the images at an index, (b,) int64."""
        return (self.pixels[index].float() / 255.0 - PIXEL_MEAN) / PIXEL_DEVIATION

    def take(self, index: NDArray[np.int64]) -> Images:
        """The images at an index, (b,) int64, copied into a set of their own. Raises OptionError for none."""
        rows = torch.from_numpy(np.asarray(index, dtype=np.int64))
        return Images(self.pixels[rows], self.labels[rows], self.classes)

    def thinned(self, count: int) -> Images:
        """So many of the images, spread evenly from the first to the last; all where there are no more."""
        spread = np.linspace(0, len(self) - 1, min(count, len(self)))
        return self.take(spread.round().astype(np.int64))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: images to train on and images to test with."""

    name: str
    train: Images
    test: Images

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.train.classes


def load_data(source: str, size_px: int) -> Dataset:
    """Load a data set, with every image brought to one size (centre square, bicubic).

    Args:
        source: "digits"; a packed `.npz` file with x_train, y_train, x_test, y_test; a folder with packs
            `*_train.npz` and `*_test*.npz` or `*_val.npz`, or with `train/CLASS/*.jpg` and `test/` or
            `val/` likewise; "torchvision:NAME" or "hf:NAME", which need a network the first time.
        size_px: pixels per side, >= 1.

    Raises:
        OptionError: an unknown source.
        FileFormatError: missing or malformed files.
        MissingDependencyError: the package that reads it is not installed.
    """
    if source == "digits":
        _, train, test = digits(size_px)
        return Dataset("digits", train, test)
    kind, colon, name = source.partition(":")
    if colon and kind in {"torchvision", "hf"}:
        return (_from_torchvision if kind == "torchvision" else _from_hugging_face)(name, size_px)
    path = Path(source)
    if path.suffix == ".npz":
        return _from_arrays(path, size_px)
    if path.is_dir():
        return _from_packs(path, size_px) if any(path.glob("*_train.npz")) else _from_folders(path, size_px)
    raise OptionError(
        "load_data",
        f"source {source!r:.80}",
        "digits, an .npz file, a folder of packs or class folders, torchvision:NAME, hf:NAME",
        "Check the path",
    )


def digits(size_px: int) -> tuple[Images, Images, Images]:
    """Scikit-learn's 1,797 handwritten digits (in the package, no download) in three parts.

    Args:
        size_px: pixels per side, >= 1; enlarged bilinearly from 8.

    Returns:
        Half for pretraining, a third of all for fine-tuning, a sixth for testing; disjoint.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise _missing("digits", "scikit-learn") from error
    bunch: Any = load_digits()
    grey = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32))[:, None] / 16.0
    large = torch.nn.functional.interpolate(grey, size=(size_px, size_px), mode="bilinear", antialias=False)
    pixels = (255 * large).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    everything = Images(pixels, torch.from_numpy(np.asarray(bunch.target, dtype=np.int64)), 10)
    order = random_stream("halves of the digits").permutation(len(everything))
    ends = np.cumsum([len(order) // 2, len(order) // 3])
    first, second, third = (everything.take(part) for part in np.split(order, ends))
    return first, second, third


def _from_arrays(path: Path, size_px: int) -> Dataset:
    arrays = _arrays(path, ("x_train", "y_train", "x_test", "y_test"))
    classes = 1 + max(int(np.max(arrays[name], initial=0)) for name in ("y_train", "y_test"))
    parts = []
    for part in ("train", "test"):
        stack = arrays[f"x_{part}"]
        if stack.dtype != np.uint8 or stack.ndim != 4 or stack.shape[-1] != 3:
            raise _malformed(path, f"x_{part} of type {stack.dtype} and shape {stack.shape}")
        from PIL import Image

        pictures = (Image.fromarray(picture) for picture in stack)
        parts.append(_images(pictures, arrays[f"y_{part}"], classes, size_px, path))
    return Dataset(path.stem, *parts)


def _from_packs(folder: Path, size_px: int) -> Dataset:
    train = sorted(folder.glob("*_train.npz"))[0]
    stem = train.name.removesuffix("_train.npz")
    tests = sorted(folder.glob(f"{stem}_test*.npz")) or sorted(folder.glob(f"{stem}_val*.npz"))
    if not tests:
        raise FileFormatError(
            f"folder {folder.name!r}", f"no {stem}_test*.npz", "packs for training and testing", "Add one"
        )
    packs = {path: _arrays(path, ("jpeg", "offsets", "labels")) for path in (train, tests[0])}
    classes = 1 + max(int(np.max(pack["labels"], initial=0)) for pack in packs.values())
    parts = []
    for path, pack in packs.items():
        jpeg, offsets, labels = pack["jpeg"], pack["offsets"], pack["labels"]
        ordered = offsets.ndim == 1 and len(offsets) > 1 and offsets.dtype.kind in "iu"
        ordered = (
            ordered and offsets[0] == 0 and offsets[-1] == len(jpeg) and bool((np.diff(offsets) > 0).all())
        )
        if not ordered or jpeg.dtype != np.uint8 or len(labels) != len(offsets) - 1:
            raise _malformed(path, f"{len(labels)} labels and {len(offsets)} offsets that do not fit")
        files = (jpeg[start:end].tobytes() for start, end in pairwise(offsets))
        parts.append(_images((_open(path, data) for data in files), labels, classes, size_px, path))
    return Dataset(stem, *parts)


def _from_folders(folder: Path, size_px: int) -> Dataset:
    halves = [folder / "train", next((folder / n for n in ("test", "val") if (folder / n).is_dir()), folder)]
    names = (
        sorted(child.name for child in halves[0].iterdir() if child.is_dir()) if halves[0].is_dir() else []
    )
    if not names or halves[1] == folder:
        raise FileFormatError(
            f"folder {str(folder)!r}",
            "no train/CLASS and test/CLASS or val/CLASS",
            "packs *_train.npz, or class folders below train and test",
            "Arrange it so",
        )
    parts = []
    for half in halves:
        files = [
            (file, label)
            for label, name in enumerate(names)
            for file in sorted((half / name).glob("*"))
            if file.suffix.lower() in PICTURES
        ]
        pictures = (_open(file, file.read_bytes()) for file, _ in files)
        parts.append(_images(pictures, np.array([label for _, label in files]), len(names), size_px, half))
    return Dataset(folder.name, *parts)


def _from_torchvision(name: str, size_px: int) -> Dataset:
    try:
        from torchvision import datasets  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise _missing(f"torchvision:{name}", "torchvision") from error
    kind: Any = getattr(datasets, name, None)
    if kind is None:
        raise OptionError(
            "load_data", f"torchvision:{name:.40}", "a class of torchvision.datasets", "Check it"
        )
    cache = str(Path.home() / ".cache" / "stsflora" / "torchvision")
    by_flag = (
        "train" in inspect.signature(kind).parameters
    )  # CIFAR and MNIST say train=True, others split="train"
    choices = [{"train": True}, {"train": False}] if by_flag else [{"split": "train"}, {"split": "test"}]
    try:
        parts = [list(kind(cache, download=True, **choice)) for choice in choices]
    except TypeError as error:
        raise OptionError(
            "load_data",
            f"torchvision:{name:.40}, which takes other arguments ({error!s:.60})",
            "a class that downloads labelled images, such as Flowers102 or CIFAR10",
            "Save it as an image folder",
        ) from error
    except (OSError, RuntimeError) as error:
        raise _unreachable(f"torchvision:{name}", error) from error
    return _from_pairs(name, parts, size_px)


def _from_hugging_face(name: str, size_px: int) -> Dataset:
    try:
        from datasets import load_dataset  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise _missing(f"hf:{name}", "datasets") from error
    try:
        sets: Any = load_dataset(name)
    except Exception as error:  # the package raises many kinds of its own
        raise _unreachable(f"hf:{name}", error) from error
    test = next((part for part in ("test", "validation") if part in sets), None)
    if test is None or "train" not in sets:
        raise FileFormatError(
            f"data {f'hf:{name}'!r}",
            f"parts {', '.join(map(str, sets)):.60}",
            "a part train, and a part test or validation",
            "Choose a data set that is split",
        )
    columns = sets["train"].column_names
    picture = next((c for c in columns if c in {"image", "img"}), columns[0])
    label = next((c for c in columns if c in {"label", "labels", "fine_label"}), columns[-1])
    return _from_pairs(
        name, [[(row[picture], row[label]) for row in sets[p]] for p in ("train", test)], size_px
    )


def _from_pairs(name: str, parts: Sequence[Sequence[tuple[Any, int]]], size_px: int) -> Dataset:
    if not all(isinstance(label, int | np.integer) for part in parts for _, label in part):
        raise _malformed(Path(name), "labels that are no whole numbers")
    classes = 1 + max((int(label) for part in parts for _, label in part), default=0)
    train, test = (
        _images(
            (picture for picture, _ in part),
            np.array([label for _, label in part]),
            classes,
            size_px,
            Path(name),
        )
        for part in parts
    )
    return Dataset(name, train, test)


def _images(
    pictures: Iterable[Any], labels: NDArray[Any], classes: int, size_px: int, origin: Path
) -> Images:
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise _malformed(origin, f"labels of type {labels.dtype} and shape {labels.shape}")
    pixels = torch.empty((len(labels), 3, size_px, size_px), dtype=torch.uint8)
    filled = 0
    for row, picture in zip(pixels, pictures, strict=False):
        row.copy_(torch.from_numpy(_square(picture, size_px)).permute(2, 0, 1))
        filled += 1
    if filled != len(labels):
        raise _malformed(origin, f"{filled} images and {len(labels)} labels")
    return Images(pixels, torch.from_numpy(labels.astype(np.int64)), classes)


def _square(picture: Any, size_px: int) -> NDArray[np.uint8]:
    from PIL import Image

    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    small = picture.convert("RGB").resize((size_px, size_px), Image.Resampling.BICUBIC, box=box)
    return np.array(small, dtype=np.uint8)


def _open(origin: Path, data: bytes) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(data))
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels")
        picture.load()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise _malformed(origin, f"an image that does not decode ({error!s:.80})") from error
    return picture


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    existing_file(path, MAX_BYTES, "Split it")
    read: Callable[..., Any] = np.load
    try:
        with read(path, allow_pickle=False) as pack:
            missing = [name for name in names if name not in pack.files]
            if missing:
                raise _malformed(path, f"no array {missing[0]!r}")
            return {name: np.asarray(pack[name]) for name in names}
    except FileFormatError:
        raise
    except Exception as error:  # zip, header and pickle errors come in many kinds
        raise _malformed(path, f"no readable .npz ({error!s:.80})") from error


def _malformed(path: Path, got: str) -> FileFormatError:
    return FileFormatError(
        f"data {path.name!r}", got, "uint8 images with one whole-number label each", "Look at the file"
    )


def _missing(source: str, package: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"data {source!r}", f"no package {package}", "an installation with it", f"Run pip install {package}"
    )


def _unreachable(source: str, error: Exception) -> FileFormatError:
    return FileFormatError(
        f"data {source!r}",
        f"no answer ({error!s:.80})",
        "a network, or a copy in the cache",
        "Use --data digits, or a folder on this machine",
    )
