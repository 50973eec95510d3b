"""Fine-tuning over a simulated cell: one round from the channel to the accuracy, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..models.adapter import add_lora, get_state, save_adapter, set_state, size_bits
from ..models.attention import reading, token_scores
from ..models.backbone import create, digits_vit
from ..models.data import Images, load_data
from ..models.device import Architecture, forward_s
from ..models.partition import Parts, dirichlet_partition, iid_partition
from ..models.split import split
from ..models.tokens import batch_importance, merged_tokens, select
from ..models.wireless import Cell, Round, simulate
from ..solver import OptionError, Problem, StsfloraError
from ..solver.problem import FloatArray
from ..solver.ste import payload_bits
from .checkpoint import RoundLog, load_checkpoint, save_checkpoint
from .config import SMALL, Config
from .methods import Method, Shared, Work, method
from .uplink import Decision, decide, decide_one_by_one, default_min_tokens, nobody, require_min_tokens

CHECKPOINT = "checkpoint.safetensors"
TEST_BATCH = 128
IMAGE_SETTINGS = ("data", "size_px", "test_images")
TOKEN_SETTINGS = (*IMAGE_SETTINGS, "model", "weights", "cut", "measure", "bits_per_element", "seed")
"""What decides the images, and the tokens of frozen client halves."""


class TrainingError(StsfloraError, RuntimeError):
    """Training cannot go on; everything up to the last round is kept."""


@dataclass(frozen=True, eq=False)
class ClientTokens:
    """What frozen client halves give for a set of images, computed once.

    Attributes:
        tokens: (n, P + N, C).
        scores: (n, N).
        seconds: that it took.
    """

    tokens: Tensor
    scores: Tensor
    seconds: float


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
        train_tokens: cached where client halves are frozen.
        test_tokens: likewise.
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


def one_round(run: Run, air: Round) -> RoundLog:
    """One round: who is there, what their tokens are worth, who sends what, the server's step, the test.

    Raises:
        FloatingPointError: a loss is not finite; no log is made, and the checkpoint holds the round before.
        SolverFailedError: the solver found no allocation.
    """
    started, config, method = time.perf_counter(), run.config, run.method
    link = run.shared.link
    link.up_bytes = link.down_bytes = 0

    # 1. The cell wakes some clients; each takes a batch of its images.
    works = {
        int(client): Work(int(client), draw_batch(run.parts[client], config, air.index, int(client)))
        for client in np.flatnonzero(air.active)
    }

    # 2. Each client's frozen half scores its tokens, the server sees the batch importance, a solver decides.
    problem, clients, left_out = round_problem(run, air, works)
    if problem is None:
        decision = nobody(left_out) if method.sends != "nothing" else everybody(works)
    else:
        choose = decide_one_by_one if method.one_by_one else decide
        solver, options = (
            ("exact", {}) if method.sends != "selected" else (config.solver, config.solver_options)
        )
        decision = choose(problem, clients, solver, options, seed=config.seed + air.index)
        left_out = {**left_out, **decision.left_out}

    # 3. Those that fit cut their tokens to K, merge the rest, and upload.
    working = [works[int(client)] for client in decision.clients]
    if method.one_way:
        for work, count in zip(working, decision.tokens, strict=True):
            upload(run, work, int(count))

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


def draw_batch(part: NDArray[np.int64], config: Config, index: int, client: int) -> Tensor:
    """A client's images of a round, without repetition; the same whenever the run is resumed."""
    rng = stream(config, "batch", index, client)
    return torch.from_numpy(rng.permutation(part)[: config.batch])


def round_problem(
    run: Run, air: Round, works: dict[int, Work]
) -> tuple[Problem | None, list[int], dict[int, str]]:
    """The round's `Problem`, one row per client that stays long enough, their ids, and who does not.

    The importance is eq. 18 on the real tokens of the real batch. Schemes that send everything get
    K_min = N; one that sends its adapter sends one indivisible token.
    """
    config, method, halves = run.config, run.method, run.shared.halves
    if method.sends == "nothing" or not works:
        return None, [], {}
    ids = np.array(sorted(works))
    batch = np.array([len(works[client].index) for client in ids], dtype=np.float64)
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
        importance = np.stack([client_importance(run, works[client]) for client in ids])
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


def client_importance(run: Run, work: Work) -> FloatArray:
    """(N,) batch importance of a client's batch; even where client halves are not scored."""
    if run.train_tokens is None:
        patches = run.shared.halves.patches
        return np.full(patches, len(work.index) / patches)
    return batch_importance(run.train_tokens.scores[work.index]).numpy()


