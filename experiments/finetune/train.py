"""Fine-tuning over a simulated cell: one round from the channel to the accuracy, top to bottom."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ...models.cell.cell import Cell, Round, simulate
from ...models.cell.device import Architecture, forward_s
from ...models.data import Images
from ...models.partition import Parts
from ...models.vit.adapter import add_lora, get_state, save_adapter, set_state, size_bits
from ...models.vit.split import split
from ...models.vit.tokens import Selected, merged_tokens, select
from ...solver import OptionError, Problem, StsfloraError
from ...solver.physics.uplink import payload_bits
from ...solver.problem import FloatArray
from ...solver.random_streams import derived_seed, random_stream
from .checkpoint import RoundLog, load_checkpoint, save_checkpoint
from .client import backbone, client_tokens, draw_batch, in_batches, load_images, partition
from .client_tokens import ClientTokens, Offer, payload_dtype
from .config import Config
from .device import chosen_device
from .schemes import Method, Shared, Work, method
from .uplink import Decision, decide, decide_one_by_one, default_min_tokens, idle, nobody, require_min_tokens

CHECKPOINT = "checkpoint.safetensors"
IMAGE_SETTINGS = ("data", "size_px", "test_images")
TOKEN_SETTINGS = (*IMAGE_SETTINGS, "model", "weights", "cut", "measure", "bits_per_element", "seed")
"""What decides the images, and the tokens of frozen client halves."""


class TrainingError(StsfloraError, RuntimeError):
    """Training cannot go on; everything up to the last round is kept."""


@dataclass(eq=False)
class Run:
    """A run between two rounds: its fixed parts, and the method that learns.

    Attributes:
        config: settings.
        parts: indices of each client's images.
        test: images to evaluate on.
        shared: model, split and training images.
        method: the scheme.
        clock_hz: (M,) of the clients' processors.
        cores: (M,) of them.
        train_tokens: cached where client halves are frozen and run in this process.
        test_tokens: cached where client halves are frozen.
        logs: one per finished round.
    """

    config: Config
    parts: Parts
    test: Images
    shared: Shared
    method: Method
    clock_hz: FloatArray
    cores: FloatArray
    train_tokens: ClientTokens | None = None
    test_tokens: ClientTokens | None = None
    logs: list[RoundLog] = field(default_factory=list)

    @property
    def extra_tokens(self) -> int:
        """Tokens sent besides the K kept ones."""
        merged = merged_tokens(self.config.merge) if self.method.sends == "selected" else 0
        return self.shared.halves.prefix_tokens + merged


class Clients(ABC):
    """Those who hold the images, in this process or at the far end of a network."""

    @abstractmethod
    def offers(self, index: int, awake: Sequence[int]) -> tuple[dict[int, Offer], dict[int, str]]:
        """Round `index`: what each client that is awake offers, ascending, and why others do not."""

    @abstractmethod
    def uploads(self, index: int, decision: Decision) -> tuple[list[Work], dict[int, str]]:
        """What arrives of the granted uploads, ascending, and why the others do not."""


@dataclass(frozen=True, eq=False)
class LocalClients(Clients):
    """Clients in this process; whatever they send goes over the run's link, and nothing is lost."""

    run: Run

    def offers(self, index: int, awake: Sequence[int]) -> tuple[dict[int, Offer], dict[int, str]]:
        """Everybody has an offer; where client halves are not scored, all tokens are worth the same."""
        patches = self.run.shared.halves.patches
        found = {}
        for work in self._works(index, awake):
            tokens, samples = self.run.train_tokens, len(work.index)
            even = Offer(samples, np.full(patches, samples / patches))
            found[work.client] = even if tokens is None else tokens.take(work.index).offer()
        return found, {}

    def uploads(self, index: int, decision: Decision) -> tuple[list[Work], dict[int, str]]:
        """In schemes whose clients only run forward, their tokens cut to K; else just the images."""
        run, shared, works = self.run, self.run.shared, self._works(index, decision.clients.tolist())
        if run.method.one_way:
            assert run.train_tokens is not None
            for work, count in zip(works, decision.tokens.tolist(), strict=True):
                cut = run.train_tokens.take(work.index).cut(run.config, count)
                work.arrived = Selected(
                    shared.link.up(cut.tokens).to(shared.device), cut.valid.to(shared.device)
                )
                work.labels = shared.images.labels[work.index].to(shared.device)
        return works, {}

    def _works(self, index: int, clients: Sequence[int]) -> list[Work]:
        run = self.run
        return [Work(client, draw_batch(run.parts[client], run.config, index, client)) for client in clients]


