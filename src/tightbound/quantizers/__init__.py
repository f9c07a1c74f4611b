"""Quantizers, which map vectors to code indices and back."""

from typing import TYPE_CHECKING

from tightbound.components import TABLE
from tightbound.core.exports import lazy_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.quantizers.base import Nearest as Nearest
    from tightbound.quantizers.base import Quantization as Quantization
    from tightbound.quantizers.base import Quantizer as Quantizer
    from tightbound.quantizers.binary import LookupFreeQuantizer as LookupFreeQuantizer
    from tightbound.quantizers.codebook import Codebook as Codebook
    from tightbound.quantizers.codebook import GradientVectorQuantizer as GradientVectorQuantizer
    from tightbound.quantizers.codebook import VectorQuantizer as VectorQuantizer
    from tightbound.quantizers.grouped import Grouped as Grouped
    from tightbound.quantizers.gumbel import GumbelQuantizer as GumbelQuantizer
    from tightbound.quantizers.residual import Residual as Residual
    from tightbound.quantizers.scalar import FiniteScalarQuantizer as FiniteScalarQuantizer
    from tightbound.quantizers.simvq import SimVQ as SimVQ
    from tightbound.quantizers.usage import CodebookUsage as CodebookUsage

__getattr__, __dir__, __all__ = lazy_names(__name__, TABLE["quantizer"])
