"""Alternatives of a client as rows of a `Problem`: cut layers, bit depths, LoRA ranks, frequencies.

variants = bit_depths(cut_layers(Architecture(), [3, 6, 9], images=32), {32: 1.0, 8: 0.97})
rows = alternatives(variants, importance=attention, gain=gain, ..., frequencies_hz=[0.8e9, 1.5e9])
result = solve(Problem(**rows.fields, bandwidth_hz=20e6))
rows.names[result.allocation.row[0]]     # "cut 6, 8 bit, 0.8 GHz"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from ..solver.checks import numbers_in_range, positive_numbers, real_number, whole_number
from ..solver.errors import ProblemError
from ..solver.problem import FloatArray
from .cell.device import FLOAT_BYTES, FLOP_PER_CYCLE_AND_CORE, Architecture

SWITCHED_CAPACITANCE: Final = 1e-28
"""kappa of a mobile processor, J s^2 per cycle: the value that most published work takes."""


@dataclass(frozen=True)
class Variant:
    """One way to take part in a round: what is computed before the upload, what is sent, what that is worth.

    Attributes:
        name: for people.
        bits_per_token: bit per token of the whole batch, > 0.
        flop: before the upload, >= 0.
        extra_bits: sent besides the tokens, such as an adapter, >= 0.
        worth: what its tokens are worth, as a factor of their importance, > 0.
        memory_bytes: that the client needs, >= 0.

    Examples:
        >>> from stsflora.models.alternatives import Variant
        >>> Variant("whole image", bits_per_token=8.0 * 150528).flop
        0.0
    """

    name: str
    bits_per_token: float
    flop: float = 0.0
    extra_bits: float = 0.0
    worth: float = 1.0
    memory_bytes: float = 0.0

    def __post_init__(self) -> None:
        for name, open_low in (("bits_per_token", True), ("worth", True), ("flop", False)):
            real_number("Variant", name, getattr(self, name), open_low=open_low, error=ProblemError)
        for name in ("extra_bits", "memory_bytes"):
            real_number("Variant", name, getattr(self, name), error=ProblemError)


def cut_layers(
    shape: Architecture,
    cuts: Iterable[int],
    *,
    images: int,
    bits_per_element: int = 32,
    worth: Mapping[int, float] | None = None,
) -> list[Variant]:
    """A variant per cut layer of a ViT: the FLOP of its client half, and a token's activations in bit.

    All blocks of a ViT have the same width, so that a token takes the same bits at every cut; cuts differ in
    FLOP, in memory, and in what their tokens are worth.

    Args:
        shape: of the ViT; `Architecture(width=..., patches=...)` from a timm model's `embed_dim` and
            `patch_embed.num_patches`.
        cuts: numbers of blocks that the client runs, >= 0.
        images: in a client's batch.
        bits_per_element: of what is sent.
        worth: factor of the importance by cut; 1 where it is not named.

    Raises:
        ProblemError: a cut or a worth out of range.

    Examples:
        >>> from stsflora.models.alternatives import cut_layers
        >>> from stsflora.models.cell.device import Architecture
        >>> [variant.name for variant in cut_layers(Architecture(), [3, 6], images=32)]
        ['cut 3', 'cut 6']
    """
    images = whole_number("cut_layers", "images", images, 1, error=ProblemError)
    factors = worth or {}
    variants = []
    for cut in cuts:
        blocks = whole_number("cut_layers", "cut", cut, 0, error=ProblemError)
        parameters = shape.embedding_parameters + blocks * shape.block_parameters
        working_set = images * shape.length * shape.width * (2 + shape.mlp_ratio)
        variants.append(
            Variant(
                name=f"cut {blocks}",
                bits_per_token=float(images * shape.width * bits_per_element),
                flop=images * shape.client_flop(blocks),
                worth=factors.get(blocks, 1.0),
                memory_bytes=FLOAT_BYTES * (parameters + working_set),
            )
        )
    return variants


def bit_depths(variants: Iterable[Variant], worth: Mapping[int, float], *, of: int = 32) -> list[Variant]:
    """Every variant at several bit depths of its tokens.

    Args:
        variants: whose `bits_per_token` are those of `of` bits per element.
        worth: factor of the importance by bits per element, such as {32: 1.0, 16: 1.0, 8: 0.97}.
        of: bits per element in `variants`.

    Raises:
        ProblemError: a depth below 1, or a worth that is not positive.

    Examples:
        >>> from stsflora.models.alternatives import Variant, bit_depths
        >>> [(v.name, v.bits_per_token) for v in bit_depths([Variant("cut 3", 3200.0)], {32: 1.0, 8: 0.9})]
        [('cut 3, 32 bit', 3200.0), ('cut 3, 8 bit', 800.0)]
    """
    depths = [
        (whole_number("bit_depths", "bits", bits, 1, error=ProblemError), w) for bits, w in worth.items()
    ]
    return [
        replace(
            variant,
            name=f"{variant.name}, {bits} bit",
            bits_per_token=variant.bits_per_token * bits / of,
            worth=variant.worth * factor,
        )
        for variant in variants
        for bits, factor in depths
    ]


def lora_ranks(
    variants: Iterable[Variant],
    worth: Mapping[int, float],
    *,
    shape: Architecture,
    blocks: int,
    bits_per_element: int = 32,
) -> list[Variant]:
    """Every variant with LoRA adapters of several ranks, which are sent besides the tokens.

    Args:
        variants: without adapters.
        worth: factor of the importance by rank.
        shape: of the ViT.
        blocks: that have adapters.
        bits_per_element: of the adapters.

    Raises:
        ProblemError: a rank below 1, or a worth that is not positive.

    Examples:
        >>> from stsflora.models.alternatives import Variant, lora_ranks
        >>> from stsflora.models.cell.device import Architecture
        >>> shape = Architecture(width=192)
        >>> [v.extra_bits for v in lora_ranks([Variant("cut 3", 3200.0)], {4: 0.9}, shape=shape, blocks=1)]
        [344064.0]
    """
    ranks = [
        (whole_number("lora_ranks", "rank", rank, 1, error=ProblemError), w) for rank, w in worth.items()
    ]
    return [
        replace(
            variant,
            name=f"{variant.name}, rank {rank}",
            extra_bits=variant.extra_bits + float(bits_per_element * shape.lora_parameters(blocks, rank)),
            worth=variant.worth * factor,
        )
        for variant in variants
        for rank, factor in ranks
    ]


@dataclass(frozen=True)
class Rows:
    """Rows of a `Problem`, and what was left out of them.

    Attributes:
        fields: arguments of `Problem` by name.
        names: (R,) of the rows.
        dominated: client and name of rows that another one of the client's beats in every respect.
        unusable: client and name of rows that need more memory than there is, or more time or energy before
            the upload than the client has.
    """

    fields: Mapping[str, Any]
    names: tuple[str, ...]
    dominated: tuple[tuple[int, str], ...]
    unusable: tuple[tuple[int, str], ...]


def alternatives(
    variants: Sequence[Variant],
    *,
    importance: ArrayLike,
    gain: ArrayLike,
    max_power_w: ArrayLike,
    max_energy_j: ArrayLike,
    frequencies_hz: ArrayLike,
    flop_per_cycle: ArrayLike = 4 * FLOP_PER_CYCLE_AND_CORE,
    switched_capacitance: float = SWITCHED_CAPACITANCE,
    standing_s: ArrayLike = np.inf,
    memory_bytes: ArrayLike = np.inf,
    extra_tokens: int = 2,
    min_tokens: int = 1,
) -> Rows:
    """The rows of M clients: every variant at every processor frequency that the client can run it at.

    At f Hz a variant takes cycles / f seconds before the upload (`overhead_s`) and kappa f^2 cycles joules
    (`before_j`); the deadline of its upload is what is left of `standing_s`.

    Args:
        variants: V ways to take part, the same for all clients.
        importance: (M, N) attention mass per token, or (V, M, N) where variants see other tokens.
        gain: (M,) or scalar, linear.
        max_power_w: (M,) or scalar, W.
        max_energy_j: (M,) or scalar, J, for computing and uploading.
        frequencies_hz: (F,), or (M, F) where clients have others, Hz.
        flop_per_cycle: (M,) or scalar.
        switched_capacitance: kappa, J s^2 per cycle; 0 where computing costs nothing.
        standing_s: (M,) or scalar, s: how long a client stays.
        memory_bytes: (M,) or scalar: what a client has.
        extra_tokens: sent besides the kept ones.
        min_tokens: fewest tokens of every row.

    Raises:
        ProblemError: a number out of range, or a client that can run no variant.

    Cost: O(M (V F)^2 N) comparisons of rows.

    Examples:
        >>> import numpy as np
        >>> from stsflora.models.alternatives import alternatives, bit_depths, cut_layers
        >>> from stsflora.models.cell.device import Architecture
        >>> from stsflora.solver import Problem, solve
        >>> variants = bit_depths(cut_layers(Architecture(), [3, 6], images=8), {32: 1.0, 8: 0.9})
        >>> rows = alternatives(
        ...     variants,
        ...     importance=np.linspace(1.0, 0.0, 196) * np.ones((2, 1)),
        ...     gain=[1e-10, 3e-11],
        ...     max_power_w=0.2,
        ...     max_energy_j=5.0,
        ...     frequencies_hz=[0.8e9, 1.5e9],
        ... )
        >>> len(rows.names), len(rows.dominated)
        (8, 8)
        >>> result = solve(Problem(**rows.fields, bandwidth_hz=10e6))
        >>> [rows.names[row] for row in result.allocation.row]
        ['cut 3, 8 bit, 1.5 GHz', 'cut 3, 8 bit, 1.5 GHz']
    """
    attention = numbers_in_range("alternatives", "importance", importance, 0.0, open_high=True)
    if attention.ndim == 2:
        attention = np.broadcast_to(attention, (len(variants), *attention.shape))
    if attention.ndim != 3 or attention.shape[0] != len(variants) or 0 in attention.shape:
        raise ProblemError(
            "alternatives",
            f"{len(variants)} variants, importance of shape {attention.shape}",
            "(M, N), or (V, M, N) for V >= 1 variants",
            "Stack one row of token importances per client",
        )
    clients = attention.shape[1]
    clock_hz = positive_numbers("alternatives", "frequencies_hz", frequencies_hz)
    clock_hz = np.broadcast_to(clock_hz, (clients, clock_hz.shape[-1] if clock_hz.ndim else 1))
    per_client = {
        name: np.broadcast_to(numbers_in_range("alternatives", name, value, 0.0, open_low=True), clients)
        for name, value in {
            "gain": gain,
            "max_power_w": max_power_w,
            "max_energy_j": max_energy_j,
            "flop_per_cycle": flop_per_cycle,
            "standing_s": standing_s,
            "memory_bytes": memory_bytes,
        }.items()
    }
    kappa = real_number("alternatives", "switched_capacitance", switched_capacitance, error=ProblemError)
    descending = -np.sort(-attention, axis=2)
    kept: list[_Row] = []
    dominated: list[tuple[int, str]] = []
    unusable: list[tuple[int, str]] = []
    for m in range(clients):
        usable = []
        for v, variant in enumerate(variants):
            cycles = variant.flop / per_client["flop_per_cycle"][m]
            for f_hz in clock_hz[m]:
                row = _Row(m, v, f_hz, cycles / f_hz, kappa * f_hz**2 * cycles, variant)
                fits = variant.memory_bytes <= per_client["memory_bytes"][m]
                if (
                    fits
                    and row.seconds < per_client["standing_s"][m]
                    and row.joules < per_client["max_energy_j"][m]
                ):
                    usable.append(row)
                else:
                    unusable.append((m, row.name))
        if not usable:
            raise ProblemError(
                "alternatives",
                f"client {m}, which can run none of {len(variants)} variants",
                "at least one within its memory, time and energy",
                "Leave the client out, or offer smaller variants",
            )
        worth = np.cumsum(descending[:, m], axis=1)
        for i, row in enumerate(usable):
            if any(_beats(other, row, worth, j < i) for j, other in enumerate(usable) if j != i):
                dominated.append((m, row.name))
            else:
                kept.append(row)
    of = [row.client for row in kept]
    fields: dict[str, Any] = {
        "client": np.array(of),
        "gain": per_client["gain"][of],
        "max_power_w": per_client["max_power_w"][of],
        "max_energy_j": per_client["max_energy_j"][of],
        "overhead_s": np.array([row.seconds for row in kept]),
        "before_j": np.array([row.joules for row in kept]),
        "deadline_s": per_client["standing_s"][of] - np.array([row.seconds for row in kept]),
        "importance": np.stack([row.variant.worth * descending[row.index, row.client] for row in kept]),
        "bits_per_token": np.array([row.variant.bits_per_token for row in kept]),
        "extra_tokens": extra_tokens,
        "min_tokens": min_tokens,
    }
    if any(row.variant.extra_bits for row in kept):
        counts = np.arange(attention.shape[2] + 1) + extra_tokens
        fields["payload_bits"] = np.stack(
            [row.variant.bits_per_token * counts + row.variant.extra_bits for row in kept]
        )
    return Rows(fields, tuple(row.name for row in kept), tuple(dominated), tuple(unusable))


@dataclass(frozen=True)
class _Row:
    """A variant of one client at one frequency."""

    client: int
    index: int
    frequency_hz: float
    seconds: float
    joules: float
    variant: Variant

    @property
    def name(self) -> str:
        return f"{self.variant.name}, {self.frequency_hz / 1e9:g} GHz"


def _beats(one: _Row, other: _Row, worth: FloatArray, first: bool) -> bool:
    """Whether a row is as good as another in every respect; of two equal ones the first is kept."""
    a, b = one.variant, other.variant
    costs = (one.seconds, one.joules, a.bits_per_token, a.extra_bits)
    others = (other.seconds, other.joules, b.bits_per_token, b.extra_bits)
    if any(mine > theirs for mine, theirs in zip(costs, others, strict=True)):
        return False
    gains, losses = a.worth * worth[one.index], b.worth * worth[other.index]
    if (gains < losses).any():
        return False
    return first or costs != others or bool((gains > losses).any())
