"""Option types of the command line: choices, comma-separated lists, options from a dataclass."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Annotated, Any

import typer

from ..field_info import FieldInfo, field_infos

Command = Callable[..., None]


def split_list(text: str) -> list[str]:
    """Split a list at commas; commas inside brackets, braces or double quotes separate nothing."""
    parts, depth = [""], 0
    for piece in re.findall(r'"(?:\\.|[^"\\])*"|.', text, re.DOTALL):
        depth += (piece in {"[", "{"}) - (piece in {"]", "}"})
        if piece == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]


class Names:
    """Option of one name or, with `many`, a list: out of `allowed`, of whole numbers, or of any names.

    A list of a closed set may also be "all". Values keep the type that they have in the set.
    """

    def __init__(self, allowed: Iterable[str | int] = (), *, many: bool = False, whole: bool = False) -> None:
        self.allowed, self.many, self.whole = {str(value): value for value in allowed}, many, whole

    def option(self, context: typer.Context, option: typer.CallbackParam, text: str | None) -> Any:
        """Callback of an option or argument: its text converted, or None where it was not given."""
        who, flag = f"stsflora {context.info_name}", option.opts[0]
        return None if text is None else self.convert(text, who, flag)

    def convert(self, text: str, who: str, flag: str) -> Any:
        """The value, or a tuple of values. Raises OptionError."""
        names = split_list(text) if self.many else [text]
        sort = "whole numbers" if self.whole else "names"
        if self.many and self.allowed and names == ["all"]:
            names = list(self.allowed)
        if not names:
            got = "an empty list"
        elif self.whole and not all(name.isdecimal() for name in names):
            got = f"{flag} {text:.40}"
        elif unknown := [name for name in names if self.allowed and name not in self.allowed]:
            got = f"{flag} {unknown[0]!r:.40}"
        else:
            values = tuple(int(name) if self.whole else self.allowed.get(name, name) for name in names)
            return values if self.many else values[0]
        from ...solver import OptionError  # loads numpy, which help can do without

        allowed = ", ".join(self.allowed) if self.allowed and names else f"{sort} separated by commas"
        raise OptionError(who, got, allowed, f"Correct {flag} or leave it out")


def name_option(
    help_text: str, allowed: Iterable[str | int] = (), *flags: str, many: bool = False, whole: bool = False
) -> Any:
    """An option of `Names`, for an annotation; its help lists the closed set if there is one."""
    known = tuple(allowed)
    listed = f" {'All, or some' if many else 'One'} of: {', '.join(map(str, known))}." if known else ""
    return typer.Option(
        *flags,
        parser=str,
        callback=Names(known, many=many, whole=whole).option,
        metavar=("NUMBER" if whole else "NAME") + (",..." if many else ""),
        help=help_text + listed,
    )


def with_options_of(owner: Any, **defaults: str) -> Callable[[Command], Command]:
    """Give a command an option for every `FieldInfo` of a dataclass; its first argument is a dict of them.

    Typer reads a command's options from its signature, so one is put together: an option for each setting,
    then the command's own keyword arguments. Where there may be many, the command gets a tuple.

    Args:
        owner: the dataclass.
        defaults: of options by setting, where those of the dataclass would not do.
    """
    settings = field_infos(owner)

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(**given: Any) -> None:
            command({name: given.pop(name) for name in settings}, **given)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        generated = [_parameter(setting, defaults.get(name)) for name, setting in settings.items()]
        called.__signature__ = inspect.Signature([*generated, *own])  # type: ignore[attr-defined]  # for Typer
        return called

    return decorate


def _parameter(setting: FieldInfo, default: str | None) -> inspect.Parameter:
    """A keyword argument as Typer wants it: type, flag and help in the annotation."""
    name = (setting.many or setting.option or setting.name).replace("_", "-")
    flag = f"--{name}/--no-{name}" if setting.kind is bool else f"--{name}"
    kind: Any = setting.kind | None if setting.optional else setting.kind
    value, about = setting.default if default is None else default, typer.Option(flag, help=setting.help)
    if setting.many:
        kind, value, whole = Any, str(value), setting.kind is int  # text that `Names` makes a tuple
        about = name_option(setting.help, setting.allowed, flag, many=True, whole=whole)
    elif setting.allowed:
        about = name_option(setting.help, setting.allowed, flag)
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=Annotated[kind, about]
    )
