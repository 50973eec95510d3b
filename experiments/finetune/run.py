"""Prepare a fine-tuning run from its settings, or restore it from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...models.data import Images
from ...models.partition import Parts
from ...models.vit.adapter import add_lora
from ...models.vit.split import split
from ...models.vit.tokens import merged_tokens
from ...solver import OptionError
from .checkpoint import RoundLog, load_checkpoint
from .client import backbone, client_tokens, load_images, partition
from .client_tokens import ClientTokens
from .config import Config
from .device import chosen_device
from .schemes import SCHEMES, Scheme
from .training_steps import TrainingContext

IMAGE_SETTINGS = ("data", "size_px", "test_images")
TOKEN_SETTINGS = (*IMAGE_SETTINGS, "model", "weights", "cut", "measure", "bits_per_element", "seed")
"""What decides the images, and the tokens of frozen client halves."""


@dataclass(eq=False)
class Run:
    """State of a fine-tuning run between two rounds: its fixed parts, and the scheme that learns.

    Attributes:
        parts: indices of each client's images.
        test: images to evaluate on.
        context: settings, model, split and training images.
        scheme: how it trains.
        train_tokens: cached where client halves are frozen and run in this process.
        test_tokens: cached where client halves are frozen.
        logs: one per finished round.
    """

    parts: Parts
    test: Images
    context: TrainingContext
    scheme: Scheme[Any]
    train_tokens: ClientTokens | None = None
    test_tokens: ClientTokens | None = None
    logs: list[RoundLog] = field(default_factory=list)

    @property
    def config(self) -> Config:
        """Settings."""
        return self.context.config

    @property
    def extra_tokens(self) -> int:
        """Tokens sent besides the K kept ones."""
        return self.context.halves.prefix_tokens + merged_tokens(self.config.sent_merge)

    @property
    def min_tokens(self) -> int:
        """K_min: N where everything is sent, else what is set or the paper's share of N, 64 of 196."""
        patches = self.context.halves.patches
        if self.scheme.sends != "selected":
            return patches
        return self.config.min_tokens or max(1, round(patches * 64 / 196))


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
    kind = SCHEMES[config.method]
    chosen = chosen_device(device)
    earlier = reusable(like, config, IMAGE_SETTINGS)
    train, test = (earlier.context.images, earlier.test) if earlier else load_images(config)
    vit = backbone(config, train.classes, cache)
    split(vit, config.cut)  # refuses unsuitable models and cuts before anything is changed
    model = add_lora(vit, config.cut, side=kind.side, rank=config.rank, seed=config.seed)
    model.to(chosen).eval()
    halves = split(vit, config.cut)
    context = TrainingContext(model, halves, train, chosen, config)
    run = Run(partition(config, train), test, context, kind(context))
    if run.min_tokens > halves.patches:
        raise OptionError(
            "Config", f"min_tokens = {run.min_tokens}", f"1 to {halves.patches} patches", "Lower it"
        )
    if kind.one_way:
        earlier = reusable(like, config, TOKEN_SETTINGS)
        if earlier and earlier.train_tokens:
            run.train_tokens, run.test_tokens = earlier.train_tokens, earlier.test_tokens
        else:
            run.train_tokens = client_tokens(config, halves, train, chosen) if with_clients else None
            run.test_tokens = client_tokens(config, halves, test, chosen)
    return run


def reusable(like: Run | None, config: Config, settings: tuple[str, ...]) -> Run | None:
    """The earlier run if it agrees with a configuration in some settings."""
    if like and all(getattr(config, name) == getattr(like.config, name) for name in settings):
        return like
    return None


def cache_note(run: Run) -> str | None:
    """Sentence on the time saved by running frozen client halves once; None where clients train."""
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


def restore(run: Run, file: Path) -> None:
    """Load a checkpoint. Raises OptionError if it belongs to other settings, FileFormatError if broken."""
    config, logs, states = load_checkpoint(file)
    name = run.config.difference(config)
    if name is not None or len(logs) > run.config.rounds:
        other = f"{name} = {getattr(config, name)!r:.60}" if name else f"{len(logs)} rounds"
        raise OptionError(
            "finetune",
            f"a checkpoint of a run with {other} in {str(file.parent)!r}",
            "the same settings, and at least as many rounds",
            "Choose another folder with --output, or start anew with --fresh",
        )
    run.scheme.restore(states)
    run.logs = logs
