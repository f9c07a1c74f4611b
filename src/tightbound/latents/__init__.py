"""Latents: the path from x to z and from z to features."""

from tightbound.latents.bottom_up import BottomUp
from tightbound.latents.flat import Flat
from tightbound.latents.hierarchy import Hierarchy
from tightbound.latents.ladder import Ladder
from tightbound.latents.quantized import Quantized

__all__ = ["BottomUp", "Flat", "Hierarchy", "Ladder", "Quantized"]
