"""`solve_stacked`: the certified optima of many cells of equal size, arrays in and arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import numbers_in_range, real_array
from .errors import ProblemError
from .problem import FloatArray, IntArray, Problem
from .problem_fields import LARGEST, SMALLEST
from .solve_many import solve_many

AT_ONCE: Final = 4096
"""Cells whose results are held at the same time."""

REQUIRED: Final = ("gain", "importance", "bits_per_token", "bandwidth_hz", "max_power_w", "max_energy_j")
OPTIONAL: Final = ("deadline_s", "overhead_s", "min_tokens", "extra_tokens", "noise_w_per_hz", "payload_bits")
"""The fields of the token problem."""

SHARED: Final = ("extra_tokens", "noise_w_per_hz")
"""Fields that have one value for all cells."""


class Stacked(NamedTuple):
    """The results of C cells of M clients.

    Attributes:
        tokens: (C, M) counts; 0 where a cell has no feasible allocation, as are the next two.
        bandwidth_hz: (C, M) Hz.
        power_w: (C, M) W.
        ste: (C,) 1/s, as `evaluate` gives it; -inf where there is no allocation.
        bound: (C,) proved upper bound on the STE, 1/s; -inf where a cell is proved infeasible.
        round_s: (C,) round time, s; inf where there is no allocation.
        stop: (C,) `Stop` of each, as text.
        quality: (C,) `Quality` of each, as text.

    Examples:
        >>> from stsflora.solver import solve_stacked
        >>> limits = {"bandwidth_hz": [1e6, 2e6], "max_power_w": 0.2, "max_energy_j": 1.0}
        >>> cells = {"gain": 1e-9, "importance": [[[1.0]], [[1.0]]], "bits_per_token": 1e5, **limits}
        >>> found = solve_stacked(cells)
        >>> found.tokens.tolist(), found.quality.tolist()
        ([[1], [1]], ['optimal', 'optimal'])
    """

    tokens: IntArray
    bandwidth_hz: FloatArray
    power_w: FloatArray
    ste: FloatArray
    bound: FloatArray
    round_s: FloatArray
    stop: NDArray[np.str_]
    quality: NDArray[np.str_]


def solve_stacked(arrays: Mapping[str, ArrayLike], gap: float = 1e-4, jobs: int = 1) -> Stacked:
    """Solve C cells of M clients with N tokens each, as `solve_many` does, without a `Problem` for each.

    Args:
        arrays: the fields of the token problem by name. `importance` (C, M, N) and `payload_bits`
            (C, M, N + 1) are given in full, `bandwidth_hz` broadcasts to (C,), the fields of clients to
            (C, M), and `extra_tokens` and `noise_w_per_hz` are the same for all.
        gap: relative optimality gap asked for, see `solve`.
        jobs: threads, >= 1.

    Raises:
        ProblemError: a field is missing, unknown, or has the wrong shape, type or range. Indices in the text
            count clients through all cells.
        OptionError: `gap` or `jobs` is out of range.

    Cost: checks once for all cells, then that of `solve_many`.

    Examples:
        >>> import numpy as np
        >>> from stsflora.solver import solve_stacked
        >>> gain = 10.0 ** -np.array([[9.0, 10.0], [9.5, 11.0], [8.0, 9.0]])  # 3 cells of 2 clients
        >>> attention = np.array([0.5, 0.3, 0.2]) * np.ones((3, 2, 1))
        >>> limits = {"bandwidth_hz": 1e6, "max_power_w": 0.2, "max_energy_j": 1.0}
        >>> found = solve_stacked({"gain": gain, "importance": attention, "bits_per_token": 1e5, **limits})
        >>> found.tokens.shape, bool((found.bound <= (1 + 1e-4) * found.ste).all())
        ((3, 2), True)
    """
    cells, stack, bandwidth_hz = _stack_of(arrays)
    clients = stack.clients // cells
    found = Stacked(
        np.zeros((cells, clients), np.int64),
        np.zeros((cells, clients)),
        np.zeros((cells, clients)),
        np.full(cells, -np.inf),
        np.empty(cells),
        np.full(cells, np.inf),
        np.empty(cells, "U16"),
        np.empty(cells, "U16"),
    )
    for first in range(0, cells, AT_ONCE):
        chunk = range(first, min(first + AT_ONCE, cells))
        members = (stack.part(clients * c, clients, float(bandwidth_hz[c])) for c in chunk)
        for c, result in zip(chunk, solve_many(members, gap=gap, jobs=jobs), strict=True):
            found.bound[c], found.stop[c], found.quality[c] = result.bound, result.stop, result.quality
            if result.allocation is not None and result.evaluation is not None:
                found.tokens[c] = result.allocation.tokens
                found.bandwidth_hz[c] = result.allocation.bandwidth_hz
                found.power_w[c] = result.allocation.power_w
                found.ste[c], found.round_s[c] = result.ste, result.evaluation.round_s
    return found


def _stack_of(arrays: Mapping[str, ArrayLike]) -> tuple[int, Problem, FloatArray]:
    """How many cells there are, a problem with all their clients, and the (C,) bandwidths, Hz."""
    known = REQUIRED + OPTIONAL
    missing = [name for name in REQUIRED if name not in arrays]
    unknown = [name for name in arrays if name not in known]
    if missing or unknown:
        named = f"no {missing[0]!r}" if missing else f"a field {unknown[0]!r}"
        raise ProblemError("solve_stacked", named, ", ".join(known), "Name them as Problem does")
    values = {name: real_array(f"solve_stacked.{name}", value) for name, value in arrays.items()}
    importance = values["importance"]
    if importance.ndim != 3 or 0 in importance.shape:
        raise ProblemError(
            "solve_stacked.importance",
            f"shape {importance.shape}",
            "(C, M, N) with C cells, M >= 1 clients and N >= 1 tokens",
            "Stack the importances of the cells",
        )
    cells, clients = importance.shape[:2]
    nothing = ~(importance > 0).any(axis=(1, 2))
    if nothing.any():
        raise ProblemError(
            "solve_stacked.importance",
            f"all zeros in cell {int(np.argmax(nothing))}",
            "at least one positive entry",
            "Check where the attention is read",
        )
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if name in SHARED:
            fields[name] = value
        elif name in {"importance", "payload_bits"}:
            fields[name] = _in_full(name, value, (cells, clients)).reshape(cells * clients, -1)
        elif name != "bandwidth_hz":
            fields[name] = _broadcast(name, value, (cells, clients)).reshape(-1)
    bandwidth_hz = numbers_in_range(
        "solve_stacked", "bandwidth_hz", arrays["bandwidth_hz"], SMALLEST, LARGEST
    )
    return (
        cells,
        Problem(**fields, bandwidth_hz=float(bandwidth_hz.max())),
        _broadcast("bandwidth_hz", bandwidth_hz, (cells,)),
    )


def _in_full(name: str, value: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    if value.ndim == 3 and value.shape[:2] == shape:
        return value
    allowed = f"({shape[0]}, {shape[1]}, ...), as importance"
    raise ProblemError(f"solve_stacked.{name}", f"shape {value.shape}", allowed, "Give it for every client")


def _broadcast(name: str, value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        return np.broadcast_to(value, shape)
    except ValueError as error:
        allowed = f"what broadcasts to {shape}"
        raise ProblemError(
            f"solve_stacked.{name}", f"shape {value.shape}", allowed, "Match it to importance"
        ) from error
