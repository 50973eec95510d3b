"""LoRA adapters of a timm ViT through peft: add, copy, average (FedAvg), save, load."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Final

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from ...solver import FileFormatError, OptionError
from ...solver.checks import choice, whole_number
from ...solver.files.file_access import existing_file, make_folder
from ...solver.random_streams import derived_seed

TARGETS: Final = ("attn.qkv", "mlp.fc1", "mlp.fc2")
"""Adapted layers of each block. At rank 16 on ViT-B/16 they hold the paper's 7.875 MB for 12 blocks."""

SIDES: Final = ("server", "client", "both")
"""Which blocks are adapted: those after the cut, those before it, all."""

MAX_ADAPTER_BYTES: Final = 2 * 2**30

State = dict[str, Tensor]
"""Trainable tensors by parameter name; always copies, never views of a model's own."""


def add_lora(
    vit: nn.Module,
    cut: int,
    *,
    side: str = "server",
    rank: int = 16,
    alpha: float | None = None,
    targets: Sequence[str] = TARGETS,
    seed: int = 0,
) -> PeftModel:
    """Add LoRA to some blocks of a timm ViT; all else is frozen but the heads.

    The model is changed in place; a fresh adapter computes nothing (B = 0), so outputs stay the same.

    Args:
        vit: the model, `vit.blocks` its blocks.
        cut: blocks before the cut, 0 to the model's depth.
        side: one of `SIDES`.
        rank: r, a whole number >= 1.
        alpha: scale of the update is alpha / r; 2 r by default.
        targets: linear layers within a block.
        seed: whole number, of the adapter's initial values.

    Returns:
        peft's wrapper of the same model.

    Raises:
        OptionError: unknown side, a rank below 1, or no block with such layers on that side.
    """
    choice("add_lora", "side", side, SIDES)
    rank = whole_number("add_lora", "rank", rank, 1, next_step="The paper uses 16")
    depth = len(vit.blocks)  # type: ignore[arg-type]
    blocks = {"server": range(cut, depth), "client": range(cut), "both": range(depth)}[side]
    layers = [f"blocks.{block}.{target}" for block in blocks for target in targets]
    names = {name for name, module in vit.named_modules() if isinstance(module, nn.Linear)}
    missing = [layer for layer in layers if layer not in names]
    if missing or not layers:
        raise OptionError(
            "add_lora",
            f"no linear layer {missing[0]!r}" if missing else f"no block on the {side} side of cut {cut}",
            f"linear layers of the {depth} blocks",
            "Correct targets or cut",
        )
    heads = [name for name in ("head", "head_dist") if isinstance(getattr(vit, name, None), nn.Linear)]
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,  # type: ignore[arg-type]
        target_modules=layers,
        modules_to_save=heads,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(f"LoRA, seed {seed}"))
        return get_peft_model(vit, config)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by name, in a fixed order: the model's own, not copies."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def get_state(model: nn.Module) -> State:
    """Trainable tensors of adapters and heads by name, copied; inverse of `set_state`."""
    return {name: value.detach().clone() for name, value in trainable(model).items()}


def set_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load trainable tensors: copy a state's values into the model; the state stays independent.

    Raises:
        OptionError: other names or shapes than the model's.
    """
    parameters = trainable(model)
    wanted = {name: tuple(value.shape) for name, value in parameters.items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    if wanted != given:
        name = next(name for name in (wanted | given) if wanted.get(name) != given.get(name))
        raise OptionError(
            "set_state",
            f"{given.get(name, 'nothing')} for {name}",
            f"{wanted.get(name, 'no such tensor')}",
            "Use a state of a model with the same adapters",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


def average(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> State:
    """FedAvg: mean of several states weighted by their numbers of samples; new tensors throughout.

    LoRA's factors A and B are averaged each by itself, as FedAvg on adapters does. That is not the average
    of the updates B A unless one factor is the same in all states.

    Args:
        states: with the same names and shapes.
        weights: one per state, finite, >= 0, not all 0.

    Raises:
        OptionError: no states, weights of another number, negative or all zero.
    """
    total = float(sum(weights))
    if not states or len(states) != len(weights) or min(weights) < 0 or not 0 < total < float("inf"):
        raise OptionError(
            "average",
            f"{len(states)} states with weights {list(weights)!r:.60}",
            "one weight >= 0 per state, not all 0",
            "Weigh each client by its number of samples",
        )
    return {
        name: torch.stack(
            [state[name].double() * (weight / total) for state, weight in zip(states, weights, strict=True)]
        )
        .sum(dim=0)
        .to(first.dtype)
        for name, first in states[0].items()
    }


def size_bits(state: Mapping[str, Tensor], *, heads: bool = True) -> int:
    """Size of a state's tensors in bits, with or without those of the heads."""
    return sum(8 * value.nbytes for name, value in state.items() if heads or "lora_" in name)


def save_adapter(model: PeftModel, folder: str | PathLike[str]) -> Path:
    """Save adapters and heads in peft's own format, for `PeftModel.from_pretrained(vit, folder)`.

    Each file is replaced at once.

    Raises:
        FileFormatError: the folder cannot be written.
    """
    target = make_folder(folder)
    try:
        with tempfile.TemporaryDirectory(dir=target) as temporary:
            model.save_pretrained(temporary, safe_serialization=True)
            for name in ("adapter_model.safetensors", "adapter_config.json"):
                os.replace(Path(temporary) / name, target / name)
    except OSError as error:
        raise FileFormatError(
            f"folder {str(folder)!r}",
            f"a place that cannot be written ({error.strerror or error})",
            "a writable folder",
            "Choose another",
        ) from error
    return target


def load_adapter(vit: nn.Module, folder: str | PathLike[str]) -> PeftModel:
    """Load saved adapters and heads onto a model of the same architecture, trainable. Never unpickles.

    Raises:
        FileFormatError: files are missing, too large, or do not fit the model.
    """
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        existing_file(Path(folder) / name, MAX_ADAPTER_BYTES, "Choose another folder")
    try:
        model: PeftModel = PeftModel.from_pretrained(vit, str(folder), is_trainable=True)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise FileFormatError(
            f"folder {str(folder)!r}",
            f"an adapter that does not load ({str(error).splitlines()[0]:.120})",
            "an adapter made for this model",
            "Create the model with the same architecture and number of classes",
        ) from error
    return model