def one_round(run: Run, air: Round, clients: Clients) -> RoundLog:
    """One round: who is there, what their tokens are worth, who sends what, the server's step, the test.

    Raises:
        FloatingPointError: a loss is not finite; no log is made, and the checkpoint holds the round before.
        SolverFailedError: the solver found no allocation.
    """
    started, config, method = time.perf_counter(), run.config, run.method
    link = run.shared.link
    link.up_bytes = link.down_bytes = 0

    # 1. The cell wakes some clients; each takes a batch of its images and offers what its tokens are worth.
    offers, silent = clients.offers(air.index, np.flatnonzero(air.active).tolist())

    # 2. With the channels that makes a problem, and a solver decides who sends what.
    problem, ids, gone = round_problem(run, air, offers)
    if problem is None:
        decision = nobody({}) if method.sends != "nothing" else idle(sorted(offers), {})
    else:
        choose = decide_one_by_one if method.one_by_one else decide
        solver, options = (
            ("exact", {}) if method.sends != "selected" else (config.solver, config.solver_options)
        )
        seed = derived_seed(f"fine-tuning solver, seed {config.seed}, round {air.index}")
        decision = choose(problem, ids, solver, options, seed=seed)

    # 3. Those that fit cut their tokens to K, merge the rest, and upload; what is lost takes no part.
    working, lost = clients.uploads(air.index, decision)
    decision = decision.without(lost)
    left_out = {**silent, **gone, **decision.left_out}

    # 4. The scheme's step.
    loss = method.train(working) if working else None

    # 5. The test, with all tokens and with as many as the clients kept.
    last = air.index + 1 == config.rounds
    accuracy = accuracy_selected = None
    if last or (air.index + 1) % config.evaluate_every == 0:
        accuracy = evaluate(run)
        if method.sends == "selected" and working:
            accuracy_selected = evaluate(run, tokens=round(float(np.mean(decision.tokens))))

    sends_tokens = method.sends in {"all", "selected"}
    return RoundLog(
        index=air.index,
        accuracy=accuracy,
        accuracy_selected=accuracy_selected,
        loss=loss,
        clients=decision.clients.tolist(),
        left_out={str(client): reason for client, reason in left_out.items()},
        tokens=decision.tokens.tolist() if sends_tokens else [],
        ste=decision.ste if sends_tokens else None,
        bound=decision.bound if sends_tokens else None,
        quality=decision.quality,
        energy_j=float(decision.energy_j.sum()),
        round_s=decision.round_s,
        uplink_bytes=link.up_bytes,
        formula_bytes=token_bytes(run, working, decision) if sends_tokens else 0,
        downlink_bytes=link.down_bytes,
        seconds=time.perf_counter() - started,
    )


def round_problem(
    run: Run, air: Round, offers: Mapping[int, Offer]
) -> tuple[Problem | None, list[int], dict[int, str]]:
    """The round's `Problem`, one row per client that stays long enough, their ids, and who does not.

    The importance is eq. 18 on the real tokens of the real batch. Schemes that send everything get
    K_min = N; one that sends its adapter sends one indivisible token.
    """
    config, method, halves = run.config, run.method, run.shared.halves
    if method.sends == "nothing" or not offers:
        return None, [], {}
    ids = np.array(sorted(offers))
    batch = np.array([offers[client].samples for client in ids], dtype=np.float64)
    forward = forward_s(batch * client_flop(run), run.cores[ids], run.clock_hz[ids])
    left = air.standing_s[ids] - forward
    stays = left > 0
    gone = {int(client): "it leaves the cell before it could upload" for client in ids[~stays]}
    if not stays.any():
        return None, [], gone
    ids, batch, forward, left = ids[stays], batch[stays], forward[stays], left[stays]
    if method.sends == "adapter":
        importance = np.ones((len(ids), 1))
        bits = np.full(len(ids), float(size_bits(get_state(run.shared.model))))
        least, extra = 1, 0
    else:
        importance = np.stack([offers[client].importance for client in ids])
        bits = batch * halves.width * config.bits_per_element
        least, extra = least_tokens(run), run.extra_tokens
    problem = Problem(
        gain=air.gain[ids],
        importance=importance,
        bits_per_token=bits,
        bandwidth_hz=config.bandwidth_hz,
        max_power_w=config.max_power_w,
        max_energy_j=config.max_energy_j,
        deadline_s=left,
        overhead_s=forward if config.count_forward else 0.0,
        min_tokens=least,
        extra_tokens=extra,
    )
    return problem, ids.tolist(), gone


