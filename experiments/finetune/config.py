"""Settings of a fine-tuning run.

The options of `stsflora finetune`, the columns of its results and the run configuration of the Flower app are
made from the fields of `Config`. Help lists them too, so nothing here loads numpy before a `Config` is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final, Self

from ...models.vit.names import MEASURES, MERGES
from ..field_info import FieldInfo, field_infos
from .bit_depths import BitDepth, bit_depths_text, parse_bit_depths

METHODS: Final = ("local-lora", "fed-lora", "split-lora", "sflora", "st-sflora-full", "st-sflora")
"""Names of the training schemes of Table I; `schemes.py` has one class each, in this order."""

SELECTING: Final = "st-sflora"
"""The training scheme whose clients send what a solver grants."""

SMALL: Final = "small"
"""The model that is pretrained on digits, offline."""

PARTITIONS: Final = ("dirichlet", "iid")
DEVICES: Final = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Config:
    """Settings of one run; the defaults run offline in seconds, wireless numbers are the paper's.

    The options of the solver come with its name wherever settings are text, as in "fixed:tokens=12".

    Raises:
        OptionError: a value that `FieldInfo` does not allow.
    """

    # Those of which the command line runs all combinations; the first varies slowest.
    seed: Annotated[int, FieldInfo("Of everything random.", least=0, many="seeds")] = 0
    cut: Annotated[int, FieldInfo("Blocks on the client.", least=1, many="cuts")] = 2
    partition: Annotated[str, FieldInfo("Who has which images.", PARTITIONS, many="partitions")] = "dirichlet"
    method: Annotated[str, FieldInfo("Training schemes of Table I.", METHODS, many="methods")] = SELECTING
    solver: Annotated[str, FieldInfo("Of st-sflora; options as name:option=value.", many="solvers")] = "exact"
    solver_options: Mapping[str, Any] = field(default_factory=dict)
    measure: Annotated[str, FieldInfo("What ranks tokens.", MEASURES, many="measures")] = "attention"
    merge: Annotated[str, FieldInfo("What becomes of the others.", MERGES, many="merges")] = "attention"

    data: Annotated[str, FieldInfo("digits, an .npz file, a folder, torchvision:NAME, hf:NAME.")] = "digits"
    model: Annotated[str, FieldInfo("A timm ViT; small is pretrained on digits here.")] = SMALL
    weights: Annotated[str | None, FieldInfo("Safetensors with timm's keys; else timm's own.")] = None
    size_px: Annotated[int, FieldInfo("Pixels per side of an image.", least=1, option="size")] = 24
    concentration: Annotated[float, FieldInfo("Of the Dirichlet partition.", above=0)] = 0.5
    clients: Annotated[int, FieldInfo("In the cell.", least=1)] = 10
    rounds: Annotated[int, FieldInfo("How many.", least=1)] = 12
    batch: Annotated[int, FieldInfo("Images per client and round, if it has so many.", least=1)] = 32
    local_steps: Annotated[int, FieldInfo("Optimiser steps per round, each on its part.", least=1)] = 4
    learning_rate: Annotated[float, FieldInfo("Of AdamW on the adapters.", above=0)] = 3e-3
    head_learning_rate: Annotated[float | None, FieldInfo("Of a fresh head; else the same.", above=0)] = None
    rank: Annotated[int, FieldInfo("Of LoRA.", least=1)] = 16
    min_tokens: Annotated[int | None, FieldInfo("K_min; else 64 of 196 in proportion.", least=1)] = None
    bits_per_element: Annotated[
        str,
        FieldInfo(
            "Of tokens sent: 8, 16 or 32; several are a choice per client of st-sflora, as in "
            "8:worth=0.95,16,32, and no runs of their own.",
            option="bits",
        ),
    ] = "32"
    bandwidth_hz: Annotated[float, FieldInfo("Shared by the clients of a round.", above=0)] = 50e6
    max_power_w: Annotated[float, FieldInfo("Per client.", above=0)] = 0.2
    max_energy_j: Annotated[float, FieldInfo("Per client and round.", above=0)] = 0.8
    count_forward: Annotated[bool, FieldInfo("Count the forward pass in the round time.")] = False
    activations_per_round: Annotated[
        float, FieldInfo("Poisson mean per client and round.", above=0, option="activations")
    ] = 2.0
    interval_s: Annotated[float, FieldInfo("Between rounds; clients move, channels fade.", above=0)] = 10.0
    test_images: Annotated[int | None, FieldInfo("Evaluate on so many; else on all.", least=1)] = None
    evaluate_every: Annotated[int, FieldInfo("Rounds between evaluations.", least=1)] = 1

    def __post_init__(self) -> None:
        for name, setting in field_infos(Config).items():
            setting.check("Config", getattr(self, name))
        depths = parse_bit_depths(str(self.bits_per_element))  # checkpoints and callers may have a number
        object.__setattr__(self, "bits_per_element", bit_depths_text(depths))

    @property
    def solver_text(self) -> str:
        """The solver with its options, as the command line takes it."""
        from ...solver.solver_text import solver_text  # loads numpy, which help can do without

        return solver_text(self.solver, self.solver_options)

    @property
    def sent_merge(self) -> str:
        """How tokens that are not sent are merged into one that is: only where a solver selects tokens."""
        return self.merge if self.method == SELECTING else "none"

    @property
    def bit_depths(self) -> tuple[BitDepth, ...]:
        """Depths in which a client may send tokens, ascending: the finest where no solver chooses."""
        depths = parse_bit_depths(self.bits_per_element)
        return depths if self.method == SELECTING else depths[-1:]

    @property
    def traits(self) -> dict[str, str]:
        """Settings that tell compared runs apart, where they matter to the scheme."""
        common = {
            "method": self.method,
            "partition": self.partition,
            "seed": f"seed {self.seed}",
            "cut": f"cut {self.cut}",
        }
        if self.method != SELECTING:
            return common
        return {**common, "solver": self.solver_text, "measure": self.measure, "merge": self.merge}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "solver_options": dict(self.solver_options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `as_dict`. Raises OptionError for unknown or missing settings."""
        from ...solver import OptionError

        names = {entry.name for entry in fields(cls)}
        if names != set(values):
            raise OptionError(
                "Config",
                f"settings {', '.join(sorted(names ^ set(values)))!r:.80} unknown or missing",
                "the settings of this version",
                "Start the run anew",
            )
        return cls(**values)

    def difference(self, other: Self) -> str | None:
        """Name of the first setting, other than the number of rounds, in which two runs differ."""
        mine, theirs = self.as_dict(), other.as_dict()
        return next((name for name in mine if name != "rounds" and mine[name] != theirs[name]), None)


def cache_folder() -> Path:
    """Cache folder of the small pretrained ViT."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stsflora"
