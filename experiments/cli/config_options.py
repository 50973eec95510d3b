"""The options of a command that trains, made from the fields of `Config`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from itertools import product
from typing import Annotated, Any

import typer

from ..finetune.config import Setting, settings
from .option_types import choice, name_list, number_list

Command = Callable[..., None]


def with_config_options(**defaults: str) -> Callable[[Command], Command]:
    """Give a command an option for every setting of `Config`; it gets them as its first argument, a dict.

    Typer reads a command's options from its signature, so one is put together: an option for each setting,
    then the command's own keyword arguments. Settings that are swept arrive as tuples, see `combinations`.

    Args:
        defaults: of options by setting, where those of `Config` would not do.
    """

    def decorate(command: Command) -> Command:
        generated = [_option(setting, defaults.get(name)) for name, setting in settings().items()]
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        @wraps(command)
        def called(**given: Any) -> None:
            command({name: given.pop(name) for name in settings()}, **given)

        parameters = [*generated, *own]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads it
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def combinations(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Settings of single runs: every combination of those that are swept, the first field varies slowest."""
    swept = [name for name, setting in settings().items() if setting.swept]
    for values in product(*(given[name] for name in swept)):
        yield {**given, **dict(zip(swept, values, strict=True))}


def _option(setting: Setting, default: str | None) -> inspect.Parameter:
    """A keyword argument as Typer wants it: type, flag and help in the annotation."""
    name = (setting.option or setting.name).replace("_", "-")
    flag = f"--{name}/--no-{name}" if setting.kind is bool else f"--{name}"
    kind: Any = setting.kind | None if setting.optional else setting.kind
    value = setting.default if default is None else default
    if setting.swept:
        flag, kind, value = f"{flag}s", Any, str(value)  # text that the option's type makes a tuple
        whole = setting.kind is int
        about = number_list(setting.help, flag) if whole else name_list(setting.help, setting.allowed, flag)
    elif setting.allowed:
        about = choice(setting.help, setting.allowed, flag)
    else:
        about = typer.Option(flag, help=setting.help)
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=Annotated[kind, about]
    )