def upload(run: Run, work: Work, count: int) -> None:
    """Cut a client's cached tokens to K, merge the rest, and send them over the link."""
    assert run.train_tokens is not None
    selected = select(
        run.train_tokens.tokens[work.index].float(),
        run.train_tokens.scores[work.index],
        count,
        prefix_tokens=run.shared.halves.prefix_tokens,
        merge=run.config.merge if run.method.sends == "selected" else "none",
    )
    device = run.shared.device
    arrived = run.shared.link.up(selected.tokens).to(device)
    work.arrived = type(selected)(arrived, selected.valid.to(device))


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
        on_round: called after each round, and for each round that was done before.

    Raises:
        OptionError: settings that do not fit together, or another run's checkpoint in the folder.
        TrainingError: a loss is not finite.
        StsfloraError: data, weights or solver fail, each by its own class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CHECKPOINT
    run = prepare(config, cache, device, like)
    if resume and file.exists():
        restore(run, file)
    for log in run.logs:
        on_round(log)
    cell = Cell(activations_per_round=config.activations_per_round)
    rounds = simulate(cell, config.clients, config.rounds, config.seed, interval_s=config.interval_s)
    for air in islice(rounds, len(run.logs), None):
        try:
            log = one_round(run, air)
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


def prepare(config: Config, cache: Path, device: str = "auto", like: Run | None = None) -> Run:
    """Data, model and scheme of a run before its first round. Raises what `finetune` does."""
    kind = method(config.method)
    chosen = chosen_device(device)
    train, test = images(config, like)
    if config.model == SMALL:
        vit = digits_vit(cache, train.classes, config.seed)
    else:
        vit = create(config.model, train.classes, config.size_px, config.weights, config.seed)
    split(vit, config.cut)  # refuses unsuitable models and cuts before anything is changed
    model = add_lora(vit, config.cut, side=kind.side, rank=config.rank, seed=config.seed)
    model.to(chosen).eval()
    halves = split(vit, config.cut)
    rng = stream(config, "clients")
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
    shared.link.dtype = torch.float16 if config.bits_per_element == 16 else torch.float32
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
            run.train_tokens = client_tokens(config, shared, train)
            run.test_tokens = client_tokens(config, shared, test)
    return run


def images(config: Config, like: Run | None = None) -> tuple[Images, Images]:
    """Images to train on and to test with; those of an earlier run of the same source."""
    if like is not None and same(IMAGE_SETTINGS, config, like.config):
        return like.shared.images, like.test
    data = load_data(config.data, config.size_px)
    count = len(data.test)
    if config.test_images is None or config.test_images >= count:
        return data.train, data.test
    spread = np.linspace(0, count - 1, config.test_images).round().astype(np.int64)
    return data.train, data.test.take(spread)


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


@torch.no_grad()
def client_tokens(config: Config, shared: Shared, pictures: Images) -> ClientTokens:
    """Run the frozen client half over all images once; there is no augmentation that would change them."""
    started, halves = time.perf_counter(), shared.halves
    blocks = halves.client.blocks if config.measure == "rollout" else halves.client.blocks[-1:]
    generator = torch.Generator().manual_seed(config.seed)
    precision = torch.float16 if config.bits_per_element == 16 else torch.float32
    tokens, scores = [], []
    for index in in_batches(len(pictures)):
        with reading(blocks) as seen, shared.autocast():
            x = halves.client(pictures.normalised(index).to(shared.device))
            worth = token_scores(config.measure, seen, halves.prefix_tokens, halves.grid, generator)
        tokens.append(x.to(precision).cpu())
        scores.append(worth.float().cpu())
    return ClientTokens(torch.cat(tokens), torch.cat(scores), time.perf_counter() - started)


def in_batches(count: int) -> tuple[Tensor, ...]:
    """Indices 0 to count - 1, some at a time."""
    return torch.split(torch.arange(count), TEST_BATCH)


def partition(config: Config, held: Images) -> Parts:
    """Who holds which training images."""
    rng = stream(config, "partition")
    if config.partition == "iid":
        return iid_partition(len(held), config.clients, rng)
    return dirichlet_partition(held.labels.numpy(), config.clients, config.concentration, rng)


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


def everybody(works: dict[int, Work]) -> Decision:
    """The decision of a scheme that sends nothing."""
    none = np.zeros(len(works))
    return Decision(np.array(sorted(works), np.int64), none.astype(np.int64), 0.0, none, 0.0, None, "")


def client_flop(run: Run) -> float:
    """FLOP of what one client runs forward for one image before it uploads."""
    halves = run.shared.halves
    pixels = run.shared.images.size_px // halves.grid[0]
    shape = Architecture(halves.width, halves.patches, pixels, prefix_tokens=halves.prefix_tokens)
    return shape.client_flop(halves.cut)


def chosen_device(name: str) -> torch.device:
    """The device of that name. Raises OptionError when it is not there."""
    present = torch.cuda.is_available()
    if name not in {"auto", "cpu", "cuda"} or (name == "cuda" and not present):
        raise OptionError(
            "finetune", f"device {name!r:.40}", f"auto, cpu{', cuda' if present else ''}", "Leave it out"
        )
    return torch.device("cuda" if present and name != "cpu" else "cpu")


def stream(config: Config, part: str, *numbers: int) -> Generator:
    """Random numbers of one named part of a run, independent of all others."""
    words = [int.from_bytes(part.encode(), "big"), config.seed, *numbers]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
