"""Rounds of the paper's cell with measured or drawn attention, for figures 6 and 8.

Two round times appear: upload time, which is the paper's metric, and whole time, with downlink and forward
pass before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ...benchmarks.paper_cell import BATCH, Setting, cell_problem
from ...solver import Problem
from ...solver.problem import FloatArray
from ...solver.random_streams import random_stream

CLIENTS: Final = 10
"""Clients of a round; the paper has 100 in the cell and does not say how many it selects."""

MIN_TOKENS: Final = 64
UPLOAD: Final = "upload time"
WHOLE: Final = "whole time"
METRICS: Final = {
    UPLOAD: "Upload time alone (the paper's metric)",
    WHOLE: "Whole time: downlink and forward pass too",
}


@dataclass(frozen=True, eq=False)
class Attention:
    """Where importance comes from.

    Attributes:
        source: in words.
        label: of the profiles that rank the tokens, those of the client's last block.
        profiles: by label, (n, N) attention of single images, each row of sum 1.
    """

    source: str
    label: str
    profiles: Mapping[str, FloatArray]

    def importance(self, clients: int, seed: int) -> FloatArray:
        """(M, N) batch importance (paper eq. 18) of a batch of images per client, drawn from all."""
        single = np.sort(self.profiles[self.label], axis=1)[:, ::-1]
        rng = random_stream(f"images of a figure's clients, {clients} clients, seed {seed}")
        drawn = [rng.choice(len(single), BATCH, replace=len(single) < BATCH) for _ in range(clients)]
        return np.stack([single[rows].sum(axis=0) for rows in drawn])


def drawn_attention(seed: int, images: int = 256) -> Attention:
    """Attention without images: softmax of normal logits of several deviations, as the paper cell's."""
    logits = random_stream(f"drawn attention, seed {seed}").standard_normal((images, 196))
    profiles = {}
    for deviation in (0.4, 0.8, 1.2, 1.6, 2.4):
        weights = np.exp(deviation * logits)
        profiles[f"drawn, steepness {deviation:g}"] = weights / weights.sum(axis=1, keepdims=True)
    source = "drawn, softmax of normal logits of deviation 1.2; no images were at hand"
    return Attention(source, "drawn, steepness 1.2", profiles)


def cell_round(
    clients: int,
    seed: int,
    importance: FloatArray,
    *,
    metric: str = UPLOAD,
    min_tokens: int = MIN_TOKENS,
    **changes: float,
) -> Problem:
    """A round of the paper's cell with the given importance.

    Args:
        clients: M.
        seed: of the cell.
        importance: (M, N).
        metric: one of `METRICS`.
        min_tokens: K_min.
        **changes: other fields of the problem.
    """
    problem = cell_problem(Setting(clients, seed), whole_time=metric == WHOLE)
    fields: dict[str, Any] = {"importance": importance, "min_tokens": min_tokens, **changes}
    return replace(problem, **fields)


def cell_rounds(attention: Attention, seeds: int, metric: str, **changes: Any) -> list[Problem]:
    """Rounds of `CLIENTS` clients, one per seed, with that attention; other arguments as of `cell_round`."""
    return [
        cell_round(CLIENTS, seed, attention.importance(CLIENTS, seed), metric=metric, **changes)
        for seed in range(seeds)
    ]


def setting_text(attention: Attention, seeds: int) -> str:
    """The paragraph that all these figures share."""
    return (
        f"{CLIENTS} clients per round in the paper's cell (`benchmarks/paper_cell.py`; 50 MHz, 0.2 W, 0.8 "
        f"J, 64 images of 768 x 32 bit per token), {seeds} drawn rounds. Importance: {attention.source}. "
        "*Upload time* is the paper's metric; *whole time* adds downlink and forward pass, which take as "
        "long whatever K is."
    )
