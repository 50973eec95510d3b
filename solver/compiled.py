"""The functions of `kernel`, compiled by numba; imported only when numba is installed and wanted.

The first call ever compiles for some seconds, later processes load the cache.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .bandwidth import LIMIT_SERIES, NEAR_LIMIT
from .kernel import Choice
from .problem import FloatArray, IntArray, Problem

_compile = numba.njit(cache=True, error_model="numpy", nogil=True)


@_compile
def _area(nats: float, energy_over_noise: float) -> tuple[float, float]:
    rho = nats / energy_over_noise
    if rho >= 1.0:
        return math.inf, 0.0
    distance = 1.0 - rho
    if distance < NEAR_LIMIT:
        z = 0.0
        for k in range(len(LIMIT_SERIES) - 1, -1, -1):
            z = z * distance + LIMIT_SERIES[k]
        z *= distance
    else:
        u = -math.log(rho) - distance
        root = math.sqrt(2.0 * u)
        z = root + u * (2.0 / 3.0 + root / (3.0 * root + 15.0))
        for _ in range(2):
            residual = z - math.log1p(z) - u
            q = 2.0 * z * (z - residual * (2.0 / 3.0))
            z = z - (1.0 + z) * (residual / z) * (q - residual) / (q - 2.0 * residual)
    return nats / (z + distance), z


@_compile
def _areas(nats: FloatArray, energy_over_noise: FloatArray, area: FloatArray, root: FloatArray) -> None:
    for m in range(nats.shape[0]):
        area[m], root[m] = _area(nats[m], energy_over_noise[m])


@_compile
def _choose(
    importance: FloatArray,
    fewest: IntArray,
    extra_tokens: int,
    nats_per_token: FloatArray,
    price: FloatArray,
    energy_over_noise: FloatArray,
    guess: IntArray,
    tokens: IntArray,
    area: FloatArray,
    root: FloatArray,
) -> None:
    for m in range(price.shape[0]):
        b, g, cost = nats_per_token[m], energy_over_noise[m], price[m]
        # Invariant: token `low` pays or is the last forced one; token `high` does not pay or does not exist.
        low, high = fewest[m], importance.shape[1] + 1
        low_area, low_root = _area(b * (low + extra_tokens), g)
        k = min(max(guess[m], low), high - 1)
        step, upwards, bracketed = 1, True, False
        while high - low > 1:
            k = max(k, low + 1)
            before = low_area if k == low + 1 else _area(b * (k - 1 + extra_tokens), g)[0]
            area_k, root_k = _area(b * (k + extra_tokens), g)
            pays = importance[m, k - 1] >= cost * (area_k - before)
            if step == 1:
                upwards = pays
            if pays:
                low, low_area, low_root = k, area_k, root_k
                k = min(low + step, high - 1)
            else:
                high = k
                k = high - step
            bracketed = bracketed or pays != upwards
            if bracketed:
                k = (low + high) // 2
            step *= 2
        tokens[m], area[m], root[m] = low, low_area, low_root


def least_area(nats: FloatArray, energy_over_noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`bandwidth.least_area` for one-dimensional arrays."""
    area, root = np.empty_like(nats), np.empty_like(nats)
    _areas(nats, energy_over_noise, area, root)
    return area, root


def choose_tokens(
    problem: Problem,
    nats_per_token: FloatArray,
    price: FloatArray,
    energy_over_noise: FloatArray,
    guess: IntArray,
) -> Choice:
    """`kernel.choose_tokens`."""
    choice = Choice(np.empty_like(guess), np.empty_like(price), np.empty_like(price))
    _choose(
        problem.importance,
        problem.min_tokens,
        problem.extra_tokens,
        nats_per_token,
        price,
        energy_over_noise,
        guess if guess.flags.writeable else guess.copy(),  # one compiled signature serves all calls
        *choice,
    )
    return choice
