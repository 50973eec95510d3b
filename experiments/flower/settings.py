"""What a run is told: Flower's flat run configuration, checked, as this project's `Config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import torch

from ...solver import OptionError
from ...solver.solver_text import parse_options
from ..finetune.config import SELECTING, SMALL, Config
from ..finetune.device import chosen_device

SERVER_TYPES: Final = {"output": str, "device": str, "start-timeout-s": float, "reply-timeout-s": float}
METHODS: Final = (SELECTING, "st-sflora-full")
"""Schemes whose clients only run forward: the others send gradients and adapters back and forth."""


@dataclass(frozen=True)
class Settings:
    """A run's settings on Flower.

    Attributes:
        config: of the run itself, the same as in one process.
        output: the server's folder.
        device: on both sides.
        start_timeout_s: how long the server waits for the first nodes.
        reply_timeout_s: how long it waits for their replies.
    """

    config: Config
    output: Path
    device: torch.device
    start_timeout_s: float
    reply_timeout_s: float


def read_settings(values: Mapping[str, object]) -> Settings:
    """Check Flower's run configuration, on the server and on every client; one thread for small models.

    Raises:
        OptionError: a setting is missing, unknown, of the wrong type or out of range.
    """
    defaults = Config()
    names = {entry.name.replace("_", "-"): entry.name for entry in fields(Config)}
    del names["solver-options"]  # they come with the solver's name, as in minlp:engine=highs
    if unfit := sorted((names.keys() | SERVER_TYPES.keys()) ^ values.keys()):
        raise OptionError(
            "run configuration", f"{unfit[0]!r:.60} unknown or missing", "the app's settings", "Correct it"
        )
    changes: dict[str, object] = {}
    for key, name in names.items():
        default = getattr(defaults, name)
        kind = OPTIONAL.get(name, type(default))
        value = _typed(key, values[key], kind)
        changes[name] = None if name in OPTIONAL and not value else value
    solver, *options = str(changes["solver"]).split(":")
    changes |= {"solver": solver, "solver_options": parse_options(options)}
    config = Config.from_dict(changes)
    if config.method not in METHODS:
        raise OptionError(
            "run configuration", f"method {config.method!r:.40}", ", ".join(METHODS), "Choose one"
        )
    server = {key: _typed(key, values[key], kind) for key, kind in SERVER_TYPES.items()}
    if config.model == SMALL:  # so small a model only waits for a second thread
        torch.set_num_threads(1)
    return Settings(
        config,
        Path(str(server["output"])).expanduser(),
        chosen_device(str(server["device"])),
        float(str(server["start-timeout-s"])),
        float(str(server["reply-timeout-s"])),
    )


OPTIONAL: Final[Mapping[str, type]] = {
    "weights": str,
    "head_learning_rate": float,
    "min_tokens": int,
    "test_images": int,
}


def _typed(key: str, value: object, kind: type) -> object:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise OptionError(
            "run configuration", f"{key} = {value!r:.40}", f"a {kind.__name__}", "Correct it in --run-config"
        )
    return value
