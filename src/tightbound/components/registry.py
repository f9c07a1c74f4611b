"""Find and construct components by name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from tightbound.components.syntax import Spec, parse
from tightbound.components.table import TABLE
from tightbound.core.component import signature
from tightbound.core.errors import InputError, suggestion


def find(kind: str, name: str, *, trust: bool = False) -> type:
    """Import the class of a component.

    Args:
        kind: A key of the table of names, such as `"prior"`.
        name: A name of that kind, or an import path, `"package.module:Class"`.
        trust: Allow import paths.

    Raises:
        InputError: The name is unknown, or an import path is not trusted.
    """
    if ":" in name:
        if not trust:
            raise InputError(f"{name!r} names code outside tightbound; allow it with trust=True")
        path = name
    else:
        table = TABLE.get(kind, {})
        path = table.get(name.replace("_", "-"), "")
        if not path:
            others = [other for other in TABLE if name.replace("_", "-") in TABLE[other]]
            if others:
                kinds = " or ".join(f"{'an' if other[0] in 'aeiou' else 'a'} {other}" for other in others)
                known = ", ".join(sorted(table))
                raise InputError(f"there is no {kind} {name!r} ({name!r} is {kinds}); known: {known}")
            raise InputError(f"there is no {kind} {name!r}; {suggestion(name, table)}")
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"cannot import {path!r} ({error}); check the module's name and PYTHONPATH") from error


def make(kind: str, spec: Spec | str, *, trust: bool = False, **supplied: Any) -> Any:
    """Construct a component from its text.

    Positional arguments in the text fill the constructor's parameters that are not in `supplied`, in order. A class
    whose arguments are components declares their kinds in `nested` (name -> kind): they may be written as text, and
    also get `shape` and `levels`. A class that constructs components itself lists those arguments in `builds`, and gets
    their specs.

    Args:
        kind: A key of the table of names, such as `"prior"`.
        spec: The component, such as `"vamp(components=50)"`.
        trust: Allow import paths as names.
        **supplied: Arguments (shape, latent, ...) that are passed if the constructor takes them and the text has none.

    Raises:
        InputError: A name or an argument is unknown, or the component refuses it.
    """
    from tightbound.components.affordable import Affordable  # needs torch, unlike listing names

    spec = parse(spec) if isinstance(spec, str) else spec
    trust = trust or spec.trust
    cls = find(kind, spec.name, trust=trust)
    takes = signature(cls).parameters
    for word in spec.kwargs:
        if word not in takes:
            raise InputError(f"{kind} {spec.name!r} has no argument {word!r}; {suggestion(word, takes)}")
    nested: Mapping[str, str] = getattr(cls, "nested", {})
    builds: Sequence[str] = getattr(cls, "builds", ())
    about = {k: v for k, v in supplied.items() if k in ("shape", "levels")}

    def argument(word: str, value: Any) -> Any:
        if word in builds:
            return _specs(value, trust)
        if word in nested and isinstance(value, str | Spec):
            return make(nested[word], value, trust=trust, **about)
        scheduled = word in takes and "Schedule" in str(takes[word].annotation)
        return _nested(word, value, ("schedule",) if scheduled else _NESTED, trust)

    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    free = [word for word, parameter in takes.items() if word not in supplied and parameter.kind not in variadic]
    if len(spec.args) > len(free):
        remedy = f"name them: {', '.join(f'{word}=...' for word in takes)}" if takes else "it takes none"
        raise InputError(f"{kind} {str(spec)!r} has too many positional arguments; {remedy}")
    if twice := [word for word in free[: len(spec.args)] if word in spec.kwargs]:
        raise InputError(f"{kind} {str(spec)!r} gives {twice[0]!r} twice; remove one of them")
    given = {**dict(zip(free, spec.args, strict=False)), **spec.kwargs}
    kwargs = {k: argument(k, v) if k in builds else v for k, v in supplied.items() if k in takes}
    kwargs |= {k: argument(k, v) for k, v in given.items()}
    try:
        signature(cls).bind(**kwargs)
        with Affordable(f"{kind} {str(spec)!r}"):
            return cls(**kwargs)
    except TypeError as error:
        raise InputError(f"{kind} {str(spec)!r}: {error}") from error


def _specs(value: Any, trust: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_specs(each, trust) for each in value]
    value = parse(value) if isinstance(value, str) else value
    return dataclasses.replace(value, trust=trust) if isinstance(value, Spec) else value


def _nested(word: str, value: Any, kinds: Sequence[str], trust: bool) -> Any:
    """Construct a component of one of these kinds that was named as an argument; return anything else as it is."""
    if not isinstance(value, Spec):
        return value
    name = value.name.replace("_", "-")
    found = [kind for kind in kinds if name in TABLE[kind]]
    if not found:
        known = [known for kind in kinds for known in TABLE[kind]]
        needed = "a number or a schedule" if kinds == ("schedule",) else f"a {', '.join(kinds)}"
        raise InputError(f"{word} = {value.name!r}; needed: {needed}; {suggestion(value.name, known)}")
    return make(found[0], value, trust=trust)


_NESTED = ("schedule", "network", "prior", "posterior", "likelihood")


def plain_name(component: object) -> str:
    """Return the name by which a component is asked for without arguments, or the import path of its class."""
    return name_of(type(component)).partition("/")[2] or name_of(type(component))


def name_of(cls: type) -> str:
    """Return "kind/name" for a class in the table of names, or the import path of any other class."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    names = (f"{kind}/{name}" for kind, table in TABLE.items() for name, p in table.items() if p == path)
    return next(names, path)
