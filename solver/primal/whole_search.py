"""The search of `exact`, compiled as a whole: half a minute once, then small cells take a fraction."""

from __future__ import annotations

import sys
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from ..bounds.goal import STE, expired, goal_of, keep_nothing, no_end, record, remaining_s, used_up
from ..bounds.interval_search import proved_bound
from ..physics.instance import Instance
from ..physics.jit import Whole, compiled_whole
from ..problem import FloatArray, IntArray
from .delivery import deliver
from .optimum import search_optimum

FOLDERS: Final = ("physics", "bounds", "primal")
"""Storeys of which functions are compiled."""

CONSTANTS: Final = ("gap_budget", "tolerances")
"""Files of which only numbers are."""


class Found(NamedTuple):
    """What a search hands back: an allocation, its proof, and how it came about.

    Attributes:
        tokens: (M,).
        bandwidth_hz: (M,) Hz.
        power_w: (M,) W.
        share: of the tolerance that the allocation uses, see `primal.delivery`.
        ste: of the tokens in their least round, 1/s.
        bound: on every STE, 1/s.
        stop: how the search ended, see `bounds.interval_search`.
        counts: (3,) likewise.
    """

    tokens: IntArray
    bandwidth_hz: FloatArray
    power_w: FloatArray
    share: float
    ste: float
    bound: float
    stop: int
    counts: IntArray


def search_from(given: Instance, gap: float, max_nodes: int, steps: IntArray) -> Found:
    """The optimum of a feasible instance with its proof.

    Args:
        given: the instance.
        gap: asked relative gap.
        max_nodes: intervals branched on at most.
        steps: (1,) how many steps it may take, of a closed form per client or so; counted down. A compiled
            search has no clock: who sets them to 0 from another thread ends it as a time limit does.
    """
    goal = goal_of(given, gap, steps)
    search, stop = search_optimum(goal, max_nodes)
    bound = max(proved_bound(search), goal.best[STE])
    bandwidth_hz, power_w, share = deliver(goal, bound)
    return Found(goal.tokens, bandwidth_hz, power_w, share, goal.best[STE], bound, stop, search.counts)


@cache
def whole_search() -> Whole[[Instance, float, int, IntArray], Found]:
    """`search_from`, compiled on its first call; one per process."""
    solver = Path(__file__).parents[1]
    folders = [sorted((solver / folder).glob("*.py")) for folder in FOLDERS]
    constants = [path for path in sorted(solver.glob("*.py")) if path.stem in CONSTANTS]
    package = str(__package__).rpartition(".")[0]
    storeys = tuple(f"{package}.{folder}." for folder in FOLDERS)
    return compiled_whole(
        search_from,
        modules=[module for name, module in list(sys.modules.items()) if name.startswith(storeys)],
        texts=[*chain.from_iterable(folders), *constants],
        replaced={expired: used_up, remaining_s: no_end, record: keep_nothing},
    )
