"""Fields of commands as tyro shows them. Free of torch."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro

_Class = TypeVar("_Class", bound=type)


def shown(command: _Class) -> _Class:
    """Let tyro show a command's fields as a person expects.

    The placeholder in `Annotated[type, "PLACEHOLDER"]` becomes the metavar. A default of None or False is not shown:
    the help text says what happens then.
    """
    hints: dict[str, Any] = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):  # pyright: ignore[reportArgumentType]
        hint = hints[field.name]
        kind, *markers = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        known = [tyro.conf.arg(metavar=marker) if isinstance(marker, str) else marker for marker in markers]
        if field.default is None or field.default is False:
            known.append(tyro.conf.arg(help_behavior_hint=""))
        if known:
            command.__annotations__[field.name] = Annotated[kind, *known]
    return command
