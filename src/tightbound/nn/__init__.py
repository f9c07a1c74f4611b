"""Network architectures: encoders for data of any shape and decoders to any shape."""

from tightbound.nn.base import Architecture, fold, output_size
from tightbound.nn.conv import Conv
from tightbound.nn.mlp import MLP
from tightbound.nn.pixelcnn import GatedPixelCNN
from tightbound.nn.resnet import ResNet

__all__ = ["MLP", "Architecture", "Conv", "GatedPixelCNN", "ResNet", "fold", "output_size"]
