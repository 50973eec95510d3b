"""Peak memory of one client's step in each scheme, measured: on a GPU by its allocator, else by counting.

Weights are random: memory does not depend on them.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ...solver import OptionError, UnknownNameError
from .adapter import add_lora, trainable
from .attention import reading, token_scores
from .split import split
from .tokens import select

SCHEMES: Final = ("local", "fed", "split", "full", "selected")
"""As in `device.client_demands`."""

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
        scheme: one of `SCHEMES`.
        model: a timm ViT.
        cut: client blocks.
        batch: images.
        kept: K of "selected".
        rank: of LoRA on qkv, fc1 and fc2 where the client trains.
        device: "cpu" or "cuda".
        explicit_attention: form the whole attention matrix, as code without a fused kernel does.

    Raises:
        UnknownNameError: no such scheme.
        OptionError: "cuda" without a GPU, or a cut out of range.
    """
    if scheme not in SCHEMES:
        raise UnknownNameError("client_step_peak", f"scheme {scheme!r:.40}", ", ".join(SCHEMES), "Choose one")
    if device not in {"cpu", "cuda"} or (device == "cuda" and not torch.cuda.is_available()):
        raise OptionError("client_step_peak", f"device {device!r:.40}", "a device that is there", "Use cpu")
    trains = scheme in {"local", "fed", "split"}
    vit = timm.create_model(model, pretrained=False, num_classes=CLASSES)
    for block in cast(Any, vit).blocks:
        block.attn.fused_attn = not (explicit_attention or device == "cpu")
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


class LivingTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that live while open: `with LivingTensors(weights) as living:`.

    Attributes:
        now: bytes that live.
        peak: the most that lived at once, temporaries within one operation not included.
    """

    def __init__(self, already: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._living: set[int] = set()
        for tensor in already:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for value in tree_iter(made):
            if isinstance(value, Tensor):
                self._add(value)
        return made

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address not in self._living:
            self._living.add(address)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, address, storage.nbytes())

    def _remove(self, address: int, size: int) -> None:
        self._living.discard(address)
        self.now -= size
