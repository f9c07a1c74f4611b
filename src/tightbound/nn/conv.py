"""Convolutional networks for images of any size."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from tightbound.core.errors import CompositionError, InputError, number, whole
from tightbound.nn.base import Architecture, Shape, activation, as_sizes, merge_stages, spectrally_normalized


class Conv(Architecture):
    """Convolutional network of strided convolutions and their mirror image, for images (C, H, W) of any size.

    Each stage halves the image, rounding up. The decoder retraces these sizes, so that odd and unequal edges come back
    exactly.

    Args:
        channels: Number of channels of each stage.
        hidden: Width of the fully connected layer between the convolutions and the latent code.
        kernel: Kernel size of the convolutions, an odd number.
        activation: Activation of all layers except the last.
        dropout: Dropout probability of the fully connected layers.
        spectral_norm: Divide each weight of the decoder by its largest singular value (for a convolution, that of its
            kernel as a matrix).
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64),
        hidden: int = 256,
        kernel: int = 3,
        activation: str = "relu",
        dropout: float = 0.0,
        spectral_norm: bool = False,
    ) -> None:
        self.channels, self.hidden = as_sizes("channels", channels), as_sizes("hidden", hidden)[0]
        self.kernel, self.activation = kernel, activation
        self.dropout = number("dropout", dropout, least=0, below=1)
        self.spectral_norm = spectral_norm
        if whole("kernel", kernel, least=1) % 2 == 0:
            raise InputError(f"kernel = {kernel!r}; needed: an odd whole number, such as 3")

    def encoder(self, shape: Shape) -> nn.Module:
        """Build a module that maps (B, C, H, W) -> (B, hidden)."""
        return merge_stages(self.stages(shape))

    def stages(self, shape: Shape) -> list[nn.Sequential]:
        """Build one stage per resolution, and one for the fully connected layer."""
        ladder = self._shapes(shape)
        stages: list[nn.Sequential] = []
        for (above, _, _), (below, _, _) in pairwise(ladder):
            conv = nn.Conv2d(above, below, self.kernel, stride=2, padding=self.kernel // 2)
            stages.append(nn.Sequential(conv, activation(self.activation)))
        c, h, w = ladder[-1]
        return [*stages, nn.Sequential(nn.Flatten(), *self._dense(c * h * w, self.hidden))]

    def decoder(self, features: int, outputs: int, shape: Shape) -> nn.Module:
        """Build a module that maps (B, features) -> (B, outputs * C, H, W)."""
        ladder = self._shapes(shape)
        c, h, w = ladder[-1]
        layers = self._dense(features, self.hidden) + self._dense(self.hidden, c * h * w)
        layers.append(nn.Unflatten(1, (c, h, w)))
        for small, large in pairwise(reversed(ladder)):
            last = large is ladder[0]
            layers.append(_Enlarge(small, (large[0] * (outputs if last else 1), *large[1:]), self.kernel))
            layers += [] if last else [activation(self.activation)]
        decoder = nn.Sequential(*layers)
        return spectrally_normalized(decoder) if self.spectral_norm else decoder

    def _dense(self, inputs: int, outputs: int) -> list[nn.Module]:
        layers = [nn.Linear(inputs, outputs), activation(self.activation)]
        return layers + ([nn.Dropout(self.dropout)] if self.dropout else [])

    def _shapes(self, shape: Shape) -> list[tuple[int, int, int]]:
        if len(shape) != 3:
            raise CompositionError(
                f"network 'conv' needs images (channels, height, width), and the data have shape {shape}; use 'mlp'"
            )
        c, h, w = shape
        ladder = [(c, h, w)]
        for channels in self.channels:
            h, w = (h + 1) // 2, (w + 1) // 2
            ladder.append((channels, h, w))
        return ladder


class _Enlarge(nn.ConvTranspose2d):
    """Transposed convolution that doubles an image to a given size, odd or even."""

    def __init__(self, small: Shape, large: Shape, kernel: int) -> None:
        extra = tuple(b - (2 * a - 1) for a, b in zip(small[1:], large[1:], strict=True))
        super().__init__(small[0], large[0], kernel, stride=2, padding=kernel // 2, output_padding=(extra[0], extra[1]))

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, c, h, w) -> (B, C, H, W)."""
        return super().forward(input.contiguous(), output_size)
