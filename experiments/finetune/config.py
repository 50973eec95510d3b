"""Everything a fine-tuning run depends on, in one immutable value."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from ...solver import OptionError

SELECTING: Final = "st-sflora"
"""The method whose clients send what a solver grants."""

SMALL: Final = "small"
"""The model that is pretrained on digits, offline."""


@dataclass(frozen=True)
class Config:
    """Settings of one run; the defaults run offline in seconds, wireless numbers are the paper's.

    Attributes:
        method: a name of `schemes.SCHEMES`.
        solver: a name that `stsflora solvers` lists; decides K, bandwidth and power of selected tokens.
        solver_options: the solver's own options.
        data: see `models.data.load_data`.
        model: "small", or a timm ViT.
        weights: safetensors file for a timm ViT; None downloads timm's.
        size_px: pixels per side of an image.
        cut: client blocks.
        partition: "iid" or "dirichlet".
        concentration: of the Dirichlet distribution (paper).
        clients: M in the cell.
        rounds: how many.
        batch: images per client and round, fewer where a client has fewer.
        local_steps: optimiser steps per round, each on a share of the batch.
        learning_rate: of AdamW on the adapters.
        head_learning_rate: of AdamW on the fresh head; None for the same.
        rank: of LoRA (paper).
        measure: what ranks tokens, a name of `models.attention.MEASURES`.
        merge: what becomes of the others, a name of `models.tokens.MERGES`.
        min_tokens: K_min; None for the paper's share, 64 of 196.
        bits_per_element: 32 or 16; tokens travel in that precision.
        bandwidth_hz: shared by the clients of a round.
        max_power_w: per client.
        max_energy_j: per client and round.
        count_forward: whether the client's forward time counts in the round time (the paper's metric: no).
        activations_per_round: mean of a client's Poisson activations.
        interval_s: between the starts of two rounds; clients move on and channels fade.
        test_images: evaluate on so many, evenly spread; None for all.
        evaluate_every: rounds between evaluations; the last round is always evaluated.
        seed: of everything random.

    Raises:
        OptionError: a number out of range.
    """

    method: str = "st-sflora"
    solver: str = "exact"
    solver_options: Mapping[str, Any] = field(default_factory=dict)
    data: str = "digits"
    model: str = SMALL
    weights: str | None = None
    size_px: int = 24
    cut: int = 2
    partition: str = "dirichlet"
    concentration: float = 0.5
    clients: int = 10
    rounds: int = 12
    batch: int = 32
    local_steps: int = 4
    learning_rate: float = 3e-3
    head_learning_rate: float | None = None
    rank: int = 16
    measure: str = "attention"
    merge: str = "attention"
    min_tokens: int | None = None
    bits_per_element: int = 32
    bandwidth_hz: float = 50e6
    max_power_w: float = 0.2
    max_energy_j: float = 0.8
    count_forward: bool = False
    activations_per_round: float = 2.0
    interval_s: float = 10.0
    test_images: int | None = None
    evaluate_every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("clients", "rounds", "batch", "local_steps", "rank", "size_px", "evaluate_every"):
            self._check(name, _whole(getattr(self, name), 1), "whole numbers >= 1")
        for name in ("min_tokens", "test_images"):
            value = getattr(self, name)
            self._check(name, value is None or _whole(value, 1), "whole numbers >= 1, or none")
        self._check("seed", _whole(self.seed, 0), "whole numbers >= 0")
        for name in ("learning_rate", "interval_s", "activations_per_round"):
            value = getattr(self, name)
            self._check(name, _number(value) and 0 < value < math.inf, "finite numbers > 0")
        rate = self.head_learning_rate
        good = rate is None or (_number(rate) and 0 < rate < math.inf)
        self._check("head_learning_rate", good, "finite numbers > 0, or none")
        self._check("bits_per_element", self.bits_per_element in {16, 32}, "16 or 32")
        self._check("partition", self.partition in {"iid", "dirichlet"}, "iid or dirichlet")

    @property
    def traits(self) -> dict[str, str]:
        """What runs that are compared differ in, where it matters to the method."""
        common = {
            "method": self.method,
            "partition": self.partition,
            "seed": f"seed {self.seed}",
            "cut": f"cut {self.cut}",
        }
        if self.method != SELECTING:
            return common
        options = "".join(f":{name}={value}" for name, value in self.solver_options.items())
        return {**common, "solver": self.solver + options, "measure": self.measure, "merge": self.merge}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "solver_options": dict(self.solver_options)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `as_dict`. Raises OptionError for unknown or missing settings."""
        names = {entry.name for entry in fields(cls)}
        if names != set(values):
            raise OptionError(
                "Config",
                f"settings {', '.join(sorted(names ^ set(values)))!r:.80} unknown or missing",
                "the settings of this version",
                "Start the run anew",
            )
        return cls(**values)

    def difference(self, other: Config) -> str | None:
        """Name of the first setting, other than the number of rounds, in which two runs differ."""
        mine, theirs = self.as_dict(), other.as_dict()
        return next((name for name in mine if name != "rounds" and mine[name] != theirs[name]), None)

    def _check(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise OptionError("Config", f"{name} = {getattr(self, name)!r:.40}", allowed, "Correct it")


def cache_folder() -> Path:
    """Where the small pretrained ViT is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stsflora"


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
