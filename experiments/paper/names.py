"""Names of what `stsflora reproduce` can make and run, for command lines that load no numpy."""

from typing import Final

from ..finetune.config import METHODS

TARGETS: Final = ("table1", "table2", "fig6", "fig8a", "fig8b", "fig8c", "fig9", "fig10")
DATASETS: Final = {"imagenet100": "ImageNet100", "flowers102": "Flowers-102", "cub200": "CUB-200"}
BACKBONES: Final = {
    "vit_tiny": "vit_tiny_patch16_224",
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "vit_large": "vit_large_patch16_224",
}
"""timm's names of the backbones of Table I, and of ViT-Ti."""

SCHEMES: Final = dict(
    zip(
        METHODS,
        ("LocalLoRA", "FedLoRA", "SplitLoRA", "SFLora", "ST-SFLora-Full", "ST-SFLora"),
        strict=True,
    )
)
"""The paper's names of the training schemes."""
