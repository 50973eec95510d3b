"""The plan of one uplink round: grants by client, who was dropped and why, how good it is."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..objective import Objective, Ste, Totals, TotalTime
from ..problem import STE
from ..result import Quality, Stop
from .client import ClientId


class Grant(NamedTuple):
    """What one client may send, and what that takes and is worth.

    Attributes:
        tokens: K, how many of its tokens of largest importance it keeps.
        bandwidth_hz: W, Hz.
        power_w: p, W.
        uplink_s: the time its upload takes, s.
        finish_s: the time from the start of the round until its upload has arrived, overhead included, s.
        energy_j: the energy it takes, J, with what is spent before the upload.
        retained: the importance of its K tokens, f(K), or what its table says that they are worth.
        row: the row of the round's `Problem`, before any client was dropped.
        alternative: name or index of the client's alternative; None where it has one way to send.
        blocks: whole resource blocks that its bandwidth is; None without `block_hz`.

    Examples:
        >>> from stsflora.solver import Allocator, Client, Snr
        >>> ada = Client("ada", Snr(21.0), [0.6, 0.3, 0.1], 8e6, max_power_w=0.2, overhead_s=0.5)
        >>> grant = Allocator(bandwidth_hz=20e6).plan([ada]).grants["ada"]
        >>> grant.finish_s == 0.5 + grant.uplink_s
        True
    """

    tokens: int
    bandwidth_hz: float
    power_w: float
    uplink_s: float
    finish_s: float
    energy_j: float
    retained: float
    row: int = -1
    alternative: str | int | None = None
    blocks: int | None = None


class Dropped(NamedTuple):
    """A client that the round goes on without.

    Attributes:
        position: where it came in the clients given, from 0.
        id: its id, None if that was not readable.
        cause: "malformed", "energy" (needs more than its budget at any bandwidth), "deadline" (likewise, more
            than full power until its deadline), "round" (likewise, or until the objective's `round_s`),
            "bandwidth" (not in the largest set that meets its deadlines together), "retained" (all together
            cannot have what the objective requires) or "solver" (nothing feasible was found). Where
            `plan_problem` drops whose limits a solver broke, "energy", "deadline" and "round" name them too.
        reason: one sentence that names the client, what was got or needed, and what is allowed or available.

    Examples:
        >>> from stsflora.solver import Allocator, Client, Snr
        >>> eve = Client("eve", Snr(-20.0), [0.6, 0.3, 0.1], 8e6, max_power_w=0.2, max_energy_j=1e-3)
        >>> (dropped,) = Allocator(bandwidth_hz=20e6).plan([eve]).dropped
        >>> dropped.id, dropped.cause
        ('eve', 'energy')
    """

    position: int
    id: ClientId | None
    cause: str
    reason: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """One round's allocation, feasible for the clients it grants; by default that of a round without clients.

    Attributes:
        solver: whose allocation this is: the solver asked for or, where that failed, the fallback rule.
        grants: by client id, in the order given; empty when there is nobody to serve.
        skipped: ids of those that may be left out, where that is best or all that is possible.
        dropped: the others, in the order given.
        objective: what was asked for, of the clients granted.
        bound: proved limit of `value` for the clients that were not dropped: an upper bound when the
            objective maximises (inf when none was proved), else a lower one (-inf).
        stop: why the solver ended.
        quality: what the plan is worth: optimal, stationary, feasible; none when nothing feasible was found.
        seconds: wall time of making it.
        solver_seconds: the solvers' share of it.
        message: what went wrong, empty otherwise.

    Examples:
        >>> from stsflora.solver import Allocator, Client, Snr
        >>> clients = [
        ...     Client("ada", Snr(21.0), [0.4, 0.3, 0.2, 0.1], bits_per_token=8e6, max_power_w=0.2),
        ...     Client("bob", Snr(9.5), [0.7, 0.1, 0.1, 0.1], bits_per_token=8e6, max_power_w=0.2),
        ... ]
        >>> allocator = Allocator(bandwidth_hz=20e6)
        >>> plan = allocator.plan(clients)
        >>> plan.value == plan.ste <= plan.bound <= plan.ste * (1 + 1e-4)
        True
        >>> list(plan.without(["bob"]).grants)
        ['ada']
        >>> allocator.plan(clients, start=plan).quality
        <Quality.OPTIMAL: 'optimal'>
    """

    solver: str
    grants: Mapping[ClientId, Grant] = field(default_factory=dict)
    skipped: tuple[ClientId, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    objective: Objective = STE
    bound: float = 0.0
    stop: Stop = Stop.CONVERGED
    quality: Quality = Quality.OPTIMAL
    seconds: float = 0.0
    solver_seconds: float = 0.0
    message: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dropped", tuple(sorted(self.dropped, key=lambda client: client.position)))

    @cached_property
    def retained(self) -> float:
        """Importance that arrives, the sum over the grants."""
        return float(np.sum([grant.retained for grant in self.grants.values()]))

    @cached_property
    def energy_j(self) -> float:
        """Energy of all uploads, J."""
        return float(np.sum([grant.energy_j for grant in self.grants.values()]))

    @cached_property
    def round_s(self) -> float:
        """Time until the last upload has arrived, overhead included, s; 0 for an empty round."""
        return max((grant.finish_s for grant in self.grants.values()), default=0.0)

    @property
    def ste(self) -> float:
        """Semantic Transmission Efficiency, `retained` / `round_s`, 1/s; 0 for an empty round."""
        return self.retained / self.round_s if self.round_s > 0 else 0.0

    @cached_property
    def totals(self) -> Totals:
        """What the objective is made of."""
        finish_s = np.array([grant.finish_s for grant in self.grants.values()])
        return Totals(self.retained, self.round_s, self.energy_j, finish_s)

    @property
    def value(self) -> float:
        """Of the objective, by default `ste`; 0 for an empty round."""
        return self.ste if isinstance(self.objective, Ste) else self.objective.value(self.totals)

    @property
    def gap(self) -> float:
        """Proved relative distance to the optimum, in the objective's sense; inf without a bound."""
        if isinstance(self.objective, Ste) and self.round_s == 0.0:
            return 0.0 if self.bound == 0.0 else math.inf
        return self.objective.gap(self.totals, self.bound)

    def without(self, lost: Container[ClientId]) -> Plan:
        """What is left of it when some clients' uploads do not arrive: nothing is proved of the rest.

        Their bandwidth stays unused; they are not added to `dropped`.
        """
        grants = {client: grant for client, grant in self.grants.items() if client not in lost}
        if len(grants) == len(self.grants):
            return self
        kept = [m for m, client in enumerate(self.grants) if client in grants]
        objective = for_clients(self.objective, kept)
        return replace(
            self, grants=grants, objective=objective, bound=objective.unproved, quality=Quality.FEASIBLE
        )

    def __str__(self) -> str:
        proof = f"gap {self.gap:.2e}" if self.gap < math.inf else "no proved gap"
        name = self.objective.name
        shown = f"STE {self.ste:.6g}/s" if name == "ste" else f"{name} {self.value:.6g}"
        skipped = f"{len(self.skipped)} skipped, " if self.skipped else ""
        return (
            f"{len(self.grants)} clients, {skipped}{len(self.dropped)} dropped: {shown}, {proof}, "
            f"{self.quality} ({self.solver}, {self.stop}), {self.seconds * 1e3:.2f} ms"
        )


def for_clients(objective: Objective, clients: Sequence[int]) -> Objective:
    """The objective for some of the clients that it was for, by index: with their weights, if it has some."""
    if not (isinstance(objective, TotalTime) and isinstance(objective.weight, tuple)):
        return objective
    return TotalTime([objective.weight[m] for m in clients]) if clients else TotalTime()
