"""Autoregressive likelihood of images, in which each element depends on earlier elements and on z."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.components import make
from tightbound.core.domain import Domain, Kind
from tightbound.core.errors import CompositionError, whole
from tightbound.core.interfaces import Likelihood
from tightbound.core.noise import Noise, SharedNoise, draw
from tightbound.core.terms import UncheckedDistribution
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.nn.base import Architecture, Network, Shape, as_sizes, fold, output_size
from tightbound.nn.pixelcnn import GatedPixelCNN


class PixelCNN(Likelihood):
    """Autoregressive likelihood prod_i p(x_i | x_<i, z), a gated PixelCNN with z as an input of every layer.

    Pixels come in raster order, and the channels of a pixel in order. Such a decoder can model the dependence between
    pixels by itself and ignore z: check the rate and the active units.

    Args:
        shape: (C, H, W).
        features: Size of the features that the latents give.
        network: An architecture, or a module (B, features) -> maps (B, n * H * W), which spreads the features over the
            image; None: one linear map of the features for all pixels.
        levels: Number of levels K of discrete data.
        family: Family of x_i given the earlier elements: an elementwise likelihood, as an object of shape () or as
            text, "discretized-logistic(scale='shared')"; "auto": bernoulli for 2 levels, else categorical.
        hidden: Number of feature maps per layer, divided among the channels of x.
        layers: Number of layers of the PixelCNN.
        kernel: Kernel size. The field of view extends layers * (kernel // 2) pixels from a pixel.
        maps: Number of feature maps that `network` gives if it is an architecture.
        paths: Number of sampled images that `mean` averages over.

    Raises:
        CompositionError: If the data are not images, or the family or the network does not fit.
        InputError: If a number is out of range.

    References:
        Conditional image generation with PixelCNN decoders (van den Oord et al. 2016),
        https://arxiv.org/abs/1606.05328; PixelVAE (Gulrajani et al. 2017), https://arxiv.org/abs/1611.05013
    """

    domains: ClassVar[tuple[Kind, ...]] = ("levels", "binary", "unit", "real")  # if the family has them too
    autoregressive = True
    narrowest: ClassVar[Mapping[str, Any]] = {"layers": 1, "kernel": 3}

    def __init__(
        self,
        shape: Shape,
        features: int,
        network: Network | None = None,
        levels: int = 2,
        family: str | ElementwiseLikelihood = "auto",
        hidden: int = 32,
        layers: int = 4,
        kernel: int = 5,
        maps: int = 8,
        paths: int = 8,
    ) -> None:
        super().__init__()
        self.shape, self.features = as_sizes("shape", shape), whole("features", features, least=1)
        if len(self.shape) != 3:
            raise CompositionError(
                f"PixelCNN needs images (channels, height, width), and the data have shape {self.shape}; "
                "use a likelihood with independent elements, such as 'bernoulli' or 'gaussian'"
            )
        if isinstance(family, str):
            named = ("bernoulli" if levels == 2 else "categorical") if family == "auto" else family
            family = make("likelihood", named, levels=levels)
        if not isinstance(family, ElementwiseLikelihood) or family.shape != () or family.network is not None:
            raise CompositionError(
                f"family = {type(family).__name__}; needed: a likelihood with independent elements, constructed with "
                "shape=() and without a network"
            )
        self.family = family
        channels, *area = self.shape
        if isinstance(network, Architecture):
            network = network.decoder(features, 1, (whole("maps", maps, least=1), *area))
        given = features
        if network is not None:
            given, rest = divmod(output_size(network, (features,), "decoder"), math.prod(area))
            if rest or not given:
                raise CompositionError(
                    f"the decoder's outputs are not feature maps of {area[0]} x {area[1]}; give it a multiple of "
                    f"{math.prod(area)} outputs, or pass network=None"
                )
        self.network = network
        self.net = GatedPixelCNN(
            channels, family.outputs, hidden=hidden, layers=layers, kernel=kernel, condition=given
        )  # fmt: skip
        self.view = {"layers": layers, "kernel": kernel}
        self.paths = whole("paths", paths, least=1, most=10**6)
        self.outputs = max(family.outputs, -(-4 * hidden // channels))  # the maps of a layer need the most memory

    @property
    def narrower(self) -> Mapping[str, Any]:
        """Arguments for the smallest field of view; empty if the likelihood has it already.

        Information from beyond a pixel's neighbors must then come through z.

        References:
            Variational lossy autoencoder (Chen et al. 2017), Section 2, https://arxiv.org/abs/1611.02731
        """
        return {} if self.view == self.narrowest else self.narrowest

    def forward(self, features: Tensor, context: Tensor | None = None) -> Distribution:
        """Return the distribution with batch shape (...) and event shape (C, H, W) for features (..., features)."""
        condition = features
        if self.network is not None:
            condition = fold(self.network, features, 1).reshape(*features.shape[:-1], -1, *self.shape[1:])
        return PixelCNNDistribution(self, condition, features.shape[:-1])

    def parameters_of(self, raw: Tensor) -> Distribution:
        """Return the distribution with batch shape (...) at raw parameters (..., outputs), at least in float32."""
        return self.family.distribution(raw.to(torch.promote_types(raw.dtype, torch.float32)))

    def written(self, x: Tensor) -> Tensor:
        """Return x as network inputs: levels in [-1, 1], other data unchanged.

        With an even number of levels none is mapped to 0, which the padding beyond the edge has.
        """
        top = self.family.levels - 1
        return 2 * x / top - 1 if "binary" in self.family.domains else x

    def check_domain(self, target: Domain) -> None:
        """Raise CompositionError if the family is not a density on the targets' domain."""
        try:
            self.family.check_domain(target)
        except CompositionError as error:
            raise CompositionError(f"family of the PixelCNN (pass family=): {error}") from None

    @torch.no_grad()
    def start_at(self, x: Tensor) -> None:
        """Initialize to the marginals of each channel of targets x (N, C, H, W), before training."""
        self.net.bias.copy_(torch.cat([self.family.fit_marginals(channel.flatten()) for channel in x.unbind(1)]))
        self.family.fit_learned(x.flatten())


class PixelCNNDistribution(UncheckedDistribution):
    """Distribution of a PixelCNN with batch shape (...) and event shape (C, H, W).

    Args:
        likelihood: The likelihood, with network and family.
        condition: Features (..., n), or feature maps (..., n, H, W).
        lead: Batch shape.
    """

    def __init__(self, likelihood: PixelCNN, condition: Tensor, lead: torch.Size) -> None:
        self.likelihood, self.condition = likelihood, condition
        super().__init__(lead, torch.Size(likelihood.shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, computed in one pass for all elements."""
        lead = torch.broadcast_shapes(value.shape[:-3], self.batch_shape)
        x = value.expand(*lead, *self.event_shape).reshape(-1, *self.event_shape)
        raw = self.likelihood.net(self.likelihood.written(x), self.rows(lead))
        return self.likelihood.parameters_of(raw).log_prob(x).flatten(1).sum(-1).reshape(lead)

    @property
    @torch.no_grad()
    def mean(self) -> Tensor:
        """Unbiased estimate of E[x], which has no closed form, from `paths` ancestral samples y.

        It averages E[x_i | y_<i] instead of y_i, which has less variance (Rao-Blackwell). All examples share one stream
        of fixed random numbers, so the result depends only on z.
        """
        noise = SharedNoise("pixelcnn mean")
        return self.ancestral((self.likelihood.paths,), noise)[1].mean(0)

    @torch.no_grad()
    def ancestral(self, samples: Sequence[int], noise: Noise) -> tuple[Tensor, Tensor]:
        """Draw samples y; return y and E[x_i | y_<i], each (*samples, ..., C, H, W)."""
        lead = torch.Size((*samples, *self.batch_shape))
        y = self.condition.new_zeros(*lead, *self.event_shape)
        means = torch.zeros_like(y)

        def step(raw: Tensor, row: int, column: int, channel: int) -> Tensor:
            element = self.likelihood.parameters_of(raw.reshape(*lead, -1))
            drawn = draw(element, (), noise).to(y)
            y[..., channel, row, column], means[..., channel, row, column] = drawn, element.mean
            return self.likelihood.written(drawn).reshape(-1, 1)

        size = (lead.numel(), self.event_shape[1], self.event_shape[2])
        self.likelihood.net.generate(size, self.rows(lead), step, y)
        return y, means

    def rows(self, lead: torch.Size) -> Tensor:
        """Return what the network is conditioned on, for batches of shape `lead`: (lead.numel(), ...)."""
        event = self.condition.shape[len(self.batch_shape) :]
        return self.condition.expand(*lead, *event).reshape(-1, *event)


@draw.register
def _(distribution: PixelCNNDistribution, samples: Sequence[int], noise: Noise) -> Tensor:
    return distribution.ancestral(samples, noise)[0]
