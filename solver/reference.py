"""Reference instances whose optimum is known on paper, for tests and for trying out a new solver."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .problem import Problem


@dataclass(frozen=True)
class Reference:
    """An instance and its largest STE.

    Attributes:
        name: what it shows.
        problem: the instance.
        ste: optimum in 1/s, exact but for the rounding of float64.
    """

    name: str
    problem: Problem
    ste: float


def references() -> tuple[Reference, ...]:
    """All reference instances.

    In units of noise over gain a client at SNR 1 sends 1 bit/s per hertz, so that K tokens of one bit
    take K + 2 seconds, and the optimum can be read off a short list of ratios.
    """
    return (
        # 4/3, 7/4, 9/5, 10/6
        Reference("one client", _one_client(), 9 / 5),
        # 4/13, 7/14, 9/15, 10/16
        Reference("overhead pays for more tokens", _one_client(overhead_s=10.0), 10 / 16),
        # T <= 5 ends at the third
        Reference("deadline", _one_client(overhead_s=10.0, deadline_s=5.0), 9 / 15),
        Reference("fewest tokens are too many", _one_client(min_tokens=4), 10 / 6),
        # 1/3, 1/4, 1/5
        Reference("worthless tokens", _one_client(importance=[[1.0, 0.0, 0.0]]), 1 / 3),
        # T log2(1 + 3/T) = 2 bit at T = 1; the second token takes more than 5 s
        Reference(
            "energy",
            _one_client(
                importance=[[5.0, 1.0]],
                bits_per_token=2.0,
                extra_tokens=0,
                max_power_w=10.0,
                max_energy_j=3.0,
            ),
            5.0,
        ),
        # two times the same concave rate: equal shares
        Reference(
            "twins",
            _one_client(gain=[1.0, 1.0], importance=[[3.0], [3.0]], bandwidth_hz=2.0),
            6 / 3,
        ),
        # log2(1 + 3/1) = 2 log2(1 + 2/2) = 2 bit/s: shares 1 and 2 Hz end together after 1 s
        Reference("weaker client, wider share", _two_clients(max_power_w=1.0), 3.0),
        # the same second at 1 J instead of 1 W
        Reference("energy shared out", _two_clients(max_power_w=10.0, max_energy_j=1.0), 3.0),
        # client 0 needs 1 Hz by its deadline, client 1 the other 2 Hz; its overhead of 2 s counts
        Reference(
            "deadline and overhead",
            _two_clients(max_power_w=1.0, deadline_s=[1.0, 9.0], overhead_s=[0.0, 2.0]),
            3 / 3,
        ),
    )


def _one_client(**changes: object) -> Problem:
    return _problem({"gain": [1.0], "importance": [[4.0, 3.0, 2.0, 1.0]], "bandwidth_hz": 1.0} | changes)


def _two_clients(**changes: object) -> Problem:
    pair: dict[str, object] = {"gain": [3.0, 2.0], "importance": [[1.0], [2.0]], "bandwidth_hz": 3.0}
    return _problem(pair | {"bits_per_token": 2.0, "extra_tokens": 0} | changes)


def _problem(arguments: dict[str, Any]) -> Problem:
    defaults = {"bits_per_token": 1.0, "max_power_w": 1.0, "max_energy_j": math.inf, "noise_w_per_hz": 1.0}
    return Problem(**(defaults | arguments))