def token_bytes(run: Run, working: list[Work], decision: Decision) -> int:
    """S = beta (K + e) in bytes, summed over the clients (paper eq. 4)."""
    config, halves = run.config, run.shared.halves
    batch = np.array([len(work.index) for work in working])
    bits = payload_bits(decision.tokens, batch * halves.width * config.bits_per_element, run.extra_tokens)
    return round(float(bits.sum()) / 8)


@torch.no_grad()
def evaluate(run: Run, tokens: int | None = None) -> float:
    """Top-1 accuracy on the test images; of schemes with one model per client, the mean over clients.

    Args:
        run: the run.
        tokens: K kept of each test image, the rest merged; None for all tokens.
    """
    shared, halves, config = run.shared, run.shared.halves, run.config
    present = get_state(shared.model)
    accuracies = []
    for state in run.method.tested_states():
        if state is not None:
            set_state(shared.model, state)
        right = 0
        for index in in_batches(len(run.test)):
            with shared.autocast():
                if run.test_tokens is None:
                    logits = shared.model(run.test.normalised(index).to(shared.device))
                else:
                    x, scores = run.test_tokens.tokens[index].float(), run.test_tokens.scores[index]
                    count, merge = (scores.shape[1], "none") if tokens is None else (tokens, config.merge)
                    cut = select(x, scores, count, prefix_tokens=halves.prefix_tokens, merge=merge)
                    logits = halves.server(cut.tokens.to(shared.device), cut.valid.to(shared.device))
            right += int((logits.argmax(dim=1).cpu() == run.test.labels[index]).sum())
        accuracies.append(right / len(run.test))
    set_state(shared.model, present)
    return sum(accuracies) / len(accuracies)


