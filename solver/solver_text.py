"""Solver specifications as text: "minlp:engine=highs" to name and options, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import OptionError
from .registry import lookup


def parse_solver(text: str) -> tuple[str, dict[str, Any]]:
    """Split "minlp:engine=highs:threads=2" into name and options; values are JSON or plain text.

    Raises:
        UnknownNameError: no such solver.
        OptionError: it has no such option, or the text is malformed.
    """
    name, *parts = text.strip().split(":")
    info = lookup(name)
    options = parse_options(parts)
    info.check_options(options)
    return name, options


def parse_options(parts: Iterable[str]) -> dict[str, Any]:
    """Read "name=value" texts; values are JSON or plain text. Raises OptionError."""
    options: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not (name and equals):
            raise OptionError("options", f"{part!r}", "name=value", "Write for example engine=highs")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def solver_text(name: str, options: Mapping[str, Any]) -> str:
    """Inverse of `parse_solver`: name and options as on the command line."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in options.items()}
    return ":".join([name, *(f"{key}={text}" for key, text in texts.items())])
