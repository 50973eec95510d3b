"""Validate one client's report: types, sizes and shapes; ranges of single numbers are for `Problem`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import is_
from typing import Any, Final, NamedTuple

import numpy as np

from ..errors import ProblemError
from ..objective import Objective, Retained, Ste, Weighted
from ..problem import STE, FloatArray
from ..problem_fields import LARGEST, SMALLEST
from .channel_state import Cqi, Snr, gain_from_cqi, gain_from_snr_db, gain_with_margin
from .client import Alternative, Client, ClientId, spelled_out
from .client_record import Cell, ClientRecord
from .conversion import to_array, to_flag, to_number
from .utility import Utility, importance_from_utility

LONGEST_NAME: Final = 200
"""Characters of a text id, and of an alternative's name."""

SELDOM: Final = ("before_j", "max_psd_w_per_hz", "max_bps_per_hz", "weight")
UNSET: Final = (Client.before_j, Client.max_psd_w_per_hz, Client.max_bps_per_hz, Client.weight)
UNSET_ALTERNATIVES: Final = Client.alternatives
"""Their defaults, themselves: `is` tells them without reading what a client reports."""


class Most(NamedTuple):
    """What is taken of a client at most."""

    tokens: int
    alternatives: int


def validate_client(
    position: int, client_id: ClientId, client: Client, cell: Cell, most: Most
) -> list[ClientRecord]:
    """A client's report as numbers, one record per alternative; sizes are known before anything is converted.

    Args:
        position: in the order that the client came in.
        client_id: its id, checked.
        client: as reported.
        cell: with the band of an `Snr` or `Cqi` that names none, and the objective.
        most: tokens and alternatives.

    Raises:
        ProblemError: `who` is the field at fault, after the alternative where it is in one.
    """
    if client.alternatives is UNSET_ALTERNATIVES:
        records = [_record(position, client_id, None, client, cell, most.tokens)]
    else:
        records = list(_alternatives(position, client_id, client, cell, most))
    if cell.objective is not STE or records[0].is_table or len(records) > 1:
        _check_objective(records, cell.objective)
    return records


def _alternatives(
    position: int, client_id: ClientId, client: Client, cell: Cell, most: Most
) -> Iterator[ClientRecord]:
    given = client.alternatives
    allowed = f"up to {most.alternatives} Alternatives in a list or tuple"
    if not isinstance(given, list | tuple):
        raise ProblemError("alternatives", f"type {type(given).__name__:.40}", allowed, "Leave it out")
    if len(given) > most.alternatives:
        raise ProblemError("alternatives", f"{len(given)}", allowed, "Raise most_alternatives")
    if not given:
        yield _record(position, client_id, None, client, cell, most.tokens)
    names: set[str] = set()
    for index, alternative in enumerate(given):
        if not isinstance(alternative, Alternative):
            raise ProblemError(
                "alternatives", f"type {type(alternative).__name__:.40}", allowed, "Build Alternatives"
            )
        name = alternative.name
        if not (name is None or (isinstance(name, str) and len(name) <= LONGEST_NAME and name not in names)):
            words = f"names of up to {LONGEST_NAME} characters, all different"
            raise ProblemError("alternatives", f"name={name!r:.60}", words, "Rename it")
        if name is not None:
            names.add(name)
        try:
            shown = index if name is None else name
            yield _record(position, client_id, shown, spelled_out(client, alternative), cell, most.tokens)
        except ProblemError as error:
            raise in_alternative(error, shown) from error


def in_alternative(error: ProblemError, alternative: str | int | None) -> ProblemError:
    """The error, with the name of the alternative that it is in, if it is in one."""
    if alternative is None:
        return error
    who = f"alternative {alternative!r}, {error.who.removeprefix('Problem.')}"
    return ProblemError(who, error.got, error.allowed, error.next_step)


def _record(
    position: int,
    client_id: ClientId,
    alternative: str | int | None,
    client: Client,
    cell: Cell,
    most_tokens: int,
) -> ClientRecord:
    fewest = None if client.min_tokens is None else _count("min_tokens", client.min_tokens)
    if client.utility is not None:
        is_table, worth = True, _utility(client.utility, most_tokens)
    elif client.importance is None and _is_one_number(client.payload_bits):
        is_table, worth = True, np.zeros(1)
    else:
        is_table, worth = False, _importance(client.importance, 1 if fewest is None else fewest, most_tokens)
    tokens = worth.size - is_table
    last = tokens if client.max_tokens is None else _count("max_tokens", client.max_tokens)
    if last > tokens:
        raise ProblemError("max_tokens", f"{last}", f"at most N = {tokens}", "Lower it")
    if fewest is None:
        fewest = min(1, last)
    if fewest > last:
        words = f"at most N = {tokens}" if last == tokens else f"at most max_tokens = {last}"
        raise ProblemError("min_tokens", f"{fewest}", words, "Lower it")
    power = to_number("max_power_w", client.max_power_w)
    payload = None if client.payload_bits is None else _payload(client.payload_bits, tokens, last)
    return ClientRecord(
        position,
        client_id,
        alternative,
        worth,
        is_table,
        payload,
        _gain(client, power, cell),
        to_number("bits_per_token", client.bits_per_token if payload is None else 1.0),
        power,
        to_number("max_energy_j", client.max_energy_j),
        to_number("deadline_s", client.deadline_s),
        to_number("overhead_s", client.overhead_s),
        fewest,
        last,
        client.may_skip is not False and to_flag("may_skip", client.may_skip),
        *_seldom(client),
    )


