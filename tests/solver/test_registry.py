"""Adding a solver by the recipe, and every way of getting it wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from helpers.conformance import (
    check_answer,
    check_infeasible,
    check_refusal,
    check_same_answer,
    check_time_limit,
    takes,
)
from helpers.instances import small_problem

from stsflora.benchmarks.families import family
from stsflora.solver import (
    Allocation,
    Answer,
    MissingDependencyError,
    OptionError,
    Problem,
    RegistrationError,
    Request,
    UnknownNameError,
    register,
    solve,
    solvers,
)
from stsflora.solver.physics.demand import Demand
from stsflora.solver.reference import references
from stsflora.solver.registry import lookup, unregister


@contextmanager
def registered(method: Any, name: str = "recipe", **capabilities: Any) -> Iterator[None]:
    register(name, **capabilities)(method)
    try:
        yield
    finally:
        unregister(name)


def fewest_tokens(problem: Problem, request: Request, *, share: float = 1.0) -> Answer:
    """Send K_min as soon as possible.

    Args:
        problem: the instance.
        request: not used.
        share: of nothing in particular.
    """
    demand = Demand(problem)
    tokens = problem.min_tokens
    return Answer(demand.allocation(tokens, demand.least_round_s(tokens)), stats={"share": share})


def test_the_recipe_for_a_new_solver() -> None:
    """One decorated function is listed, takes options and passes the conformance checks."""
    with registered(fewest_tokens):
        info = solvers()[-1]
        assert info.name == "recipe"
        assert info.summary == "Send K_min as soon as possible"
        assert (info.proves, info.always_feasible, info.needs) == ("nothing", True, ())
        assert dict(info.options) == {"share": 1.0}
        assert info.available
        assert info.how_to_install == ""
        for reference in references():
            check = check_answer if takes(info, reference.problem) else check_refusal
            check(info, reference.problem)
        first = check_answer(info, family("round_time", 6, 0, tokens=10), share=0.5)
        assert first.stats["share"] == 0.5
        check_same_answer(first, check_answer(info, first.problem, share=0.5))
        check_infeasible(info, family("infeasible", 3, 0, tokens=10))
        check_time_limit(info, first.problem, 0.05)
    assert "recipe" not in {info.name for info in solvers()}


def wrong_answer(problem: Problem, request: Request) -> Answer:
    """Break every limit and claim the opposite."""
    return Answer(
        Allocation(problem.min_tokens, np.full(problem.clients, problem.bandwidth_hz), problem.max_power_w),
        bound=1e-9,
        claimed_value=1.0,
    )


def test_the_checks_catch_a_wrong_solver() -> None:
    with registered(wrong_answer), pytest.raises(AssertionError):
        check_answer(lookup("recipe"), small_problem())


def test_a_name_is_taken_once() -> None:
    taken = solvers()[0].name
    with pytest.raises(RegistrationError) as caught:
        register(taken)(fewest_tokens)
    assert str(caught.value) == (
        f"register({taken!r}): got a name already registered; allowed: a new name. Choose another."
    )


def one_argument(problem: Problem) -> Answer:
    """Too few arguments."""
    raise NotImplementedError


def positional_option(problem: Problem, request: Request, share: float = 1.0) -> Answer:
    """An option that is not keyword-only."""
    raise NotImplementedError


def no_default(problem: Problem, request: Request, *, share: float) -> Answer:
    """An option without default."""
    raise NotImplementedError


def anything(problem: Problem, request: Request, **options: Any) -> Answer:
    """Options without names."""
    raise NotImplementedError


def undocumented(problem: Problem, request: Request) -> Answer:
    raise NotImplementedError


@pytest.mark.parametrize("method", [one_argument, positional_option, no_default, anything, undocumented])
def test_an_unusable_signature_is_refused(method: Any) -> None:
    with pytest.raises(RegistrationError) as caught:
        register("recipe")(method)
    assert str(caught.value).startswith(f"register('recipe'): got {method.__name__}(problem: ")
    assert str(caught.value).endswith(
        "allowed: (problem, request, *, option=default, ...), a docstring, proves in optimum | bound | "
        "nothing, takes {objective: features}. Follow docs/add_a_solver.md."
    )
    assert "recipe" not in {info.name for info in solvers()}


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(RegistrationError, match="proves='everything'"):
        register("recipe", proves="everything")(fewest_tokens)


def test_a_missing_package_is_named_with_the_cure() -> None:
    with registered(fewest_tokens, needs=("numpy", "no_such_package"), extra="minlp"):
        info = lookup("recipe")
        assert not info.available
        assert info.missing == ("no_such_package",)
        assert info.how_to_install == 'pip install "stsflora[minlp]"'
        with pytest.raises(MissingDependencyError) as caught:
            solve(small_problem(), "recipe")
        assert str(caught.value) == (
            "solver 'recipe': got no package no_such_package; allowed: an installation with numpy, "
            'no_such_package. Run pip install "stsflora[minlp]".'
        )
        assert isinstance(caught.value, ImportError)


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with registered(fewest_tokens), pytest.raises(OptionError) as caught:
        solve(small_problem(), "recipe", shares=0.5)
    assert str(caught.value) == ("solver 'recipe': got option 'shares'; allowed: share. Correct the name.")


@pytest.mark.parametrize("name", ["nonsense", "", None, ["exact"]])
def test_an_unknown_solver_is_refused_with_the_known_ones(name: Any) -> None:
    with pytest.raises(UnknownNameError) as caught:
        solve(small_problem(), name)
    known = ", ".join(info.name for info in solvers())
    assert str(caught.value) == (
        f"solve: got solver {name!r}; allowed: {known}. Run `stsflora solvers` for details."
    )
    assert isinstance(caught.value, KeyError)


def test_every_solver_says_what_it_is() -> None:
    names = [info.name for info in solvers()]
    assert len(set(names)) == len(names)
    for info in solvers():
        assert info.summary
        assert "\n" not in info.summary
        assert info.proves in {"optimum", "bound", "nothing"}
        assert info.available or info.how_to_install
