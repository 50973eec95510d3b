"""Costs of devices against torch's own counters and the paper's table."""

from __future__ import annotations

import numpy as np
import pytest

from stsflora.models.cell.device import (
    Architecture,
    SavedForBackward,
    block_activation_bytes,
    client_demands,
    forward_s,
)
from stsflora.solver import ProblemError

MEBIBYTE = 2**20
PAPER = {"depth": 12, "cut": 2, "batch": 64, "kept": 98}


def test_parameters_of_vit_b():
    shape = Architecture()
    whole = shape.embedding_parameters + 12 * shape.block_parameters + 2 * shape.width  # and the last norm
    assert whole == 85_798_656
    assert shape.embedding_parameters + 2 * shape.block_parameters == 14_918_400


def test_forward_time():
    np.testing.assert_allclose(forward_s(1e12, [4, 5], [1e9, 2e9], 250.0), [1.0, 0.4])
    with pytest.raises(ProblemError, match="clock_hz = 0"):
        forward_s(1e9, 4, 0.0)


def test_flop_equal_torchs_counter():
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from torch.utils.flop_counter import FlopCounterMode

    from stsflora.models.vit.backbone import small_vit
    from stsflora.models.vit.split import split

    model = small_vit(img_size=32).eval()
    for block in model.blocks:
        block.attn.fused_attn = False  # the counter does not see fused attention on every device
    shape = Architecture(width=48, patches=64, patch_size=4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        split(model, 2).client(torch.zeros(3, 3, 32, 32))
    assert counter.get_total_flops() == 3 * shape.client_flop(2)


def test_activations_kept_for_the_backward_pass_are_as_measured():
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft")
    from stsflora.models.vit.adapter import add_lora
    from stsflora.models.vit.backbone import small_vit

    model = small_vit(img_size=32)
    add_lora(model, 2, rank=4)
    x = torch.randn(5, 65, 48)
    h = model.blocks[2](x)
    with SavedForBackward(model.parameters()) as saved:
        model.blocks[3](h)
    analytic = block_activation_bytes(Architecture(width=48, patches=64), 5, rank=4)
    assert saved.bytes == pytest.approx(analytic, rel=0.05)


def test_table_ii_of_the_paper():
    demands = {
        name: client_demands(name, Architecture(), **PAPER)
        for name in ("local", "fed", "split", "full", "selected")
    }
    assert demands["split"].tokens_up == demands["full"].tokens_up == 36.75 * MEBIBYTE
    assert demands["split"].gradients_down == demands["split"].tokens_up
    assert demands["selected"].tokens_up == 98 * 3 / 16 * MEBIBYTE
    assert demands["local"].adapter == demands["fed"].adapter == 7.875 * MEBIBYTE
    assert demands["split"].adapter == 1.3125 * MEBIBYTE
    assert demands["local"].tokens_up == demands["full"].adapter == demands["selected"].adapter == 0
    assert demands["fed"].broadcast / MEBIBYTE == pytest.approx(327.3, abs=0.1)
    assert demands["local"].memory > 3 * demands["split"].memory > 3 * demands["full"].memory
