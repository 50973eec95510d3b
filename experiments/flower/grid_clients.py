"""Pool of remote clients on Flower's grid, which may be slow, absent or malicious."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import httpx
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from ...solver import Grant
from ..finetune.client_pool import ClientPool
from ..finetune.client_tokens import Offer
from ..finetune.run import Run
from ..finetune.training_steps import TokenBatch
from . import messages
from .messages import Format, MessageError

POLL_S: Final = 0.5
LOG: Final = logging.getLogger("flwr")
Reply = TypeVar("Reply")


@dataclass(eq=False)
class GridClients(ClientPool):
    """Pool of clients on a Flower grid, whose nodes say in their offers which client they are.

    A node that does not answer, fails or sends something malformed is left out of the round by name and asked
    again in the next. When several nodes claim a client, the first keeps it while it is there and answers.

    Attributes:
        run: whose rounds they serve.
        grid: Flower's.
        reply_timeout_s: how long a round waits for its offers, and again for its uploads.
        node_of: node by client, as far as they are known.
        samples: by client, of the offers of this round.
    """

    run: Run
    grid: Grid
    reply_timeout_s: float
    node_of: dict[int, int] = field(default_factory=dict)
    samples: dict[int, int] = field(default_factory=dict)

    @property
    def form(self) -> Format:
        """Format that messages must have."""
        halves, classes = self.run.context.halves, self.run.context.images.classes
        return Format(self.run.config, halves.patches, halves.width, halves.prefix_tokens, classes)

    def wait(self, timeout_s: float) -> None:
        """Wait until every client has a node or the time is over: the rounds go on without some then."""
        end, wanted = time.monotonic() + timeout_s, self.run.config.clients
        while (present := len(list(self.grid.get_node_ids()))) < wanted and time.monotonic() < end:
            time.sleep(POLL_S)
        LOG.info("%d nodes for %d clients", present, wanted)

    def offers(self, index: int, awake: Sequence[int]) -> tuple[dict[int, Offer], dict[int, str]]:
        """Ask the nodes whose clients are awake, and those that have not said yet which client they are."""
        client_of, form = {node: client for client, node in self.node_of.items()}, self.form
        present = sorted(self.grid.get_node_ids()) if awake else []
        asked = [node for node in present if node not in client_of or client_of[node] in awake]
        replies, failures = self._exchange(
            messages.OFFER,
            index,
            {node: messages.pack_round(index) for node in asked},
            lambda _, content: messages.read_offer(content, form),
        )
        found: dict[int, Offer] = {}
        for node, (client, offer) in replies.items():
            holder = self.node_of.get(client, node)
            if holder != node and holder in present and holder not in failures:
                failures[node] = f"refused: it claims to be client {client}, which is node {holder}"
            elif client_of.get(node, client) != client:
                failures[node] = f"refused: it claims to be client {client} and was {client_of[node]}"
            else:
                self.node_of[client] = node
                found[client] = offer
        self._warn(index, failures)
        offers = {client: found[client] for client in sorted(found) if client in awake}
        self.samples = {client: offer.samples for client, offer in offers.items()}
        return offers, {
            client: failures.get(self.node_of.get(client, -1), "no node is connected for it")
            for client in awake
            if client not in offers
        }

    def uploads(
        self, index: int, grants: Mapping[int, Grant], bits: Mapping[int, int]
    ) -> tuple[list[TokenBatch], dict[int, str]]:
        """Send each client what it is granted, and check that it comes."""
        form = self.form
        client_of = {self.node_of[client]: client for client in grants}

        def read(node: int, content: RecordDict) -> TokenBatch:
            client = client_of[node]
            granted = (self.samples[client], grants[client].tokens, bits[client])
            cut, labels = messages.read_upload(content, form, *granted)
            self.run.context.link.up_bytes += messages.payload_bytes(content)
            return TokenBatch(client, labels, cut)

        contents = {
            node: messages.pack_grant(index, grants[client], bits[client])
            for node, client in client_of.items()
        }
        batches, failures = self._exchange(messages.UPLOAD, index, contents, read)
        self._warn(index, failures)
        return (
            [batches[node] for node in client_of if node in batches],
            {client: failures[node] for node, client in client_of.items() if node in failures},
        )

    def _exchange(
        self,
        kind: str,
        index: int,
        contents: Mapping[int, RecordDict],
        read: Callable[[int, RecordDict], Reply],
    ) -> tuple[dict[int, Reply], dict[int, str]]:
        """Send each node its message; what `read` makes of the replies by node, and why others gave none."""
        waiting: dict[str, int] = {}
        replies: dict[int, Reply] = {}
        failures: dict[int, str] = {}
        for node, content in contents.items():
            message = Message(content, node, kind, ttl=self.reply_timeout_s, group_id=str(index))
            number = next(iter(self.grid.push_messages([message])), None)
            if number is None:
                failures[node] = "no message could be sent to it"
            else:
                waiting[number] = node
        end = time.monotonic() + self.reply_timeout_s
        while waiting:
            for number, node in list(waiting.items()):
                answer = self._pull(number, node)
                if answer is None:
                    continue
                del waiting[number]
                if isinstance(answer, str):
                    failures[node] = answer
                    continue
                try:
                    replies[node] = read(node, answer)
                except MessageError as error:
                    failures[node] = f"refused: {error}"
            if waiting and time.monotonic() > end:
                failures |= dict.fromkeys(waiting.values(), f"no reply within {self.reply_timeout_s:g} s")
                break
            if waiting:
                time.sleep(POLL_S)
        return replies, failures

    def _pull(self, number: str, node: int) -> RecordDict | str | None:
        """The reply to one message, why it is none, or None as long as it has not come.

        Replies are pulled one by one, so that one which Flower cannot decode harms nobody else's.
        """
        try:
            reply = next(iter(self.grid.pull_messages([number])), None)
        except httpx.HTTPError:
            raise
        except Exception as error:  # whatever Flower's decoder meets in foreign bytes
            return f"refused: a message that cannot be decoded ({str(error)!r:.100})"
        if reply is None:
            return None
        if reply.has_error():
            return f"it failed: {reply.error.reason!r:.200}"
        if reply.metadata.src_node_id != node or not reply.has_content():
            return f"refused: an empty reply, or one from another node ({reply.metadata.src_node_id})"
        return reply.content

    def _warn(self, index: int, failures: Mapping[int, str]) -> None:
        client_of = {node: client for client, node in self.node_of.items()}
        for node, reason in failures.items():
            who = f"client {client_of[node]}" if node in client_of else "an unknown client"
            LOG.warning("round %d: %s (node %d): %s", index, who, node, reason)
