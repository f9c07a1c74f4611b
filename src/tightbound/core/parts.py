"""Names and saving: how a part is written, found, recorded and rebuilt. Free of torch."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tightbound.core.errors import CompositionError, InputError, suggestion
from tightbound.core.table import TABLE


@functools.cache
def signature(cls: type) -> inspect.Signature:
    """Of a part's constructor: that of `__init__`, which `Part.__new__` hides in the first releases of Python 3.11."""
    if cls.__init__ is object.__init__:
        return inspect.Signature()
    found = inspect.signature(cls.__init__)
    return found.replace(parameters=list(found.parameters.values())[1:])


class Part:
    """Mixin that remembers how an object was constructed, so that `describe` can write it as JSON.

    Give the class this base (the bases of priors, posteriors, likelihoods, ... have it) and construct
    it from numbers, strings, sequences, mappings and other parts.
    """

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Records the arguments before `__init__` sees them."""
        self = super().__new__(cls)
        # past nn.Module.__setattr__: arguments that are modules must not be registered a second time
        self.__dict__["_given"] = (args, kwargs)
        return self

    def record_again(self, **changed: Any) -> None:
        """Remembers other values of some arguments, of a part that has changed as if it had been given these."""
        args, kwargs = self._given
        bound = signature(type(self)).bind(*args, **kwargs).arguments
        self.__dict__["_given"] = ((), {**bound, **changed})


@dataclass(frozen=True)
class Spec:
    """A part as text: a name and literal arguments, `"name(arg=value)"`; arguments may be specs."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False  # its names may be import paths

    def replace(self, **kwargs: Any) -> Spec:
        """The same part with these arguments set."""
        return dataclasses.replace(self, kwargs={**self.kwargs, **kwargs})

    def __str__(self) -> str:
        given = [_written(a) for a in self.args] + [f"{k}={_written(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(given)})" if given else self.name


def _written(value: Any) -> str:
    if not isinstance(value, Spec):
        return repr(value)
    return str(value) if value.args or value.kwargs else f"{value.name}()"  # a bare word is no literal


def parse(text: str) -> Spec:
    """Reads `"name"`, `"name(arg=value)"` or `"package.module:Class(arg=value)"`; nothing is evaluated.

    Raises:
        InputError: where the text is not of that form.
    """
    match = re.fullmatch(r"\s*([A-Za-z][\w.-]*(?::\w+)?)\s*(\(.*\))?\s*", text, flags=re.DOTALL)
    if match is None:
        raise InputError(f"cannot read the part {text!r}; write name or name(argument=value, ...)")
    name, call = match[1], match[2] or "()"
    try:
        node = ast.parse(f"part{call}", mode="eval").body
        if not isinstance(node, ast.Call):
            raise ValueError("not a call")
        spec = _spec(node)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(
            f"cannot read the part {text!r} ({reason}); write name(argument=value, ...) with Python literals"
        ) from None
    return Spec(name, spec.args, spec.kwargs)


def _spec(node: ast.Call) -> Spec:
    if not isinstance(node.func, ast.Name):
        raise ValueError("a part's name must be a plain word")
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
        raise ValueError(f"{ast.unparse(node)} is no literal; quote words") from None


def find(kind: str, name: str, *, trust: bool = False) -> type:
    """The class of a part, imported now.

    Raises:
        InputError: unknown name (with the nearest), or an import path without `trust`.
    """
    if ":" in name:
        if not trust:
            raise InputError(
                f"{name!r} names code outside tightbound; allow it with trust=True (command line: --trust)"
            )
        path = name
    else:
        table = TABLE.get(kind, {})
        path = table.get(name.replace("_", "-"), "")
        if not path:
            others = [other for other in TABLE if name.replace("_", "-") in TABLE[other]]
            if others:
                known = ", ".join(sorted(table))
                raise InputError(f"there is no {kind} {name!r}, which names a {' or a '.join(others)}; known: {known}")
            raise InputError(f"there is no {kind} {name!r}; {suggestion(name, table)}")
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"cannot import {path!r} ({error}); check the module's name and PYTHONPATH") from error


