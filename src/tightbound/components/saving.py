"""Write components as JSON, and rebuild them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tightbound.components.registry import find, name_of
from tightbound.core.component import Component
from tightbound.core.errors import CompositionError, InputError, plain


def describe(value: Any) -> Any:
    """Return a JSON value from which `rebuild` constructs an equal object.

    A component that occurs twice is written once and then referred to. An object that is not a component is written as
    its import path only; see `foreign`.
    """
    return _describe(value, {})


def _describe(value: Any, seen: dict[int, int]) -> Any:
    if isinstance(value, Component):
        if id(value) in seen:
            return {"same": seen[id(value)]}
        number = seen[id(value)] = len(seen)
        given = value.constructor_arguments()
        return {"part": name_of(type(value)), "id": number, **{k: _describe(v, seen) for k, v in given.items()}}
    if isinstance(value, Mapping):
        return {str(k): _describe(v, seen) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_describe(v, seen) for v in value]
    value = plain(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    cls = type(value)
    return {"foreign": f"{cls.__module__}:{cls.__qualname__}"}


def foreign(description: Any) -> list[str]:
    """List the import paths of objects in a description that `rebuild` cannot construct: the user's own modules."""
    if isinstance(description, Mapping):
        own = [str(description["foreign"])] if "foreign" in description else []
        return own + [path for value in description.values() for path in foreign(value)]
    if isinstance(description, list):
        return [path for value in description for path in foreign(value)]
    return []


def untrusted(description: Any) -> list[str]:
    """List the import paths in a description that `rebuild` imports only with `trust`: the user's own components."""
    if isinstance(description, Mapping):
        path = str(description.get("part", ""))
        return [path] * (":" in path) + [p for value in description.values() for p in untrusted(value)]
    return [p for value in description for p in untrusted(value)] if isinstance(description, list) else []


def rebuild(description: Any, *, trust: bool = False) -> Any:
    """Construct the object that `describe` described.

    Args:
        description: The value that `describe` returned.
        trust: Whether to import the user's own components too.

    Raises:
        CompositionError: The description contains the user's own module (pass `model=`).
        InputError: The description is damaged, or names untrusted code.
    """
    try:
        return _rebuild(description, {}, trust)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"the description of the model is damaged ({reason}); restore it or train again") from error


def _constructed(path: str, trust: bool) -> Any:
    """Return an object of a class that is not a component; no arguments are recorded, so its constructor takes none."""
    module, _, name = path.partition(":")
    if trust and module != "__main__" and "<locals>" not in name:
        cls = find("", path, trust=True)
        if isinstance(cls, type) and not inspect.signature(cls).parameters:
            return cls()
    raise CompositionError(
        f"the model contains {path!r}, which is not a tightbound component and cannot be rebuilt, unless its "
        "constructor takes no arguments and trust=True allows importing it; in Python, construct the model as for "
        "training and pass it, as in tightbound.load(run, model=mine)"
    )


def _rebuild(value: Any, made: dict[int, Any], trust: bool) -> Any:
    if isinstance(value, list):
        return [_rebuild(v, made, trust) for v in value]
    if not isinstance(value, Mapping):
        return value
    if "same" in value:
        return made[value["same"]]
    if "foreign" in value:
        return _constructed(str(value["foreign"]), trust)
    if "part" not in value:
        return {k: _rebuild(v, made, trust) for k, v in value.items()}
    kind, _, name = str(value["part"]).rpartition("/")
    cls = find(kind, name, trust=trust)
    kwargs = {k: _rebuild(v, made, trust) for k, v in value.items() if k not in ("part", "id")}
    made[value["id"]] = component = cls(**kwargs)
    return component
