"""Peak memory of one client's training step by scheme, measured: by the GPU's allocator, or by counting.

Weights are random: memory does not depend on them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ...solver import OptionError, UnknownNameError
from ...solver.checks import choice
from ..cell.device import SCHEMES
from .adapter import add_lora, trainable
from .attention import reading, token_scores
from .split import split
from .timm_parts import fuse_attention
from .tokens import select
from .torch_parts import LivingTensors

CLASSES: Final = 100
STEPS: Final = 2
"""The first makes the optimiser's moments, the second meets them."""


@dataclass(frozen=True)
class PeakMemory:
    """Bytes at the worst moment of a client's step.

    Attributes:
        tensors: of all tensors that live then, weights included.
        reserved: held by torch's allocator on the GPU; None without one.
        device: taken from the GPU by everything on it, the library's own context included; None without one.
    """

    tensors: int
    reserved: int | None = None
    device: int | None = None


def client_step_peak(
    scheme: str,
    model: str = "vit_base_patch16_224",
    *,
    cut: int = 2,
    batch: int = 64,
    kept: int = 128,
    rank: int = 16,
    device: str = "cpu",
    explicit_attention: bool = False,
) -> PeakMemory:
    """Run what one client does with one batch in single precision and measure its peak memory.

    Without a GPU the living tensors are counted operation by operation. Schemes that train run on torch's
    meta device then, which knows shapes but computes nothing, so it takes seconds; attention is explicit
    there, since meta tensors have no fused one.

    Args:
        scheme: one of `device.SCHEMES`.
        model: a timm ViT for 224 px.
        cut: client blocks, 1 to the model's depth.
        batch: images, >= 1.
        kept: K of "selected", 0 to N.
        rank: of LoRA on qkv, fc1 and fc2 where the client trains, >= 1.
        device: "cpu" or "cuda".
        explicit_attention: form the whole attention matrix, as code without a fused kernel does.

    Raises:
        UnknownNameError: no such scheme.
        OptionError: "cuda" without a GPU, or a cut, rank or K out of range.
    """
    choice("client_step_peak", "scheme", scheme, SCHEMES, error=UnknownNameError)
    if device not in {"cpu", "cuda"} or (device == "cuda" and not torch.cuda.is_available()):
        raise OptionError("client_step_peak", f"device {device!r:.40}", "a device that is there", "Use cpu")
    trains = scheme in {"local", "fed", "split"}
    vit = timm.create_model(model, pretrained=False, num_classes=CLASSES)
    fuse_attention(vit, not (explicit_attention or device == "cpu"))
    whole = cast(nn.Module, add_lora(vit, cut, side="both", rank=rank)) if trains else vit
    half = split(vit, cut)
    held = whole if scheme in {"local", "fed"} else half.client
    place = torch.device("meta" if trains and device == "cpu" else device)

    def step() -> None:
        if trains:
            _train(held, batch, half.patches + half.prefix_tokens if held is half.client else 0, place)
        else:
            _forward(half, batch, kept if scheme == "selected" else None, place)

    held.to(place)
    return _on_gpu(step) if device == "cuda" else PeakMemory(_counted(step, held))


def _train(held: nn.Module, batch: int, length: int, place: torch.device) -> None:
    """Optimiser steps of a whole model, or of a client half that gets the gradient of its tokens back."""
    optimiser = torch.optim.AdamW(trainable(held).values())
    for _ in range(STEPS):
        images = torch.zeros(batch, 3, 224, 224, device=place)
        optimiser.zero_grad()
        out = held(images)
        if length:
            out.backward(torch.zeros(batch, length, out.shape[-1], device=place))
        else:
            labels = torch.zeros(batch, dtype=torch.long, device=place)
            torch.autograd.backward(cross_entropy(out, labels))
        optimiser.step()
        del out


@torch.no_grad()
def _forward(half: Any, batch: int, kept: int | None, place: torch.device) -> None:
    """The frozen half, its attention, and the choice of tokens."""
    images = torch.zeros(batch, 3, 224, 224, device=place)
    with reading(half.client.blocks[-1:]) as seen:
        x = half.client(images)
        if kept is not None:
            scores = token_scores("attention", seen, half.prefix_tokens, half.grid, torch.Generator())
            select(x, scores, kept, prefix_tokens=half.prefix_tokens)


def _on_gpu(step: Callable[[], None]) -> PeakMemory:
    gc.collect()  # an earlier model may wait in a cycle
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return PeakMemory(torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), total - free)


def _counted(step: Callable[[], None], held: nn.Module) -> int:
    with LivingTensors([*held.parameters(), *held.buffers()]) as living:
        step()
    return int(living.peak)
