"""Reference instances whose optimum is known on paper, for tests and for trying out a new solver."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from .objective import Energy, Retained, RoundTime, TotalTime, Weighted
from .problem import Problem


@dataclass(frozen=True)
class Reference:
    """An instance and its optimum.

    Attributes:
        name: what it shows.
        problem: the instance.
        value: the best value of its objective, exact but for the rounding of float64.

    Examples:
        >>> from stsflora.solver import solve
        >>> from stsflora.solver.reference import references
        >>> first = references()[0]
        >>> first.name, first.value, round(solve(first.problem).value, 6)
        ('one client', 1.8, 1.8)
    """

    name: str
    problem: Problem
    value: float


def references() -> tuple[Reference, ...]:
    """All reference instances: those of the token problem, and those of the general one.

    In units of noise over gain a client at SNR 1 sends 1 bit/s per hertz, so that K tokens of one bit
    take K + 2 seconds, and the optimum can be read off a short list of ratios.
    """
    return (*_of_tokens(), *_of_sendings(), *_of_objectives())


def _of_tokens() -> tuple[Reference, ...]:
    """The STE of one row per client."""
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


def _of_sendings() -> tuple[Reference, ...]:
    """The STE of whatever else may be sent, and whatever else the air costs."""
    return (
        # 4/3, 7/4
        Reference("fewer tokens than others have", _one_client(max_tokens=2), 7 / 4),
        # the header alone takes 2 s and is worth nothing; 4/3, 7/4, 9/5, 10/6
        Reference("no token at least", _one_client(min_tokens=0), 9 / 5),
        # 0.1/3, 1/4, 6/5, 6.2/6
        Reference("S-shaped utility", _one_client(importance=None, utility=[[0, 0.1, 1, 6, 6.2]]), 6 / 5),
        # 4/3, 7/4, 8/9
        Reference("payload table", _one_client(importance=[[4, 3, 1]], payload_bits=[[1, 3, 4, 9]]), 7 / 4),
        # 6 in 2 s beats 9 in 5 s
        Reference("alternatives", _two_rows(), 6 / 2),
        # 6/12, 9/15, 10/16
        Reference("alternatives after an overhead", _two_rows(overhead_s=10.0), 10 / 16),
        # the band to the first alone: 3/3; with the second it takes 2 / log2(3) times as long
        Reference(
            "skip",
            _one_client(gain=[1.0, 1.0], importance=[[3.0], [0.1]], may_skip=True),
            3 / 3,
        ),
        # as "energy": 3 of 5 J are left
        Reference(
            "energy before the upload",
            _one_client(
                importance=[[5.0, 1.0]],
                bits_per_token=2.0,
                extra_tokens=0,
                max_power_w=10.0,
                max_energy_j=5.0,
                before_j=2.0,
            ),
            5.0,
        ),
        # SNR 1 on both hertz: 2 bit/s; 4/1.5, 7/2, 9/2.5, 10/3
        Reference(
            "power per hertz",
            _one_client(bandwidth_hz=2.0, max_power_w=10.0, max_psd_w_per_hz=1.0),
            9 / 2.5,
        ),
        # log2(1 + 3) = 2 bit/s/Hz, of which 1 counts
        Reference("bits per hertz", _one_client(max_power_w=3.0, max_bps_per_hz=1.0), 9 / 5),
        # a block each, half a hertz is left
        Reference(
            "whole blocks",
            _one_client(gain=[1.0, 1.0], importance=[[3.0], [3.0]], bandwidth_hz=2.5, block_hz=1.0),
            6 / 3,
        ),
        # as "weaker client, wider share", which are whole blocks
        Reference("blocks that fit exactly", _two_clients(max_power_w=1.0, block_hz=1.0), 3.0),
    )


def _of_objectives() -> tuple[Reference, ...]:
    """What else may be wanted."""
    return (
        # 9 after 5 s, 10 after 6 s
        Reference("most within a round", _one_client(objective=Retained(round_s=5.5)), 9.0),
        # 3 s are enough for one of both
        Reference(
            "whom to serve within a round",
            _one_client(
                gain=[1.0, 1.0],
                importance=[[3.0], [2.0]],
                may_skip=True,
                objective=Retained(round_s=3.5),
            ),
            3.0,
        ),
        # as "weaker client, wider share"
        Reference("makespan of fixed payloads", _two_payloads(max_power_w=1.0, objective=RoundTime()), 1.0),
        # 7 after 4 s, 9 after 5 s
        Reference("makespan of a requirement", _one_client(objective=RoundTime(retained=8.0)), 5.0),
        # 6 after 2 s, 7 after 4 s of the other row
        Reference("makespan of alternatives", _two_rows(objective=RoundTime(retained=6.5)), 4.0),
        # 4 - 4.5, 7 - 6, 9 - 7.5, 10 - 9
        Reference("time has a price", _one_client(objective=Weighted(per_second=1.5)), 1.5),
        # full power is best: 1 J and 1 s a second
        Reference(
            "time and energy have a price",
            _one_client(objective=Weighted(per_second=1.0, per_joule=0.5)),
            1.5,
        ),
        # (c + p) / log2(1 + p) is least at p = 3 W, where a bit takes half a second
        Reference(
            "power at a price",
            _one_client(
                importance=[[5.0]],
                extra_tokens=0,
                max_power_w=10.0,
                objective=Weighted(per_second=4.0 * math.log(4.0) - 3.0, per_joule=1.0),
            ),
            5.0 - 2.0 * math.log(4.0),
        ),
        # 2 bit/s on one hertz take 3 W
        Reference("energy at a deadline", _two_payloads(**_ALIKE, objective=Energy(round_s=1.0)), 3.0 + 3.0),
        # twice as long at a third of the power
        Reference("slow is cheap", _two_payloads(**_ALIKE, objective=Energy(round_s=2.0)), 2.0 + 2.0),
        # two tokens are 2 bit
        Reference(
            "energy of a requirement",
            _one_client(extra_tokens=0, max_power_w=10.0, objective=Energy(round_s=1.0, retained=6.5)),
            3.0,
        ),
        # 3 s of upload after 1 s count twice
        Reference("one client's time", _one_client(overhead_s=1.0, objective=TotalTime(weight=2.0)), 8.0),
        # equal shares by symmetry: a second each
        Reference(
            "sum of equal times",
            _two_payloads(**_ALIKE | {"max_power_w": 3.0}, objective=TotalTime()),
            2.0,
        ),
    )


_ALIKE: Final = {"gain": [1.0, 1.0], "bandwidth_hz": 2.0, "max_power_w": 10.0}
"""Two clients of the same gain, a hertz each."""


def _two_rows(**changes: object) -> Problem:
    """One client that may send its tokens, or two bit that are worth 6."""
    rows: dict[str, object] = {
        "gain": [1.0, 1.0],
        "client": [0, 0],
        "importance": [[4.0, 3.0, 2.0, 1.0], [6.0, 0.0, 0.0, 0.0]],
        "max_tokens": [4, 1],
        "bits_per_token": [1.0, 2.0 / 3.0],
    }
    return _one_client(**(rows | changes))


def _two_payloads(**changes: object) -> Problem:
    """`_two_clients` with 2 bit each, and nothing to choose."""
    fixed: dict[str, object] = {"importance": None, "utility": [[0.0], [0.0]], "payload_bits": [[2.0], [2.0]]}
    return _two_clients(**(fixed | changes))


def _one_client(**changes: object) -> Problem:
    return _problem({"gain": [1.0], "importance": [[4.0, 3.0, 2.0, 1.0]], "bandwidth_hz": 1.0} | changes)


def _two_clients(**changes: object) -> Problem:
    pair: dict[str, object] = {"gain": [3.0, 2.0], "importance": [[1.0], [2.0]], "bandwidth_hz": 3.0}
    return _problem(pair | {"bits_per_token": 2.0, "extra_tokens": 0} | changes)


def _problem(arguments: dict[str, Any]) -> Problem:
    defaults = {"bits_per_token": 1.0, "max_power_w": 1.0, "max_energy_j": math.inf, "noise_w_per_hz": 1.0}
    return Problem(**(defaults | arguments))
