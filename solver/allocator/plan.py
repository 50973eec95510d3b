"""What an allocator hands back for one round: grants by client, who was dropped and why, how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..result import Quality, Stop
from .client import ClientId


class Grant(NamedTuple):
    """What one client may send.

    Attributes:
        tokens: K, how many of its tokens of largest importance it keeps.
        bandwidth_hz: W, Hz.
        power_w: p, W.
        uplink_s: the time its upload takes, s.
    """

    tokens: int
    bandwidth_hz: float
    power_w: float
    uplink_s: float


class Dropped(NamedTuple):
    """A client that the round goes on without.

    Attributes:
        position: where it came in the clients given, from 0.
        id: its id, None if that was not readable.
        cause: "malformed", "energy" (needs more than its budget at any bandwidth), "deadline" (likewise, more
            than full power until its deadline), "bandwidth" (not in the largest set that meets its
            deadlines together) or "solver" (nothing feasible was found).
        reason: one sentence that names the client, what was got or needed, and what is allowed or available.
    """

    position: int
    id: ClientId | None
    cause: str
    reason: str


@dataclass(frozen=True, eq=False)
class Plan:
    """One round's allocation, feasible for the clients it grants.

    Attributes:
        grants: by client id, in the order given; empty when there is nobody to serve.
        dropped: the others, in the order given.
        ste: Semantic Transmission Efficiency of the round, 1/s; 0 for an empty round.
        bound: proved upper bound on it for the clients granted, 1/s; inf when none was proved.
        gap: bound / ste - 1; inf without a bound.
        round_s: time of the slowest client, overhead included, s.
        stop: why the solver ended.
        quality: what the plan is worth: optimal, stationary, feasible; none when nothing feasible was found.
        solver: whose allocation this is: the allocator's solver or, where that failed, its stand-in.
        seconds: wall time of `Allocator.plan`.
        solver_seconds: the solvers' share of it.
        message: what went wrong, empty otherwise.
    """

    grants: Mapping[ClientId, Grant]
    dropped: tuple[Dropped, ...]
    ste: float
    bound: float
    gap: float
    round_s: float
    stop: Stop
    quality: Quality
    solver: str
    seconds: float
    solver_seconds: float
    message: str = ""

    def __str__(self) -> str:
        proof = f"gap {self.gap:.2e}" if self.gap < float("inf") else "no proved gap"
        return (
            f"{len(self.grants)} clients, {len(self.dropped)} dropped: STE {self.ste:.6g}/s, {proof}, "
            f"{self.quality} ({self.solver}, {self.stop}), {self.seconds * 1e3:.2f} ms"
        )
