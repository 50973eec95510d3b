"""Uplink allocation of a fine-tuning round: `Problem` from offers and channels, `Plan` by a solver."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ...models.cell.cell import Round
from ...models.cell.device import Architecture, forward_s
from ...models.vit.adapter import get_state, size_bits
from ...models.vit.quantisation import token_bits
from ...solver import Grant, Plan, Problem, Quality
from ...solver.allocator.plan_problem import plan_problem
from ...solver.physics.uplink import payload_bits
from ...solver.problem import FloatArray
from ...solver.random_streams import derived_seed, random_stream
from .client_tokens import Offer
from .run import Run
from .training_steps import ClientBatch

NOTHING: Final = Grant(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""The grant of a client that takes part and sends nothing."""


def plan_uplink(run: Run, cell_round: Round, offers: Mapping[int, Offer]) -> tuple[Plan, dict[int, str]]:
    """Allocate the uplink of a round; also says who leaves the cell too early. Offers come ascending.

    Simple rules may break a client's energy or deadline; that client is dropped, the others go on.

    Raises:
        SolverFailedError: the solver found nothing, or gave away more bandwidth than there is.
        OptionError, UnknownNameError, MissingDependencyError: the solver cannot be called so.
    """
    config, scheme = run.config, run.scheme
    if scheme.sends == "nothing":
        return Plan(solver="", grants=dict.fromkeys(offers, NOTHING)), {}
    offers, gone = staying(run, cell_round, offers)
    if not offers:
        return Plan(solver=config.solver), gone
    seed = derived_seed(f"fine-tuning solver, seed {config.seed}, round {cell_round.index}")
    settings: dict[str, Any] = {"seed": seed, "on_violation": "drop"}
    if scheme.sends == "selected":
        settings |= {"solver": config.solver, "options": config.solver_options}
    plan = plan_one_by_one if scheme.one_by_one else plan_problem
    return plan(round_problem(run, cell_round, offers), list(offers), **settings), gone


def staying(
    run: Run, cell_round: Round, offers: Mapping[int, Offer]
) -> tuple[dict[int, Offer], dict[int, str]]:
    """Offers of clients that stay in the cell beyond their forward pass, and reasons for the others."""
    left_s = cell_round.standing_s[list(offers)] - client_forward_s(run, offers)
    stay = {client: offers[client] for client, time_s in zip(offers, left_s, strict=True) if time_s > 0}
    gone = [client for client in offers if client not in stay]
    return stay, dict.fromkeys(gone, "it leaves the cell before it could upload")


def round_problem(run: Run, cell_round: Round, offers: Mapping[int, Offer]) -> Problem:
    """Build the round's `Problem`: one row per offer and bit depth, all depths of a client in sequence.

    The importance is eq. 18 on the real tokens of the real batch, times what the depth is worth. Schemes
    that send everything get K_min = N; one that sends its adapter sends one indivisible token.

    The cut is no alternative: one server half serves all clients, so that they all end at the same block.
    """
    config, halves, depths = run.config, run.context.halves, run.config.bit_depths
    ids = np.repeat(list(offers), len(depths))
    forward = np.repeat(client_forward_s(run, offers), len(depths))
    if run.scheme.sends == "adapter":
        importance = np.ones((len(ids), 1))
        bits = np.full(len(ids), float(size_bits(get_state(run.context.model))))
        least, extra = 1, 0
    else:
        importance = np.stack(
            [depth.worth * offer.importance for offer in offers.values() for depth in depths]
        )
        a_token = [token_bits(halves.width, depth.bits) for depth in depths]
        bits = np.outer(samples_of(offers), a_token).ravel()
        least, extra = run.min_tokens, run.extra_tokens
    return Problem(
        gain=cell_round.gain[ids],
        importance=importance,
        bits_per_token=bits,
        bandwidth_hz=config.bandwidth_hz,
        max_power_w=config.max_power_w,
        max_energy_j=config.max_energy_j,
        deadline_s=cell_round.standing_s[ids] - forward,
        overhead_s=forward if config.count_forward else 0.0,
        min_tokens=least,
        extra_tokens=extra,
        client=np.repeat(np.arange(len(offers)), len(depths)),
    )


def plan_one_by_one(problem: Problem, ids: Sequence[int], **settings: Any) -> Plan:
    """Plan sequential uploads (TDMA): like `plan_problem`, one client after another over all bandwidth.

    Their finish times add up; nothing is proved of the whole.
    """
    plans = [plan_problem(problem.subset([row]), [client], **settings) for row, client in enumerate(ids)]
    grants, finish_s = {}, 0.0
    for plan in plans:
        for client, grant in plan.grants.items():
            finish_s += grant.finish_s
            grants[client] = grant._replace(finish_s=finish_s)
    return replace(
        plans[0],
        grants=grants,
        dropped=tuple(
            client._replace(position=row) for row, plan in enumerate(plans) for client in plan.dropped
        ),
        bound=math.inf,
        quality=min((plan.quality for plan in plans), key=tuple(Quality).index),
        seconds=sum(plan.seconds for plan in plans),
        solver_seconds=sum(plan.solver_seconds for plan in plans),
    )


def granted_bits(run: Run, grants: Mapping[int, Grant]) -> dict[int, int]:
    """Bits per element in which each client is to send its tokens: those of the row that it was granted."""
    depths = run.config.bit_depths
    if len(depths) == 1:
        return dict.fromkeys(grants, depths[0].bits)
    return {client: depths[grant.row % len(depths)].bits for client, grant in grants.items()}


def token_bytes(run: Run, batches: Sequence[ClientBatch], tokens: Sequence[int], bits: Sequence[int]) -> int:
    """Payload size S = beta (K + e) in bytes, summed over the clients (paper eq. 4).

    Args:
        run: says how long a token is.
        batches: of the clients.
        tokens: K of each.
        bits: per element of each one's tokens.
    """
    width = run.context.halves.width
    beta = np.array(
        [len(batch) * token_bits(width, depth) for batch, depth in zip(batches, bits, strict=True)]
    )
    return round(float(payload_bits(np.array(tokens), beta, run.extra_tokens).sum()) / 8)


def samples_of(offers: Mapping[int, Offer]) -> FloatArray:
    """(M,) images in each client's batch."""
    return np.array([offer.samples for offer in offers.values()], dtype=np.float64)


def client_forward_s(run: Run, offers: Mapping[int, Offer]) -> FloatArray:
    """(M,) time of each client's forward pass over its batch, s."""
    config, halves, ids = run.config, run.context.halves, list(offers)
    rng = random_stream(f"fine-tuning devices, seed {config.seed}")
    clock_hz = rng.uniform(1.0e9, 1.5e9, config.clients)
    cores = rng.integers(4, 7, config.clients).astype(np.float64)
    pixels = run.context.images.size_px // halves.grid[0]
    shape = Architecture(halves.width, halves.patches, pixels, prefix_tokens=halves.prefix_tokens)
    return forward_s(samples_of(offers) * shape.client_flop(halves.cut), cores[ids], clock_hz[ids])
