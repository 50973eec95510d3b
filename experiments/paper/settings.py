"""What a reproduction of the paper depends on, and the names of what can be made and run."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from ..field_info import FieldInfo
from ..finetune.config import DEVICES, METHODS, PARTITIONS

TARGETS: Final = ("table1", "table2", "fig6", "fig8a", "fig8b", "fig8c", "fig9", "fig10", "joint")
"""Tables and figures of the paper, and one beyond it; `targets.py` has what makes each, in this order."""

DATASETS: Final = {"imagenet100": "ImageNet100", "flowers102": "Flowers-102", "cub200": "CUB-200"}
BACKBONES: Final = {
    name: f"{name}_patch16_224" for name in ("vit_tiny", "vit_small", "vit_base", "vit_large")
}
"""Names of timm by ours."""

PAPER_NAMES: Final = ("LocalLoRA", "FedLoRA", "SplitLoRA", "SFLora", "ST-SFLora-Full", "ST-SFLora")
SCHEMES: Final = dict(zip(METHODS, PAPER_NAMES, strict=True))
"""The paper's names of the training schemes."""

DATA_VARIABLE: Final = "STSFLORA_DATA"
"""Environment variable that names a folder with images in `flowers102/` and timm's weights in `weights/`."""


@dataclass(frozen=True)
class ReproductionSettings:
    """How much is reproduced, and from what; the options of `stsflora reproduce` are made from it.

    The small pretrained ViT is kept in the folder `cache`.
    """

    quick: Annotated[bool, FieldInfo("Fewer seeds and points: minutes in all.")] = False
    data: Annotated[
        str | None, FieldInfo("Images; else flowers102/ in the folder $STSFLORA_DATA, if set, else digits.")
    ] = None
    weights: Annotated[
        Path | None, FieldInfo("Safetensors with timm's keys; else weights/ there, or timm's.")
    ] = None
    model: Annotated[str, FieldInfo("A timm ViT, for attention maps.")] = "vit_tiny_patch16_224"
    device: Annotated[str, FieldInfo("Where models run.", DEVICES)] = "auto"
    seed: Annotated[int, FieldInfo("Of everything random.")] = 0
    cache: Path = Path("cache")
    dataset: Annotated[str | None, FieldInfo("Run cells of Table I now.", DATASETS)] = None
    backbone: Annotated[str, FieldInfo("Of those cells.", BACKBONES)] = "vit_tiny"
    partition: Annotated[str, FieldInfo("Of those cells.", PARTITIONS)] = "dirichlet"
    schemes: Annotated[tuple[str, ...], FieldInfo("Of those cells.", SCHEMES, many="schemes")] = METHODS
    rounds: Annotated[int | None, FieldInfo("Of fine-tuning; else as many as were run here.")] = None
    runs: Annotated[Path | None, FieldInfo("Folder of finished runs for Table I, figure 10.")] = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without folders of this machine."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "cache"}
        return {
            name: Path(value).name if name in {"data", "weights", "runs"} and value else value
            for name, value in values.items()
        }

    @cached_property
    def found_data(self) -> str | None:
        """Images given, or where `DATA_VARIABLE` has them; None where there are none."""
        found = _in_data_folder("flowers102")
        return self.data or (None if found is None else str(found))

    @cached_property
    def found_weights(self) -> Path | None:
        """Weights given, or ViT-Tiny's where `DATA_VARIABLE` has them; None for timm's own."""
        tiny = self.model == BACKBONES["vit_tiny"]
        return self.weights or (_in_data_folder(f"weights/{self.model}.fp32.safetensors") if tiny else None)


def _in_data_folder(name: str) -> Path | None:
    """A file or folder where `DATA_VARIABLE` says; None if it is not there."""
    folder = os.environ.get(DATA_VARIABLE)
    path = Path(folder or "", name)
    return path if folder and path.exists() else None
