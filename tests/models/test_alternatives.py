"""Alternatives made for people: what rows cost and are worth, and which of them are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stsflora.models.alternatives import Variant, alternatives, bit_depths, cut_layers, lora_ranks
from stsflora.models.cell.device import Architecture
from stsflora.solver import Problem, ProblemError

VIT = Architecture(width=64, patches=8, patch_size=4)
ATTENTION = np.array([[4.0, 1.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])


def rows_of(variants: list[Variant], **changes: Any) -> Any:
    arguments = {
        "importance": ATTENTION,
        "gain": [1e-9, 2e-10],
        "max_power_w": 0.2,
        "max_energy_j": 2.0,
        "frequencies_hz": [1e9, 2e9],
        "flop_per_cycle": 8.0,
    }
    return alternatives(variants, **(arguments | changes))


def test_rows_cost_what_the_device_model_says() -> None:
    rows = rows_of(cut_layers(VIT, [2], images=4), standing_s=[0.5, 0.7])
    flop = 4 * VIT.client_flop(2)
    cycles = flop / 8.0
    fields = rows.fields
    assert rows.names == ("cut 2, 1 GHz", "cut 2, 2 GHz") * 2
    np.testing.assert_array_equal(fields["client"], [0, 0, 1, 1])
    np.testing.assert_allclose(fields["overhead_s"], [cycles / 1e9, cycles / 2e9] * 2)
    np.testing.assert_allclose(fields["before_j"], [1e-28 * 1e18 * cycles, 1e-28 * 4e18 * cycles] * 2)
    np.testing.assert_allclose(fields["deadline_s"], np.array([0.5, 0.5, 0.7, 0.7]) - fields["overhead_s"])
    np.testing.assert_allclose(fields["bits_per_token"], 4 * 64 * 32)
    np.testing.assert_allclose(fields["importance"][0], [4, 3, 2, 1, 0, 0, 0, 0])
    problem = Problem(**fields, bandwidth_hz=1e6)
    assert (problem.clients, problem.row_count) == (2, 4)


def test_depths_and_ranks_multiply_out() -> None:
    base = cut_layers(VIT, [1], images=1)
    deep = bit_depths(base, {32: 1.0, 8: 0.5})
    assert [variant.bits_per_token for variant in deep] == [64 * 32.0, 64 * 8.0]
    assert [variant.worth for variant in deep] == [1.0, 0.5]
    ranked = lora_ranks(deep, {2: 0.5, 4: 1.0}, shape=VIT, blocks=3)
    assert [variant.worth for variant in ranked] == [0.5, 1.0, 0.25, 0.5]
    assert ranked[0].extra_bits == 32.0 * VIT.lora_parameters(3, 2)
    assert ranked[3].name == "cut 1, 8 bit, rank 4"
    rows = rows_of(ranked)
    own = [name.startswith("cut 1, 8 bit, rank 4") for name in rows.names].index(True)
    counts = np.arange(9) + 2
    np.testing.assert_allclose(
        rows.fields["payload_bits"][own], counts * 64 * 8.0 + 32.0 * VIT.lora_parameters(3, 4)
    )


def test_beaten_rows_are_left_out_and_named() -> None:
    """The deeper cut takes longer and is worth no more; of two equal rows the first stays."""
    one, other = cut_layers(VIT, [1, 2], images=1)
    rows = rows_of([one, other, one], frequencies_hz=1e9)
    assert rows.names == ("cut 1, 1 GHz",) * 2
    assert sorted(rows.dominated) == [(m, f"cut {cut}, 1 GHz") for m in (0, 1) for cut in (1, 2)]
    assert rows_of(cut_layers(VIT, [1, 2], images=1, worth={2: 1.1}), frequencies_hz=1e9).dominated == ()


def test_rows_that_cannot_be_had_are_named() -> None:
    variants = cut_layers(VIT, [1, 6], images=4)
    small = rows_of(variants, memory_bytes=[variants[0].memory_bytes, np.inf], frequencies_hz=1e9)
    assert small.unusable == ((0, "cut 6, 1 GHz"),)
    rushed = rows_of(variants, standing_s=4 * VIT.client_flop(6) / 8.0 / 1e9, frequencies_hz=1e9)
    assert rushed.unusable == ((0, "cut 6, 1 GHz"), (1, "cut 6, 1 GHz"))
    with pytest.raises(ProblemError) as caught:
        rows_of(variants, memory_bytes=[np.inf, 1.0])
    assert str(caught.value).startswith("alternatives: got client 1, which can run none of 2 variants; ")


def test_importance_may_differ_by_variant() -> None:
    variants = cut_layers(VIT, [1, 2], images=1)
    seen = np.stack([ATTENTION, 2.0 * ATTENTION])
    rows = rows_of(variants, importance=seen, frequencies_hz=1e9)
    assert rows.dominated == ()
    np.testing.assert_allclose(rows.fields["importance"][1], 2.0 * rows.fields["importance"][0])


@pytest.mark.parametrize(
    "changes",
    [
        {"importance": ATTENTION[0]},
        {"importance": np.ones((3, 2, 8))},
        {"gain": [1.0, -1.0]},
        {"frequencies_hz": 0.0},
        {"switched_capacitance": -1.0},
    ],
)
def test_refuses_in_words(changes: dict[str, Any]) -> None:
    with pytest.raises(ProblemError) as caught:
        rows_of(cut_layers(VIT, [1, 2], images=1), **changes)
    assert "allowed: " in str(caught.value)
