"""Fields of commands as tyro shows them. Free of torch."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Collection
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro

from tightbound.cli.translate import translate

_Class = TypeVar("_Class", bound=type)


def shown(command: _Class, commands: Collection[str]) -> _Class:
    """Let tyro show a command's fields as a person expects.

    The placeholder in `Annotated[type, "PLACEHOLDER"]` becomes the metavar. A default of None, False or () is not
    shown: the help text says what happens then. The help text is the docstring below the field, in the words of the
    command line.

    Args:
        command: Class of the command.
        commands: Names of all commands.
    """
    hints: dict[str, Any] = get_type_hints(command, include_extras=True)
    texts = {**getattr(command, "helps", {}), **descriptions(command)}
    names = {field.name for field in dataclasses.fields(command)}  # pyright: ignore[reportArgumentType]
    for field in dataclasses.fields(command):  # pyright: ignore[reportArgumentType]
        hint = hints[field.name]
        kind, *markers = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        known = [tyro.conf.arg(metavar=marker) if isinstance(marker, str) else marker for marker in markers]
        if field.name in texts:
            known.append(tyro.conf.arg(help=translate(texts[field.name], names, commands)))
        if field.default is None or field.default is False or field.default == ():
            known.append(tyro.conf.arg(help_behavior_hint=""))
        if known:
            command.__annotations__[field.name] = Annotated[kind, *known]
    return command


def is_positional(command: type | None, name: str) -> bool:
    """Return whether a field of a command is a word without a flag."""
    hints: dict[str, Any] = {} if command is None else get_type_hints(command, include_extras=True)
    return name in hints and tyro.conf.Positional in get_args(hints[name])


def descriptions(cls: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class and its bases, each as one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base) and base.__module__ != "types":
            found |= _own_descriptions(base)
    return found


@functools.cache
def _own_descriptions(cls: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # a class that was made by a program
        return {}
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    pairs = zip(body.body, body.body[1:], strict=False)
    return {
        field.target.id: " ".join(ast.literal_eval(text.value).split())
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }
