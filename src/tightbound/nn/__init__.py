"""Network architectures: encoders for data of any shape and decoders to any shape."""

from typing import TYPE_CHECKING, Any

from tightbound.components.exports import load_name, public_names

if TYPE_CHECKING:  # for editors and type checkers
    from tightbound.nn.base import Architecture as Architecture
    from tightbound.nn.base import fold as fold
    from tightbound.nn.base import output_size as output_size
    from tightbound.nn.conv import Conv as Conv
    from tightbound.nn.mlp import MLP as MLP
    from tightbound.nn.pixelcnn import GatedPixelCNN as GatedPixelCNN
    from tightbound.nn.resnet import ResNet as ResNet

_NAMES = public_names(__name__, "network", base=["Architecture", "fold", "output_size"], pixelcnn=["GatedPixelCNN"])
__all__ = sorted(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    return load_name(__name__, _NAMES, name)


def __dir__() -> list[str]:
    return __all__
