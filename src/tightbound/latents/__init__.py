"""Latents own the walk from x to z."""

from tightbound.latents.flat import Flat

__all__ = ["Flat"]
