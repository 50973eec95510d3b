"""Validate client reports: which clients a round can use, and why it cannot use the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from ..errors import ProblemError
from .client import Client, ClientId
from .client_record import Cell, ClientRecord, find_refused
from .plan import Dropped
from .validation import LONGEST_NAME, Most, in_alternative, validate_client


def validate_clients(
    clients: Any, cell: Cell, *, most: Most, most_clients: int, strict: bool
) -> tuple[list[ClientRecord], list[Dropped]]:
    """Validate all reports; a malformed one drops its client, and of several with one id all are dropped.

    A malformed alternative drops its client too: what it meant to offer is not known.

    Args:
        clients: a mapping by id or an iterable of `Client`.
        cell: what they share.
        most: what is taken of one client.
        most_clients: largest number taken.
        strict: raise for the first malformed client.

    Returns:
        The records of the clients that are left, those of a client next to each other, and the others.

    Raises:
        ProblemError: no such collection, more than `most_clients`, or, if `strict`, a malformed client.
    """
    entries = _entries(clients, most_clients)
    ids = [_valid_id(key) for key, _ in entries]
    bearers = Counter(ids)
    records: list[ClientRecord] = []
    errors: dict[int, ProblemError] = {}
    for position, ((key, client), client_id) in enumerate(zip(entries, ids, strict=True)):
        try:
            if not isinstance(client, Client):
                raise ProblemError("entry", f"type {type(client).__name__:.40}", "a Client", "Build one")
            if client_id is None:
                allowed = f"a whole number, or text of up to {LONGEST_NAME} characters"
                raise ProblemError("id", f"type {type(key).__name__:.40}", allowed, "Name the client")
            if _valid_id(client.id) != client_id:
                raise ProblemError("id", "one that is not its key", "the key in the mapping", "Correct it")
            if bearers[client_id] > 1:
                raise ProblemError(
                    "id", f"{bearers[client_id]} clients of that id", "unique ids", "Rename them"
                )
            records += validate_client(position, client_id, client, cell, most)
        except ProblemError as error:
            errors[position] = error
    for row, refusal in find_refused(records).items() if records else ():
        errors.setdefault(records[row].position, in_alternative(refusal, records[row].alternative))
    dropped = []
    for position, refusal in sorted(errors.items()):
        client_id = ids[position]
        who = f"client at position {position}" if client_id is None else f"client {client_id!r}"
        name = refusal.who.removeprefix("Problem.")
        got = refusal.got.removesuffix(" at index 0")  # of the one row that was tried
        if strict:
            raise ProblemError(f"{who}, {name}", got, refusal.allowed, refusal.next_step) from refusal
        reason = f"{who}: {name} is malformed, got {got}; allowed: {refusal.allowed}."
        dropped.append(Dropped(position, client_id, "malformed", reason))
    return [record for record in records if record.position not in errors], dropped


def _entries(clients: Any, most: int) -> list[tuple[Any, Any]]:
    """Key (a client's id where there is no other) and client of everything given, unchecked."""
    if isinstance(clients, str | bytes) or not isinstance(clients, Iterable):
        raise ProblemError(
            "Allocator.plan",
            f"type {type(clients).__name__}",
            "a mapping or sequence of Client",
            "Pass a list",
        )
    given = (
        clients.items() if isinstance(clients, Mapping) else ((_own_id(entry), entry) for entry in clients)
    )
    entries = list(islice(given, most + 1))
    if len(entries) > most:
        raise ProblemError(
            "Allocator.plan", f"more than {most} clients", f"at most {most}", "Raise most_clients"
        )
    return entries


def _own_id(client: Any) -> Any:
    return client.id if isinstance(client, Client) else None


def _valid_id(key: Any) -> ClientId | None:
    if isinstance(key, str):
        return key if len(key) <= LONGEST_NAME else None
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return int(key)
    return None
