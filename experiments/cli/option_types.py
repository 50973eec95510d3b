"""Types of options: one name or several out of a closed set, lists of names or whole numbers.

A mistake ends in one sentence of ours before any work is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click
import typer


def split_list(text: str) -> list[str]:
    """The parts between commas; commas inside brackets, braces or double quotes separate nothing."""
    parts, depth = [""], 0
    for piece in re.findall(r'"(?:\\.|[^"\\])*"|.', text, re.DOTALL):
        depth += (piece in {"[", "{"}) - (piece in {"]", "}"})
        if piece == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]


class Choice(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click only
    """One value of a closed set."""

    name = "choice"

    def __init__(self, allowed: Iterable[str | int] = ()) -> None:
        self.by_text = {str(value): value for value in allowed}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of that text. Raises OptionError."""
        if str(value) not in self.by_text:
            raise _refused(f"{_flag(param)} {str(value)!r:.40}", ", ".join(self.by_text), "Choose one", ctx)
        return self.by_text[str(value)]


class NameList(Choice):
    """Names separated by commas; of a closed set if one is given, and "all" is then all of them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The names, as a tuple. Raises OptionError."""
        names = split_list(str(value))
        if not names:
            allowed = f"{self.name} separated by commas"
            raise _refused("an empty list", allowed, f"Leave {_flag(param)} out", ctx)
        if not self.by_text:
            return tuple(names)
        if names == ["all"]:
            return tuple(self.by_text.values())
        return tuple(super(NameList, self).convert(name, param, ctx) for name in names)


class NumberList(NameList):
    """Whole numbers separated by commas."""

    name = "whole numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The numbers, as a tuple. Raises OptionError."""
        names = super().convert(value, param, ctx)
        if not all(name.isdecimal() for name in names):
            got = f"{_flag(param)} {value!s:.40}"
            raise _refused(got, f"{self.name} >= 0 separated by commas", "Write 2,4", ctx)
        return tuple(int(name) for name in names)


def choice(help_text: str, allowed: Iterable[str | int], *flags: str) -> Any:
    """An option for one value of a closed set, which its help lists."""
    known = tuple(allowed)
    listed = f"{help_text} {_listed('One', known)}"
    return typer.Option(*flags, click_type=Choice(known), metavar="CHOICE", help=listed)


def choice_argument(help_text: str, allowed: Iterable[str]) -> Any:
    """An argument for one value of a closed set, which the usage line lists."""
    known = tuple(allowed)
    return typer.Argument(click_type=Choice(known), metavar="|".join(known), help=help_text)


def name_list(help_text: str, allowed: Iterable[str | int] = (), *flags: str) -> Any:
    """An option for a list of names; its help lists the closed set if there is one."""
    known = tuple(allowed)
    listed = f"{help_text} {_listed('All, or some', known)}" if known else help_text
    return typer.Option(*flags, click_type=NameList(known), metavar="NAME,...", help=listed)


def number_list(help_text: str, *flags: str) -> Any:
    """An option for a list of whole numbers."""
    return typer.Option(*flags, click_type=NumberList(), metavar="NUMBER,...", help=help_text)


def _listed(count: str, known: Iterable[str | int]) -> str:
    return f"{count} of: {', '.join(map(str, known))}."


def _flag(param: click.Parameter | None) -> str:
    return param.opts[0] if param is not None else ""


def _refused(got: str, allowed: str, next_step: str, ctx: click.Context | None) -> Exception:
    from ...solver import OptionError  # loads numpy, which help can do without

    return OptionError(f"stsflora {ctx.info_name if ctx else ''}".strip(), got, allowed, next_step)
