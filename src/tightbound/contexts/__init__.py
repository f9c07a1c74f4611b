"""Contexts, on which a model is conditioned: class labels, attributes, a visible part of x."""

from typing import TYPE_CHECKING, Any

from tightbound.components.exports import load_name, public_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.contexts.labels import Attributes as Attributes
    from tightbound.contexts.labels import Labels as Labels
    from tightbound.contexts.visible import Visible as Visible

_NAMES = public_names(__name__, "context")
__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return load_name(__name__, _NAMES, name)


def __dir__() -> list[str]:
    return __all__
