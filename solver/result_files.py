"""Results for scripts: strict JSON out, and an allocation back in as a start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .allocation import Allocation
from .errors import FileFormatError
from .file_access import read_json
from .result import Result


def result_as_dict(result: Result) -> dict[str, Any]:
    """Everything a script needs, in plain Python values that `json.dumps(..., allow_nan=False)` accepts.

    Undefined and infinite figures (no allocation, no proved bound) are None. Arrays are lists in client
    order; entries of `stats` that are not plain data are left out. Cost: O(M).
    """
    allocation, evaluation = result.allocation, result.evaluation
    return {
        "solver": result.solver,
        "stop": str(result.stop),
        "quality": str(result.quality),
        "ste": plain(result.ste),
        "bound": plain(result.bound),
        "gap": plain(result.gap),
        "asked_gap": plain(result.asked_gap),
        "claimed_ste": plain(result.claimed_ste),
        "seconds": result.seconds,
        "round_s": None if evaluation is None else plain(evaluation.round_s),
        "tokens": None if allocation is None else allocation.tokens.tolist(),
        "bandwidth_hz": None if allocation is None else allocation.bandwidth_hz.tolist(),
        "power_w": None if allocation is None else allocation.power_w.tolist(),
        "uplink_s": None if evaluation is None else plain(evaluation.uplink_s),
        "energy_j": None if evaluation is None else plain(evaluation.energy_j),
        "retained": None if evaluation is None else plain(evaluation.retained),
        "violations": None if evaluation is None else plain(evaluation.violations),
        "diagnosis": None if result.diagnosis is None else plain(asdict(result.diagnosis)),
        "stats": plain(result.stats),
        "message": str(result.diagnosis) if result.diagnosis is not None else result.message,
        "trace": [plain(asdict(point)) for point in result.trace],
    }


def load_allocation(path: str | PathLike[str]) -> Allocation:
    """The allocation in a JSON file with `tokens`, `bandwidth_hz` and `power_w`, such as a saved result.

    Raises:
        FileFormatError: unreadable file, or one of the three is missing.
        AllocationError: their values are not those of an allocation.
    """
    fields = read_json(path)
    names = ("tokens", "bandwidth_hz", "power_w")
    missing = [name for name in names if not isinstance(fields.get(name), list)]
    if missing:
        raise FileFormatError(
            f"file {Path(path).name!r}",
            f"no list {missing[0]!r}",
            f"lists {', '.join(names)}",
            "Write it with `stsflora solve --json`, from a run that found an allocation",
        )
    return Allocation(*(fields[name] for name in names))


def plain(value: Any) -> Any:
    """The value as strict JSON data: numbers that are not finite become None.

    Entries of mappings and sequences that are not plain data are dropped. Raises TypeError for a
    value that is not plain data itself.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items() if _is_plain(entry)}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value if _is_plain(entry)]
    raise TypeError(f"{type(value).__name__} is not plain data")


def _is_plain(value: Any) -> bool:
    scalar = value is None or isinstance(value, bool | int | float | str | np.number | np.bool_)
    numeric = isinstance(value, np.ndarray) and value.dtype.kind in "biufU"
    return scalar or numeric or isinstance(value, Mapping | list | tuple)
