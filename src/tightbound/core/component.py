"""Base class of all components, which remembers constructor arguments. Does not import torch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self


@functools.cache
def signature(cls: type) -> inspect.Signature:
    """Return the signature of a component's constructor, without `self`."""
    # inspect.signature(cls) would not do: `Component.__new__` hides `__init__` in early releases of Python 3.11
    if cls.__init__ is object.__init__:
        return inspect.Signature()
    found = inspect.signature(cls.__init__)
    return found.replace(parameters=list(found.parameters.values())[1:])


class Component:
    """Mixin that remembers how an object was constructed, so that `describe` can write it as JSON.

    The base classes of priors, posteriors, likelihoods, ... inherit it. Construct components from numbers, strings,
    sequences, mappings and other components; anything else (such as a module of your own) cannot be rebuilt from JSON.
    """

    nested: ClassVar[Mapping[str, str]] = {}  # component arguments: name -> kind; each is given as text or as an object
    builds: ClassVar[Sequence[str]] = ()  # arguments that describe components which the constructor builds itself

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments before `__init__` sees them."""
        self = super().__new__(cls)
        # bypass nn.Module.__setattr__, which would register arguments that are modules a second time
        self.__dict__["_given"] = (args, kwargs)
        return self

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the arguments that rebuild this object, by name."""
        args, kwargs = self._given
        return dict(signature(type(self)).bind(*args, **kwargs).arguments)

    def record_again(self, **changed: Any) -> None:
        """Replace recorded arguments, for an object that has changed as if it had been constructed with these."""
        self.__dict__["_given"] = ((), {**self.constructor_arguments(), **changed})
