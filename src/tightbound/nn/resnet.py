"""Residual convolutional network whose encoder can return feature maps."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from tightbound.core.errors import CompositionError, whole
from tightbound.nn.base import Architecture, Shape, activation, as_sizes, merge_stages


class ResNet(Architecture):
    """Residual network of strided convolutions and residual blocks, for images (C, H, W) of any size.

    Each level halves the image a few times, rounding up; the decoder retraces these sizes. The encoder returns feature
    maps instead of vectors, so that latents `quantized` have a grid of code indices on each level.

    Unlike in the paper, blocks use group normalization; without it, training takes several times as many steps.

    Args:
        halvings: How often each level halves the image: (2,) gives maps with a quarter of the edge lengths, and (2, 1)
            has a second level with an eighth.
        hidden: Number of channels.
        blocks: Number of residual blocks per level, in encoder and decoder.
        inner: Number of channels within a block.
        activation: Activation of all layers.
        maps: Whether the decoder takes feature maps, which latents `quantized` give, or vectors.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Section 4.1,
        https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        halvings: tuple[int, ...] = (2,),
        hidden: int = 64,
        blocks: int = 2,
        inner: int = 32,
        activation: str = "silu",
        maps: bool = True,
    ) -> None:
        self.halvings, self.hidden = as_sizes("halvings", halvings), whole("hidden", hidden, least=2)
        self.blocks, self.inner = whole("blocks", blocks, least=0), whole("inner", inner, least=1)
        self.activation, self.maps = activation, bool(maps)

    def for_vectors(self) -> ResNet:
        """Return the same architecture with maps=False."""
        return ResNet(self.halvings, self.hidden, self.blocks, self.inner, self.activation, maps=False)

    def map_shapes(self, shape: Shape) -> list[Shape]:
        """Return the shape (hidden, H, W) of the feature maps of each level."""
        return [(self.hidden, *ladder[-1]) for ladder in self._ladders(shape)]

    def stages(self, shape: Shape) -> list[nn.Sequential]:
        """Build one stage per level: (B, C, H, W), or the maps of the level below, -> (B, hidden, h, w)."""
        inputs, stages = shape[0], []
        for ladder in self._ladders(shape):
            layers: list[nn.Module] = []
            for i, size in enumerate(ladder[:-1]):
                outputs = self.hidden // 2 if inputs == shape[0] and i + 2 < len(ladder) else self.hidden
                layers += [_Halve(inputs, outputs, size), self._activation()]
                inputs = outputs
            layers += [nn.Conv2d(inputs, self.hidden, 3, padding=1), *self._residual()]
            stages.append(_initialized(nn.Sequential(*layers)))
        return stages

    def encoder(self, shape: Shape) -> nn.Module:
        """Build a module that maps (B, C, H, W) -> (B, hidden * h * w), the flattened maps of the last level."""
        return nn.Sequential(merge_stages(self.stages(shape)), nn.Flatten())

    def upsampler(self, inputs: int, level: int, shape: Shape) -> nn.Module:
        """Build a module from maps (B, inputs, h, w) of a level to maps (B, hidden, H, W) of the level below."""
        ladder = self._ladders(shape)[level]
        return _initialized(nn.Sequential(*self._up(inputs, self.hidden, [*reversed(ladder)])))

    def decoder(self, features: int, outputs: int, shape: Shape) -> nn.Module:
        """Build a module from (B, features), flattened maps or vectors, to (B, outputs * C, H, W)."""
        ladder = self._ladders(shape)[0]
        height, width = ladder[-1]
        channels, rest = divmod(features, height * width)
        into: list[nn.Module] = []
        if not self.maps:
            channels = self.hidden
            into = [nn.Linear(features, channels * height * width), self._activation()]
        elif rest or not channels:
            raise CompositionError(
                f"network 'resnet' decodes maps of {height} x {width}, and {features} features are not a multiple of "
                "their size; use it with maps=False, or with latents 'quantized'"
            )
        up = self._up(channels, outputs * shape[0], [*reversed(ladder)])
        decoder = _initialized(nn.Sequential(*into, nn.Unflatten(1, (channels, height, width)), *up))
        with torch.no_grad():
            up[-1].get_parameter("weight").mul_(0.1)  # start p(x | z) near the marginals of x
        return decoder

    def _up(self, inputs: int, outputs: int, ladder: list[tuple[int, int]]) -> list[nn.Module]:
        """Build the layers from the first size of this ladder to the last."""
        layers: list[nn.Module] = [nn.Conv2d(inputs, self.hidden, 3, padding=1), *self._residual()]
        for i, (_, large) in enumerate(pairwise(ladder)):
            last = i + 2 == len(ladder)
            after = outputs if last else self.hidden // 2
            layers.append(_Double(self.hidden if i == 0 else self.hidden // 2, after, large))
            layers += [] if last else [self._activation()]
        return layers

    def _residual(self) -> list[nn.Module]:
        blocks = [Block(self.hidden, self.inner, self.activation) for _ in range(self.blocks)]
        return [*blocks, normalized(self.hidden), self._activation()]

    def _activation(self) -> nn.Module:
        return activation(self.activation)

    def _ladders(self, shape: Shape) -> list[list[tuple[int, int]]]:
        """Return the sizes (H, W) on each level: the input's, and those after each halving."""
        if len(shape) != 3:
            raise CompositionError(
                f"network 'resnet' needs images (channels, height, width), and the data have shape {shape}; use 'mlp'"
            )
        size, ladders = (shape[1], shape[2]), []
        for times in self.halvings:
            ladder = [size]
            for _ in range(times):
                ladder.append(((ladder[-1][0] + 1) // 2, (ladder[-1][1] + 1) // 2))
            size = ladder[-1]
            ladders.append(ladder)
        return ladders


def _initialized(network: nn.Sequential) -> nn.Sequential:
    """Initialize weights so that activations have the same scale in all layers.

    torch's own initialization shrinks them by two thirds per layer.

    References:
        Delving deep into rectifiers (He et al. 2015), Section 2.2, https://arxiv.org/abs/1502.01852
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            taps = layer.kernel_size[0] * layer.kernel_size[1] / (layer.stride[0] * layer.stride[1])
            into = layer.in_channels * (taps if layer.transposed else taps * layer.stride[0] * layer.stride[1])
            nn.init.normal_(layer.weight, std=(2 / into) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def normalized(channels: int, max_groups: int = 8) -> nn.GroupNorm:
    """Return a group normalization layer for this number of channels, in groups of at least 4.

    On maps of a single pixel, only the channels of a group are averaged over.

    References:
        Group normalization (Wu and He 2018), https://arxiv.org/abs/1803.08494
    """
    groups = [n for n in range(1, max_groups + 1) if channels % n == 0 and channels // n >= 4]
    return nn.GroupNorm(max(groups, default=1), channels)


class Block(nn.Module):
    """Residual block x + conv(act(conv(act(norm(x))))), with kernels of 3 x 3 and 1 x 1."""

    def __init__(self, channels: int, inner: int, act: str) -> None:
        super().__init__()
        self.change = nn.Sequential(
            normalized(channels),
            activation(act),
            nn.Conv2d(channels, inner, 3, padding=1),
            activation(act),
            nn.Conv2d(inner, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        return x + self.change(x)


class _Halve(nn.Sequential):
    """Convolution that halves maps of any size, rounding up, with a kernel of 4, which covers pixels evenly."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        height, width = size
        pad = nn.ZeroPad2d((1, 1 + width % 2, 1, 1 + height % 2))
        super().__init__(pad, nn.Conv2d(inputs, outputs, 4, stride=2))


class _Double(nn.ConvTranspose2d):
    """Transposed convolution that doubles maps, and crops a row or a column if needed."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)
        self.size = size

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, inputs, h, w) -> (B, outputs, H, W)."""
        return super().forward(input)[..., : self.size[0], : self.size[1]]
