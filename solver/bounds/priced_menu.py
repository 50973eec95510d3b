"""Menus: what can be chosen and what it costs, separable given a price of bandwidth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..objective import Objective, TotalTime
from ..physics import price_loops
from ..physics.loops import LONGEST_S, least_areas
from ..physics.options import Options
from ..problem import IntArray


class Menu(NamedTuple):
    """What can be chosen.

    Attributes:
        options: (J,) of `price_loops.PRICED`.
        first: (M + 1,) client m has options first[m] up to first[m + 1].
        bandwidth_hz: W.
        asked: required sum of utilities, 0 for none.
    """

    options: NDArray[Any]
    first: IntArray
    bandwidth_hz: float
    asked: float


def menu_of(options: Options, objective: Objective) -> Menu:
    """What the options cost by `Energy` or `TotalTime`, whose limits are those of the options."""
    if isinstance(objective, TotalTime):
        return time_menu(options, objective)
    return energy_menu(options, objective.longest_round_s, asked=objective.least_retained)


def time_menu(options: Options, objective: TotalTime) -> Menu:
    """Weighted times of the clients; at 0 Hz no option ends."""
    slot_s, nats, energy = price_loops.slots(options.rows, options.row, options.nats, LONGEST_S)
    area, _ = least_areas(nats, energy)
    sender = options.rows[options.row]
    most_j = np.minimum(sender["max_power_w"] * LONGEST_S, sender["energy_j"])
    last_area, _ = least_areas(nats, most_j * sender["gain_over_noise"])
    clients = options.first.shape[0] - 1
    weight = np.repeat(objective.weights(clients), np.diff(options.first))
    priced = price_loops.time_options(
        options.rows, options.row, options.nats, weight, slot_s, area, last_area, options.bandwidth_hz
    )
    return Menu(priced, options.first, options.bandwidth_hz, 0.0)


def energy_menu(
    options: Options,
    round_s: float,
    per_joule: float = 1.0,
    per_utility: float = 0.0,
    asked: float = 0.0,
    widest: float = 1.0,
) -> Menu:
    """Joules within a round less what utilities are worth.

    Args:
        options: with their limits.
        round_s: tau, s.
        per_joule: cost of a joule, > 0.
        per_utility: worth of a utility, >= 0.
        asked: required sum of utilities, 0 for none.
        widest: largest bandwidth of an option, shares of W.
    """
    slot_s, nats, energy = price_loops.slots(options.rows, options.row, options.nats, round_s)
    area, _ = least_areas(nats, energy)
    priced = price_loops.energy_options(
        options.rows,
        options.row,
        options.nats,
        options.utility,
        slot_s,
        area,
        options.bandwidth_hz,
        widest,
        per_joule,
        per_utility,
    )
    return Menu(priced, options.first, options.bandwidth_hz, asked)


def chosen_options(options: Options, choice: IntArray) -> Options:
    """Those of a choice only, one per client."""
    return options._replace(
        first=np.arange(choice.shape[0] + 1),
        row=options.row[choice],
        tokens=options.tokens[choice],
        utility=options.utility[choice],
        nats=options.nats[choice],
    )
