"""Run configuration on Flower: flat settings made from `Config`, and checked back into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch

from ...solver import OptionError
from ...solver.solver_text import parse_options
from ..field_info import field_infos
from ..finetune.config import SELECTING, SMALL, Config
from ..finetune.device import chosen_device

SERVER: Final[Mapping[str, Any]] = MappingProxyType(
    {"output": "results/flower", "device": "auto", "start-timeout-s": 120.0, "reply-timeout-s": 120.0}
)
"""The server's own settings with their defaults."""

FORWARD_ONLY: Final = (SELECTING, "st-sflora-full")
"""Schemes whose clients only run forward: the others send gradients and adapters back and forth."""


@dataclass(frozen=True)
class Settings:
    """Settings of a run on Flower.

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


def run_configuration(config: Config) -> dict[str, Any]:
    """Flower's run configuration of a `Config`, with the server's defaults; 0 or "" stands for none.

    The solver's options come with its name, as in "minlp:engine=highs".
    """
    values = {**config.as_dict(), "solver": config.solver_text}
    flat = {
        name.replace("_", "-"): setting.kind() if values[name] is None else values[name]
        for name, setting in field_infos(Config).items()
    }
    return {**flat, **SERVER}


def read_settings(values: Mapping[str, object]) -> Settings:
    """Check Flower's run configuration, on the server and on every client; one thread for small models.

    Raises:
        OptionError: a setting is missing, unknown, of the wrong type or out of range.
    """
    known = {name.replace("_", "-"): setting for name, setting in field_infos(Config).items()}
    if unfit := sorted((known.keys() | SERVER.keys()) ^ values.keys()):
        raise OptionError(
            "run configuration", f"{unfit[0]!r:.60} unknown or missing", "the app's settings", "Correct it"
        )
    server = {key: _typed(key, values[key], type(default)) for key, default in SERVER.items()}
    changes: dict[str, Any] = {}
    for key, setting in known.items():
        value = _typed(key, values[key], setting.kind)
        changes[setting.name] = None if setting.optional and not value else value
    solver, *options = changes["solver"].split(":")
    config = Config(**{**changes, "solver": solver, "solver_options": parse_options(options)})
    if config.method not in FORWARD_ONLY:
        raise OptionError(
            "run configuration", f"method {config.method!r:.40}", ", ".join(FORWARD_ONLY), "Choose one"
        )
    if config.model == SMALL:  # so small a model only waits for a second thread
        torch.set_num_threads(1)
    return Settings(
        config,
        Path(server["output"]).expanduser(),
        chosen_device(server["device"]),
        server["start-timeout-s"],
        server["reply-timeout-s"],
    )


def _typed(key: str, value: object, kind: type) -> Any:
    if kind in (float, str) and type(value) is int:  # TOML's 1 for 1.0, and 16 for "16"
        return kind(value)
    if type(value) is not kind:
        raise OptionError(
            "run configuration", f"{key} = {value!r:.40}", f"a {kind.__name__}", "Correct it in --run-config"
        )
    return value
