"""What others hold in place of numpy arrays is read as meant or refused in our words, without a warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stsflora.solver import (
    Allocation,
    AllocationError,
    Allocator,
    Client,
    Problem,
    ProblemError,
    TotalTime,
    evaluate,
    repair,
)

pytestmark = pytest.mark.filterwarnings("error")

FIELDS = (
    *("gain", "bandwidth_hz", "max_power_w", "max_energy_j", "importance", "bits_per_token", "deadline_s"),
    *("overhead_s", "min_tokens", "extra_tokens", "noise_w_per_hz", "payload_bits", "max_tokens", "utility"),
    *("client", "may_skip", "before_j", "max_psd_w_per_hz", "max_bps_per_hz", "block_hz"),
)
COUNTS = ("min_tokens", "max_tokens", "client", "extra_tokens")
PARTS = ("tokens", "bandwidth_hz", "power_w", "row")


class Hostile:
    """Whatever numpy asks of it, it raises."""

    def __array__(self, *arguments: Any, **keywords: Any) -> Any:
        raise RuntimeError("not today")


def problem_with(**changes: Any) -> Problem:
    given = {"gain": [1e-9] * 3, "importance": np.ones((3, 4)), "bits_per_token": 1e5}
    limits = {"bandwidth_hz": 1e6, "max_power_w": 0.2, "max_energy_j": 1.0}
    return Problem(**(given | limits | changes))


def allocation_with(**changes: Any) -> Allocation:
    return Allocation(**({"tokens": [1] * 3, "bandwidth_hz": [1e5] * 3, "power_w": [0.1] * 3} | changes))


def hostile_values() -> dict[str, Any]:
    masked = np.ma.array([1.0, 1.0, 1.0], mask=[False, True, False])
    values = {
        "masked": masked,
        "masked table": np.ma.array(np.ones((3, 4)), mask=np.eye(3, 4)),
        "masked whole numbers": np.ma.array([1, 1, 1], mask=[True, False, False]),
        "the masked constant": np.ma.masked,
        "a list with a masked entry": [1.0, np.ma.masked, 1.0],
        "a list of masked scalars": [np.ma.array(1.0, mask=True)] * 3,
        "a list of masked rows": [np.ma.array([1.0, 1.0, 1.0, 1.0], mask=[True, False, False, False])] * 3,
        "lists with masked entries": [[1.0, 1.0, 1.0, np.ma.masked]] * 3,
        "long doubles": np.ones(3, np.longdouble),
        "a list of long doubles": [np.longdouble(1)] * 3,
        "whole numbers beyond 64 bits": [2**64] * 3,
        "an object that raises": Hostile(),
        "a list of objects that raise": [Hostile()] * 3,
        "texts": ["1"] * 3,
        "dates": np.array([1, 2, 3], "m8[s]"),
        "records": np.zeros(3, [("a", "f8")]),
    }
    if np.longdouble is np.float64 or np.dtype(np.longdouble).itemsize == 8:  # as on Windows
        del values["long doubles"], values["a list of long doubles"]
    return values


def hostile_tensors() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    return {
        "without data": torch.ones(3, device="meta"),
        "sparse": torch.ones(3).to_sparse(),
        "complex": torch.ones(3, dtype=torch.complex64),
        "a list with gradients": [torch.tensor(1.0, requires_grad=True)] * 3,
        "a list of bfloat16": [torch.tensor(1.0, dtype=torch.bfloat16)] * 3,
    }


# Refused


@pytest.mark.parametrize("values", [hostile_values, hostile_tensors])
def test_what_cannot_be_read_as_it_is_meant_is_refused(values: Callable[[], dict[str, Any]]) -> None:
    """By the field's name, whatever the shape it should have had."""
    for value in values().values():
        for field in FIELDS:
            with pytest.raises(ProblemError, match=f"^Problem.{field}: "):
                problem_with(**{field: value})
        for part in PARTS:
            with pytest.raises(AllocationError, match=f"^Allocation.{part}: "):
                allocation_with(**{part: value})
        with pytest.raises(ProblemError, match=r"^TotalTime.weight: "):
            TotalTime(weight=value)


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("count", [2**63, 2**63 - 1, -(2**63)])
def test_counts_beyond_all_tokens_stay_what_they_are(field: str, count: int) -> None:
    """An int64 would turn 2^63 into its negative."""
    value = count if field == "extra_tokens" else [count, 0, 0]
    with pytest.raises(ProblemError, match=f"^Problem.{field}: got -?9.22337e\\+18"):
        problem_with(**{field: value})


@pytest.mark.parametrize("part", ["tokens", "row"])
@pytest.mark.parametrize(
    "values", [[2**63, 0, 0], [2**63] * 3, np.array([2**63, 1, 1], np.uint64), [1e19] * 3]
)
def test_tokens_that_no_int64_holds_are_refused(part: str, values: Any) -> None:
    with pytest.raises(
        AllocationError, match=f"^Allocation.{part}: got (9.22337e\\+18|1e\\+19) for client 0"
    ):
        allocation_with(**{part: values})


