"""Who sends how many tokens in a round: its problem, the solver's answer, and who does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from ...solver import OptionError, Problem, SolverFailedError, solve
from ...solver.problem import FloatArray, IntArray
from ...solver.tolerances import FEASIBILITY


@dataclass(frozen=True, eq=False)
class Decision:
    """What a solver decided for one round, less the clients that cannot take part.

    Attributes:
        clients: (M',) ids of those that upload, ascending.
        tokens: (M',) K of each.
        bandwidth_hz: (M',) of each.
        power_w: (M',) of each.
        retained: (M',) attention mass that arrives.
        energy_j: (M',) spent on the upload.
        finish_s: (M',) time until the upload has arrived.
        bound: proved upper bound on the STE with these clients, or None.
        quality: of the solver's answer, empty without one.
        left_out: reason by client id.
    """

    clients: IntArray
    tokens: IntArray
    bandwidth_hz: FloatArray
    power_w: FloatArray
    retained: FloatArray
    energy_j: FloatArray
    finish_s: FloatArray
    bound: float | None = None
    quality: str = ""
    left_out: Mapping[int, str] = field(default_factory=dict)

    @property
    def round_s(self) -> float:
        """Time until the last upload has arrived; 0 when none does."""
        return float(self.finish_s.max(initial=0.0))

    @property
    def ste(self) -> float | None:
        """Semantic transmission efficiency of what arrives, 1/s; None when nothing does."""
        return float(self.retained.sum()) / self.round_s if self.round_s > 0 else None

    def without(self, lost: Mapping[int, str]) -> Decision:
        """What is left of it when some uploads do not arrive; nothing is proved of the rest."""
        if not lost:
            return self
        arrives = ~np.isin(self.clients, list(lost))
        kept = {name: getattr(self, name)[arrives] for name in PER_CLIENT}
        bound = self.bound if arrives.all() else None
        return replace(self, **kept, bound=bound, left_out={**self.left_out, **lost})


PER_CLIENT: Final = ("clients", "tokens", "bandwidth_hz", "power_w", "retained", "energy_j", "finish_s")


def nobody(left_out: Mapping[int, str]) -> Decision:
    """The decision of a round in which no client uploads."""
    return idle([], left_out)


def idle(clients: Sequence[int], left_out: Mapping[int, str]) -> Decision:
    """The decision of a round in which clients take part and send nothing."""
    ids = np.asarray(clients, dtype=np.int64)
    none = np.zeros(len(ids))
    return Decision(ids, none.astype(np.int64), none, none, none, none, none, left_out=left_out)


def decide(
    problem: Problem, clients: Sequence[int], solver: str, options: Mapping[str, Any], seed: int
) -> Decision:
    """Solve a round; clients that no allocation can serve are left out by name, the others go on.

    Some simple rules break a client's energy or deadline. Such an upload does not arrive: that client is
    left out too, and those who keep their limits go on.

    Args:
        problem: one row per client.
        clients: their ids, ascending.
        solver: name.
        options: of the solver.
        seed: of the solver.

    Raises:
        SolverFailedError: the solver found nothing, or gave away more bandwidth than there is.
        OptionError, UnknownNameError, MissingDependencyError: the solver cannot be called so.
    """
    ids = np.asarray(clients, dtype=np.int64)
    result = solve(problem, solver, seed=seed, **options)
    if result.diagnosis is not None:
        fit = np.array(result.diagnosis.clients_that_fit, dtype=np.int64)
        without = np.setdiff1d(np.arange(problem.clients), fit)
        left_out = dict.fromkeys(ids[without].tolist(), f"no allocation serves it ({result.diagnosis.limit})")
        if not len(fit):
            return nobody(left_out)
        rest = decide(problem.subset(fit), ids[fit].tolist(), solver, options, seed)
        return replace(rest, left_out={**left_out, **rest.left_out})
    if result.allocation is None or result.evaluation is None:
        raise SolverFailedError(
            f"solver {solver!r}", result.message or str(result.stop), "an allocation", result.stop.remedy[:-1]
        )
    found = result.evaluation
    if found.violations["bandwidth"] > FEASIBILITY:
        raise SolverFailedError(
            f"solver {solver!r}", "more bandwidth than there is", "a sum within bandwidth_hz", "Take another"
        )
    slack = 1 + FEASIBILITY
    late = ~(found.uplink_s <= problem.deadline_s * slack)
    dear = ~(found.energy_j <= problem.max_energy_j * slack)
    left_out = {
        int(ids[m]): f"{solver} lets it miss its {'deadline' if late[m] else 'energy budget'}"
        for m in np.flatnonzero(late | dear)
    }
    if len(left_out) == len(ids):
        return nobody(left_out)
    return Decision(
        clients=ids,
        tokens=result.allocation.tokens,
        bandwidth_hz=result.allocation.bandwidth_hz,
        power_w=result.allocation.power_w,
        retained=found.retained,
        energy_j=found.energy_j,
        finish_s=problem.overhead_s + found.uplink_s,
        bound=result.bound if np.isfinite(result.bound) else None,
        quality=str(result.quality),
    ).without(left_out)


def decide_one_by_one(
    problem: Problem, clients: Sequence[int], solver: str, options: Mapping[str, Any], seed: int
) -> Decision:
    """Like `decide`, for clients that send one after another, each over the whole bandwidth."""
    parts = [
        decide(problem.subset([row]), [client], solver, options, seed) for row, client in enumerate(clients)
    ]
    one_after_another: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in PER_CLIENT
    }
    one_after_another["finish_s"] = np.cumsum(one_after_another["finish_s"])
    return Decision(
        **one_after_another,
        quality=", ".join(sorted({part.quality for part in parts if part.quality})),
        left_out={client: reason for part in parts for client, reason in part.left_out.items()},
    )


def default_min_tokens(patches: int) -> int:
    """The paper's K_min, 64 of 196, as a share of N."""
    return max(1, round(patches * 64 / 196))


def require_min_tokens(min_tokens: int, patches: int) -> None:
    """Raise OptionError when K_min exceeds N."""
    if min_tokens > patches:
        raise OptionError("Config", f"min_tokens = {min_tokens}", f"1 to {patches} patches", "Lower it")
