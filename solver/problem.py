"""Problem: the data of one uplink round to allocate, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from inspect import signature
from operator import is_
from os import PathLike
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import problem_fields as check
from .checks import largest_of, least_of
from .errors import ProblemError
from .files.problem_files import read_fields, write_fields
from .objective import OBJECTIVES, Objective, Retained, Ste, TotalTime, Weighted
from .units import THERMAL_NOISE_W_PER_HZ

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LIMITS: Final = ("bandwidth_hz", "max_power_w", "max_energy_j", "deadline_s", "max_psd_w_per_hz")
"""What an allocation may use at most."""

STE: Final = Ste()

NOTHING: Final = 0.0
DEFAULTS: Final = (None, None, None, None, False, NOTHING, np.inf, np.inf)
"""What a token problem has in the fields that others may set."""

ONE_VALUE: Final = ("bandwidth_hz", "extra_tokens", "noise_w_per_hz", "block_hz", "objective")
"""Fields that are no arrays."""


@dataclass(frozen=True, init=False, eq=False)
class Problem:
    """One uplink round of M clients: what each may send, what the air costs, what is wanted; immutable.

    A problem has R rows, each an alternative of the client that it names; exactly one row of every client is
    chosen, and in it how many tokens K to send. By default row m is client m's only one, and the objective
    is the Semantic Transmission Efficiency (design sections 1 and 3).

    Scalars broadcast to (R,). Arrays are copied, become read-only float64 (counts int64), and
    `importance` is sorted descending along the tokens. All input checks live here; solvers make none.

    An array that is so already is taken over, not copied: read-only, as is all that it is a view of, of that
    type, C-contiguous, and `importance` descending. Large cells then take no memory twice; to hand one over,
    say `array.flags.writeable = False`, and leave it so.

    Args:
        gain: (R,) linear channel power gain, > 0.
        bandwidth_hz: shared uplink bandwidth, Hz, > 0.
        max_power_w: (R,) W, > 0.
        max_energy_j: (R,) J, > 0, energy budget of the round; inf for none.
        importance: (R, N) attention mass per token, >= 0; zeros where only `utility` is given.
        bits_per_token: (R,) bit, > 0: batch size x width x bits per element. Needed without `payload_bits`.
        deadline_s: (R,) s, > 0, limit on the uplink time; inf for none.
        overhead_s: (R,) s, >= 0, time before the upload that counts in the round time.
        min_tokens: (R,) int in 0..max_tokens; by default min(1, max_tokens).
        extra_tokens: int >= 0, tokens sent besides the kept ones ([CLS] and the merged token).
        noise_w_per_hz: noise power density, W/Hz, > 0.
        payload_bits: None for bits_per_token x (K + extra_tokens), or (R, N + 1) bit: what sending K = 0..N
            tokens takes, >= 0, strictly increasing up to `max_tokens`. `bits_per_token` and `extra_tokens`
            then count for nothing.
        max_tokens: (R,) int in 0..N, by default N: rows of fewer tokens, or of a fixed payload (0).
        utility: (R, N + 1) worth of sending K = 0..N tokens, finite, >= 0, of any shape; by default the sum
            of the K largest importances.
        client: (R,) int, whose alternative a row is; every client 0..M-1 has one. By default 0..R-1.
        may_skip: (M,) bool, whether the client may send nothing: no utility, no time, no energy.
        before_j: (R,) J, >= 0, spent before the upload; counts against `max_energy_j`.
        max_psd_w_per_hz: (R,) W/Hz, > 0, limit on power per bandwidth; inf for none.
        max_bps_per_hz: (R,) bit/s/Hz, > 0, the highest modulation and coding; inf for none.
        block_hz: bandwidth comes in whole resource blocks of so many Hz; None for any share.
        objective: `Ste`, `Retained`, `RoundTime`, `Weighted`, `Energy` or `TotalTime`.

    Not all solvers take all of it; `SolverInfo` says what each does.

    Raises:
        ProblemError: a field has the wrong shape, type or range, or the objective has no optimum.

    `dataclasses.replace` makes a changed copy, checked anew.

    Cost: O(R N), or O(R N log N) where `importance` has to be sorted; one copy of what is not taken over.

    Examples:
        >>> from dataclasses import replace
        >>> from stsflora.solver import Problem, RoundTime
        >>> problem = Problem(
        ...     gain=[1e-9, 2e-10],
        ...     importance=[[0.1, 0.6, 0.3], [0.5, 0.4, 0.1]],
        ...     bits_per_token=1e6,
        ...     bandwidth_hz=1e6,
        ...     max_power_w=0.2,
        ...     max_energy_j=1.0,
        ... )
        >>> problem.importance[0]
        array([0.6, 0.3, 0.1])
        >>> replace(problem, deadline_s=2.0).deadline_s
        array([2., 2.])
        >>> replace(problem, client=[0, 0], objective=RoundTime(retained=0.8)).clients
        1
    """

    gain: FloatArray
    bandwidth_hz: float
    max_power_w: FloatArray
    max_energy_j: FloatArray
    importance: FloatArray
    bits_per_token: FloatArray
    deadline_s: FloatArray
    overhead_s: FloatArray
    min_tokens: IntArray
    extra_tokens: int
    noise_w_per_hz: float
    payload_bits: FloatArray | None
    max_tokens: IntArray
    utility: FloatArray | None
    client: IntArray
    may_skip: NDArray[np.bool_]
    before_j: FloatArray
    max_psd_w_per_hz: FloatArray
    max_bps_per_hz: FloatArray
    block_hz: float | None
    objective: Objective

    def __init__(
        self,
        *,
        gain: ArrayLike,
        bandwidth_hz: float,
        max_power_w: ArrayLike,
        max_energy_j: ArrayLike,
        importance: ArrayLike | None = None,
        bits_per_token: ArrayLike | None = None,
        deadline_s: ArrayLike = np.inf,
        overhead_s: ArrayLike = 0.0,
        min_tokens: ArrayLike | None = None,
        extra_tokens: int = 2,
        noise_w_per_hz: float = THERMAL_NOISE_W_PER_HZ,
        payload_bits: ArrayLike | None = None,
        max_tokens: ArrayLike | None = None,
        utility: ArrayLike | None = None,
        client: ArrayLike | None = None,
        may_skip: ArrayLike = False,
        before_j: ArrayLike = NOTHING,
        max_psd_w_per_hz: ArrayLike = np.inf,
        max_bps_per_hz: ArrayLike = np.inf,
        block_hz: float | None = None,
        objective: Objective = STE,
    ) -> None:
        worth = None if utility is None else check.utility_table(utility)
        attention = check.importance_table(importance, worth)
        rows, tokens = attention.shape
        if bits_per_token is None:
            if payload_bits is None:
                raise ProblemError(
                    "Problem", "no bits_per_token", "it, or payload_bits", "Say what a token takes"
                )
            bits_per_token = 1.0
        most = check.max_counts(max_tokens, rows, tokens)
        owner, clients = check.owners(client, rows)
        table = None if payload_bits is None else check.payload_table(payload_bits, most, rows, tokens)
        self.__dict__.update(
            gain=check.per_row("gain", gain, rows),
            bandwidth_hz=check.scalar("bandwidth_hz", bandwidth_hz),
            max_power_w=check.per_row("max_power_w", max_power_w, rows),
            max_energy_j=check.per_row("max_energy_j", max_energy_j, rows, infinite=True),
            importance=attention,
            bits_per_token=check.per_row("bits_per_token", bits_per_token, rows),
            deadline_s=check.per_row("deadline_s", deadline_s, rows, infinite=True),
            overhead_s=check.per_row("overhead_s", overhead_s, rows, zero=True),
            min_tokens=check.min_counts(min_tokens, most, rows, tokens),
            extra_tokens=check.extra_count(extra_tokens),
            noise_w_per_hz=check.scalar("noise_w_per_hz", noise_w_per_hz),
            payload_bits=table,
            max_tokens=most,
            utility=worth,
            client=owner,
            may_skip=check.flags(may_skip, clients),
            before_j=check.seldom("before_j", before_j, rows, zero=True),
            max_psd_w_per_hz=check.seldom("max_psd_w_per_hz", max_psd_w_per_hz, rows, infinite=True),
            max_bps_per_hz=check.seldom("max_bps_per_hz", max_bps_per_hz, rows, infinite=True),
            block_hz=None if block_hz is None else check.scalar("block_hz", block_hz),
            objective=objective,
        )
        _check_objective(self)
        given = (utility, client, block_hz, max_tokens, may_skip, before_j, max_psd_w_per_hz, max_bps_per_hz)
        only_defaults = objective is STE and all(map(is_, given, DEFAULTS))
        if only_defaults and least_of(self.min_tokens) >= 1:  # known already: nothing to compute later
            self.__dict__.update(is_plain=True, is_one_row_each=True, has_caps=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Problem.from_dict, (self.as_dict(),)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Problem):
            return NotImplemented
        mine, theirs = self.as_dict(), other.as_dict()
        return mine.keys() == theirs.keys() and all(
            np.array_equal(value, theirs[name]) if isinstance(value, np.ndarray) else value == theirs[name]
            for name, value in mine.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        rows = "" if self.is_one_row_each else f"rows={self.row_count}, "
        wanted = "" if self.objective == STE else f", objective={self.objective}"
        return (
            f"Problem(clients={self.clients}, {rows}tokens={self.tokens}, "
            f"bandwidth_hz={self.bandwidth_hz:g}, extra_tokens={self.extra_tokens}{wanted})"
        )

    @property
    def clients(self) -> int:
        """M, the number of clients."""
        return int(self.may_skip.shape[0])

    @property
    def row_count(self) -> int:
        """R, the number of rows: alternatives of all clients."""
        return int(self.importance.shape[0])

    @property
    def tokens(self) -> int:
        """N, the number of patch tokens per row."""
        return int(self.importance.shape[1])

    @cached_property
    def is_one_row_each(self) -> bool:
        """Whether row m is the only alternative of client m."""
        in_order = check.numbered(self.row_count)
        return self.client is in_order or (
            self.clients == self.row_count and bool((self.client == in_order).all())
        )

    @cached_property
    def row_of_client(self) -> IntArray:
        """(M,) the first row of each client: its only one where the problem has no alternatives."""
        if self.is_one_row_each:
            return self.client
        _, first = np.unique(self.client, return_index=True)
        return check.frozen(np.asarray(first, dtype=np.int64))

    @cached_property
    def has_caps(self) -> bool:
        """Whether power per hertz or bits per hertz are limited."""
        return not (check.is_all(self.max_psd_w_per_hz, np.inf) and check.is_all(self.max_bps_per_hz, np.inf))

    @cached_property
    def is_plain(self) -> bool:
        """Whether this is the token problem: STE, one row per client, sums of importances, no caps."""
        return (
            self.objective == STE
            and self.utility is None
            and self.block_hz is None
            and check.is_all(self.max_tokens, self.tokens)
            and check.is_all(self.may_skip, False)
            and check.is_all(self.before_j, 0.0)
            and not self.has_caps
            and least_of(self.min_tokens) >= 1
            and self.is_one_row_each
        )

    def worth_of(self, row: IntArray, tokens: IntArray) -> FloatArray:
        """(n,) utilities of token counts in given rows; counts beyond N are worth what N are."""
        sent = np.minimum(tokens, self.tokens)
        if self.utility is not None:
            return np.asarray(self.utility[row, sent])
        kept = np.arange(self.tokens) < sent[:, None]
        return np.asarray(np.sum(self.importance[row], axis=1, where=kept))

    def bits_of(self, row: IntArray, tokens: IntArray) -> FloatArray:
        """(n,) payloads of token counts in given rows, bit."""
        if self.payload_bits is not None:
            return np.asarray(self.payload_bits[row, np.minimum(tokens, self.tokens)])
        return np.asarray(self.bits_per_token[row] * (tokens + float(self.extra_tokens)))

    def as_dict(self) -> dict[str, Any]:
        """The constructor's arguments by name (arrays are not copied), without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def from_dict(arguments: Mapping[str, Any]) -> Problem:
        """The problem of `as_dict`. Raises ProblemError."""
        known = signature(Problem).parameters
        unknown = [name for name in arguments if name not in known]
        if unknown:
            raise ProblemError("Problem", f"a field {unknown[0]!r:.60}", ", ".join(known), "Correct the name")
        return Problem(**arguments)

    def subset(self, clients: ArrayLike) -> Problem:
        """The same round with only the clients at the given indices, in that order.

        Raises:
            ProblemError: an index is no whole number in 0..M-1, or there is none.
        """
        chosen = np.asarray(clients)
        if (
            chosen.ndim != 1
            or chosen.dtype.kind not in "iu"
            or ((chosen < 0) | (chosen >= self.clients)).any()
        ):
            raise ProblemError(
                "Problem.subset",
                f"{clients!r:.60}",
                f"a sequence of indices from 0 to {self.clients - 1}",
                "Turn a mask into indices with numpy.flatnonzero",
            )
        arguments = self.as_dict()
        if self.is_one_row_each:
            rows = chosen
            arguments["client"] = None
        else:
            of_client = [np.flatnonzero(self.client == m) for m in chosen]
            rows = np.concatenate([np.empty(0, np.int64), *of_client])
            arguments["client"] = np.repeat(np.arange(chosen.size), [part.size for part in of_client])
        for name, value in arguments.items():
            if isinstance(value, np.ndarray) and name not in {"client", "may_skip"}:
                arguments[name] = value[rows]
        arguments["may_skip"] = self.may_skip[chosen]
        if isinstance(self.objective, TotalTime):
            arguments["objective"] = TotalTime(self.objective.weights(self.clients)[chosen])
        return Problem(**arguments)

    def with_raised_limits(self, share: float) -> Problem:
        """The same round with its limits loosened by a share of themselves; nothing is checked anew.

        Those of the objective too: a required sum of utilities is lowered.
        """
        limits = {name: getattr(self, name) * (1.0 + share) for name in LIMITS[:4]}
        if self.has_caps:
            limits["max_psd_w_per_hz"] = self.max_psd_w_per_hz * (1.0 + share)
        return self._unchecked(limits | {"objective": self.objective.relaxed(share)})

    def part(self, first: int, clients: int, bandwidth_hz: float) -> Problem:
        """The round of some clients that follow each other, one row each; nothing is checked anew."""
        arrays = {name: value for name, value in self.__dict__.items() if isinstance(value, np.ndarray)}
        cut = {name: value[first : first + clients] for name, value in arrays.items()}
        return self._unchecked(cut | {"bandwidth_hz": bandwidth_hz, "client": check.numbered(clients)})

    def _unchecked(self, changes: dict[str, Any]) -> Problem:
        """A copy with other values of some fields, whose arrays become read-only."""
        changed = object.__new__(Problem)
        changed.__dict__.update(self.__dict__)
        for name, value in changes.items():
            changed.__dict__[name] = check.frozen(value) if isinstance(value, np.ndarray) else value
        return changed

    def save(self, path: str | PathLike[str]) -> None:
        """Write to `.npz` or readable `.json` (by ending), atomically. Raises FileFormatError."""
        values = self.as_dict()
        objective: Objective = values.pop("objective")
        if self.is_one_row_each:
            del values["client"]
        if self.utility is not None and not self.importance.any():
            del values["importance"]
        for name in ("may_skip", "before_j"):
            if check.is_all(values[name], 0.0):
                del values[name]
        for name in ("max_psd_w_per_hz", "max_bps_per_hz"):
            if check.is_all(values[name], np.inf):
                del values[name]
        if check.is_all(self.max_tokens, self.tokens):
            del values["max_tokens"]
        if "may_skip" in values:
            values["may_skip"] = self.may_skip.astype(np.int64)
        if objective != STE:
            for name, value in objective.settings().items():
                values[f"objective.{objective.name}.{name}"] = np.asarray(value)
        write_fields(values, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Problem:
        """Read what `save` wrote; never unpickles. Raises FileFormatError, ProblemError."""
        parameters = signature(Problem).parameters
        required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
        wanted = {
            f"objective.{kind.name}.{field.name}": (kind, field.name)
            for kind in OBJECTIVES.values()
            for field in fields(kind)
        }
        plain = [name for name in parameters if name != "objective"]
        values = read_fields(path, [*plain, *wanted], required)
        named = [name for name in values if name in wanted]
        settings = {wanted[name][1]: _one_or_many(values.pop(name)) for name in named}
        kinds = {wanted[name][0] for name in named}
        if len(kinds) > 1:
            raise ProblemError("Problem.objective", ", ".join(named), "one objective", "Correct the file")
        for kind in kinds:
            lacking = [f.name for f in fields(kind) if f.default is MISSING and f.name not in settings]
            if lacking:
                raise ProblemError(
                    *("Problem.objective", f"{', '.join(named)} without {lacking[0]}"),
                    *(f"objective.{kind.name}.{lacking[0]} too", "Correct the file"),
                )
            values["objective"] = kind(**settings)
        return Problem(**values)


def _one_or_many(value: Any) -> Any:
    """A number of a file, or (M,) of them."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _check_objective(problem: Problem) -> None:
    """Raise ProblemError where the objective does not fit the problem, or has no optimum on any."""
    objective = problem.objective
    if not isinstance(objective, Objective):
        raise ProblemError(
            "Problem.objective", f"{objective!r:.60}", ", ".join(OBJECTIVES), "Pass Ste(), RoundTime(), ..."
        )
    skips = not check.is_all(problem.may_skip, False)
    weights = getattr(objective, "weight", 1.0)
    if isinstance(weights, tuple) and len(weights) != problem.clients:
        raise ProblemError(
            "TotalTime.weight", f"{len(weights)} weights", f"{problem.clients}", "Give one per client"
        )
    if skips and not objective.maximises and not objective.least_retained > 0.0:
        raise ProblemError(
            "Problem.may_skip",
            f"True with {objective.name} and nothing required",
            "may_skip=False, or retained > 0 where the objective has it",
            "Otherwise nobody sending is best",
        )
    if isinstance(objective, Ste | Retained) and not _has_worth(problem):
        raise ProblemError(
            "Problem.importance" if problem.utility is None else "Problem.utility",
            "all zeros",
            "at least one positive entry",
            "Check where the attention is read",
        )
    unhurried = isinstance(objective, Weighted) and objective.per_second == 0.0
    if unhurried and not largest_of(problem.deadline_s) < np.inf:
        raise ProblemError(
            "Weighted.per_second", "0 without deadlines", "per_second > 0", "Slower is cheaper for ever"
        )
    if isinstance(objective, Ste):
        _check_instant(problem)


def _has_worth(problem: Problem) -> bool:
    if problem.utility is not None:
        return bool(problem.utility.any())
    return problem.tokens > 0 and largest_of(problem.importance[:, 0]) > 0.0


def _check_instant(problem: Problem) -> None:
    """Refuse rows that would be worth something in no time: their STE has no bound."""
    if least_of(problem.min_tokens) > 0 or problem.utility is None:
        return
    rows = np.arange(problem.row_count)
    fewest = problem.min_tokens
    instant = (
        (problem.bits_of(rows, fewest) == 0.0)
        & (problem.overhead_s == 0.0)
        & (problem.worth_of(rows, fewest) > 0.0)
    )
    if instant.any():
        raise ProblemError(
            "Problem.utility",
            f"0 bits in 0 s that are worth {problem.worth_of(rows, fewest)[instant][0]:g}",
            "for Ste, a payload or an overhead wherever there is worth",
            "Count the header, or take Retained",
        )