def finetune(
    config: Config,
    folder: Path,
    *,
    cache: Path,
    resume: bool = True,
    device: str = "auto",
    like: Run | None = None,
    clients: Callable[[Run], Clients] | None = None,
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
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CHECKPOINT
    run = prepare(config, cache, device, like, with_clients=clients is None)
    if resume and file.exists():
        restore(run, file)
    for log in run.logs:
        on_round(log)
    held_by = LocalClients(run) if clients is None else clients(run)
    cell = Cell(activations_per_round=config.activations_per_round)
    rounds = simulate(cell, config.clients, config.rounds, config.seed, interval_s=config.interval_s)
    for air in islice(rounds, len(run.logs), None):
        try:
            log = one_round(run, air, held_by)
        except FloatingPointError as error:
            raise TrainingError(
                "finetune",
                f"{error} in round {air.index}",
                "a finite loss",
                f"Lower the learning rate; {air.index} rounds are kept in {file}",
            ) from error
        run.logs.append(log)
        save_checkpoint(file, config, run.logs, run.method.tensors())
        on_round(log)
    for number, state in enumerate(run.method.tested_states()):
        if state is not None:
            set_state(run.shared.model, state)
        save_adapter(run.shared.model, folder / ("adapter" if state is None else f"adapter-{number}"))
    return run


def prepare(
    config: Config,
    cache: Path,
    device: str = "auto",
    like: Run | None = None,
    *,
    with_clients: bool = True,
) -> Run:
    """Data, model and scheme of a run before its first round. Raises what `finetune` does.

    Args:
        config: settings.
        cache: folder for the small pretrained ViT.
        device: "auto", "cpu" or "cuda".
        like: an earlier run whose images and tokens may serve again.
        with_clients: whether frozen client halves run in this process.
    """
    kind = method(config.method)
    chosen = chosen_device(device)
    train, test = images(config, like)
    vit = backbone(config, train.classes, cache)
    split(vit, config.cut)  # refuses unsuitable models and cuts before anything is changed
    model = add_lora(vit, config.cut, side=kind.side, rank=config.rank, seed=config.seed)
    model.to(chosen).eval()
    halves = split(vit, config.cut)
    rng = random_stream(f"fine-tuning devices, seed {config.seed}")
    clock_hz, cores = rng.uniform(1.0e9, 1.5e9, config.clients), rng.integers(4, 7, config.clients)
    shared = Shared(
        model=model,
        halves=halves,
        images=train,
        device=chosen,
        learning_rate=config.learning_rate,
        head_learning_rate=config.head_learning_rate or config.learning_rate,
        local_steps=config.local_steps,
    )
    shared.link.dtype = payload_dtype(config)
    run = Run(
        config=config,
        parts=partition(config, train),
        test=test,
        shared=shared,
        method=kind(shared),
        clock_hz=clock_hz,
        cores=cores.astype(np.float64),
    )
    require_min_tokens(least_tokens(run), halves.patches)
    if kind.one_way:
        if like is not None and like.train_tokens is not None and same(TOKEN_SETTINGS, config, like.config):
            run.train_tokens, run.test_tokens = like.train_tokens, like.test_tokens
        else:
            run.train_tokens = client_tokens(config, halves, train, chosen) if with_clients else None
            run.test_tokens = client_tokens(config, halves, test, chosen)
    return run


def images(config: Config, like: Run | None = None) -> tuple[Images, Images]:
    """Images to train on and to test with; those of an earlier run of the same source."""
    if like is not None and same(IMAGE_SETTINGS, config, like.config):
        return like.shared.images, like.test
    return load_images(config)


def cache_note(run: Run) -> str | None:
    """What computing the frozen client halves once has saved; None where clients train."""
    if run.train_tokens is None or run.test_tokens is None:
        return None
    once = len(run.train_tokens.scores) + len(run.test_tokens.scores)
    seconds = run.train_tokens.seconds + run.test_tokens.seconds
    used = sum(min(run.config.batch, len(run.parts[client])) for log in run.logs for client in log.clients)
    tests = sum((log.accuracy is not None) + (log.accuracy_selected is not None) for log in run.logs)
    used += tests * len(run.test)
    return (
        f"frozen client halves ran once over {once:,} images in {seconds:.1f} s instead of {used:,} times, "
        f"about {seconds * used / once:.1f} s"
    )


def same(settings: tuple[str, ...], config: Config, other: Config) -> bool:
    """Whether two configurations agree in some settings."""
    return all(getattr(config, name) == getattr(other, name) for name in settings)


def restore(run: Run, file: Path) -> None:
    """Take up a checkpoint. Raises OptionError if it belongs to other settings, FileFormatError if broken."""
    config, logs, tensors = load_checkpoint(file)
    name = run.config.difference(config)
    if name is not None or len(logs) > run.config.rounds:
        other = f"{name} = {getattr(config, name)!r:.60}" if name else f"{len(logs)} rounds"
        raise OptionError(
            "finetune",
            f"a checkpoint of a run with {other} in {str(file.parent)!r}",
            "the same settings, and at least as many rounds",
            "Choose another folder with --output, or start anew with --fresh",
        )
    run.method.restore(tensors)
    run.logs = logs


def least_tokens(run: Run) -> int:
    """K_min: N where everything is sent."""
    patches = run.shared.halves.patches
    if run.method.sends != "selected":
        return patches
    return default_min_tokens(patches) if run.config.min_tokens is None else run.config.min_tokens


def client_flop(run: Run) -> float:
    """FLOP of what one client runs forward for one image before it uploads."""
    halves = run.shared.halves
    pixels = run.shared.images.size_px // halves.grid[0]
    shape = Architecture(halves.width, halves.patches, pixels, prefix_tokens=halves.prefix_tokens)
    return shape.client_flop(halves.cut)
