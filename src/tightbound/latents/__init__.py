"""Latents: the path from x to z and from z to features."""

from typing import TYPE_CHECKING, Any

from tightbound.components.exports import load_name, public_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.latents.bottom_up import BottomUp as BottomUp
    from tightbound.latents.flat import Flat as Flat
    from tightbound.latents.hierarchy import Hierarchy as Hierarchy
    from tightbound.latents.ladder import Ladder as Ladder
    from tightbound.latents.quantized import Quantized as Quantized

_NAMES = public_names(__name__, "latents", hierarchy=["Hierarchy"])
__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return load_name(__name__, _NAMES, name)


def __dir__() -> list[str]:
    return __all__
