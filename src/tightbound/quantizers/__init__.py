"""Quantizers: from vectors to integer codes, and back."""

from tightbound.quantizers.base import Quantized, Quantizer
from tightbound.quantizers.vector import VectorQuantizer

__all__ = ["Quantized", "Quantizer", "VectorQuantizer"]
