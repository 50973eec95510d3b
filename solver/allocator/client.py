"""One client's data as it comes from the network, and its reading into checked numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..physics.uplink import payload_bits
from ..problem import LARGEST, SMALLEST, FloatArray, IntArray, Problem
from .channel_state import Cqi, Snr, gain_from_cqi, gain_from_snr_db, gain_with_margin
from .utility import Utility, importance_from_utility

ClientId = str | int


@dataclass(frozen=True, eq=False)
class Client:
    """What a client reports for one round; unchecked, `Allocator.plan` drops what it cannot use.

    Numbers may be Python's, numpy's or tensors of one element, on any device and of any precision.

    Attributes:
        id: text or whole number, unique within the round.
        gain: linear channel power gain, > 0, or an `Snr` or `Cqi` that stands for it.
        importance: (N,) attention mass per token, >= 0, not all zero, in any order: a sequence, array or
            tensor; or a `Utility`. N may differ between clients.
        bits_per_token: bit, > 0: batch size x width x bits per element.
        max_power_w: W, > 0.
        max_energy_j: uplink energy budget of the round, J, > 0; inf for none.
        deadline_s: limit on the uplink time, s, > 0; inf for none.
        overhead_s: time before the upload that counts in the round time, s, >= 0.
        min_tokens: whole number in 1..N.
        margin_db: by how much the channel may be worse than reported, dB (see `channel_state`).
        payload_bits: None, or (N + 1,) bit: what sending K = 0..N tokens takes, strictly increasing; then
            `bits_per_token` may be None.
    """

    id: ClientId
    gain: Any
    importance: Any
    bits_per_token: Any
    max_power_w: Any
    max_energy_j: Any = math.inf
    deadline_s: Any = math.inf
    overhead_s: Any = 0.0
    min_tokens: Any = 1
    margin_db: Any = 0.0
    payload_bits: Any = None


class Row(NamedTuple):
    """A client as numbers of the right type and shape; ranges are checked by `Problem`."""

    position: int
    id: ClientId
    importance: FloatArray
    payload_bits: FloatArray | None
    gain: float
    bits_per_token: float
    max_power_w: float
    max_energy_j: float
    deadline_s: float
    overhead_s: float
    min_tokens: int


def read_client(
    position: int,
    client_id: ClientId,
    client: Client,
    bandwidth_hz: float,
    noise_w_per_hz: float,
    most_tokens: int,
) -> Row:
    """Read a client's fields; sizes and types are checked before anything is converted.

    Args:
        position: in the order that the client came in.
        client_id: its id, checked.
        client: as reported.
        bandwidth_hz: of the cell, where an `Snr` or `Cqi` names none.
        noise_w_per_hz: of the cell.
        most_tokens: largest N taken.

    Raises:
        ProblemError: `who` is the field at fault.
    """
    min_tokens = _number("min_tokens", client.min_tokens)
    if not (1 <= min_tokens < math.inf and min_tokens % 1 == 0):
        raise ProblemError("min_tokens", f"{min_tokens:g}", "whole numbers from 1 to N", "Correct it")
    importance = _importance(client.importance, int(min_tokens), most_tokens)
    if min_tokens > importance.size:
        raise ProblemError("min_tokens", f"{min_tokens:g}", f"at most N = {importance.size}", "Lower it")
    power = _number("max_power_w", client.max_power_w)
    payload = None if client.payload_bits is None else _payload(client.payload_bits, importance.size)
    return Row(
        position,
        client_id,
        importance,
        payload,
        _gain(client, power, bandwidth_hz, noise_w_per_hz),
        _number("bits_per_token", client.bits_per_token if payload is None else 1.0),
        power,
        _number("max_energy_j", client.max_energy_j),
        _number("deadline_s", client.deadline_s),
        _number("overhead_s", client.overhead_s),
        int(min_tokens),
    )


def build_problem(
    rows: Sequence[Row], bandwidth_hz: float, noise_w_per_hz: float, extra_tokens: int
) -> Problem:
    """The round of these clients; shorter importances end in zeros. Raises ProblemError.

    If one payload is a table all are; it hardly rises beyond a client's last token, where nothing is gained.
    """
    _, _, importances, payloads, *columns = zip(*rows, strict=True)
    importance = np.zeros((len(rows), max(values.size for values in importances)))
    for m, values in enumerate(importances):
        importance[m, : values.size] = values
    names = Row._fields[4:]
    table = None
    if any(payload is not None for payload in payloads):
        counts = np.arange(importance.shape[1] + 1)
        table = np.stack([_payload_row(row, counts, extra_tokens) for row in rows])
    return Problem(
        importance=importance,
        payload_bits=table,
        bandwidth_hz=bandwidth_hz,
        noise_w_per_hz=noise_w_per_hz,
        extra_tokens=extra_tokens,
        **{name: np.array(column) for name, column in zip(names, columns, strict=True)},
    )


def refused(rows: Sequence[Row]) -> dict[int, ProblemError]:
    """Which rows `Problem` refuses for a number and why, by position; arrays are known to be good.

    Cost: one construction without arrays, and log2 M smaller ones for each row that is refused.
    """
    return _halve([row._replace(importance=np.ones(1), payload_bits=None, min_tokens=1) for row in rows])


def _halve(rows: Sequence[Row]) -> dict[int, ProblemError]:
    try:
        build_problem(rows, 1.0, 1.0, 0)
    except ProblemError as error:
        if len(rows) == 1:
            return {rows[0].position: error}
        half = len(rows) // 2
        return _halve(rows[:half]) | _halve(rows[half:])
    return {}


def _importance(value: Any, min_tokens: int, most_tokens: int) -> FloatArray:
    if isinstance(value, Utility):
        table = _array("importance", value.values, most_tokens + 1)
        array = importance_from_utility(table, value.first, min_tokens)
    else:
        array = _array("importance", value, most_tokens)
    if array.ndim != 1 or array.size == 0:
        raise ProblemError("importance", f"shape {array.shape}", "(N,), one value per token", "Flatten it")
    low, high = float(array.min()), float(array.max())  # nan if there is one
    if not (low >= 0 and SMALLEST <= high <= LARGEST):
        raise ProblemError(
            "importance",
            f"values from {low:g} to {high:g}",
            f"finite and >= 0, the largest from {SMALLEST:g} to {LARGEST:g}",
            "Check where the attention is read",
        )
    return array.astype(np.float64)


def _payload(value: Any, tokens: int) -> FloatArray:
    table = _array("payload_bits", value, tokens + 1).astype(np.float64)
    if table.shape != (tokens + 1,):
        raise ProblemError(
            "payload_bits", f"shape {table.shape}", f"({tokens + 1},): K = 0..N", "Complete it"
        )
    if not (table[0] >= 0 and np.diff(table).min() > 0 and table[1] >= SMALLEST and table[-1] <= LARGEST):
        raise ProblemError(
            "payload_bits",
            f"values from {table.min():g} to {table.max():g}",
            f"strictly increasing from >= 0, {SMALLEST:g} to {LARGEST:g} from 1 token on",
            "Every token takes bits",
        )
    return table


def _payload_row(row: Row, counts: IntArray, extra_tokens: int) -> FloatArray:
    """(N + 1,) bits of K = 0..N tokens."""
    if row.payload_bits is None:
        return payload_bits(counts, row.bits_per_token, extra_tokens)
    last = row.payload_bits.size - 1
    beyond = 1.0 + 1e-6 * np.maximum(counts - last, 0)
    return row.payload_bits[np.minimum(counts, last)] * beyond


def _gain(client: Client, power_w: float, bandwidth_hz: float, noise_w_per_hz: float) -> float:
    margin_db = _number("margin_db", client.margin_db)
    if not math.isfinite(margin_db):
        raise ProblemError("margin_db", f"{margin_db:g}", "a finite number of dB", "Use 0 for none")
    with np.errstate(all="ignore"):  # what overflows or divides by 0 is refused as a gain
        if isinstance(client.gain, Snr | Cqi):
            given, power, band = client.gain
            power = power_w if power is None else _number("gain.power_w", power)
            band = bandwidth_hz if band is None else _number("gain.bandwidth_hz", band)
            convert = gain_from_snr_db if isinstance(client.gain, Snr) else gain_from_cqi
            gain = convert(
                _number(f"gain.{client.gain._fields[0]}", given), np.float64(power), band, noise_w_per_hz
            )
        else:
            gain = np.asarray(_number("gain", client.gain))
        return float(gain_with_margin(gain, margin_db) if margin_db else gain)


def _number(name: str, value: Any) -> float:
    """One real number as a float."""
    if isinstance(value, float):
        return float(value)
    array = _array(name, value, 1)
    if array.size != 1:
        raise ProblemError(name, f"shape {array.shape}", "one number", "Pass a scalar")
    return float(array.reshape(()))


def _array(name: str, value: Any, largest: int) -> NDArray[Any]:
    """A sequence, array or tensor of real numbers as an array; its size is known before it is converted."""
    allowed = f"real numbers, at most {largest}" if largest > 1 else "a real number"
    if isinstance(value, str | bytes):
        raise ProblemError(name, f"type {_type(value)}", allowed, "Convert it first")
    try:
        if hasattr(value, "shape"):
            size = math.prod(value.shape)
        elif isinstance(value, Sequence):
            size = len(value)
            if size <= largest and not all(issubclass(kind, Real) for kind in set(map(type, value))):
                raise ProblemError(name, f"a {_type(value)} of other things", allowed, "Convert it first")
        else:
            size = 1
        if size > largest:
            raise ProblemError(name, f"{size} values", allowed, "Send less, or raise the allocator's limit")
        if hasattr(value, "detach"):  # a torch tensor; numpy knows no bfloat16
            value = value.detach().cpu()
            value = (value.double() if value.is_floating_point() else value).numpy()
        array = np.asarray(value)
    except ProblemError:
        raise
    except Exception as error:  # whatever a stranger's object raises
        raise ProblemError(
            name, f"a {_type(value)} that is unreadable", allowed, "Convert it first"
        ) from error
    if array.dtype.kind not in "iuf" or array.size > largest:
        kind = _type(value) if array.dtype == object else array.dtype
        raise ProblemError(name, f"type {kind}", allowed, "Convert it first")
    return array


def _type(value: Any) -> str:
    return f"{type(value).__name__:.40}"
