"""The base of all components: it remembers constructor arguments. Free of torch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self


@functools.cache
def signature(cls: type) -> inspect.Signature:
    """Return the signature of a component's constructor, without `self`."""
    # not inspect.signature(cls): `Component.__new__` hides `__init__` in the first releases of Python 3.11
    if cls.__init__ is object.__init__:
        return inspect.Signature()
    found = inspect.signature(cls.__init__)
    return found.replace(parameters=list(found.parameters.values())[1:])


class Component:
    """Mixin that remembers how an object was constructed, so that `describe` can write it as JSON.

    The bases of priors, posteriors, likelihoods, ... have it. Construct components from numbers, strings, sequences,
    mappings and other components; anything else (such as a module of your own) cannot be rebuilt from JSON.
    """

    nested: ClassVar[Mapping[str, str]] = {}  # arguments that are components: name -> kind; given as text or objects
    builds: ClassVar[Sequence[str]] = ()  # arguments that are specs of components, which the constructor makes itself

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments before `__init__` sees them."""
        self = super().__new__(cls)
        # past nn.Module.__setattr__: arguments that are modules must not be registered a second time
        self.__dict__["_given"] = (args, kwargs)
        return self

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the arguments that rebuild this object, by name."""
        args, kwargs = self._given
        return dict(signature(type(self)).bind(*args, **kwargs).arguments)

    def record_again(self, **changed: Any) -> None:
        """Replace some of the recorded arguments, after the object has changed as if it had been given these."""
        self.__dict__["_given"] = ((), {**self.constructor_arguments(), **changed})
