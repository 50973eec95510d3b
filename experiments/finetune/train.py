"""Training loop of fine-tuning over a simulated cell: rounds, evaluation, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import mode

import numpy as np
import torch

from ...models.cell.cell import Cell, Round, simulate
from ...models.vit.adapter import get_state, save_adapter, set_state
from ...models.vit.quantisation import encode
from ...models.vit.tokens import select
from ...solver import StsfloraError
from ...solver.files.file_access import make_folder
from .checkpoint import CHECKPOINT, RoundLog, save_checkpoint
from .client import in_batches
from .client_pool import ClientPool, local_clients
from .config import Config
from .device import autocast
from .run import Run, prepare, restore
from .uplink import granted_bits, plan_uplink, token_bytes


class TrainingError(StsfloraError, RuntimeError):
    """Training diverged; the checkpoint keeps all rounds before."""


def one_round(run: Run, cell_round: Round, clients: ClientPool) -> RoundLog:
    """One round: offers, resource allocation, uploads, training step, evaluation.

    Raises:
        FloatingPointError: a loss is not finite; no log is made, and the checkpoint holds the round before.
        SolverFailedError: the solver found no allocation.
    """
    started, config, scheme = time.perf_counter(), run.config, run.scheme
    index, link = cell_round.index, run.context.link
    link.up_bytes = link.down_bytes = 0

    # 1. The cell wakes some clients; each takes a batch of its images and offers what its tokens are worth.
    offers, silent = clients.offers(index, np.flatnonzero(cell_round.active).tolist())

    # 2. With the channels that makes a problem, and a solver decides who sends what.
    plan, gone = plan_uplink(run, cell_round, offers)

    # 3. Those that fit cut their tokens to K, merge the rest, round, and upload; what is lost takes no part.
    grants = {int(client): grant for client, grant in plan.grants.items()}
    bits = granted_bits(run, grants)
    batches, lost = clients.uploads(index, grants, bits)
    plan = plan.without(lost)
    left_out = {str(client): reason for client, reason in {**silent, **gone, **lost}.items()}
    left_out |= {str(client.id): client.reason for client in plan.dropped}

    # 4. The scheme's step.
    loss = scheme.train(batches) if batches else None

    # 5. The test, with all tokens and with as many as the clients kept.
    tokens = [grant.tokens for grant in plan.grants.values()]
    sent_bits = [bits[int(client)] for client in plan.grants]
    accuracy = accuracy_selected = None
    if index + 1 == config.rounds or (index + 1) % config.evaluate_every == 0:
        accuracy = evaluate(run)
        if scheme.sends == "selected" and batches:
            accuracy_selected = evaluate(run, round(float(np.mean(tokens))), mode(sent_bits))

    sends_tokens = scheme.sends in {"all", "selected"}
    proved = bool(plan.grants) and math.isfinite(plan.bound)
    return RoundLog(
        index=index,
        accuracy=accuracy,
        accuracy_selected=accuracy_selected,
        loss=loss,
        clients=[int(client) for client in plan.grants],
        left_out=left_out,
        tokens=tokens if sends_tokens else [],
        ste=plan.ste if sends_tokens and plan.grants else None,
        bound=plan.bound if sends_tokens and proved else None,
        quality=str(plan.quality) if plan.grants and scheme.sends != "nothing" else "",
        energy_j=plan.energy_j,
        round_s=plan.round_s,
        uplink_bytes=link.up_bytes,
        formula_bytes=token_bytes(run, batches, tokens, sent_bits) if sends_tokens else 0,
        downlink_bytes=link.down_bytes,
        seconds=time.perf_counter() - started,
        bits=sent_bits if len(config.bit_depths) > 1 else [],
    )


@torch.no_grad()
def evaluate(run: Run, tokens: int | None = None, bits: int | None = None) -> float:
    """Top-1 accuracy on the test images; of schemes with one model per client, the mean over clients.

    Behind a frozen client half the tokens are rounded as if they were sent.

    Args:
        run: the run.
        tokens: K kept of each test image, the rest merged; None for all tokens.
        bits: per element; None for the most that clients may send.
    """
    context, halves, config = run.context, run.context.halves, run.config
    present = get_state(context.model)
    accuracies = []
    for state in run.scheme.tested_states():
        if state is not None:
            set_state(context.model, state)
        right = 0
        for index in in_batches(len(run.test)):
            with autocast(context.device):
                if run.test_tokens is None:
                    logits = context.model(run.test.normalised(index).to(context.device))
                else:
                    x, scores = run.test_tokens.tokens[index].float(), run.test_tokens.scores[index]
                    count, merge = (scores.shape[1], "none") if tokens is None else (tokens, config.merge)
                    cut = select(x, scores, count, prefix_tokens=halves.prefix_tokens, merge=merge)
                    arrived = cut.tokens
                    if run.test_tokens.tokens.dtype == torch.float32:  # float16 is rounded before selection
                        arrived = encode(arrived, bits or context.bits).restored()
                    logits = halves.server(arrived.to(context.device), cut.valid.to(context.device))
            right += int((logits.argmax(dim=1).cpu() == run.test.labels[index]).sum())
        accuracies.append(right / len(run.test))
    set_state(context.model, present)
    return sum(accuracies) / len(accuracies)


def finetune(
    config: Config,
    folder: Path,
    *,
    cache: Path,
    resume: bool = True,
    device: str = "auto",
    like: Run | None = None,
    clients: Callable[[Run], ClientPool] | None = None,
    on_round: Callable[[RoundLog], None] = lambda log: None,
) -> Run:
    """Run all rounds, one checkpoint each; a killed run loses one round at most.

    Args:
        config: settings.
        folder: for the checkpoint and, at the end, the adapter in peft's format.
        cache: folder for the small pretrained ViT.
        resume: go on from the folder's checkpoint if there is one; the numbers are those of a run that
            was never interrupted, bit for bit on a CPU with the same number of threads.
        device: "auto", "cpu" or "cuda".
        like: an earlier run, whose images and cached tokens serve again where the settings allow it.
        clients: makes those who hold the images; None for clients in this process.
        on_round: called after each round, and for each round that was done before.

    Raises:
        OptionError: settings that do not fit together, or another run's checkpoint in the folder.
        TrainingError: a loss is not finite.
        StsfloraError: data, weights or solver fail, each by its own class.
    """
    file = make_folder(folder) / CHECKPOINT
    run = prepare(config, cache, device, like, with_clients=clients is None)
    if resume and file.exists():
        restore(run, file)
    for log in run.logs:
        on_round(log)
    held_by = local_clients(run) if clients is None else clients(run)
    cell = Cell(activations_per_round=config.activations_per_round)
    rounds = simulate(cell, config.clients, config.rounds, config.seed, interval_s=config.interval_s)
    for cell_round in islice(rounds, len(run.logs), None):
        try:
            log = one_round(run, cell_round, held_by)
        except FloatingPointError as error:
            raise TrainingError(
                "finetune",
                f"{error} in round {cell_round.index}",
                "a finite loss",
                f"Lower the learning rate; {cell_round.index} rounds are kept in {file}",
            ) from error
        run.logs.append(log)
        save_checkpoint(file, config, run.logs, run.scheme.states())
        on_round(log)
    for number, state in enumerate(run.scheme.tested_states()):
        if state is not None:
            set_state(run.context.model, state)
        save_adapter(run.context.model, folder / ("adapter" if state is None else f"adapter-{number}"))
    return run
