"""What a client reports for one round."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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
    importance: Any
    bits_per_token: Any
    max_power_w: Any
    max_energy_j: Any = math.inf
    deadline_s: Any = math.inf
    overhead_s: Any = 0.0
    min_tokens: Any = 1
    margin_db: Any = 0.0
    payload_bits: Any = None
