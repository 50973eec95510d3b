"""Partition of a data set over clients: IID, or non-IID by Dirichlet shares of the classes."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from ..solver import OptionError
from ..solver.checks import positive_numbers, whole_number

Parts = list[NDArray[np.int64]]
"""Ascending indices of each client's images; together every image once."""


def iid_partition(samples: int, clients: int, rng: Generator) -> Parts:
    """IID partition: images dealt out at random, sizes differ by one at most.

    Args:
        samples: n, number of images.
        clients: M, 1 to n.
        rng: source of the order.

    Raises:
        OptionError: no client, or more clients than images.
    """
    _enough("iid_partition", samples, clients)
    return [np.sort(part) for part in np.array_split(rng.permutation(samples), clients)]


def dirichlet_partition(labels: ArrayLike, clients: int, concentration: float, rng: Generator) -> Parts:
    """Non-IID partition with label skew: each class is dealt out by shares from a Dirichlet distribution.

    A client left without images gets one from the client that then has most.

    Args:
        labels: (n,) class of each image.
        clients: M, 1 to n.
        concentration: alpha, finite, > 0; 0.5 in the paper, large ones tend to IID.
        rng: source of the shares.

    Raises:
        OptionError: no client, or more clients than images.
        ProblemError: a concentration that is not positive.
    """
    classes = np.asarray(labels)
    _enough("dirichlet_partition", len(classes), clients)
    positive_numbers("dirichlet_partition", "concentration", concentration)
    parts: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == label))
        ends = np.cumsum(rng.dirichlet(np.full(clients, concentration)))[:-1]
        for part, share in zip(
            parts, np.split(members, np.rint(ends * len(members)).astype(int)), strict=True
        ):
            part.extend(int(member) for member in share)
    for part in parts:
        if not part:
            part.append(max(parts, key=len).pop())
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts]


def _enough(who: str, samples: int, clients: int) -> None:
    whole_number(who, "clients", clients, 1)
    if clients > samples:
        raise OptionError(
            who,
            f"{clients} clients for {samples} images",
            "at least one image per client",
            "Take fewer clients",
        )
