"""Flower ClientApp: answers with its offer, then with the tokens that it was granted.

Each message may run in a process of its own. What the frozen half gave is therefore kept in the node's state
between the two, so that it runs once a round; a node that was restarted in between runs it again.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from ...solver import OptionError
from ..finetune.client_tokens import ClientTokens
from ..finetune.config import Config, cache_folder
from . import messages
from .settings import Settings, read_settings

if TYPE_CHECKING:
    from ..finetune.client import FrozenClients

app = ClientApp()


@app.query("offer")
def offer(message: Message, context: Context) -> Message:
    """Reply with this client's offer for the round."""
    settings = read_settings(context.run_config)
    client = client_number(context, settings.config)
    index = messages.read_round(message.content, settings.config)
    tokens, labels = run_half(settings, client, index)
    keep(context.state, index, tokens, labels)
    return Message(messages.pack_offer(client, tokens.offer()), reply_to=message)


@app.train("upload")
def upload(message: Message, context: Context) -> Message:
    """Reply with the granted tokens and their labels."""
    settings = read_settings(context.run_config)
    client = client_number(context, settings.config)
    index, grant = messages.read_grant(message.content, settings.config)
    tokens, labels = kept(context.state, index) or run_half(settings, client, index)
    cut = tokens.cut(settings.config, grant.tokens)
    return Message(messages.pack_upload(cut, labels, grant.bits), reply_to=message)


def client_number(context: Context, config: Config) -> int:
    """Client number of this node, from its configuration. Raises OptionError."""
    number, count = (context.node_config.get(name) for name in ("partition-id", "num-partitions"))
    if type(number) is not int or not 0 <= number < config.clients or count != config.clients:
        raise OptionError(
            "node configuration",
            f"partition-id={number!r:.20} num-partitions={count!r:.20}",
            f"partition-id=0 to {config.clients - 1} and num-partitions={config.clients}",
            "Correct --node-config of the node, or clients of the run",
        )
    return number


def run_half(settings: Settings, client: int, index: int) -> tuple[ClientTokens, Tensor]:
    """Tokens and labels of a client's batch by a forward pass of the frozen half."""
    return _clients(json.dumps(settings.config.as_dict()), settings.device).batch(client, index)


def keep(state: RecordDict, index: int, tokens: ClientTokens, labels: Tensor) -> None:
    """Store a batch in the node's state, instead of the one before."""
    tensors = {"tokens": tokens.tokens, "scores": tokens.scores, "labels": labels}
    state["batch"] = ArrayRecord({name: Array(tensor.numpy()) for name, tensor in tensors.items()})
    state["kept"] = ConfigRecord({"round": index})


def kept(state: RecordDict, index: int) -> tuple[ClientTokens, Tensor] | None:
    """Stored batch of a round, if there is one."""
    if "kept" not in state or state.config_records["kept"]["round"] != index:
        return None
    batch = state.array_records["batch"]
    tokens, scores, labels = (
        torch.from_numpy(batch[name].numpy()) for name in ("tokens", "scores", "labels")
    )
    return ClientTokens(tokens, scores), labels


@lru_cache(maxsize=1)
def _clients(config: str, device: torch.device) -> FrozenClients:
    """Loaded once by processes that outlive a message; the model library only by those that need it."""
    from ..finetune.client import FrozenClients

    return FrozenClients.load(Config.from_dict(json.loads(config)), cache_folder(), device)
