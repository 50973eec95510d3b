"""Device and precision of models: CPU or CUDA, mixed precision."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from ...solver import OptionError
from .config import DEVICES


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision on a GPU, none on a CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def chosen_device(name: str) -> torch.device:
    """The device of that name. Raises OptionError when it is not there."""
    present = torch.cuda.is_available()
    if name not in DEVICES or (name == "cuda" and not present):
        raise OptionError(
            "finetune", f"device {name!r:.40}", f"auto, cpu{', cuda' if present else ''}", "Leave it out"
        )
    return torch.device("cuda" if present and name != "cpu" else "cpu")
