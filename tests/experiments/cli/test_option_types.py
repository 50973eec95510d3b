"""Lists and choices on the command line."""

from __future__ import annotations

import pytest

from stsflora.experiments.cli.option_types import Names, split_list
from stsflora.solver import OptionError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("exact, greedy,,", ["exact", "greedy"]),
        ('alternating:starts=["full","random"],exact', ['alternating:starts=["full","random"]', "exact"]),
        ('a:x={"p": [1, 2], "q": 3},b', ['a:x={"p": [1, 2], "q": 3}', "b"]),
        ('a:x="1,2",b', ['a:x="1,2"', "b"]),
        (r'a:x="1\",2]",b', [r'a:x="1\",2]"', "b"]),
        ("a],b", ["a]", "b"]),
        (" , ", []),
    ],
)
def test_commas_inside_brackets_braces_and_quotes_separate_nothing(text, parts):
    assert split_list(text) == parts


def test_choices_keep_their_type():
    assert Names((16, 32)).convert("16", "bench", "--bits") == 16
    assert Names(("16", "32")).convert("32", "bench", "--bits") == "32"


def test_all_names_or_some():
    names = Names(("a", "b", "c"), many=True)
    assert names.convert("all", "bench", "--it") == ("a", "b", "c")
    assert names.convert("c,a", "bench", "--it") == ("c", "a")
    assert Names(many=True).convert("all,x", "bench", "--it") == ("all", "x")


def test_numbers():
    assert Names(many=True, whole=True).convert("5, 20", "bench", "--it") == (5, 20)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (
            Names(("a", "b")),
            "c",
            r"^stsflora bench: got --it 'c'; allowed: a, b\. Correct --it or leave it out\.$",
        ),
        (Names(("a", "b"), many=True), "a,c", r"^stsflora bench: got --it 'c'; allowed: a, b\."),
        (Names(("a", "b"), many=True), "all,a", r"--it 'all'"),
        (Names(many=True), ",", r"an empty list; allowed: names separated by commas\. Correct --it"),
        (Names(many=True, whole=True), "1,x", r"--it 1,x; allowed: whole numbers separated by commas"),
        (Names(many=True, whole=True), "-1", r"--it -1"),
        (Names(many=True, whole=True), "", r"an empty list; allowed: whole numbers separated by commas"),
    ],
)
def test_mistakes_are_named_with_command_option_and_what_is_allowed(kind, text, said):
    with pytest.raises(OptionError, match=said):
        kind.convert(text, "stsflora bench", "--it")
