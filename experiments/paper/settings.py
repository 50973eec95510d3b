"""Settings of a reproduction of the paper, and the names of what can be run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

DATASETS: Final = {"imagenet100": "ImageNet100", "flowers102": "Flowers-102", "cub200": "CUB-200"}
BACKBONES: Final = {
    name: f"{name}_patch16_224" for name in ("vit_tiny", "vit_small", "vit_base", "vit_large")
}
"""Names of timm by ours."""

SCHEMES: Final = {
    "local-lora": "LocalLoRA",
    "fed-lora": "FedLoRA",
    "split-lora": "SplitLoRA",
    "sflora": "SFLora",
    "st-sflora-full": "ST-SFLora-Full",
    "st-sflora": "ST-SFLora",
}

SHARED: Final = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
"""Where images and weights are looked for beside the checkout when none are given."""


@dataclass(frozen=True)
class ReproductionSettings:
    """What a reproduction depends on.

    Attributes:
        quick: fewer seeds, points and images.
        data: images, as `stsflora finetune` takes them; None for those beside the checkout, or digits.
        weights: safetensors for the model; None for timm's own, or those beside the checkout.
        model: a timm ViT, for attention maps.
        device: "auto", "cpu" or "cuda".
        seed: of everything random.
        cache: folder for the small pretrained ViT.
        dataset: of Table I to run, with the next four; None runs nothing.
        backbone: of Table I.
        partition: of Table I.
        schemes: of Table I.
        rounds: of fine-tuning; None for the full or quick number.
        runs: a folder of finished runs.
    """

    quick: bool = False
    data: str | None = None
    weights: Path | None = None
    model: str = "vit_tiny_patch16_224"
    device: str = "auto"
    seed: int = 0
    cache: Path = Path("cache")
    dataset: str | None = None
    backbone: str = "vit_tiny"
    partition: str = "dirichlet"
    schemes: tuple[str, ...] = tuple(SCHEMES)
    rounds: int | None = None
    runs: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without folders of this machine."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "cache"}
        return {
            name: Path(value).name if name in {"data", "weights", "runs"} and value else value
            for name, value in values.items()
        }

    @cached_property
    def found_data(self) -> str | None:
        """Images given, or beside the checkout; None where there are none."""
        beside = SHARED / "flowers102"
        return self.data or (str(beside) if beside.is_dir() else None)

    @cached_property
    def found_weights(self) -> Path | None:
        """Weights given, or ViT-Tiny's beside the checkout."""
        beside = SHARED / "weights" / "vit_tiny_patch16_224.fp32.safetensors"
        return self.weights or (beside if self.model == "vit_tiny_patch16_224" and beside.is_file() else None)
