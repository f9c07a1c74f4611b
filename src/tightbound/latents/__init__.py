"""Latents own the walk from x to z."""

from tightbound.latents.bottom_up import BottomUp
from tightbound.latents.flat import Flat
from tightbound.latents.hierarchy import Hierarchy
from tightbound.latents.ladder import Ladder
from tightbound.latents.quantized import Quantized

__all__ = ["BottomUp", "Flat", "Hierarchy", "Ladder", "Quantized"]
