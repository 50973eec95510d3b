"""Validated clients as the rows of a round's `Problem`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np

from ..errors import ProblemError
from ..objective import Objective, TotalTime
from ..physics.uplink import payload_bits
from ..problem import STE, FloatArray, IntArray, Problem
from .client import ClientId


class ClientRecord(NamedTuple):
    """One way in which a client may send, as numbers of the right type; ranges are checked by `Problem`.

    Attributes:
        position: of the client, in the order given.
        id: of the client.
        alternative: name or index of the alternative; None where the client has none.
        worth: (N,) importances, or (N + 1,) utilities where `is_table`.
        is_table: whether `worth` are utilities.
        payload_bits: (N + 1,) bit, or None.
        gain: this and what follows are as in `Client`.
    """

    position: int
    id: ClientId
    alternative: str | int | None
    worth: FloatArray
    is_table: bool
    payload_bits: FloatArray | None
    gain: float
    bits_per_token: float
    max_power_w: float
    max_energy_j: float
    deadline_s: float
    overhead_s: float
    min_tokens: int
    max_tokens: int
    may_skip: bool
    before_j: float
    max_psd_w_per_hz: float
    max_bps_per_hz: float
    weight: float

    @property
    def tokens(self) -> int:
        """N."""
        return self.worth.size - self.is_table

    @property
    def is_instant(self) -> bool:
        """Whether it is worth something in no time, which leaves the STE without a bound."""
        return (
            self.is_table
            and self.min_tokens == 0
            and self.payload_bits is not None
            and self.payload_bits[0] == 0.0
            and self.overhead_s == 0.0
            and self.worth[0] > 0.0
        )


NUMBERS: Final = ClientRecord._fields[6:13]
"""Fields that are one number per row in every problem."""

SELDOM: Final = {"before_j": 0.0, "max_psd_w_per_hz": math.inf, "max_bps_per_hz": math.inf}
"""Fields that are left out where all rows have the value here."""


class Cell(NamedTuple):
    """What all clients of a round share."""

    bandwidth_hz: float
    noise_w_per_hz: float
    extra_tokens: int
    block_hz: float | None = None
    objective: Objective = STE


def build_problem(records: Sequence[ClientRecord], cell: Cell) -> Problem:
    """The round of these clients, whose records follow each other. Raises ProblemError.

    In the token problem shorter importances end in zeros, and if one payload is a table all are; it hardly
    rises beyond a client's last token, where nothing is gained. In any other the rows have `max_tokens`.
    """
    columns = dict(zip(ClientRecord._fields, zip(*records, strict=True), strict=True))
    sizes = [record.tokens for record in records]
    most = max(sizes)
    fields: dict[str, Any] = {name: np.array(columns[name]) for name in NUMBERS}
    if any(payload is not None for payload in columns["payload_bits"]):
        counts = np.arange(most + 1)
        rows = [_payload_row(record, counts, cell.extra_tokens) for record in records]
        fields["payload_bits"] = np.stack(rows)
    fields |= {name: columns[name] for name, value in SELDOM.items() if set(columns[name]) != {value}}
    positions = columns["position"]
    has_alternatives = len(set(positions)) < len(positions)
    is_plain = (
        fields.keys().isdisjoint(SELDOM)
        and not has_alternatives
        and cell[3:] == (None, STE)
        and not any(columns["is_table"])
        and list(columns["max_tokens"]) == sizes
        and min(columns["min_tokens"]) > 0
        and not any(columns["may_skip"])
    )
    objective = cell.objective
    if not is_plain:
        fields["max_tokens"] = np.array(columns["max_tokens"])
        first = [next(rows) for _, rows in groupby(records, lambda record: record.position)]
        fields["may_skip"] = np.array([record.may_skip for record in first])
        if has_alternatives:
            fields["client"] = np.cumsum(np.diff(positions, prepend=positions[0]) != 0)
        if isinstance(objective, TotalTime):
            objective = replace(objective, weight=[record.weight for record in first])
    if any(columns["is_table"]):
        fields["utility"] = np.stack([_utility_row(record, most) for record in records])
    else:
        importance = np.zeros((len(records), most))
        for m, values in enumerate(columns["worth"]):
            importance[m, : values.size] = values
        fields["importance"] = importance
    return Problem(**(cell._asdict() | fields | {"objective": objective}))


def find_refused(records: Sequence[ClientRecord]) -> dict[int, ProblemError]:
    """Which records `Problem` refuses for a number and why, by index; arrays are known to be good.

    Cost: one construction without arrays, and log2 R smaller ones for each record that is refused.
    """
    bare: dict[str, Any] = {"worth": np.ones(1), "is_table": False, "payload_bits": None}
    bare |= {"min_tokens": 1, "max_tokens": 1, "may_skip": False}
    return dict(_halve([record._replace(position=row, **bare) for row, record in enumerate(records)]))


def _halve(records: Sequence[ClientRecord]) -> Iterator[tuple[int, ProblemError]]:
    try:
        build_problem(records, Cell(1.0, 1.0, 0))
    except ProblemError as error:
        if len(records) == 1:
            yield records[0].position, error
            return
        half = len(records) // 2
        yield from _halve(records[:half])
        yield from _halve(records[half:])


def _payload_row(record: ClientRecord, counts: IntArray, extra_tokens: int) -> FloatArray:
    """(N + 1,) bits of K = 0..N tokens."""
    if record.payload_bits is None:
        return payload_bits(counts, record.bits_per_token, extra_tokens)
    last = record.payload_bits.size - 1
    beyond = 1.0 + 1e-6 * np.maximum(counts - last, 0)
    return record.payload_bits[np.minimum(counts, last)] * beyond


def _utility_row(record: ClientRecord, most: int) -> FloatArray:
    """(N + 1,) worths of K = 0..N tokens; those beyond the record's last count for nothing."""
    table = record.worth
    if not record.is_table:
        table = np.concatenate(([0.0], np.cumsum(np.sort(table)[::-1])))
    return np.pad(table, (0, most + 1 - table.size), mode="edge")
