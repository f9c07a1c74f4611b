"""Quantizers: from vectors to integer codes, and back."""

from tightbound.quantizers.base import Nearest, Quantization, Quantizer
from tightbound.quantizers.codebook import Codebook
from tightbound.quantizers.grouped import Grouped
from tightbound.quantizers.gumbel import GumbelQuantizer
from tightbound.quantizers.residual import Residual
from tightbound.quantizers.scalar import FiniteScalarQuantizer
from tightbound.quantizers.usage import CodebookUsage
from tightbound.quantizers.vector import GradientVectorQuantizer, VectorQuantizer

__all__ = [
    "Codebook",
    "CodebookUsage",
    "FiniteScalarQuantizer",
    "GradientVectorQuantizer",
    "Grouped",
    "GumbelQuantizer",
    "Nearest",
    "Quantization",
    "Quantizer",
    "Residual",
    "VectorQuantizer",
]
