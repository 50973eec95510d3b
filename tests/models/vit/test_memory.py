"""Peak memory of a client's step, counted tensor by tensor."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("peft")

import torch

from stsflora.models.cell.device import Architecture, block_activation_bytes
from stsflora.models.vit.memory import LivingTensors, client_step_peak
from stsflora.solver import OptionError, UnknownNameError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_living_tensors_are_counted_until_they_die():
    weight = torch.zeros(100)
    with LivingTensors([weight]) as living:
        first = weight + 1
        view = first.reshape(10, 10)
        assert living.now == 800
        second = first * 2
        del first
        assert living.now == 1200  # the view holds it
        del view
        assert living.now == 800
        del second
    assert (living.now, living.peak) == (400, 1200)


def peak(scheme, batch=8):
    return client_step_peak(scheme, "vit_tiny_patch16_224", batch=batch, kept=9).tensors


def test_measured_memory_grows_with_the_batch_as_the_formula_says():
    attention = 4 * 3 * 197**2  # that of three heads, which the formula for fused attention leaves out
    expected = 12 * (block_activation_bytes(Architecture(width=192), 1) + attention)
    assert (peak("local", 16) - peak("local")) / 8 == pytest.approx(expected, rel=0.01)


def test_a_whole_model_takes_more_than_its_half_and_a_frozen_half_least():
    assert peak("local") > 2 * peak("split") > 2 * peak("full")
    assert peak("selected") == peak("full")  # choosing tokens takes less than a block


def test_memory_of_what_is_not_there():
    with pytest.raises(UnknownNameError, match="scheme='both'"):
        client_step_peak("both")
    with pytest.raises(OptionError, match="device 'tpu'"):
        client_step_peak("local", device="tpu")
