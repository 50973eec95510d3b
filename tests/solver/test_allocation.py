"""What an allocation refuses, in words, and that it cannot change."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from stsflora.solver import Allocation, AllocationError, StsfloraError

GOOD: dict[str, Any] = {"tokens": [1, 2], "bandwidth_hz": [1.0, 2.0], "power_w": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"tokens": [1, 2.5]},
            "Allocation.tokens: got 2.5 for client 1; allowed: whole numbers >= 0. "
            "Repair the method that made it.",
        ),
        (
            {"tokens": [1, 1e300]},
            "Allocation.tokens: got 1e+300 for client 1; allowed: whole numbers below 2^63",
        ),
        ({"tokens": [-1, 2]}, "Allocation.tokens: got -1 for client 0; allowed: whole numbers >= 0. "),
        ({"tokens": [np.inf, 2]}, "Allocation.tokens: got inf for client 0; allowed: whole numbers >= 0. "),
        (
            {"tokens": ["1", "2"]},
            "Allocation.tokens: got type <U1; allowed: real numbers (integers or floats). Convert it first.",
        ),
        ({"tokens": 1}, "Allocation.tokens: got shape (); allowed: a one-dimensional array. Pass one value "),
        ({"tokens": [True, False]}, "Allocation.tokens: got type bool; allowed: real numbers"),
        ({"tokens": [[1], [1, 2]]}, "Allocation.tokens: got a ragged sequence; allowed: "),
        (
            {"bandwidth_hz": [1.0, np.nan]},
            "Allocation.bandwidth_hz: got nan for client 1; allowed: finite and >= 0. ",
        ),
        (
            {"bandwidth_hz": [[1.0, 2.0]]},
            "Allocation.bandwidth_hz: got shape (1, 2); allowed: a one-dimensional array. ",
        ),
        ({"power_w": [-0.1, 0.2]}, "Allocation.power_w: got -0.1 for client 0; allowed: finite and >= 0. "),
        (
            {"power_w": [0.1]},
            "Allocation: got tokens (2,), bandwidth_hz (2,), power_w (1,); allowed: three arrays of one ",
        ),
    ],
)
def test_refuses_in_words(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(AllocationError) as caught:
        Allocation(**(GOOD | changes))
    assert str(caught.value).startswith(text)
    assert isinstance(caught.value, StsfloraError)
    assert isinstance(caught.value, ValueError)


def test_is_immutable_and_a_copy() -> None:
    bandwidth = np.array([1.0, 2.0])
    allocation = Allocation([1, 2], bandwidth, [0.1, 0.2])
    bandwidth[0] = 9.0
    assert allocation.bandwidth_hz.tolist() == [1.0, 2.0]
    assert allocation.tokens.dtype == np.int64
    for array in (allocation.tokens, allocation.bandwidth_hz, allocation.power_w):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        allocation.tokens = np.array([1, 2])  # type: ignore[misc]


def test_read_only_arrays_are_taken_over_and_nobody_is_allowed() -> None:
    allocation = Allocation(**GOOD)
    again = Allocation(allocation.tokens, allocation.bandwidth_hz, allocation.power_w)
    assert again.tokens is allocation.tokens
    assert again.power_w is allocation.power_w
    assert Allocation([], [], []).clients == 0


def test_replace_and_pickle() -> None:
    allocation = Allocation(**GOOD)
    changed = dataclasses.replace(allocation, tokens=np.array([3, 4]))
    assert changed.tokens.tolist() == [3, 4]
    assert changed.clients == 2
    with pytest.raises(AllocationError):
        dataclasses.replace(allocation, tokens=np.array([-1, 0]))
    copy = pickle.loads(pickle.dumps(allocation))
    np.testing.assert_array_equal(copy.power_w, allocation.power_w)
    assert not copy.power_w.flags.writeable
