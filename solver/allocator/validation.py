"""Validate one client's report: types, sizes and shapes; ranges of single numbers are for `Problem`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ProblemError
from ..problem import FloatArray
from ..problem_fields import LARGEST, SMALLEST
from .channel_state import Cqi, Snr, gain_from_cqi, gain_from_snr_db, gain_with_margin
from .client import Client, ClientId
from .client_record import ClientRecord
from .conversion import to_array, to_number
from .utility import Utility, importance_from_utility


def validate_client(
    position: int,
    client_id: ClientId,
    client: Client,
    bandwidth_hz: float,
    noise_w_per_hz: float,
    most_tokens: int,
) -> ClientRecord:
    """A client's report as numbers; sizes and types are checked before anything is converted.

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
    min_tokens = to_number("min_tokens", client.min_tokens)
    if not (1 <= min_tokens < math.inf and min_tokens % 1 == 0):
        raise ProblemError("min_tokens", f"{min_tokens:g}", "whole numbers from 1 to N", "Correct it")
    importance = _importance(client.importance, int(min_tokens), most_tokens)
    if min_tokens > importance.size:
        raise ProblemError("min_tokens", f"{min_tokens:g}", f"at most N = {importance.size}", "Lower it")
    power = to_number("max_power_w", client.max_power_w)
    payload = None if client.payload_bits is None else _payload(client.payload_bits, importance.size)
    return ClientRecord(
        position,
        client_id,
        importance,
        payload,
        _gain(client, power, bandwidth_hz, noise_w_per_hz),
        to_number("bits_per_token", client.bits_per_token if payload is None else 1.0),
        power,
        to_number("max_energy_j", client.max_energy_j),
        to_number("deadline_s", client.deadline_s),
        to_number("overhead_s", client.overhead_s),
        int(min_tokens),
    )


def _importance(value: Any, min_tokens: int, most_tokens: int) -> FloatArray:
    if isinstance(value, Utility):
        table = to_array("importance", value.values, most_tokens + 1)
        array = importance_from_utility(table, value.first, min_tokens)
    else:
        array = to_array("importance", value, most_tokens)
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
    table = to_array("payload_bits", value, tokens + 1).astype(np.float64)
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


def _gain(client: Client, power_w: float, bandwidth_hz: float, noise_w_per_hz: float) -> float:
    margin_db = to_number("margin_db", client.margin_db)
    if not math.isfinite(margin_db):
        raise ProblemError("margin_db", f"{margin_db:g}", "a finite number of dB", "Use 0 for none")
    with np.errstate(all="ignore"):  # what overflows or divides by 0 is refused as a gain
        if isinstance(client.gain, Snr | Cqi):
            given, power, band = client.gain
            power = power_w if power is None else to_number("gain.power_w", power)
            band = bandwidth_hz if band is None else to_number("gain.bandwidth_hz", band)
            convert = gain_from_snr_db if isinstance(client.gain, Snr) else gain_from_cqi
            gain = convert(
                to_number(f"gain.{client.gain._fields[0]}", given), np.float64(power), band, noise_w_per_hz
            )
        else:
            gain = np.asarray(to_number("gain", client.gain))
        return float(gain_with_margin(gain, margin_db) if margin_db else gain)