def make(kind: str, spec: Spec | str, *, trust: bool = False, **supplied: Any) -> Any:
    """Constructs a part from its text. `supplied` arguments (shape, latent, ...) go in where the part
    takes them and the text does not name them; arguments without a name are the others, in their order. A class whose
    arguments are parts says so by `nested`, which gives their kinds by name: these may be written as text, and are
    supplied with shape and levels, too; one that builds parts itself lists them in `builds`, and is given their specs.

    Raises:
        InputError: unknown name or argument, or one that the part refuses.
    """
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
        return _nested(value, trust)

    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    free = [word for word, parameter in takes.items() if word not in supplied and parameter.kind not in variadic]
    if len(spec.args) > len(free):
        remedy = f"name them: {', '.join(f'{word}=...' for word in takes)}" if takes else "it takes none"
        raise InputError(f"{kind} {str(spec)!r} has too many arguments without a name; {remedy}")
    if twice := [word for word in free[: len(spec.args)] if word in spec.kwargs]:
        raise InputError(f"{kind} {str(spec)!r} gives {twice[0]!r} twice; leave one out")
    given = {**dict(zip(free, spec.args, strict=False)), **spec.kwargs}
    kwargs = {k: argument(k, v) if k in builds else v for k, v in supplied.items() if k in takes}
    kwargs |= {k: argument(k, v) for k, v in given.items()}
    try:
        signature(cls).bind(**kwargs)
        return cls(**kwargs)
    except TypeError as error:
        raise InputError(f"{kind} {str(spec)!r}: {error}") from error


def _specs(value: Any, trust: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_specs(part, trust) for part in value]
    value = parse(value) if isinstance(value, str) else value
    return dataclasses.replace(value, trust=trust) if isinstance(value, Spec) else value


def _nested(value: Any, trust: bool) -> Any:
    if not isinstance(value, Spec):
        return value
    name = value.name.replace("_", "-")
    kinds = [kind for kind in ("schedule", "network", "prior", "posterior", "likelihood") if name in TABLE[kind]]
    if not kinds:
        known = [n for kind in ("schedule", "network") for n in TABLE[kind]]
        raise InputError(f"there is no part {value.name!r}; {suggestion(value.name, known)}")
    return make(kinds[0], value, trust=trust)


def name_of(cls: type) -> str:
    """ "kind/name" of a part's class, or its import path where the table does not have it."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    names = (f"{kind}/{name}" for kind, table in TABLE.items() for name, p in table.items() if p == path)
    return next(names, path)


def describe(value: Any) -> Any:
    """JSON from which `rebuild` constructs an equal value; a part met twice is written once, as a reference."""
    return _describe(value, {})


def _describe(value: Any, seen: dict[int, int]) -> Any:
    if isinstance(value, Part):
        if id(value) in seen:
            return {"same": seen[id(value)]}
        number = seen[id(value)] = len(seen)
        cls = type(value)
        args, kwargs = value._given
        bound = signature(cls).bind(*args, **kwargs).arguments
        return {"part": name_of(cls), "id": number, **{k: _describe(v, seen) for k, v in bound.items()}}
    if isinstance(value, Mapping):
        return {str(k): _describe(v, seen) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_describe(v, seen) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    cls = type(value)
    return {"foreign": f"{cls.__module__}:{cls.__qualname__}"}


def foreign(description: Any) -> list[str]:
    """Import paths in a description that `rebuild` cannot construct: modules of the user's own."""
    if isinstance(description, Mapping):
        own = [str(description["foreign"])] if "foreign" in description else []
        return own + [path for value in description.values() for path in foreign(value)]
    if isinstance(description, list):
        return [path for value in description for path in foreign(value)]
    return []


def untrusted(description: Any) -> list[str]:
    """Import paths in a description that `rebuild` imports only with `trust`: parts of the user's own."""
    if isinstance(description, Mapping):
        path = str(description.get("part", ""))
        return [path] * (":" in path) + [p for value in description.values() for p in untrusted(value)]
    return [p for value in description for p in untrusted(value)] if isinstance(description, list) else []


def rebuild(description: Any, *, trust: bool = False) -> Any:
    """Constructs what `describe` wrote. Only tightbound's own parts, unless `trust`.

    Raises:
        CompositionError: where a module of the user's own is needed (pass `model=`).
        InputError: where the description is not one, or names code that is not trusted.
    """
    try:
        return _rebuild(description, {}, trust)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"the description of the model is damaged ({reason}); restore it or train again") from error


def _rebuild(value: Any, made: dict[int, Any], trust: bool) -> Any:
    if isinstance(value, list):
        return [_rebuild(v, made, trust) for v in value]
    if not isinstance(value, Mapping):
        return value
    if "same" in value:
        return made[value["same"]]
    if "foreign" in value:
        raise CompositionError(
            f"the model contains {value['foreign']!r}, which is not a tightbound part and cannot be rebuilt; "
            "construct the model and pass it as load(run, model=mine)"
        )
    if "part" not in value:
        return {k: _rebuild(v, made, trust) for k, v in value.items()}
    kind, _, name = str(value["part"]).rpartition("/")
    cls = find(kind, name, trust=trust)
    kwargs = {k: _rebuild(v, made, trust) for k, v in value.items() if k not in ("part", "id")}
    made[value["id"]] = part = cls(**kwargs)
    return part
