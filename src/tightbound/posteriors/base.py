"""Base class of posteriors, which consist of an encoder network, a linear head and a family of distributions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.errors import CompositionError, whole
from tightbound.core.latents import LogLikelihood
from tightbound.core.noise import Noise, draw_with_log_prob
from tightbound.core.numerics import first_parameter, unrounded
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import LatentTerms
from tightbound.nn.base import Architecture, as_sizes, fold
from tightbound.nn.modules import posterior_network


class Posterior(Component, nn.Module, ABC):
    """Base class of posteriors q(z | x), whose call returns a distribution of vectors of size `latent`.

    Args:
        shape: Shape of the encoder's input: x, joined with the context if there is one.
        latent: Size of z.
        network: An architecture, or any module (B, *shape) -> (B, ...), to which a linear head is added; None: the
            input holds the parameters of the distribution, of shape `raw_shape`.

    Raises:
        CompositionError: If the network does not accept inputs of this shape.
    """

    outputs: int  # number of parameters per latent dimension; see `raw_shape`
    has_density: ClassVar[bool] = True  # False: a point mass, which has no density, so that no bound exists
    evaluable: ClassVar[bool] = True  # False: log q is known only at its own draws, or nowhere
    expensive: ClassVar[bool] = False  # whether its density at other points costs passes through a network
    support: str = "real"  # support of z: "real" (R^L), "sphere", ...; the prior needs the same support
    accepts_pair: ClassVar[bool] = False  # whether the encoder may return a pair (mean, log-variance)
    needs_standard_prior: ClassVar[bool] = False  # whether its guarantee holds only for the prior N(0, I)
    least: ClassVar[int] = 1  # minimum size of z
    schedules: Mapping[str, Schedule] = {}

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        latent: int = 1,
        network: Architecture | nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.latent = as_sizes("shape", shape), whole("latent", latent, least=self.least)
        self.network: nn.Module | None
        if network is None:
            if math.prod(self.shape) != math.prod(self.raw_shape):
                raise CompositionError(
                    f"{type(self).__name__} without a network reads its parameters from the input, so "
                    f"shape {self.shape} must hold {math.prod(self.raw_shape)} numbers; pass network="
                )
            self.network = None
        else:
            body = network.encoder(self.shape) if isinstance(network, Architecture) else network
            pair, name = self.accepts_pair, type(self).__name__
            self.network = posterior_network(body, self.shape, self.raw_shape, name, accepts_pair=pair)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """The shape of one example's parameters, as `distribution` takes them."""
        return (self.outputs, self.latent)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """Map x (B, *shape) to a distribution with batch shape (B,) and event shape (latent,)."""
        return self.at(self.raw(x))

    def raw(self, x: Tensor) -> Tensor:
        """Map x (B, *shape) to the parameters (B, *raw_shape) of q(z | x)."""
        raw = x if self.network is None else fold(self.network, x, len(self.shape))
        return raw.reshape(*x.shape[: x.dim() - len(self.shape)], *self.raw_shape)

    def at(self, raw: Tensor) -> Distribution:
        """Return `distribution`, computed outside of autocast."""
        with unrounded(raw.device.type):  # rounding matrices to bfloat16 would change the density
            return self.distribution(raw)

    def terms(
        self,
        q: Distribution,
        prior: Distribution,
        samples: int,
        noise: Noise,
        knobs: Knobs,
        log_likelihood: LogLikelihood | None = None,
    ) -> LatentTerms:
        """Draw z (S, B, latent) from q, which `forward` returned, and describe its density.

        Args:
            q: The posterior of the batch.
            samples: Number of latent samples S.
            noise: Source of the draws.
            knobs: Values of `schedules`.
            log_likelihood: Log-likelihood (S, B) of the data at z, for a q that depends on the model.
        """
        first = first_parameter(self)
        with unrounded("cpu" if first is None else first.device.type):
            z, log_q = draw_with_log_prob(q, (samples,), noise)
        return LatentTerms(z, prior, q if self.has_density else None, log_q=log_q)

    def nearest(self, z: Tensor) -> Tensor:
        """Map z (..., latent), such as means outside the support, to the nearest points of the support."""
        return z

    @abstractmethod
    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at raw parameters (B, *raw_shape), by default (B, outputs, latent)."""
