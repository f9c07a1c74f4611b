"""The base of likelihoods whose elements are independent given the features: one class is one family."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from tightbound.core.domain import Domain, Kind
from tightbound.core.errors import CompositionError
from tightbound.core.interfaces import Likelihood
from tightbound.nn.base import Architecture, as_sizes, fold, output_size


class ElementwiseLikelihood(Likelihood):
    """p(x | features) = prod over elements of a univariate density with `outputs` parameters an element.

    A family gives `outputs`, `kinds` and `distribution`, and may give `marginal` and `fit_learned`. One that
    couples elements says so by `event_dims`.

    Arguments:
        shape: Of one example.
        features: Size of the features that the latents give; needed with an architecture.
        network: An architecture, or any module (B, features) -> (B, outputs * prod(shape)) numbers;
            None: the features are those numbers already.

    Raises:
        CompositionError: where the module does not map features to that many numbers.
    """

    domains: tuple[Kind, ...]  # domains of x that this is a density on
    outputs: int = 1  # parameters of the family for each element of x, given by the network
    levels: int = 2  # their number, of a distribution on levels
    event_dims: int = 0  # last dimensions of x that the family couples; 0: elements are independent
    includes_endpoints: bool = True  # of a density on the unit interval: whether it has one at 0 and 1

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        features: int | None = None,
        network: Architecture | nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.shape = as_sizes("shape", shape)
        self.features = features
        if isinstance(network, Architecture):
            if features is None:
                raise CompositionError("an architecture was given without features; add features=<latent size>")
            network = network.decoder(features, self.outputs, self.shape)
        elif network is not None and features is not None:
            got, needed = output_size(network, (features,), "decoder"), self.outputs * math.prod(self.shape)
            if got != needed:
                raise CompositionError(
                    f"the decoder gives {got} numbers an example; {type(self).__name__} on shape {self.shape} needs "
                    f"{needed} ({self.outputs} for each element); end it with nn.Linear(..., {needed})"
                )
        self.network = network

    def forward(self, features: Tensor, context: Tensor | None = None) -> Distribution:
        """(..., features) -> distribution with batch shape (...) and event shape `shape`."""
        raw = features if self.network is None else fold(self.network, features, 1)
        lead = features.shape[:-1]
        raw = raw.reshape(*lead, self.outputs, *self.shape)
        return Independent(self.distribution(raw), len(self.shape) - self.event_dims, validate_args=False)

    @property
    def elementwise(self) -> bool:
        """Unless the family couples elements."""
        return self.event_dims == 0

    @abstractmethod
    def distribution(self, raw: Tensor) -> Distribution:
        """The family at raw parameters (..., outputs, *shape): batch shape (..., *shape), univariate; of a
        family with event dimensions, the last ones of `shape` are the event shape."""

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Raw parameters (outputs, *shape) that fit the marginals of targets x (N, *shape)."""
        raise CompositionError(f"{type(self).__name__} does not say which parameters fit the data's marginals")

    def check_domain(self, target: Domain) -> None:
        """Refuses targets that this is no density on."""
        if target.kind not in self.domains:
            name = type(self).__name__
            raise CompositionError(
                f"{name} is a distribution of {' or '.join(_NEEDS[k] for k in self.domains)}, and the data are "
                f"{target}; {_FIX[target.kind]}"
            )

    @torch.no_grad()
    def start_at(self, x: Tensor) -> None:
        """Sets the bias of the network's last layer, and what is learned beside the network, so that, before
        training, p(x | z) has about the marginals of targets x (N, *shape).

        Raises:
            CompositionError: where the last layer has no bias that allows it.
        """
        raw = self.fit_marginals(x)
        by_channel = (raw.mean(dim=(-2, -1)),) if len(self.shape) == 3 else ()
        start_bias(self.network, raw, *by_channel)
        self.fit_learned(x)

    def fit_learned(self, x: Tensor) -> None:
        """Sets parameters that are learned beside the network to fit the marginals of targets x (N, *shape)."""


def start_bias(network: nn.Module | None, *values: Tensor) -> None:
    """Sets the bias of a network's last layer to the first of these values that has its size.

    Raises:
        CompositionError: where there is no such bias.
    """
    modules = [] if network is None else network.modules()
    biases = [m.bias for m in modules if isinstance(getattr(m, "bias", None), nn.Parameter)]
    for value in values:
        if biases and isinstance(biases[-1], Tensor) and biases[-1].numel() == value.numel():
            biases[-1].copy_(value.flatten())
            return
    raise CompositionError(
        "the decoder's last layer has no bias for each element or channel of x to start at the data's marginals; "
        "train with start_at_data=False (command line: --no-start-at-data)"
    )


_NEEDS = {
    "binary": "binary values",
    "levels": "integer levels",
    "counts": "counts",
    "categories": "categories",
    "unit": "numbers in [0, 1]",
    "real": "real numbers",
    "mixed": "columns of several kinds",
}
_FIX = {
    "binary": "use 'bernoulli'",
    "levels": (
        "use 'categorical', 'binomial', 'discretized-logistic' or 'logistic-mixture', observe with 'binarized' for "
        "'bernoulli', with 'levels(dequantize=True)' for a density, or with 'counts' for 'negative-binomial'"
    ),
    "counts": "use 'poisson', 'negative-binomial' or 'zero-inflated-negative-binomial'",
    "categories": "use 'categorical'",
    "mixed": "use 'columns'",
    "unit": "use 'continuous-bernoulli', 'beta', 'gaussian' or 'laplace'",
    "real": "use 'gaussian', 'laplace' or 'student-t'",
}
