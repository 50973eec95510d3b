"""Checkpoint of a fine-tuning run after a round: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...models.vit.adapter import State
from ...solver import FileFormatError, StsfloraError
from ...solver.files.file_access import existing_file, write_atomically
from ...solver.files.json_files import parse_json
from .config import Config

CHECKPOINT: Final = "checkpoint.safetensors"
"""Its name in the folder of a run."""

MAX_BYTES: Final = 16 * 2**30


@dataclass(frozen=True)
class RoundLog:
    """Log of one round; None where a scheme has no such figure.

    Attributes:
        index: 0, 1, ...
        accuracy: top-1 share on the test images with all tokens; None where not evaluated.
        accuracy_selected: the same with the round's mean K at test time too.
        loss: mean training loss; None when nobody trained.
        clients: ids of those that took part.
        left_out: reason by client id.
        tokens: K of each, where tokens are sent.
        ste: of what arrived, 1/s.
        bound: proved upper bound on it.
        quality: of the solver's answer.
        energy_j: of all uploads.
        round_s: simulated time of the uplink (with the forward pass if it counts).
        uplink_bytes: counted on the tensors that went up.
        formula_bytes: the tokens' share of it by S = beta (K + e).
        downlink_bytes: counted on the tensors that came back.
        seconds: wall time, evaluation included.
        bits: per element of each one's tokens, where clients had a choice.
    """

    index: int
    accuracy: float | None
    accuracy_selected: float | None
    loss: float | None
    clients: list[int]
    left_out: dict[str, str]
    tokens: list[int]
    ste: float | None
    bound: float | None
    quality: str
    energy_j: float
    round_s: float
    uplink_bytes: int
    formula_bytes: int
    downlink_bytes: int
    seconds: float
    bits: list[int] = field(default_factory=list)


def flat(states: Mapping[str, State]) -> dict[str, Tensor]:
    """All tensors of a scheme's state by "part/name"."""
    return {f"{part}/{name}": value for part, state in states.items() for name, value in state.items()}


def save_checkpoint(
    path: str | PathLike[str], config: Config, logs: list[RoundLog], states: Mapping[str, State]
) -> None:
    """Write settings, logs and tensors. Raises FileFormatError; the former file stays then."""
    metadata = {
        "config": json.dumps(config.as_dict(), allow_nan=False),
        "logs": json.dumps([asdict(log) for log in logs], allow_nan=False),
    }
    tensors = {name: value.cpu().contiguous() for name, value in flat(states).items()}
    write_atomically(path, save(tensors, metadata))


def load_checkpoint(
    path: str | PathLike[str], *, with_tensors: bool = True
) -> tuple[Config, list[RoundLog], dict[str, State]]:
    """Read what `save_checkpoint` wrote, with no tensors if they are not asked for; never unpickles.

    Raises:
        FileFormatError: it is unreadable or from elsewhere.
    """
    file = existing_file(path, MAX_BYTES, "Choose another folder")
    try:
        with safe_open(str(file), framework="pt") as opened:
            metadata: dict[str, Any] = opened.metadata() or {}
            states: dict[str, State] = {}
            for key in opened.keys() if with_tensors else ():
                part, _, name = key.rpartition("/")
                states.setdefault(part, {})[name] = opened.get_tensor(key)
        config = Config.from_dict(parse_json(metadata["config"].encode()))
        entries = parse_json(b'{"logs": %b}' % metadata["logs"].encode())["logs"]
        logs = [RoundLog(**entry) for entry in entries]
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, StsfloraError) as error:
        raise FileFormatError(
            f"checkpoint {Path(path).name!r}",
            f"{str(error) or type(error).__name__:.120}",
            "a checkpoint of this version",
            "Start anew with --fresh, or choose another folder",
        ) from error
    return config, logs, states
