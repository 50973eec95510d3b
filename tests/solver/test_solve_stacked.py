"""`solve_stacked` gives what `solve` gives for each of its cells, or says by name what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stsflora.solver import Problem, ProblemError, evaluate, solve, solve_stacked
from stsflora.solver.allocation import Allocation
from stsflora.solver.physics import jit
from stsflora.solver.primal.whole_search import whole_search


@pytest.fixture(autouse=True)
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The search runs as plain Python: compiling it takes longer than all of this."""
    monkeypatch.setattr(jit._State, "mode", jit.Mode.PLAIN)
    whole_search.cache_clear()
    yield
    whole_search.cache_clear()


def stack(cells: int = 4, clients: int = 3, tokens: int = 6, **other: Any) -> dict[str, Any]:
    """Fields of some cells; limits differ from cell to cell and from client to client."""
    rng = np.random.default_rng(0)
    return {
        "gain": 10 ** rng.uniform(-12, -10, (cells, clients)),
        "importance": rng.random((cells, clients, tokens)),
        "bits_per_token": 1e5 * rng.uniform(1, 2, (cells, 1)),
        "bandwidth_hz": rng.uniform(1e6, 2e6, cells),
        "max_power_w": rng.uniform(0.1, 0.3, clients),
        "max_energy_j": 1.0,
        "min_tokens": rng.integers(1, 3, (cells, clients)),
        **other,
    }


def problem_of(arrays: dict[str, Any], cell: int) -> Problem:
    """One cell on its own."""
    cells, clients = np.shape(arrays["importance"])[:2]
    fields = {}
    for name, value in arrays.items():
        if name in {"importance", "payload_bits"}:
            fields[name] = value[cell]
        elif name == "bandwidth_hz":
            fields[name] = np.broadcast_to(value, cells)[cell]
        elif name in {"extra_tokens", "noise_w_per_hz"}:
            fields[name] = value
        else:
            fields[name] = np.broadcast_to(value, (cells, clients))[cell]
    return Problem(**fields)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("table", [False, True])
def test_every_cell_is_what_solve_makes_of_it(table: bool, jobs: int) -> None:
    """Figures agree, and `evaluate` finds them on the cell alone."""
    arrays = stack(overhead_s=0.01, extra_tokens=1)
    if table:
        arrays["payload_bits"] = np.cumsum(1e5 + arrays["importance"][..., :1] * np.arange(7.0) * 1e5, axis=2)
    found = solve_stacked(arrays, gap=1e-6, jobs=jobs)
    for cell in range(4):
        problem = problem_of(arrays, cell)
        result = solve(problem, gap=1e-6)
        assert (found.ste[cell], found.bound[cell]) == (result.ste, result.bound)
        assert (found.stop[cell], found.quality[cell]) == (result.stop, result.quality)
        own = Allocation(found.tokens[cell], found.bandwidth_hz[cell], found.power_w[cell])
        score = evaluate(problem, own)
        assert score.feasible
        assert (score.ste, score.round_s) == (found.ste[cell], found.round_s[cell])


def test_a_cell_that_is_infeasible_is_said_so_and_the_others_are_solved() -> None:
    """It has no figures that could be taken for some."""
    energy = np.ones((4, 3))
    energy[2] = 1e-12
    found = solve_stacked(stack(max_energy_j=energy))
    assert found.stop.tolist() == ["converged", "converged", "infeasible", "converged"]
    assert found.quality[2] == "none"
    assert (found.ste[2], found.bound[2], found.round_s[2]) == (-np.inf, -np.inf, np.inf)
    assert not found.tokens[2].any()
    assert np.isfinite(np.delete(found.ste, 2)).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"gain": np.ones((3, 2))}, r"gain: got shape \(3, 2\); allowed: what broadcasts to \(4, 3\)"),
        ({"importance": np.ones((4, 3))}, r"importance: got shape \(4, 3\); allowed: \(C, M, N\)"),
        ({"payload_bits": np.ones((4, 2, 7))}, "payload_bits: got shape"),
        ({"bandwidth": 1.0}, "a field 'bandwidth'"),
        ({"bandwidth_hz": [1e6, 1e6, 0.0, 1e6]}, "bandwidth_hz = 0"),
        ({"bandwidth_hz": [1e6, 1e6]}, r"bandwidth_hz: got shape \(2,\)"),
        ({"gain": -np.ones((4, 3))}, "Problem.gain: got -1 at index 0"),
        ({"deadline_s": "soon"}, "deadline_s: got type"),
    ],
)
def test_what_is_wrong_is_said_by_name(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ProblemError, match=text):
        solve_stacked(stack(**change))


def test_a_cell_without_attention_is_named() -> None:
    """And a field that is missing."""
    arrays = stack()
    arrays["importance"][3] = 0.0
    with pytest.raises(ProblemError, match="all zeros in cell 3"):
        solve_stacked(arrays)
    del arrays["gain"]
    with pytest.raises(ProblemError, match="no 'gain'"):
        solve_stacked(arrays)
