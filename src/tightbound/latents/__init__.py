"""Latents: the path from x to z and from z to features."""

from typing import TYPE_CHECKING

from tightbound.components import TABLE
from tightbound.core.exports import lazy_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.latents.bottom_up import BottomUp as BottomUp
    from tightbound.latents.flat import Flat as Flat
    from tightbound.latents.hierarchy import Hierarchy as Hierarchy
    from tightbound.latents.ladder import Ladder as Ladder
    from tightbound.latents.quantized import Quantized as Quantized

__getattr__, __dir__, __all__ = lazy_names(__name__, TABLE["latents"])
