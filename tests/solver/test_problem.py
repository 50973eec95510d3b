"""What a problem refuses, in words; that it cannot change; copies, subsets, equality."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from helpers.instances import small_problem

from stsflora.solver import Problem, ProblemError, StsfloraError
from stsflora.solver.problem_fields import BLOCK
from stsflora.solver.units import THERMAL_NOISE_W_PER_HZ

PER_CLIENT = ("gain", "bits_per_token", "max_power_w", "max_energy_j", "deadline_s", "overhead_s")
LIMITLESS = ("max_energy_j", "deadline_s")


def refusal(**changes: Any) -> str:
    with pytest.raises(ProblemError) as caught:
        small_problem(**changes)
    assert isinstance(caught.value, StsfloraError)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


@pytest.mark.parametrize("field", PER_CLIENT)
def test_per_client_fields_refuse_in_words(field: str) -> None:
    finite = "finite or inf" if field in LIMITLESS else "finite"
    least = ">= 0" if field == "overhead_s" else "> 0"
    allowed = f"allowed: {finite} and {least}. Drop or repair that client."
    assert refusal(**{field: [1.0, -1.0, 1.0]}) == f"Problem.{field}: got -1 at index 1; {allowed}"
    assert refusal(**{field: [1.0, 1.0, np.nan]}) == f"Problem.{field}: got nan at index 2; {allowed}"
    assert refusal(**{field: -np.inf}) == f"Problem.{field}: got -inf at index 0; {allowed}"
    if field not in LIMITLESS:
        assert refusal(**{field: [np.inf, 1.0, 1.0]}) == f"Problem.{field}: got inf at index 0; {allowed}"
    if field != "overhead_s":
        assert refusal(**{field: [1.0, 1.0, 0.0]}) == f"Problem.{field}: got 0 at index 2; {allowed}"
    assert refusal(**{field: [1.0, 2.0]}) == (
        f"Problem.{field}: got shape (2,); allowed: a scalar or (3,), one per row of importance. "
        "Match it to importance."
    )
    assert refusal(**{field: np.ones((3, 1))}).startswith(f"Problem.{field}: got shape (3, 1); allowed: ")
    assert refusal(**{field: ["1", "2", "3"]}).startswith(
        f"Problem.{field}: got type <U1; allowed: real numbers"
    )
    assert refusal(**{field: [1j, 1, 1]}).startswith(f"Problem.{field}: got type complex128; allowed: ")
    if field != "bits_per_token":
        assert refusal(**{field: None}).startswith(f"Problem.{field}: got type object; allowed: ")
    assert refusal(**{field: [[1.0], [1.0, 2.0]]}) == (
        f"Problem.{field}: got a ragged sequence; allowed: a regular array of numbers. Pad it."
    )


@pytest.mark.parametrize("field", ["bandwidth_hz", "noise_w_per_hz"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_scalars_refuse_in_words(field: str, value: float) -> None:
    assert refusal(**{field: value}) == (
        f"Problem.{field}: got {value:g}; allowed: finite and > 0. Pass it in SI units."
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"bandwidth_hz": [1e6, 1e6]},
            "Problem.bandwidth_hz: got shape (2,); allowed: one number. Pass a scalar.",
        ),
        (
            {"importance": [1.0, 2.0, 3.0]},
            "Problem.importance: got shape (3,); allowed: (R, N) with R >= 1 rows, one per client unless "
            "`client` says otherwise. Stack one row of token importances per client.",
        ),
        ({"importance": np.ones((0, 4))}, "Problem.importance: got shape (0, 4); allowed: (R, N)"),
        ({"importance": np.ones((3, 0))}, "Problem.importance: got all zeros; allowed: at least one"),
        (
            {"importance": [[1.0, 2.0], [1.0, np.nan], [1.0, 1.0]]},
            "Problem.importance: got nan at index (1, 1); allowed: finite and >= 0. Clean the attention map.",
        ),
        (
            {"importance": [[1.0], [-2.0], [1.0]]},
            "Problem.importance: got -2 at index (1, 0); allowed: finite",
        ),
        (
            {"importance": np.zeros((3, 4))},
            "Problem.importance: got all zeros; allowed: at least one positive entry. "
            "Check where the attention is read.",
        ),
        (
            {"min_tokens": 5},
            "Problem.min_tokens: got 5; allowed: whole numbers from 0 to N = 4. "
            "Lower it or send more tokens.",
        ),
        (
            {"min_tokens": [1, -1, 1]},
            "Problem.min_tokens: got -1 at index 1; allowed: whole numbers from 0 to N = 4",
        ),
        ({"min_tokens": [1, 1, 1.5]}, "Problem.min_tokens: got 1.5 at index 2; allowed: "),
        ({"min_tokens": [1, 1]}, "Problem.min_tokens: got shape (2,); allowed: a scalar or (3,). "),
        ({"min_tokens": np.nan}, "Problem.min_tokens: got nan; allowed: "),
        (
            {"extra_tokens": -1},
            "Problem.extra_tokens: got -1; allowed: a whole number >= 0. Use 2 for [CLS] and merged.",
        ),
        ({"extra_tokens": 0.5}, "Problem.extra_tokens: got 0.5; allowed: a whole number >= 0. "),
        ({"extra_tokens": np.inf}, "Problem.extra_tokens: got inf; allowed: "),
        (
            {"gain": [1.0, 1e90, 1.0]},
            "Problem.gain: got 1e+90 at index 1; allowed: magnitudes from 1e-40 to 1e+40. "
            "Check the units: SI units and linear gains, not dB.",
        ),
        ({"overhead_s": [1e50, 0.0, 0.0]}, "Problem.overhead_s: got 1e+50 at index 0; allowed: magnitudes"),
        ({"importance": np.full((3, 4), 1e-50)}, "Problem.importance: got 1e-50; allowed: magnitudes from "),
        ({"deadline_s": 1e-50}, "Problem.deadline_s: got 1e-50 at index 0; allowed: magnitudes from "),
        (
            {"bandwidth_hz": 1e41},
            "Problem.bandwidth_hz: got 1e+41; allowed: magnitudes from 1e-40 to 1e+40. ",
        ),
        ({"importance": np.full((3, 4), 1e308)}, "Problem.importance: got 1e+308; allowed: magnitudes from "),
    ],
)
def test_refuses_in_words(changes: dict[str, Any], text: str) -> None:
    if "importance" in changes:
        changes = changes | {"gain": 1e-9}
    assert refusal(**changes).startswith(text)


def test_scalars_broadcast_and_defaults_are_the_papers() -> None:
    problem = small_problem(max_power_w=0.2)
    assert problem.clients == 3
    assert problem.tokens == 4
    np.testing.assert_array_equal(problem.max_power_w, [0.2, 0.2, 0.2])
    np.testing.assert_array_equal(problem.deadline_s, [np.inf] * 3)
    np.testing.assert_array_equal(problem.overhead_s, [0.0] * 3)
    np.testing.assert_array_equal(problem.min_tokens, [1, 1, 1])
    assert problem.extra_tokens == 2
    assert problem.noise_w_per_hz == THERMAL_NOISE_W_PER_HZ == pytest.approx(3.9810717e-21)


def test_importance_is_sorted_descending() -> None:
    given = np.random.default_rng(0).random((3, 50))
    problem = small_problem(importance=given)
    np.testing.assert_array_equal(problem.importance, np.sort(given, axis=1)[:, ::-1])


def test_is_immutable_and_a_copy() -> None:
    gain, importance = np.array([1e-9, 1e-9, 1e-9]), np.ones((3, 4))
    problem = small_problem(gain=gain, importance=importance)
    gain[0] = importance[0, 0] = 7.0
    assert problem.gain[0] == 1e-9
    assert problem.importance[0, 0] == 1.0
    for name in (*PER_CLIENT, "importance", "min_tokens"):
        array = getattr(problem, name)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        assert array.dtype == (np.int64 if name == "min_tokens" else np.float64)
    for field in dataclasses.fields(Problem):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(problem, field.name, 1.0)


def test_read_only_arrays_are_taken_over() -> None:
    given = {
        "gain": np.full(3, 1e-9),
        "importance": np.ones((3, 4)),
        "min_tokens": np.ones(3, np.int64),
        "payload_bits": np.arange(5.0) * np.ones((3, 1)),
    }
    copied = small_problem(**given)
    for array in given.values():
        array.flags.writeable = False
    taken = small_problem(**given)
    assert taken == copied
    for name, array in given.items():
        assert getattr(taken, name) is array
        assert not np.shares_memory(getattr(copied, name), array)
    assert dataclasses.replace(taken, bandwidth_hz=2e6).importance is given["importance"]


def test_rising_importances_are_copied_even_when_read_only() -> None:
    rising = np.arange(12.0).reshape(3, 4)
    rising.flags.writeable = False
    np.testing.assert_array_equal(small_problem(importance=rising).importance, rising[:, ::-1])
    assert rising[0, 0] == 0.0


@pytest.mark.parametrize("tokens", [1, 7, 200])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_large_table_is_checked_to_its_last_entry(tokens: int, bad: float) -> None:
    clients = 2 * BLOCK // tokens + 1
    importance = np.ones((clients, tokens))
    limits: dict[str, Any] = {"gain": 1e-9, "bits_per_token": 1e5, "bandwidth_hz": 1e6}
    limits |= {"max_power_w": 0.2, "max_energy_j": 1.0}
    table = np.arange(tokens + 1.0) * np.ones((clients, 1))
    table[-1, -1] = bad
    with pytest.raises(ProblemError, match=rf"payload_bits: got .* at index \({clients - 1}, {tokens}\)"):
        Problem(importance=importance, payload_bits=table, **limits)
    importance[-1, -1] = bad
    with pytest.raises(ProblemError, match=rf"importance: got .* at index \({clients - 1}, {tokens - 1}\)"):
        Problem(importance=importance, **limits)
    importance[-1, -1] = 2.0
    assert Problem(importance=importance, **limits).importance[-1, 0] == 2.0


def test_checks_make_no_large_arrays() -> None:
    """A read-only descending table of 16 MB is checked in less than one of them."""
    importance, table = np.ones((40_000, 50)), np.arange(51.0) * np.ones((40_000, 1))
    importance.flags.writeable = table.flags.writeable = False
    tracemalloc.start()
    try:
        Problem(
            gain=1e-9,
            importance=importance,
            bits_per_token=1e5,
            bandwidth_hz=1e6,
            max_power_w=0.2,
            max_energy_j=1.0,
            payload_bits=table,
        )
        assert tracemalloc.get_traced_memory()[1] < 5e6  # of which seven arrays of clients
    finally:
        tracemalloc.stop()


def test_raised_limits_cannot_be_written_either() -> None:
    raised = small_problem().with_raised_limits(0.5)
    assert raised.bandwidth_hz == 1.5e6
    assert raised.max_power_w.tolist() == [0.2 * 1.5] * 3
    for name in PER_CLIENT:
        assert not getattr(raised, name).flags.writeable


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), dataclasses.replace]
)
def test_copies_are_equal_and_frozen(duplicate: Any) -> None:
    problem = small_problem(deadline_s=[1.0, np.inf, 2.0])
    copied = duplicate(problem)
    assert copied == problem
    assert copied is not problem
    assert not copied.gain.flags.writeable


def test_replace_checks_anew() -> None:
    problem = small_problem()
    changed = dataclasses.replace(problem, bandwidth_hz=2e6)
    assert changed.bandwidth_hz == 2e6
    assert changed != problem
    with pytest.raises(ProblemError, match=r"Problem\.gain: got 0 at index 0"):
        dataclasses.replace(problem, gain=np.zeros(3))


def test_equality_is_by_value_and_problems_do_not_hash() -> None:
    assert small_problem() == small_problem()
    assert small_problem() != small_problem(extra_tokens=1)
    assert small_problem() != "a problem"
    with pytest.raises(TypeError, match="unhashable"):
        hash(small_problem())


def test_subset_keeps_the_order_given() -> None:
    problem = small_problem(min_tokens=[1, 2, 3], overhead_s=[0.1, 0.2, 0.3])
    part = problem.subset([2, 0])
    np.testing.assert_array_equal(part.gain, problem.gain[[2, 0]])
    np.testing.assert_array_equal(part.importance, problem.importance[[2, 0]])
    np.testing.assert_array_equal(part.min_tokens, [3, 1])
    assert part.bandwidth_hz == problem.bandwidth_hz


@pytest.mark.parametrize("clients", [[3], [-1], [0.0], [True, False, True], 1, []])
def test_subset_refuses_in_words(clients: Any) -> None:
    with pytest.raises(ProblemError) as caught:
        small_problem().subset(clients)
    assert str(caught.value) == (
        f"Problem.subset: got {clients!r}; allowed: a sequence of indices from 0 to 2. "
        "Turn a mask into indices with numpy.flatnonzero."
    )


def test_text_says_the_size() -> None:
    assert repr(small_problem()) == "Problem(clients=3, tokens=4, bandwidth_hz=1e+06, extra_tokens=2)"
