"""Text form of components, `"name(argument=value)"`."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tightbound.core.errors import InputError


@dataclass(frozen=True)
class Spec:
    """Component as text: a name and arguments that are literals or specs, `"name(arg=value)"`."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False  # whether names may be import paths

    def replace(self, **kwargs: Any) -> Spec:
        """Return the same component with these arguments set."""
        return dataclasses.replace(self, kwargs={**self.kwargs, **kwargs})

    def __str__(self) -> str:
        given = [_written(a) for a in self.args] + [f"{k}={_written(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(given)})" if given else self.name


def _written(value: Any) -> str:
    if not isinstance(value, Spec):
        return repr(value)
    return str(value) if value.args or value.kwargs else f"{value.name}()"  # a bare word is not a literal


def parse(text: str) -> Spec:
    """Parse `"name"`, `"name(arg=value)"` or `"package.module:Class(arg=value)"` without evaluating anything.

    Raises:
        InputError: The text does not have that form.
    """
    match = re.fullmatch(r"\s*([A-Za-z][\w.-]*(?::\w+)?)\s*(\(.*\))?\s*", text, flags=re.DOTALL)
    if match is None:
        raise InputError(f"cannot read the component {text!r}; write name or name(argument=value, ...)")
    name, call = match[1], match[2] or "()"
    try:
        node = ast.parse(f"component{call}", mode="eval").body
        if not isinstance(node, ast.Call):
            raise ValueError("not a call")
        spec = _spec(node)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(
            f"cannot read the component {text!r} ({reason}); write name(argument=value, ...) with Python literals"
        ) from None
    return Spec(name, spec.args, spec.kwargs)


def parse_several(text: str) -> list[Spec]:
    """Parse components with commas between them, `"name(arg=value), name"`.

    Raises:
        InputError: The text does not have that form.
    """
    return [parse(part) for part in re.split(r",(?![^(]*\))", text)]


def _spec(node: ast.Call) -> Spec:
    if not isinstance(node.func, ast.Name):
        raise ValueError("the name of a component must be one word")
    if any(k.arg is None for k in node.keywords):
        raise ValueError("** is not allowed")
    words = [k.arg for k in node.keywords]
    if len(set(words)) < len(words):
        raise ValueError("an argument is repeated")
    args = tuple(_value(a) for a in node.args)
    return Spec(node.func.id, args, {str(k.arg): _value(k.value) for k in node.keywords})


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _spec(node)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is not a literal; put words in quotes") from None
