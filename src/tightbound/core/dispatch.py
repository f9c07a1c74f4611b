"""Functions that dispatch on their first argument's type, and cached properties; torch.compile can trace both.

`functools.singledispatch` and, in Python 3.11, `functools.cached_property` hold locks or weak references, which torch
cannot trace in all supported versions.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=Callable[..., Any])


class Dispatched(Generic[P, R]):
    """A generic function that calls the method registered for the nearest base class of its first argument.

    Args:
        default: Function called for classes without a method.
    """

    def __init__(self, default: Callable[Concatenate[Any, P], R]) -> None:
        self.default = default
        self._methods: dict[type, Callable[..., R]] = {}
        functools.update_wrapper(self, default)

    def register(self, method: M) -> M:
        """Register a method for the class that its first parameter is annotated with (a decorator)."""
        kind = next(iter(typing.get_type_hints(method).values()))
        self._methods[kind] = method
        return method

    def __call__(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method for the first argument's class."""
        for kind in type(first).__mro__:
            if kind in self._methods:
                return self._methods[kind](first, *args, **kwargs)
        return self.default(first, *args, **kwargs)


class cached(Generic[R]):  # noqa: N801, a decorator like `property`
    """Property that is computed on first access."""

    def __init__(self, compute: Callable[[Any], R]) -> None:
        self._compute, self._name = compute, f"_{compute.__name__}"
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...

    @overload
    def __get__(self, owner: object, kind: type) -> R: ...

    def __get__(self, owner: object | None, kind: type) -> Self | R:
        if owner is None:
            return self
        value = getattr(owner, self._name, self)
        if value is self:
            value = self._compute(owner)
            object.__setattr__(owner, self._name, value)  # the owner may be frozen
        return typing.cast(R, value)
