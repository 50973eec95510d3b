"""Who holds which images: even (IID) or by Dirichlet shares of the classes; no client stays empty."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from ..solver import OptionError
from .arguments import require_range, require_whole

Parts = list[NDArray[np.int64]]
"""Ascending indices of each client's images; together every image once."""


def iid_partition(samples: int, clients: int, rng: Generator) -> Parts:
    """Deal images out at random; sizes differ by one at most.

    Raises:
        OptionError: more clients than images.
    """
    _enough("iid_partition", samples, clients)
    return [np.sort(part) for part in np.array_split(rng.permutation(samples), clients)]


def dirichlet_partition(labels: ArrayLike, clients: int, concentration: float, rng: Generator) -> Parts:
    """Deal out each class by shares drawn from a Dirichlet distribution, the usual label skew.

    A client left without images gets one from the client that then has most.

    Args:
        labels: (n,) class of each image.
        clients: M, at most n.
        concentration: alpha > 0; 0.5 in the paper, inf tends to IID.
        rng: source of the shares.

    Raises:
        OptionError: more clients than images.
        ProblemError: a concentration that is not positive.
    """
    classes = np.asarray(labels)
    _enough("dirichlet_partition", len(classes), clients)
    require_range("dirichlet_partition", "concentration", concentration, 0.0, open_low=True, open_high=True)
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
    require_whole(who, "clients", clients)
    if clients > samples:
        raise OptionError(
            who,
            f"{clients} clients for {samples} images",
            "at least one image per client",
            "Take fewer clients",
        )