def test_masked_flags_are_refused() -> None:
    """What is under the mask is no answer to whether a client may be skipped."""
    masked = np.ma.array([True, False, False], mask=[True, False, False])
    for value in (masked, [masked[0], False, False]):
        with pytest.raises(ProblemError, match=r"^Problem.may_skip: got masked entries"):
            problem_with(may_skip=value)


# Read


@pytest.mark.parametrize("field", ["gain", "max_energy_j", "deadline_s", "before_j", "max_psd_w_per_hz"])
def test_arrays_of_other_types_are_read_as_they_are(field: str) -> None:
    values = [1.0, 0.5, 2.0]  # exact in every type
    expected = getattr(problem_with(**{field: values}), field)
    for value in (
        np.array(values, np.float16),
        np.array(values, ">f8"),
        np.ma.array(values),
        np.ma.array(values, mask=False),
        np.array(values).view(np.recarray),
        tuple(values),
        [np.float32(value) for value in values],
    ):
        np.testing.assert_array_equal(getattr(problem_with(**{field: value}), field), expected)


def test_tensors_are_read_without_their_graph() -> None:
    torch = pytest.importorskip("torch")
    values = torch.tensor([[0.5, 0.25, 0.125, 1.0]] * 3, requires_grad=True)
    for value in (values, values * 1.0, values.bfloat16(), values.half(), torch.nn.Parameter(values)):
        np.testing.assert_array_equal(problem_with(importance=value).importance[2], [1.0, 0.5, 0.25, 0.125])
    counts = torch.tensor([2, 3, 1])
    for value in (counts, counts.double().requires_grad_(), counts.bfloat16(), counts.to(torch.uint8)):
        assert problem_with(min_tokens=value).min_tokens.tolist() == [2, 3, 1]
        assert allocation_with(tokens=value).tokens.tolist() == [2, 3, 1]
        assert allocation_with(row=value, tokens=value).row.tolist() == [2, 3, 1]
    assert problem_with(may_skip=torch.tensor([True, False, True])).may_skip.tolist() == [True, False, True]
    assert TotalTime(weight=counts.bfloat16()).weight == (2.0, 3.0, 1.0)


def test_counts_of_half_precision_are_compared_without_overflow() -> None:
    """65504 is the largest float16, and 2^63 the limit of tokens."""
    assert allocation_with(tokens=np.ones(3, np.float16)).tokens.tolist() == [1, 1, 1]
    assert problem_with(min_tokens=np.ones(3, np.float16)).min_tokens.tolist() == [1, 1, 1]


def test_repair_reads_what_an_allocation_reads() -> None:
    torch = pytest.importorskip("torch")
    problem = problem_with()
    sent = allocation_with(
        tokens=torch.tensor([1, 2, 3]),
        bandwidth_hz=torch.full((3,), 1e6, dtype=torch.bfloat16),
        power_w=torch.tensor([0.2] * 3, requires_grad=True),
    )
    assert not evaluate(problem, sent).feasible
    fixed = repair(problem, sent)
    assert evaluate(problem, fixed).feasible
    assert fixed.tokens.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "value", [None, 3, {"tokens": [1]}, Hostile()], ids=lambda value: type(value).__name__
)
def test_repair_refuses_what_is_no_problem_or_allocation(value: Any) -> None:
    with pytest.raises(ProblemError, match=r"^repair: got \w+ as problem"):
        repair(value, allocation_with())
    with pytest.raises(AllocationError, match=r"^repair: got \w+ as allocation"):
        repair(problem_with(), value)


# Clients' reports


def test_a_client_with_such_data_is_dropped_by_name() -> None:
    allocator = Allocator(bandwidth_hz=1e6)
    good = Client("ok", 1e-9, [3.0, 2.0, 1.0], 1e5, 0.2)
    for field in (
        "gain",
        "importance",
        "bits_per_token",
        "max_energy_j",
        "min_tokens",
        "may_skip",
        "utility",
    ):
        values = list(hostile_values().values())
        for value in values:
            given = {"gain": 1e-9, "importance": [1.0, 1.0], "bits_per_token": 1e5, "max_power_w": 0.2}
            plan = allocator.plan([good, Client("bad", **(given | {field: value}))])
            (dropped,) = plan.dropped
            assert (dropped.id, dropped.cause) == ("bad", "malformed")
            assert dropped.reason.startswith(f"client 'bad': {field} is malformed")


@pytest.mark.parametrize(
    "value", [np.ma.array([1e-9], mask=[True]), np.longdouble(1), 2**63, 2**64, Hostile()]
)
def test_one_number_is_not_taken_from_under_a_mask(value: Any) -> None:
    plan = Allocator(bandwidth_hz=1e6).plan([Client("bad", value, [1.0], 1e5, 0.2, min_tokens=value)])
    assert plan.dropped[0].cause == "malformed"
