"""Validated clients as the rows of a round's `Problem`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import ProblemError
from ..physics.uplink import payload_bits
from ..problem import FloatArray, IntArray, Problem
from .client import ClientId


class ClientRecord(NamedTuple):
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


def build_problem(
    records: Sequence[ClientRecord], bandwidth_hz: float, noise_w_per_hz: float, extra_tokens: int
) -> Problem:
    """The round of these clients; shorter importances end in zeros. Raises ProblemError.

    If one payload is a table all are; it hardly rises beyond a client's last token, where nothing is gained.
    """
    _, _, importances, payloads, *columns = zip(*records, strict=True)
    importance = np.zeros((len(records), max(values.size for values in importances)))
    for m, values in enumerate(importances):
        importance[m, : values.size] = values
    names = ClientRecord._fields[4:]
    table = None
    if any(payload is not None for payload in payloads):
        counts = np.arange(importance.shape[1] + 1)
        table = np.stack([_payload_row(record, counts, extra_tokens) for record in records])
    fields: dict[str, Any] = {name: np.array(column) for name, column in zip(names, columns, strict=True)}
    return Problem(
        importance=importance,
        payload_bits=table,
        bandwidth_hz=bandwidth_hz,
        noise_w_per_hz=noise_w_per_hz,
        extra_tokens=extra_tokens,
        **fields,
    )


def find_refused(records: Sequence[ClientRecord]) -> dict[int, ProblemError]:
    """Which clients `Problem` refuses for a number and why, by position; arrays are known to be good.

    Cost: one construction without arrays, and log2 M smaller ones for each client that is refused.
    """
    return _halve(
        [record._replace(importance=np.ones(1), payload_bits=None, min_tokens=1) for record in records]
    )


def _halve(records: Sequence[ClientRecord]) -> dict[int, ProblemError]:
    try:
        build_problem(records, 1.0, 1.0, 0)
    except ProblemError as error:
        if len(records) == 1:
            return {records[0].position: error}
        half = len(records) // 2
        return _halve(records[:half]) | _halve(records[half:])
    return {}


def _payload_row(record: ClientRecord, counts: IntArray, extra_tokens: int) -> FloatArray:
    """(N + 1,) bits of K = 0..N tokens."""
    if record.payload_bits is None:
        return payload_bits(counts, record.bits_per_token, extra_tokens)
    last = record.payload_bits.size - 1
    beyond = 1.0 + 1e-6 * np.maximum(counts - last, 0)
    return record.payload_bits[np.minimum(counts, last)] * beyond
