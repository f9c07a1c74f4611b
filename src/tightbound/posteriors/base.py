"""The base of posteriors: an encoder network, a linear head, a family."""

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
    """q(z | x): a module whose call returns a distribution over vectors of size `latent`.

    Args:
        shape: Of the encoder's input: x, joined with the context where there is one.
        latent: Size of z.
        network: An architecture, or any module (B, *shape) -> (B, ...), to which a linear head is added;
            None: no network, the input is the family's parameters already, as many as `raw_shape` holds.

    Raises:
        CompositionError: where the network does not take that shape.
    """

    outputs: int  # parameters of the family for each latent dimension; see `raw_shape` where they are others
    has_density: ClassVar[bool] = True  # False: a point mass, of which no bound exists
    evaluable: ClassVar[bool] = True  # False: log q is known at its own draws alone, or nowhere
    expensive: ClassVar[bool] = False  # True: its density at other points than its draws takes passes through a network
    support: str = "real"  # where z lies: "real" (R^L), "sphere", ...; that of the prior must be the same
    accepts_pair: ClassVar[bool] = (
        False  # whether its parameters are a mean and a log-variance: an encoder may give them
    )
    needs_standard_prior: ClassVar[bool] = False  # what it promises holds against N(0, I) alone
    least: ClassVar[int] = 1  # smallest size of z
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
                    f"{type(self).__name__} without a network reads its parameters from the input: "
                    f"shape {self.shape} must hold {math.prod(self.raw_shape)} numbers; give network="
                )
            self.network = None
        else:
            body = network.encoder(self.shape) if isinstance(network, Architecture) else network
            pair, name = self.accepts_pair, type(self).__name__
            self.network = posterior_network(body, self.shape, self.raw_shape, name, accepts_pair=pair)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of an example's parameters, as `distribution` takes them."""
        return (self.outputs, self.latent)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """x (B, *shape) -> distribution with batch shape (B,) and event shape (latent,)."""
        return self.at(self.raw(x))

    def raw(self, x: Tensor) -> Tensor:
        """x (B, *shape) -> the parameters (B, *raw_shape) of q(z | x)."""
        raw = x if self.network is None else fold(self.network, x, len(self.shape))
        return raw.reshape(*x.shape[: x.dim() - len(self.shape)], *self.raw_shape)

    def at(self, raw: Tensor) -> Distribution:
        """`distribution`, outside of autocast."""
        with unrounded(raw.device.type):  # matrices rounded to bfloat16 would be another density's
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
        """Draws z (S, B, latent) from q, which `forward` gave, with what is known of its density.

        Args:
            knobs: Values of `schedules`.
            log_likelihood: (S, B) of the data at z, for a q that looks at the model.
        """
        first = first_parameter(self)
        with unrounded("cpu" if first is None else first.device.type):
            z, log_q = draw_with_log_prob(q, (samples,), noise)
        return LatentTerms(z, prior, q if self.has_density else None, log_q=log_q)

    def nearest(self, code: Tensor) -> Tensor:
        """The point of the support that stands for codes (..., latent), such as means, which may lie off it."""
        return code

    @abstractmethod
    def distribution(self, raw: Tensor) -> Distribution:
        """The family at raw parameters (B, *raw_shape), which are (B, outputs, latent) unless it says otherwise."""
