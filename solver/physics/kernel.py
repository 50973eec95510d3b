"""Best token counts at a price of bandwidth (P3), the inner loop: types, and the implementation in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..problem import FloatArray, IntArray, Problem
from .bandwidth import least_area


class Choice(NamedTuple):
    """Tokens that maximise f_m(K) - price x area for each client, and what they need.

    Attributes:
        tokens: (M,) the largest maximiser; `min_tokens` at least.
        area: (M,) its time-bandwidth product, Hz s; inf where not even `min_tokens` can be sent.
        root: (M,) the z of `bandwidth.least_area` there.
    """

    tokens: IntArray
    area: FloatArray
    root: FloatArray


class TangentSums(NamedTuple):
    """Sums over the clients' tangents at their best replies, and what the rounding errors in them scale with.

    Attributes:
        value: sum of the clients' terms at the round time.
        slope: how fast it rises with the round time, 1/s.
        scale: sum of `rounding_error.term_scale`.
        scale_per_s: likewise for `slope`, 1/s.
    """

    value: float
    slope: float
    scale: float
    scale_per_s: float


@dataclass(frozen=True)
class Kernel:
    """One implementation of the inner loop.

    Attributes:
        name: "numpy", "numba" or "numpy and numba".
        area: `bandwidth.least_area` for one-dimensional arrays.
        choose: `choose_tokens`.
        total_and_slope: `Demand.total_and_slope` in one pass over the clients, if there is such.
        tangent_sums: likewise what `Certificate.tangent_bound` needs.
    """

    name: str
    area: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
    choose: Callable[[Problem, FloatArray, FloatArray, FloatArray, IntArray], Choice]
    total_and_slope: (
        Callable[[Problem, FloatArray, FloatArray, IntArray | FloatArray, float], tuple[float, float]] | None
    ) = None
    tangent_sums: (
        Callable[[Problem, FloatArray, FloatArray, float, float, IntArray], tuple[IntArray, TangentSums]]
        | None
    ) = None


def choose_tokens(
    problem: Problem,
    nats_per_token: FloatArray,
    price: FloatArray,
    energy_over_noise: FloatArray,
    guess: IntArray,
) -> Choice:
    """Each client's best token count at its price per area, by galloping from a guess.

    f_m is concave and the area convex in K, so the last token that pays is found by its marginals:
    importance of token K >= price x (area(K) - area(K - 1)).

    Args:
        problem: the instance.
        nats_per_token: (M,) beta ln 2.
        price: (M,) retained attention per Hz s, >= 0.
        energy_over_noise: (M,) g_m = e_m h_m / N0 that the upload may use.
        guess: (M,) where to look first; any values.

    Cost: three evaluations of the closed form per client when the guess is right, 2 log2 of the
        distance more otherwise.
    """
    low = problem.min_tokens.copy()
    high = np.full_like(low, problem.tokens + 1)
    k = np.clip(guess, low, problem.tokens)
    upwards = np.ones(k.shape, dtype=bool)
    bracketed = np.zeros(k.shape, dtype=bool)
    rows = np.flatnonzero(high - low > 1)
    step = 1
    with np.errstate(invalid="ignore"):
        while rows.size:
            probe = np.maximum(k[rows], low[rows] + 1)
            pair = np.stack((probe, probe - 1)) + problem.extra_tokens
            area, _ = least_area(pair * nats_per_token[rows], energy_over_noise[rows])
            pays = problem.importance[rows, probe - 1] >= price[rows] * (area[0] - area[1])
            if step == 1:
                upwards[rows] = pays
            low[rows] = np.where(pays, probe, low[rows])
            high[rows] = np.where(pays, high[rows], probe)
            bracketed[rows] |= pays != upwards[rows]
            gallop = np.where(pays, np.minimum(low[rows] + step, high[rows] - 1), high[rows] - step)
            k[rows] = np.where(bracketed[rows], (low[rows] + high[rows]) // 2, gallop)
            step *= 2
            rows = rows[high[rows] - low[rows] > 1]
    area, root = least_area(nats_per_token * (low + problem.extra_tokens), energy_over_noise)
    return Choice(low, area, root)


NUMPY_KERNEL = Kernel("numpy", least_area, choose_tokens)
