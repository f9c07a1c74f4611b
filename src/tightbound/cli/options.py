"""Turning the placeholders of settings into tyro's. Free of torch."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro

_Class = TypeVar("_Class", bound=type)


def with_placeholders(command: _Class) -> _Class:
    """Let tyro show the placeholder in `Annotated[type, "PLACEHOLDER"]` of a command's fields (a class decorator)."""
    hints: dict[str, Any] = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):  # pyright: ignore[reportArgumentType]
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            kind, *markers = get_args(hint)
            shown = [tyro.conf.arg(metavar=marker) if isinstance(marker, str) else marker for marker in markers]
            command.__annotations__[field.name] = Annotated[kind, *shown]
    return command
