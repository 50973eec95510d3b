"""The plan of one uplink round: grants by client, who was dropped and why, how good it is."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ..result import Quality, Stop, relative_gap
from .client import ClientId


class Grant(NamedTuple):
    """What one client may send, and what that takes and is worth.

    Attributes:
        tokens: K, how many of its tokens of largest importance it keeps.
        bandwidth_hz: W, Hz.
        power_w: p, W.
        uplink_s: the time its upload takes, s.
        finish_s: the time from the start of the round until its upload has arrived, overhead included, s.
        energy_j: the energy its upload takes, J.
        retained: the importance of its K tokens, f(K).
    """

    tokens: int
    bandwidth_hz: float
    power_w: float
    uplink_s: float
    finish_s: float
    energy_j: float
    retained: float


class Dropped(NamedTuple):
    """A client that the round goes on without.

    Attributes:
        position: where it came in the clients given, from 0.
        id: its id, None if that was not readable.
        cause: "malformed", "energy" (needs more than its budget at any bandwidth), "deadline" (likewise, more
            than full power until its deadline), "bandwidth" (not in the largest set that meets its
            deadlines together) or "solver" (nothing feasible was found). Where `plan_problem` drops whose
            limits a solver broke, "energy" and "deadline" name those limits too.
        reason: one sentence that names the client, what was got or needed, and what is allowed or available.
    """

    position: int
    id: ClientId | None
    cause: str
    reason: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """One round's allocation, feasible for the clients it grants; by default that of a round without clients.

    Attributes:
        solver: whose allocation this is: the solver asked for or, where that failed, its stand-in.
        grants: by client id, in the order given; empty when there is nobody to serve.
        dropped: the others, in the order given.
        bound: proved upper bound on `ste` for the clients granted, 1/s; inf when none was proved.
        stop: why the solver ended.
        quality: what the plan is worth: optimal, stationary, feasible; none when nothing feasible was found.
        seconds: wall time of making it.
        solver_seconds: the solvers' share of it.
        message: what went wrong, empty otherwise.
        retained: importance that arrives, the sum over the grants.
        energy_j: energy of all uploads, J.
        round_s: time until the last upload has arrived, overhead included, s; 0 for an empty round.
        ste: Semantic Transmission Efficiency of the round, `retained` / `round_s`, 1/s; 0 for an empty round.
        gap: bound / ste - 1; inf without a bound.
    """

    solver: str
    grants: Mapping[ClientId, Grant] = field(default_factory=dict)
    dropped: tuple[Dropped, ...] = ()
    bound: float = 0.0
    stop: Stop = Stop.CONVERGED
    quality: Quality = Quality.OPTIMAL
    seconds: float = 0.0
    solver_seconds: float = 0.0
    message: str = ""
    retained: float = field(init=False)
    energy_j: float = field(init=False)
    round_s: float = field(init=False)
    ste: float = field(init=False)
    gap: float = field(init=False)

    def __post_init__(self) -> None:
        grants = self.grants.values()
        retained = float(np.sum([grant.retained for grant in grants]))
        round_s = max((grant.finish_s for grant in grants), default=0.0)
        ste = retained / round_s if round_s > 0 else 0.0
        gap = 0.0 if self.bound <= ste else relative_gap(ste, self.bound)
        energy_j = float(np.sum([grant.energy_j for grant in grants]))
        dropped = tuple(sorted(self.dropped, key=lambda client: client.position))
        figures = {"retained": retained, "energy_j": energy_j, "round_s": round_s, "ste": ste, "gap": gap}
        for name, value in {**figures, "dropped": dropped}.items():
            object.__setattr__(self, name, value)

    def without(self, lost: Container[ClientId]) -> Plan:
        """What is left of it when some clients' uploads do not arrive: nothing is proved of the rest.

        Their bandwidth stays unused; they are not added to `dropped`.
        """
        grants = {client: grant for client, grant in self.grants.items() if client not in lost}
        if len(grants) == len(self.grants):
            return self
        return replace(self, grants=grants, bound=math.inf, quality=Quality.FEASIBLE)

    def __str__(self) -> str:
        proof = f"gap {self.gap:.2e}" if self.gap < float("inf") else "no proved gap"
        return (
            f"{len(self.grants)} clients, {len(self.dropped)} dropped: STE {self.ste:.6g}/s, {proof}, "
            f"{self.quality} ({self.solver}, {self.stop}), {self.seconds * 1e3:.2f} ms"
        )
