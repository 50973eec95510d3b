"""Checks of arguments: what passes comes back clean, the rest is refused in words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from stsflora.solver import AllocationError, OptionError, ProblemError, UnknownNameError
from stsflora.solver.checks import (
    choice,
    choices,
    largest_of,
    least_of,
    nonnegative_numbers,
    numbers_in_range,
    positive_numbers,
    read_only,
    real_array,
    real_number,
    require_entries,
    whole,
    whole_number,
    within,
)


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_read_only_takes_over_what_nobody_can_write() -> None:
    array = frozen(np.arange(6.0))
    assert read_only(array, np.float64) is array
    row = frozen(np.ones((2, 3)))[1]
    assert read_only(row, np.float64) is row


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0),
        frozen(np.arange(6.0)[:]),
        frozen(np.arange(6.0))[::2],
        frozen(np.ones((2, 3), order="F")),
        frozen(np.arange(6)),
        frozen(np.arange(6.0, dtype=np.float32)),
        frozen(np.arange(6.0).astype(">f8")),
        np.frombuffer(bytes(16)),
        frozen(np.arange(6.0).view(np.recarray)),
        np.broadcast_to(np.float64(1.0), (3,)),
    ],
    ids=str,
)
def test_read_only_copies_all_else(array: np.ndarray) -> None:
    copy = read_only(array, np.float64)
    assert not np.shares_memory(copy, array)
    assert type(copy) is np.ndarray
    assert copy.dtype == np.float64
    assert copy.dtype.isnative
    assert copy.flags.c_contiguous
    assert not copy.flags.writeable
    np.testing.assert_array_equal(copy, array)


def test_least_and_largest_find_nan() -> None:
    assert (least_of(np.array([2, 1, 3])), largest_of(np.array([2, 1, 3]))) == (1, 3)
    assert np.isnan([least_of(np.array([1.0, np.nan])), largest_of(np.array([np.nan, 1.0]))]).all()


def test_good_values_come_back_clean() -> None:
    assert whole_number("who", "count", np.int32(3), 1) == 3
    assert type(whole_number("who", "count", np.int32(3), 1)) is int
    assert real_number("who", "width", np.float32(0.5)) == 0.5
    assert real_number("who", "width", 2) == 2.0
    assert choice("who", "rule", "a", ("a", "b")) == "a"
    assert choices("who", "rules", "a", ("a", "b")) == ("a",)
    assert choices("who", "rules", ["b", "a", "b"], ("a", "b")) == ("b", "a", "b")
    assert choices("who", "rules", (), ("a", "b")) == ()


def test_ends_and_words_can_be_chosen() -> None:
    assert whole_number("who", "cut", 3, 1, 3) == 3
    with pytest.raises(ProblemError, match=r"^who: got cut=4; allowed: a whole number from 1 to 3\. Less\.$"):
        whole_number("who", "cut", 4, 1, 3, next_step="Less", error=ProblemError)
    assert real_number("who", "limit", math.inf, infinite=True) == math.inf
    with pytest.raises(OptionError, match=r"^who: got limit=0; allowed: a number > 0\. Pass a float\.$"):
        real_number("who", "limit", 0, open_low=True, infinite=True)
    with pytest.raises(AllocationError, match=r"^who: got limit=nan; allowed: seconds\. Leave it out\.$"):
        real_number(
            "who", "limit", math.nan, allowed="seconds", next_step="Leave it out", error=AllocationError
        )
    with pytest.raises(OptionError, match=r"^who: got count='x{59}; allowed: "):
        whole_number("who", "count", "x" * 1000, 1)
    with pytest.raises(OptionError, match=r"^who: got width=1000"):
        real_number("who", "width", 10**400)
    with pytest.raises(UnknownNameError, match=r"^who: got rule='c'; allowed: a or b\. Name one of these\.$"):
        choice("who", "rule", "c", ("a", "b"), error=UnknownNameError)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None, math.nan])
def test_whole_number_refuses(value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        whole_number("who", "count", value, 1)
    assert str(caught.value) == f"who: got count={value!r}; allowed: a whole number >= 1. Pass an int."


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, True, "1", None, 1j])
def test_real_number_refuses(value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        real_number("who", "width", value)
    assert str(caught.value) == f"who: got width={value!r}; allowed: a finite number >= 0. Pass a float."


@pytest.mark.parametrize(
    ("value", "bad"), [("c", "c"), (["a", "c"], "c"), (3, 3), ([["a"]], ["a"]), (None, None)]
)
def test_choices_refuse(value: Any, bad: Any) -> None:
    with pytest.raises(OptionError) as caught:
        choices("who", "rules", value, ("a", "b"))
    assert str(caught.value) == f"who: got rules={bad!r}; allowed: a, b. Name one or several of these."


@pytest.mark.parametrize("value", ["c", ["a"], None])
def test_choice_refuses(value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        choice("who", "rule", value, ("a", "b"))
    assert str(caught.value) == f"who: got rule={value!r}; allowed: a or b. Name one of these."


def test_good_arrays_come_back_as_they_are() -> None:
    given = np.arange(3)
    assert real_array("who", given) is given
    np.testing.assert_array_equal(real_array("who", [[1, 2.5]]), [[1.0, 2.5]])
    for check in (positive_numbers, nonnegative_numbers):
        checked = check("who", "gain", [1, 2])
        assert checked.dtype == np.float64
        assert checked.tolist() == [1.0, 2.0]
    assert nonnegative_numbers("who", "gain", 0).shape == ()
    assert numbers_in_range("who", "gain", np.inf, 0.0) == np.inf
    assert numbers_in_range("who", "gain", [], 0.0).shape == (0,)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[1], [1, 2]], "got a ragged sequence; allowed: a regular array of numbers. Pad it."),
        (["1"], "got type <U1; allowed: real numbers (integers or floats). Convert it first."),
        ([True], "got type bool; allowed: real numbers"),
        (True, "got type bool; allowed: real numbers"),
        (None, "got type object; allowed: real numbers"),
        (1j, "got type complex128; allowed: real numbers"),
    ],
)
def test_arrays_of_anything_else_are_refused(value: Any, text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        real_array("Problem.gain", value)
    assert str(caught.value).startswith(f"Problem.gain: {text}")
    with pytest.raises(AllocationError) as other:
        real_array("who", value, name="gain", error=AllocationError)
    assert str(other.value).startswith(f"who: {text.replace('got ', 'got gain = ', 1)}")


def test_intervals_are_open_or_closed() -> None:
    array = np.array([-np.inf, -1.0, 0.0, 0.5, 1.0, np.inf, np.nan])
    assert within(array, 0, 1).tolist() == [False, False, True, True, True, False, False]
    assert within(array, 0, 1, open_low=True).tolist() == [False, False, False, True, True, False, False]
    assert within(array, 0, 1, open_high=True).tolist() == [False, False, True, True, False, False, False]
    assert within(array, 0).tolist() == [False, False, True, True, True, True, False]
    assert within(array, 0, open_high=True).tolist() == [False, False, True, True, True, False, False]
    assert whole(array).tolist() == [True, True, True, False, True, True, False]
    assert whole(np.arange(2)).tolist() == [True, True]


def test_the_first_bad_entry_is_shown_with_its_place() -> None:
    table = np.array([[1.0, 2.0], [-3.0, np.nan]])
    with pytest.raises(ProblemError, match=r"^who: got -3 at index \(1, 0\); allowed: >= 0\. Repair it\.$"):
        require_entries("who", table, table >= 0, ">= 0", "Repair it")
    with pytest.raises(AllocationError, match=r"^who: got nan for client 1; "):
        require_entries(
            "who", table[1], table[1] < 0, "< 0", "Repair it", place="for client", error=AllocationError
        )
    with pytest.raises(ProblemError, match=r"^who: got -1; allowed: >= 0\. "):
        require_entries("who", np.array(-1.0), np.array(False), ">= 0", "Repair it")
    require_entries("who", table, np.isfinite(table) | True, ">= 0", "Repair it")


@pytest.mark.parametrize(
    ("arguments", "ends", "text"),
    [
        ((0.0, 1.0), {}, "[0, 1]"),
        ((0.0, 1.0), {"open_low": True}, "(0, 1]"),
        ((0.0, 1.0), {"open_low": True, "open_high": True}, "(0, 1)"),
        ((0.0,), {}, "[0, inf]"),
    ],
)
def test_ranges_are_told_as_intervals(arguments: Any, ends: Any, text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        numbers_in_range("who", "speed_m_per_s", [0.5, -2.0], *arguments, **ends)
    assert str(caught.value) == (
        f"who: got speed_m_per_s = -2; allowed: numbers in {text}. "
        "Pass SI units, and decibels only where named."
    )
