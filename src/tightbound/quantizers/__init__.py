"""Quantizers, which map vectors to code indices and back."""

from typing import TYPE_CHECKING, Any

from tightbound.components.exports import load_name, public_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.quantizers.base import Nearest as Nearest
    from tightbound.quantizers.base import Quantization as Quantization
    from tightbound.quantizers.base import Quantizer as Quantizer
    from tightbound.quantizers.codebook import Codebook as Codebook
    from tightbound.quantizers.grouped import Grouped as Grouped
    from tightbound.quantizers.gumbel import GumbelQuantizer as GumbelQuantizer
    from tightbound.quantizers.residual import Residual as Residual
    from tightbound.quantizers.scalar import FiniteScalarQuantizer as FiniteScalarQuantizer
    from tightbound.quantizers.usage import CodebookUsage as CodebookUsage
    from tightbound.quantizers.vector import GradientVectorQuantizer as GradientVectorQuantizer
    from tightbound.quantizers.vector import VectorQuantizer as VectorQuantizer

_NAMES = public_names(
    __name__, "quantizer", base=["Nearest", "Quantization", "Quantizer"], codebook=["Codebook"], usage=["CodebookUsage"]
)
__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return load_name(__name__, _NAMES, name)


def __dir__() -> list[str]:
    return __all__
