"""Settings as data: what is known of a field besides type and default, for options, columns and checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType, NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class FieldInfo:
    """What is known of a field, as in `size_px: Annotated[int, FieldInfo("Pixels per side.", least=1)] = 24`.

    Attributes:
        help: what it is, in a sentence.
        allowed: all values that there are; empty where no list could name them.
        least: smallest value of a whole number.
        above: what another number has to exceed; it must also be finite.
        option: its name on the command line, where that is not the field's.
        many: its name on the command line if that takes a list of values.
        name: of the field; this and what follows is filled in by `field_infos`.
        kind: type of one value.
        optional: whether None is allowed.
        default: of the field.
    """

    help: str
    allowed: Collection[str | int] = ()
    least: int | None = None
    above: float | None = None
    option: str = ""
    many: str = ""
    name: str = ""
    kind: type = str
    optional: bool = False
    default: Any = None

    def check(self, who: str, value: Any) -> None:
        """Raise OptionError unless the value is allowed."""
        from ..solver import OptionError  # loads numpy, which help can do without
        from ..solver.checks import real_number, whole_number

        if value is None and self.optional:
            return
        got = f"{self.name}={value!r:.40}"
        if self.allowed and value not in self.allowed:
            raise OptionError(who, got, " or ".join(map(str, self.allowed)), "Choose one")
        if self.least is not None:
            whole_number(who, self.name, value, self.least)
        if self.above is not None:
            real_number(who, self.name, value, self.above, open_low=True)


@cache
def field_infos(owner: type[object]) -> Mapping[str, FieldInfo]:
    """Settings among the fields of a dataclass, each with a default, by name, in their order."""
    found = {}
    for name, hint in get_type_hints(owner, include_extras=True).items():
        if get_origin(hint) is Annotated:
            annotation, setting = get_args(hint)
            kinds = get_args(annotation) or (annotation,)  # (int, NoneType) of `int | None`
            optional, default = NoneType in kinds, getattr(owner, name)
            found[name] = replace(setting, name=name, kind=kinds[0], optional=optional, default=default)
    return MappingProxyType(found)
