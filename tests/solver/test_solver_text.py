"""Solver specifications survive the way to text and back, and wrong ones are refused."""

import pytest

from stsflora.solver import OptionError, UnknownNameError
from stsflora.solver.solver_text import parse_solver, solver_text


def test_solver_specifications_are_parsed_and_checked():
    assert parse_solver("fixed:tokens=3") == ("fixed", {"tokens": 3})
    for text, error, words in [
        ("exakt", UnknownNameError, "exakt"),
        ("equal:speed=1", OptionError, "option 'speed'"),
        ("fixed:tokens", OptionError, "name=value"),
    ]:
        with pytest.raises(error, match=words):
            parse_solver(text)


@pytest.mark.parametrize(
    "text", ["exact", "minlp:engine=highs", 'alternating:starts=["full", "random"]:max_iterations=3']
)
def test_texts_are_the_inverse(text):
    assert solver_text(*parse_solver(text)) == text
