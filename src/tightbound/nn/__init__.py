"""Network architectures: encoders for data of any shape, and decoders to data of any shape."""

from typing import TYPE_CHECKING

from tightbound.components import TABLE
from tightbound.core.exports import lazy_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.nn.base import Architecture as Architecture
    from tightbound.nn.base import fold as fold
    from tightbound.nn.base import output_size as output_size
    from tightbound.nn.conv import Conv as Conv
    from tightbound.nn.mlp import MLP as MLP
    from tightbound.nn.pixelcnn import GatedPixelCNN as GatedPixelCNN
    from tightbound.nn.resnet import ResNet as ResNet

__getattr__, __dir__, __all__ = lazy_names(__name__, TABLE["network"])
