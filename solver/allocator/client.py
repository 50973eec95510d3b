"""What a client reports for one round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

ClientId = str | int

SAID_ONCE: Final = (("importance", "utility"), ("bits_per_token", "payload_bits"))
"""Fields of which one is enough: an alternative that sets one does not take over the client's other."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Alternative:
    """One of several ways in which a client may send, of which exactly one is chosen.

    What is None is as the client says. An alternative that sets one of `importance` and `utility` does not
    take over the other, nor one of `bits_per_token` and `payload_bits`.

    Attributes:
        name: text, which `Grant.alternative` shows; without one that is its index.
        gain: these and all others are as in `Client`.

    Examples:
        >>> from stsflora.solver import Allocator, Alternative, Client, RoundTime, Snr
        >>> deep = Alternative(name="deep", payload_bits=2e6, overhead_s=0.9, before_j=0.3)
        >>> shallow = Alternative(name="shallow", payload_bits=8e6, overhead_s=0.1)
        >>> ada = Client("ada", Snr(9.5), max_power_w=0.2, alternatives=[deep, shallow])
        >>> plan = Allocator(bandwidth_hz=20e6, objective=RoundTime()).plan([ada])
        >>> plan.grants["ada"].alternative, round(plan.round_s, 2)
        ('shallow', 0.22)
    """

    name: str | None = None
    gain: Any = None
    importance: Any = None
    bits_per_token: Any = None
    max_power_w: Any = None
    max_energy_j: Any = None
    deadline_s: Any = None
    overhead_s: Any = None
    min_tokens: Any = None
    margin_db: Any = None
    payload_bits: Any = None
    utility: Any = None
    max_tokens: Any = None
    before_j: Any = None
    max_psd_w_per_hz: Any = None
    max_bps_per_hz: Any = None


@dataclass(frozen=True, eq=False)
class Client:
    """What a client reports for one round; unchecked, `Allocator.plan` drops what it cannot use.

    Numbers may be Python's, numpy's or tensors of one element, on any device and of any precision.

    Attributes:
        id: text or whole number, unique within the round.
        gain: linear channel power gain, > 0, or an `Snr` or `Cqi` that stands for it.
        importance: (N,) attention mass per token, >= 0, not all zero, in any order: a sequence, array or
            tensor; or a `Utility`. N may differ between clients. None beside `utility`.
        bits_per_token: bit, > 0: batch size x width x bits per element. None beside `payload_bits`.
        max_power_w: W, > 0.
        max_energy_j: energy budget of the round, J, > 0; inf for none.
        deadline_s: limit on the uplink time, s, > 0; inf for none.
        overhead_s: time before the upload that counts in the round time, s, >= 0.
        min_tokens: whole number in 0..max_tokens; by default min(1, max_tokens).
        margin_db: by how much the channel may be worse than reported, dB (see `channel_state`).
        payload_bits: (N + 1,) bit: what sending K = 0..N tokens takes, strictly increasing. One number is a
            fixed payload, N = 0, worth nothing unless `utility` says something else.
        utility: (N + 1,) what K = 0..N tokens are worth, >= 0, of any shape, for instance an S; then
            `importance` counts for nothing. One number is the worth of a fixed payload.
        max_tokens: whole number in 0..N, by default N.
        may_skip: whether the client may be left out, if that is best: no utility, no time, no energy.
        before_j: spent before the upload, J, >= 0; counts against `max_energy_j`.
        max_psd_w_per_hz: limit on power per bandwidth, W/Hz, > 0; inf for none.
        max_bps_per_hz: the highest modulation and coding, bit/s/Hz, > 0; inf for none.
        weight: > 0, of its time where the objective is `TotalTime`.
        alternatives: ways to send, of which one is chosen; empty for the one that these fields describe.

    Examples:
        >>> from stsflora.solver import Allocator, Client, Snr
        >>> ada = Client("ada", Snr(21.0), [0.1, 0.5, 0.4], 8e6, max_power_w=0.2, deadline_s=2.0)
        >>> bob = Client("bob", -1.0, [0.1, 0.5, 0.4], bits_per_token=8e6, max_power_w=0.2)
        >>> plan = Allocator(bandwidth_hz=20e6).plan([ada, bob])
        >>> list(plan.grants), plan.dropped[0].cause
        (['ada'], 'malformed')
    """

    id: ClientId
    gain: Any
    importance: Any = None
    bits_per_token: Any = None
    max_power_w: Any = None
    max_energy_j: Any = math.inf
    deadline_s: Any = math.inf
    overhead_s: Any = 0.0
    min_tokens: Any = None
    margin_db: Any = 0.0
    payload_bits: Any = None
    utility: Any = None
    max_tokens: Any = None
    may_skip: Any = False
    before_j: Any = 0.0
    max_psd_w_per_hz: Any = math.inf
    max_bps_per_hz: Any = math.inf
    weight: Any = 1.0
    alternatives: Sequence[Alternative] = ()

    @staticmethod
    def fixed(
        id: ClientId,  # noqa: A002 - the field's name
        gain: Any,
        payload_bits: Any,
        *,
        max_power_w: Any,
        worth: Any = 0.0,
        **others: Any,
    ) -> Client:
        """A client with one payload of given size, such as an adapter or a model's update.

        Args:
            id: as in `Client`.
            gain: likewise.
            payload_bits: bit, >= 0.
            max_power_w: as in `Client`.
            worth: what its arrival is worth, >= 0; objectives that count utilities need some.
            **others: other fields of `Client`.

        Examples:
            >>> from stsflora.solver import Client, Snr
            >>> Client.fixed("ada", Snr(9.5), 8e6, max_power_w=0.2, overhead_s=0.4).utility
            0.0
        """
        return Client(id, gain, payload_bits=payload_bits, utility=worth, max_power_w=max_power_w, **others)


def spelled_out(client: Client, alternative: Alternative) -> Client:
    """The client as if an alternative were its only way to send."""
    given = {field.name: getattr(alternative, field.name) for field in fields(alternative)}
    changes = {name: value for name, value in given.items() if value is not None and name != "name"}
    for names in SAID_ONCE:
        if any(name in changes for name in names):
            changes = dict.fromkeys(names) | changes
    return replace(client, alternatives=(), **changes)
