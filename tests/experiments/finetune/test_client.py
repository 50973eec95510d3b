"""Random streams of a fine-tuning run: repeated by their seed, independent over rounds, clients and seeds."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")
pytest.importorskip("sklearn")

from safetensors.torch import save_file

from stsflora.experiments.finetune.client import draw_batch
from stsflora.experiments.finetune.config import Config
from stsflora.experiments.finetune.train import finetune
from stsflora.models.vit.backbone import DIGITS_VIT_FILE, small_vit
from stsflora.solver.registry import lookup, register, unregister

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = Config(clients=3, rounds=2, batch=4, local_steps=1, rank=2, test_images=8)


def test_batches_of_seeds_rounds_and_clients_are_independent() -> None:
    part = np.arange(1000)
    drawn = {
        key: tuple(draw_batch(part, replace(QUICK, seed=key[0]), *key[1:]).tolist())
        for key in product(range(3), range(3), range(3))
    }
    assert len(set(drawn.values())) == len(drawn)
    assert drawn[0, 1, 0] != drawn[1, 0, 0]
    assert drawn[0, 0, 1] != drawn[0, 1, 0]
    assert drawn[1, 2, 0] == tuple(draw_batch(part, replace(QUICK, seed=1), 2, 0).tolist())


def test_the_solver_of_every_round_and_seed_has_a_seed_of_its_own(tmp_path) -> None:
    seeds = []

    def full(problem, request):
        """Every client sends all tokens; notes its seed."""
        seeds.append(request.seed)
        return lookup("full").method(problem, request)

    save_file(small_vit().state_dict(), tmp_path / DIGITS_VIT_FILE)
    register("test-seeds")(full)
    try:
        for number, seed in enumerate((0, 1, 0)):
            config = replace(QUICK, solver="test-seeds", seed=seed, activations_per_round=50.0)
            finetune(config, tmp_path / str(number), cache=tmp_path)
    finally:
        unregister("test-seeds")
    assert len(seeds) == 6
    assert seeds[:2] == seeds[4:]
    assert len(set(seeds)) == 4
