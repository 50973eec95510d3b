"""Best token counts at a price of bandwidth, compiled by numba; imported only when numba is wanted.

The first call ever compiles for some seconds, later processes load the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numba
import numpy as np

from ..problem import FloatArray, IntArray, Problem
from . import rounding_error
from .bandwidth import LIMIT_SERIES, NEAR_LIMIT
from .kernel import Choice, TangentSums

_compile = numba.njit(cache=True, error_model="numpy", nogil=True)
# numba's cache does not see changes in another file: touch this one when these two change.
_area_condition = cast(Callable[[float], float], _compile(rounding_error.area_condition))
_term_scale = cast(Callable[[float, float, float, float], float], _compile(rounding_error.term_scale))


@_compile
def _area(nats: float, energy_over_noise: float) -> tuple[float, float]:
    """`bandwidth.least_area` of one upload: (area in Hz s, root z); the same series and iteration."""
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
    """`_area` of (M,) uploads into (M,) arrays of the caller."""
    for m in range(nats.shape[0]):
        area[m], root[m] = _area(nats[m], energy_over_noise[m])


@_compile
def _best(
    importance: FloatArray,
    m: int,
    fewest: int,
    extra_tokens: int,
    b: float,
    price: float,
    g: float,
    k: int,
    area: float,
    root: float,
) -> tuple[int, float, float]:
    """Best count of one client, by galloping: (tokens, area in Hz s, root).

    The importances fall and the areas are convex in K, so the last token that pays is found by its marginals.
    Steps double while the test goes one way, then the bracket is halved.

    Args:
        importance: (M, N), of all clients.
        m: the client.
        fewest: its K_min.
        extra_tokens: e.
        b: nats per token.
        price: of its area, retained attention per Hz s.
        g: energy over noise, dimensionless.
        k: where to begin.
        area: of k, Hz s.
        root: of k.
    """
    # Invariant: token `low` pays or is the last forced one; token `high` does not pay or does not exist.
    low, high = fewest, importance.shape[1] + 1
    low_area, low_root = (area, root) if k == low else (math.nan, math.nan)
    fresh, step, upwards, bracketed = k > low, 1, True, False
    while high - low > 1:
        k = max(k, low + 1)
        if not fresh:
            area, root = _area(b * (k + extra_tokens), g)
        fresh = False
        known = k == low + 1 and not math.isnan(low_area)
        before = low_area if known else _area(b * (k - 1 + extra_tokens), g)[0]
        pays = importance[m, k - 1] >= price * (area - before)
        if step == 1:
            upwards = pays
        if pays:
            low, low_area, low_root = k, area, root
            k = min(low + step, high - 1)
        else:
            high = k
            k = high - step
        bracketed = bracketed or pays != upwards
        if bracketed:
            k = (low + high) // 2
        step *= 2
    if math.isnan(low_area):
        low_area, low_root = _area(b * (low + extra_tokens), g)
    return low, low_area, low_root


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
    """`kernel.choose_tokens` for all clients; (M,) `tokens`, `area` and `root` are filled in."""
    most = importance.shape[1]
    for m in range(price.shape[0]):
        b, g, low = nats_per_token[m], energy_over_noise[m], fewest[m]
        k = min(max(guess[m], low), most)
        at, z = _area(b * (k + extra_tokens), g)
        tokens[m], area[m], root[m] = _best(importance, m, low, extra_tokens, b, price[m], g, k, at, z)


@_compile
def _total_and_slope(
    extra_tokens: int,
    max_power_w: FloatArray,
    max_energy_j: FloatArray,
    overhead_s: FloatArray,
    deadline_s: FloatArray,
    nats_per_token: FloatArray,
    gain_over_noise: FloatArray,
    tokens: FloatArray,
    round_s: float,
) -> tuple[float, float]:
    """Total need in Hz and its slope in Hz/s of (M,) counts, whole or not; (inf, -inf) if unmet."""
    total, slope = 0.0, 0.0
    for m in range(tokens.shape[0]):
        left = round_s - overhead_s[m]
        slot = min(left, deadline_s[m])
        if slot <= 0.0:
            return math.inf, -math.inf
        full = max_power_w[m] * slot
        nats = nats_per_token[m] * (tokens[m] + extra_tokens)
        area, root = _area(nats, min(full, max_energy_j[m]) * gain_over_noise[m])
        total += area / slot
        if left < deadline_s[m]:
            slope -= area * (1.0 + (1.0 / root if full < max_energy_j[m] else 0.0)) / (slot * slot)
    return (total, slope) if total < math.inf else (math.inf, -math.inf)


@_compile
def _tangent_sums(
    importance: FloatArray,
    fewest: IntArray,
    extra_tokens: int,
    max_power_w: FloatArray,
    max_energy_j: FloatArray,
    overhead_s: FloatArray,
    nats_per_token: FloatArray,
    gain_over_noise: FloatArray,
    round_s: float,
    price: float,
    guess: IntArray,
    tokens: IntArray,
) -> tuple[float, float, float, float]:
    """Sums over clients of their tangents at their best replies, in one pass; see `kernel.TangentSums`.

    A guess that is the best reply already costs one closed form. Else `_best` finds it, and three Newton
    steps find the fractional count beside it at which the tangent plane is in contact.

    Args:
        importance: (M, N); the arrays from `fewest` on are (M,).
        fewest: K_min.
        extra_tokens: e.
        max_power_w: P, W.
        max_energy_j: E, J.
        overhead_s: o, s, equal for all.
        nats_per_token: b, nat.
        gain_over_noise: h / N0.
        round_s: tau, s, before every deadline.
        price: mu, retained attention per Hz s.
        guess: counts to look at first.
        tokens: filled with the best counts; may be `guess`.
    """
    most = importance.shape[1]
    value, slope, scale, scale_per_s = 0.0, 0.0, 0.0, 0.0
    for m in range(tokens.shape[0]):
        b, slot = nats_per_token[m], round_s - overhead_s[m]
        full = max_power_w[m] * slot
        g = min(full, max_energy_j[m]) * gain_over_noise[m]
        low = fewest[m]
        k = min(max(guess[m], low), most)
        area, root = _area(b * (k + extra_tokens), g)
        for attempt in range(2):
            condition = _area_condition(root)
            marginal = price * (area / (k + extra_tokens)) * condition
            here = importance[m, k - 1] if k > low else math.inf
            following = importance[m, k] if k < most else -math.inf
            target = min(max(marginal, following), here)
            # A guess between whose importances the marginal cost lies is the best reply.
            if target == marginal or attempt == 1:
                break
            k, area, root = _best(importance, m, low, extra_tokens, b, price, g, k, area, root)
        tokens[m] = k
        retained = 0.0
        for n in range(k):
            retained += importance[m, n]
        scale += _term_scale(retained - price * area, price * area, condition, round_s / slot)
        residual = 0.0
        if target != marginal:
            count, residual = float(k), target - marginal
            for _ in range(3):
                curvature = price * b * (1.0 + root) / ((count + extra_tokens) * root**3)
                count = min(max(count + residual / curvature, k - 1.0), k + 1.0)
                area, root = _area(b * (count + extra_tokens), g)
                residual = target - price * (area / (count + extra_tokens)) * (1.0 + 1.0 / root)
            retained += target * (count - k)
        value += retained - price * area + abs(residual) * most
        if full < max_energy_j[m]:
            rise = price * area / (root * slot)
            slope += rise
            scale_per_s += rise * condition
    return value, slope, scale, scale_per_s


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


def total_and_slope(
    problem: Problem,
    nats_per_token: FloatArray,
    gain_over_noise: FloatArray,
    tokens: IntArray | FloatArray,
    round_s: float,
) -> tuple[float, float]:
    """`Demand.total_and_slope`."""
    return _total_and_slope(
        problem.extra_tokens,
        problem.max_power_w,
        problem.max_energy_j,
        problem.overhead_s,
        problem.deadline_s,
        nats_per_token,
        gain_over_noise,
        tokens.astype(np.float64),  # one compiled signature serves all calls
        round_s,
    )


def tangent_sums(
    problem: Problem,
    nats_per_token: FloatArray,
    gain_over_noise: FloatArray,
    round_s: float,
    price: float,
    guess: IntArray,
) -> tuple[IntArray, TangentSums]:
    """Sums of `Certificate.tangent`, for equal overheads and no deadline before the round time."""
    tokens = guess.copy()
    sums = _tangent_sums(
        problem.importance,
        problem.min_tokens,
        problem.extra_tokens,
        problem.max_power_w,
        problem.max_energy_j,
        problem.overhead_s,
        nats_per_token,
        gain_over_noise,
        round_s,
        price,
        tokens,
        tokens,
    )
    return tokens, TangentSums(*sums)
