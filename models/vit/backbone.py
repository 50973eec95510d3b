"""Pretrained vision transformers: timm's by name or from a safetensors file, or a small one, offline."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Final

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...solver import FileFormatError, OptionError
from ...solver.files.file_access import existing_file, make_folder, write_atomically
from ...solver.random_streams import derived_seed
from ..data import Images, digits
from .timm_parts import VisionTransformer, fit_weights

MAX_WEIGHT_BYTES: Final = 8 * 2**30
HEADS: Final = ("head.", "head_dist.")

DIGITS_VIT: Final[dict[str, Any]] = {
    "img_size": 24,
    "patch_size": 4,
    "embed_dim": 48,
    "depth": 4,
    "num_heads": 3,
    "global_pool": "token",
}
"""The ViT of the offline default: 36 patches, 0.12 M parameters."""

DIGITS_VIT_FILE: Final = "digits_vit_halves.safetensors"
"""Where it is kept. Its weights must not have seen the test images: another split of the digits takes
another name."""

PRETRAINING_EPOCHS: Final = 20
PRETRAINING_BATCH: Final = 64
PRETRAINING_RATE: Final = 5e-3


def create(
    name: str, classes: int, size_px: int, weights: str | PathLike[str] | None = None, seed: int = 0
) -> nn.Module:
    """A timm ViT with pretrained weights and a fresh head.

    Args:
        name: timm's name, such as "vit_tiny_patch16_224".
        classes: of the fresh head, >= 1.
        size_px: pixels per side; positions are interpolated when it is not the pretrained size.
        weights: a safetensors file with timm's keys; None downloads timm's own.
        seed: whole number, of the fresh head.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        OptionError: timm has no such model, it takes no such size, or its weights cannot be fetched.
        FileFormatError: weights that are missing, malformed or of another architecture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(f"fresh head, seed {seed}"))
        try:
            model = timm.create_model(name, pretrained=weights is None, num_classes=classes, img_size=size_px)
        except Exception as error:  # timm and its hub client raise many kinds
            raise OptionError(
                "create",
                f"model {name!r:.60} at {size_px} px, which timm does not give ({error!s:.100})",
                "a ViT of timm, and a network or --weights FILE",
                "Give a local safetensors file with --weights",
            ) from error
    if weights is not None:
        _load(model, read_weights(weights), Path(weights).name)
    return model.eval()


def read_weights(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name; never unpickles. Raises FileFormatError."""
    file = existing_file(path, MAX_WEIGHT_BYTES, "Choose another file")
    try:
        return load(file.read_bytes())
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(
            f"weights {file.name!r}",
            f"no readable safetensors ({error})",
            "a .safetensors file",
            "Convert it",
        ) from error


def digits_vit(cache: Path, classes: int = 10, seed: int = 0) -> nn.Module:
    """The small ViT, pretrained on half of the digits in seconds and kept in a folder, with a fresh head.

    Args:
        cache: the folder; made where it is missing.
        classes: of the fresh head, >= 1.
        seed: of the fresh head.

    Raises:
        FileFormatError: the folder cannot be written, or holds a broken file.
    """
    file = make_folder(cache) / DIGITS_VIT_FILE
    if not file.exists():
        pretrained = pretrain(digits(DIGITS_VIT["img_size"])[0])
        write_atomically(file, save({name: value.contiguous() for name, value in pretrained.items()}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(f"fresh head, seed {seed}"))
        model = small_vit(num_classes=classes)
    _load(model, read_weights(file), file.name)
    return model.eval()


def small_vit(**changes: Any) -> nn.Module:
    """An untrained ViT with the settings `DIGITS_VIT` and ten classes, or with those that are changed."""
    settings = {"num_classes": 10, **DIGITS_VIT, **changes}
    return VisionTransformer(**settings)


def pretrain(images: Images, epochs: int = PRETRAINING_EPOCHS) -> dict[str, Tensor]:
    """Weights of the small ViT, trained on images from scratch; the same on every run with as many threads.

    Args:
        images: of `DIGITS_VIT["img_size"]` pixels per side.
        epochs: passes over all images, >= 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed("pretraining of the small ViT"))
        model = small_vit(num_classes=images.classes).train()
        for module in model.modules():  # timm's own start, made for wide models, learns slowly at this width
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        nn.init.normal_(model.get_parameter("pos_embed"), std=0.5)
        steps = epochs * -(-len(images) // PRETRAINING_BATCH)
        optimiser = torch.optim.AdamW(model.parameters(), lr=PRETRAINING_RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PRETRAINING_RATE, total_steps=steps)
        for _ in range(epochs):
            for index in _batches(len(images)):
                loss = cross_entropy(model(images.normalised(index)), images.labels[index])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
    return model.state_dict()


def _batches(count: int) -> tuple[Tensor, ...]:
    return torch.split(torch.randperm(count), PRETRAINING_BATCH)


def _load(model: nn.Module, state: dict[str, Tensor], file: str) -> None:
    """Load all but the heads, positions interpolated to the model's grid."""
    body = {name: value.float() for name, value in state.items() if not name.startswith(HEADS)}
    try:
        missing, unexpected = model.load_state_dict(fit_weights(body, model), strict=False)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        raise _misfit(file, str(error).replace("\n", " ")) from error
    missing = [name for name in missing if not name.startswith(HEADS)]
    if missing or unexpected:
        raise _misfit(
            file, f"no tensor {missing[0]!r}" if missing else f"a tensor {unexpected[0]!r} too many"
        )


def _misfit(file: str, got: str) -> FileFormatError:
    return FileFormatError(
        f"weights {file!r}", f"{got:.160}", "weights of the same architecture", "Match --model and --weights"
    )
