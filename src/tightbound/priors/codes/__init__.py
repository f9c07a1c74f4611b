"""Code priors: distributions over grids of code indices."""

from tightbound.priors.codes.autoregressive import AutoregressiveCodes, AutoregressivePrior
from tightbound.priors.codes.base import CodePrior, Uniform
from tightbound.priors.codes.drawing import Sharpening, draw_codes
from tightbound.priors.codes.pixelcnn import PixelCNN
from tightbound.priors.codes.transformer import Transformer

__all__ = [
    "AutoregressiveCodes",
    "AutoregressivePrior",
    "CodePrior",
    "PixelCNN",
    "Sharpening",
    "Transformer",
    "Uniform",
    "draw_codes",
]
