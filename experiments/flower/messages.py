"""Messages between server and clients on Flower: pack, read, and check before anything is used.

Arrays travel as their bare bytes, little-endian and in C order: no header that could contradict the shape
that the receiver expects. A receiver knows every name, type and shape beforehand and takes nothing else.

A round has two exchanges. `query.offer`: {round} -> {client, samples}, importance. `train.upload`:
{round, tokens, bits, bandwidth-hz, power-w} -> tokens, labels, and of 8 bits each token's low and step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from torch import Tensor

from ...models.vit.names import BIT_DEPTHS
from ...models.vit.quantisation import FLOATS, LEVELS, EncodedTokens, FloatTokens, QuantisedTokens, encode
from ...models.vit.tokens import Selected, merged_tokens
from ...solver import Grant, StsfloraError
from ...solver.tolerances import FEASIBILITY
from ..finetune.client_tokens import Offer
from ..finetune.config import Config

OFFER: Final = "query.offer"
UPLOAD: Final = "train.upload"
BARE: Final = "stsflora.bare"
LARGEST: Final = 65504.0
"""Largest magnitude of a token's element, float16's: beyond it a layer norm may overflow."""
IMPORTANCE_TOLERANCE: Final = 1e-3


class MessageError(StsfloraError, ValueError):
    """A message from the network is malformed; whoever sent it takes no part in the round."""


@dataclass(frozen=True)
class GrantMessage:
    """Grant as a client receives it: K tokens per image, bits per element, over a bandwidth at a power."""

    tokens: int
    bits: int
    bandwidth_hz: float
    power_w: float


@dataclass(frozen=True)
class Format:
    """Shapes and ranges that both sides know from the run's settings and the model.

    Attributes:
        config: settings.
        patches: N.
        width: C.
        prefix_tokens: P.
        classes: of labels.
    """

    config: Config
    patches: int
    width: int
    prefix_tokens: int
    classes: int

    def tokens_sent(self, count: int) -> int:
        """Tokens of an image in an upload, P + K + E."""
        return self.prefix_tokens + count + merged_tokens(self.config.sent_merge)


def pack_round(index: int) -> RecordDict:
    """Request of the server for offers."""
    return RecordDict({"ask": ConfigRecord({"round": index})})


def read_round(content: RecordDict, config: Config) -> int:
    """The round that the server asks for. Raises MessageError."""
    (index,) = _numbers(_records(content, "ask")["ask"], {"round": (int, 0, config.rounds - 1)})
    return int(index)


def pack_offer(client: int, offer: Offer) -> RecordDict:
    """Offer of a client."""
    return RecordDict(
        {
            "offer": ConfigRecord({"client": client, "samples": offer.samples}),
            "arrays": ArrayRecord({"importance": _bare(offer.importance, "<f8")}),
        }
    )


def read_offer(content: RecordDict, form: Format) -> tuple[int, Offer]:
    """Whose offer it is, and the offer: descending importances that sum to the number of samples.

    Raises:
        MessageError: names, types, sizes or values are not those of an offer.
    """
    config = form.config
    records = _records(content, "offer", "arrays")
    ranges = {"client": (int, 0, config.clients - 1), "samples": (int, 1, config.batch)}
    client, samples = _numbers(records["offer"], ranges)
    _names(records["arrays"], "importance")
    importance = _array(records["arrays"], "importance", "<f8", (form.patches,), (0.0, float(samples)))
    if (np.diff(importance) > 0).any():
        raise MessageError("importance", "values that ascend", "descending ones", "Sort them")
    if abs(total := float(importance.sum()) - samples) > IMPORTANCE_TOLERANCE * samples:
        raise MessageError(
            "importance",
            f"a sum that is {total:+.3g} off",
            f"{samples}, one per sample",
            "Normalise the scores",
        )
    return client, Offer(samples, importance)


def pack_grant(index: int, grant: Grant, bits: int) -> RecordDict:
    """Grant of the server, and the bits per element in which it awaits the tokens."""
    power = {"bandwidth-hz": grant.bandwidth_hz, "power-w": grant.power_w}
    return RecordDict(
        {"grant": ConfigRecord({"round": index, "tokens": grant.tokens, "bits": bits, **power})}
    )


def read_grant(content: RecordDict, config: Config) -> tuple[int, GrantMessage]:
    """Round and grant; that K is at most N is for `select` to say. Raises MessageError."""
    slack = 1 + FEASIBILITY
    ranges = {
        "round": (int, 0, config.rounds - 1),
        "tokens": (int, 1, 2**31),
        "bits": (int, min(BIT_DEPTHS), max(BIT_DEPTHS)),
        "bandwidth-hz": (float, math.ulp(0.0), config.bandwidth_hz * slack),
        "power-w": (float, math.ulp(0.0), config.max_power_w * slack),
    }
    index, *numbers = _numbers(_records(content, "grant")["grant"], ranges)
    grant = GrantMessage(*numbers)
    allowed = [depth.bits for depth in config.bit_depths]
    if grant.bits not in allowed:
        raise MessageError("bits", f"{grant.bits}", " or ".join(map(str, allowed)), "Correct it")
    return index, grant


def pack_upload(selected: Selected, labels: Tensor, bits: int) -> RecordDict:
    """A client's tokens as they are sent in these bits per element, and the labels to train with.

    Raises:
        FloatingPointError: as of `encode`.
    """
    kinds = _token_types(bits)
    sent = encode(selected.tokens, bits).tensors
    arrays = {name: _bare(tensor.numpy(), kinds[name]) for name, tensor in sent.items()}
    return RecordDict({"arrays": ArrayRecord({**arrays, "labels": _bare(labels.numpy(), "<i4")})})


def read_upload(
    content: RecordDict, form: Format, samples: int, count: int, bits: int
) -> tuple[Selected, Tensor]:
    """Tokens and labels of a batch of which the offer has told the size and the grant K and the bits.

    Which tokens are valid follows from K: only the merged one of a client that keeps all is not.

    Raises:
        MessageError: names, types, sizes or values are not those that were granted.
    """
    arrays = _records(content, "arrays")["arrays"]
    kinds = _token_types(bits)
    _names(arrays, *kinds, "labels")
    length = form.tokens_sent(count)
    shape = (samples, length, form.width)
    if bits in FLOATS:
        tokens = torch.from_numpy(_array(arrays, "tokens", kinds["tokens"], shape, (-LARGEST, LARGEST)))
        sent: EncodedTokens = FloatTokens(tokens)
    else:
        codes = _array(arrays, "tokens", kinds["tokens"], shape, (0, LEVELS))
        low = _array(arrays, "low", kinds["low"], shape[:2], (-LARGEST, LARGEST))
        step = _array(arrays, "step", kinds["step"], shape[:2], (0.0, 2 * LARGEST / LEVELS))
        sent = QuantisedTokens(*map(torch.from_numpy, (codes, low, step)))
    labels = _array(arrays, "labels", "<i4", (samples,), (0, form.classes - 1))
    valid = torch.ones((samples, length), dtype=torch.bool)
    if length > form.prefix_tokens + form.patches:
        valid[:, -1] = False
    values = sent.restored().clamp(-LARGEST, LARGEST)  # a low value plus 255 steps may go beyond
    return Selected(values, valid), torch.from_numpy(labels).long()


def payload_bytes(content: RecordDict) -> int:
    """Bytes of the tokens in an upload that was read."""
    arrays = content.array_records["arrays"]
    return sum(len(array.data) for name, array in arrays.items() if name != "labels")


def _token_types(bits: int) -> dict[str, str]:
    """Type of each array of an upload besides its labels."""
    return {"tokens": f"<f{bits // 8}"} if bits in FLOATS else {"tokens": "|u1", "low": "<f4", "step": "<f4"}


def _bare(values: NDArray[Any], kind: str) -> Array:
    return Array(kind, tuple(values.shape), BARE, values.astype(kind).tobytes())


def _records(content: RecordDict, *names: str) -> dict[str, Any]:
    _names(content, *names)
    kinds = {name: ArrayRecord if name == "arrays" else ConfigRecord for name in names}
    for name, kind in kinds.items():
        if type(content[name]) is not kind:
            raise MessageError(f"record {name!r}", type(content[name]).__name__, kind.__name__, "Correct it")
    return {name: content[name] for name in names}


def _names(record: Mapping[str, object], *names: str) -> None:
    if record.keys() != set(names):
        got = ", ".join(sorted(map(repr, record)))
        raise MessageError(
            "message", f"{got or 'nothing'!s:.100}", ", ".join(names), "Send these and nothing else"
        )


def _numbers(record: Mapping[str, Any], ranges: Mapping[str, tuple[type, float, float]]) -> list[Any]:
    """The numbers of a record in the order of their ranges, each of that very type, or MessageError."""
    _names(record, *ranges)
    for name, (kind, low, high) in ranges.items():
        if type(record[name]) is not kind or not low <= record[name] <= high:  # NaN is in no range
            got, allowed = f"{record[name]!r:.40}", f"{kind.__name__} {low} to {high}"
            raise MessageError(name, got, allowed, "Correct it")
    return [record[name] for name in ranges]


def _array(
    record: Mapping[str, Array], name: str, kind: str, shape: tuple[int, ...], limits: tuple[float, float]
) -> NDArray[Any]:
    """An array of that type and shape with finite values within limits, or MessageError."""
    array, size = record[name], np.dtype(kind).itemsize * math.prod(shape)
    got = (array.stype, array.dtype, tuple(array.shape), len(array.data))
    if got != (BARE, kind, shape, size):
        raise MessageError(
            name,
            f"{got[1]!r:.20} of shape {got[2]!s:.60} in {got[3]} bytes of {got[0]!r:.20}",
            f"{kind!r} of shape {shape} in {size} bytes of {BARE!r}",
            "Send what was granted",
        )
    values = np.frombuffer(array.data, kind).reshape(shape)
    low, high = limits
    if not bool(((values >= low) & (values <= high)).all()):  # NaN is in no range
        raise MessageError(
            name, "a value out of range", f"finite ones from {low:g} to {high:g}", "Correct it"
        )
    return values.astype(values.dtype.newbyteorder("="))
