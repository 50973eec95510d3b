"""Lists and choices on the command line."""

from __future__ import annotations

import click
import pytest

from stsflora.experiments.cli.option_types import Choice, NameList, NumberList, split_list
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
    assert Choice((16, 32)).convert("16", None, None) == 16
    assert Choice((16, 32)).convert(32, None, None) == 32


def test_all_names_or_some():
    names = NameList(("a", "b", "c"))
    assert names.convert("all", None, None) == ("a", "b", "c")
    assert names.convert("c,a", None, None) == ("c", "a")
    assert NameList(()).convert("all,x", None, None) == ("all", "x")


def test_numbers():
    assert NumberList().convert("5, 20", None, None) == (5, 20)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (Choice(("a", "b")), "c", r"^stsflora bench: got --it 'c'; allowed: a, b\. Choose one\.$"),
        (NameList(("a", "b")), "a,c", r"^stsflora bench: got --it 'c'; allowed: a, b\."),
        (NameList(("a", "b")), "all,a", r"--it 'all'"),
        (NameList(()), ",", r"an empty list; allowed: names separated by commas\. Leave --it out"),
        (NumberList(), "1,x", r"--it 1,x; allowed: whole numbers >= 0 separated by commas"),
        (NumberList(), "-1", r"--it -1"),
        (NumberList(), "", r"an empty list; allowed: whole numbers separated by commas"),
    ],
)
def test_mistakes_are_named_with_command_option_and_what_is_allowed(kind, text, said):
    context = click.Context(click.Command("bench"), info_name="bench")
    with pytest.raises(OptionError, match=said):
        kind.convert(text, click.Option(["--it"]), context)