def _count(name: str, value: Any) -> int:
    number = to_number(name, value)
    if not (0 <= number < math.inf and number % 1 == 0):
        raise ProblemError(name, f"{number:g}", "whole numbers from 0 to N", "Correct it")
    return int(number)


def _is_one_number(value: Any) -> bool:
    try:
        return to_array("payload_bits", value, 1).size == 1
    except ProblemError:
        return False


def _seldom(client: Client) -> tuple[float, float, float, float]:
    """`before_j`, the caps and the weight, which few clients set."""
    given = (client.before_j, client.max_psd_w_per_hz, client.max_bps_per_hz, client.weight)
    if all(map(is_, given, UNSET)):
        return UNSET
    before_j, psd, bps, weight = map(to_number, SELDOM, given)
    if not 0.0 < weight < math.inf:
        raise ProblemError("weight", f"{weight:g}", "finite and > 0", "Correct it")
    return before_j, psd, bps, weight


def _importance(value: Any, min_tokens: int, most_tokens: int) -> FloatArray:
    if isinstance(value, Utility):
        table = to_array("importance", value.values, most_tokens + 1)
        array = importance_from_utility(table, value.first, max(min_tokens, 1))
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


def _utility(value: Any, most_tokens: int) -> FloatArray:
    table = np.atleast_1d(to_array("utility", value, most_tokens + 1)).astype(np.float64)
    if table.ndim != 1 or table.size == 0:
        raise ProblemError("utility", f"shape {table.shape}", "(N + 1,): K = 0..N", "Flatten it")
    if not (table.min() >= 0 and table.max() <= LARGEST):
        raise ProblemError(
            "utility",
            f"values from {table.min():g} to {table.max():g}",
            f"finite and >= 0, up to {LARGEST:g}",
            "Clean the table",
        )
    return table


def _payload(value: Any, tokens: int, max_tokens: int) -> FloatArray:
    table = np.atleast_1d(to_array("payload_bits", value, tokens + 1)).astype(np.float64)
    if table.shape != (tokens + 1,):
        raise ProblemError(
            "payload_bits", f"shape {table.shape}", f"({tokens + 1},): K = 0..N", "Complete it"
        )
    sent = table[: max_tokens + 1]
    rises = max_tokens == 0 or (np.diff(sent).min() > 0 and sent[1] >= SMALLEST)
    fits = table.max() <= LARGEST and table.min() >= 0 and (sent[0] >= SMALLEST or sent[0] == 0)
    if not (rises and fits):
        raise ProblemError(
            "payload_bits",
            f"values from {table.min():g} to {table.max():g}",
            f"strictly increasing from >= 0, {SMALLEST:g} to {LARGEST:g} from 1 token on",
            "Every token takes bits",
        )
    return table


def _gain(client: Client, power_w: float, cell: Cell) -> float:
    margin_db = to_number("margin_db", client.margin_db)
    if not math.isfinite(margin_db):
        raise ProblemError("margin_db", f"{margin_db:g}", "a finite number of dB", "Use 0 for none")
    with np.errstate(all="ignore"):  # what overflows or divides by 0 is refused as a gain
        if isinstance(client.gain, Snr | Cqi):
            given, power, band = client.gain
            power = power_w if power is None else to_number("gain.power_w", power)
            band = cell.bandwidth_hz if band is None else to_number("gain.bandwidth_hz", band)
            convert = gain_from_snr_db if isinstance(client.gain, Snr) else gain_from_cqi
            gain = convert(
                to_number(f"gain.{client.gain._fields[0]}", given),
                np.float64(power),
                band,
                cell.noise_w_per_hz,
            )
        else:
            gain = np.asarray(to_number("gain", client.gain))
        return float(gain_with_margin(gain, margin_db) if margin_db else gain)


def _check_objective(records: Sequence[ClientRecord], objective: Objective) -> None:
    """Refuse what leaves the objective without an optimum, as `Problem` would for all clients together."""
    first = records[0]
    if isinstance(objective, Ste | Retained) and not any(record.worth.max() > 0.0 for record in records):
        raise ProblemError("utility", "zeros", f"a positive one, for {objective.name}", "Say its worth")
    if first.may_skip and not objective.maximises and not objective.least_retained > 0.0:
        raise ProblemError(
            "may_skip", "True", f"False, for {objective.name} without retained", "Require something"
        )
    for record in records:
        if isinstance(objective, Weighted) and objective.per_second == 0.0 and record.deadline_s == math.inf:
            error = ProblemError("deadline_s", "inf", "finite where time costs nothing", "Set one")
            raise in_alternative(error, record.alternative)
        if isinstance(objective, Ste) and record.is_instant:
            error = ProblemError(
                "utility", f"{record.worth[0]:g} for 0 bits in 0 s", "0, for ste", "Count a header"
            )
            raise in_alternative(error, record.alternative)
