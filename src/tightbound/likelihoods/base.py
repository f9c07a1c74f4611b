"""Base class of likelihoods whose elements are independent given the features."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from tightbound.core.domain import Domain, Kind
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.interfaces import Likelihood
from tightbound.nn.base import Network, Shape, as_sizes, fold
from tightbound.nn.modules import likelihood_network


class ElementwiseLikelihood(Likelihood):
    """Base class of likelihoods p(x | features) that are a product of one univariate density per element.

    A subclass defines `domains`, `outputs` and `distribution`, and may define `fit_marginals` and `fit_learned`. If it
    couples elements, it sets `event_dims`.

    Args:
        shape: Shape of one example.
        features: Size of the features that the latents give; required with an architecture.
        network: An architecture, or any module (B, features) -> (B, outputs * prod(shape)); None: the features are
            the raw parameters already.

    Raises:
        CompositionError: If the module has the wrong number of outputs.
    """

    domains: tuple[Kind, ...]  # domains of x on which this is a density
    outputs: int = 1  # number of parameters per element of x, which the network computes
    levels: int = 2  # number of levels, for a distribution on integer levels
    event_dims: int = 0  # number of trailing dimensions of x that the family couples; 0: elements are independent
    includes_endpoints: bool = True  # whether a density on the unit interval is defined at 0 and 1

    def __init__(self, shape: Shape = (), features: int | None = None, network: Network | None = None) -> None:
        super().__init__()
        self.shape = as_sizes("shape", shape)
        self.features = features
        self.network = likelihood_network(network, features, self.outputs, self.shape, type(self).__name__)

    def forward(self, features: Tensor, context: Tensor | None = None) -> Distribution:
        """Return the distribution with batch shape (...) and event shape `shape` for features (..., features)."""
        raw = features if self.network is None else fold(self.network, features, 1)
        lead = features.shape[:-1]
        raw = raw.reshape(*lead, self.outputs, *self.shape)
        return Independent(self.distribution(raw), len(self.shape) - self.event_dims, validate_args=False)

    @property
    def elementwise(self) -> bool:
        """Whether the elements of x are independent given the features."""
        return self.event_dims == 0

    @abstractmethod
    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at raw parameters (..., outputs, *shape).

        Its batch shape is (..., *shape), of which the last `event_dims` dimensions are its event shape instead.
        """

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return raw parameters (outputs, *shape) that fit the marginals of targets x (N, *shape)."""
        raise CompositionError(
            f"{type(self).__name__} cannot start at the data's marginals; define fit_marginals(), or pass "
            "start_at_data=False"
        )

    def check_domain(self, target: Domain) -> None:
        """Raise CompositionError if this is not a density on the targets' domain."""
        if target.kind not in self.domains:
            name = type(self).__name__
            raise CompositionError(
                f"{name} is a distribution of {' or '.join(_NEEDS[k] for k in self.domains)}, and the data are "
                f"{target}; {_FIX[target.kind]}"
            )

    @torch.no_grad()
    def start_at(self, x: Tensor) -> None:
        """Initialize to the marginals of targets x (N, *shape), before training.

        This sets the bias of the network's last layer, and the parameters outside the network.

        Raises:
            CompositionError: If the last layer has no suitable bias.
        """
        self.fit_learned(x)
        raw = self.fit_marginals(x)
        by_channel = (raw.mean(dim=(-2, -1)),) if len(self.shape) == 3 else ()
        start_bias(self.network, raw, *by_channel)

    def fit_learned(self, x: Tensor) -> None:
        """Fit the parameters outside the network to the marginals of targets x (N, *shape), before `fit_marginals`."""


def check_part(of: object, shape: tuple[int, ...], name: str) -> None:
    """Raise an error unless a likelihood can be part of the likelihood with this name and shape.

    Raises:
        InputError: If it is not a likelihood with independent elements.
        CompositionError: If it has a network, another shape, coupled elements or `library=True`.
    """
    if not isinstance(of, ElementwiseLikelihood):
        raise InputError(f"of = {of!r}; needed: a likelihood with independent elements, such as of='gaussian'")
    if of.network is not None or of.event_dims or of.shape != shape:
        raise CompositionError(
            f"{name} needs a family of independent elements with shape {shape} and without a network, but this "
            f"{type(of).__name__} has shape {of.shape}, {of.event_dims} coupled dimensions and "
            f"{'no' if of.network is None else 'a'} network; construct it with the shape only"
        )
    if of.given:
        raise CompositionError(
            f"this {type(of).__name__} has library=True, and a {name} cannot use an example's total; leave out library="
        )


def start_bias(network: nn.Module | None, *values: Tensor) -> None:
    """Set the bias of the network's last layer to the first of the values that has the same size.

    Raises:
        CompositionError: If there is no such bias.
    """
    modules = [] if network is None else network.modules()
    biases = [m.bias for m in modules if isinstance(getattr(m, "bias", None), nn.Parameter)]
    for value in values:
        if biases and isinstance(biases[-1], Tensor) and biases[-1].numel() == value.numel():
            biases[-1].copy_(value.flatten())
            return
    raise CompositionError(
        "the decoder's last layer needs a bias per element or channel of x to start at the data's marginals; "
        "pass start_at_data=False"
    )


_NEEDS = {
    "binary": "binary values",
    "levels": "integer levels",
    "counts": "counts",
    "whole": "whole numbers",
    "values": "a few numbers",
    "semicontinuous": "real numbers, one of which recurs",
    "categories": "categories",
    "unit": "numbers in [0, 1]",
    "real": "real numbers",
    "mixed": "columns of several kinds",
}
_FIX = {
    "binary": "use 'bernoulli'",
    "levels": (
        "use 'categorical', 'binomial', 'discretized-logistic' or 'logistic-mixture', or the observation 'binarized' "
        "with 'bernoulli', 'levels(dequantize=True)' with a density, or 'counts' with 'negative-binomial'"
    ),
    "counts": "use 'poisson', 'negative-binomial' or 'zero-inflated-negative-binomial', or open them as levels",
    "whole": "use 'rounded-logistic'",
    "values": "use 'columns'",
    "semicontinuous": "use 'columns'",
    "categories": "use 'categorical'",
    "mixed": "use 'columns'",
    "unit": "use 'continuous-bernoulli', 'beta', 'gaussian' or 'laplace'",
    "real": (
        "use 'gaussian', 'laplace' or 'student-t'; if they are whole numbers, open them with domain='counts' or levels="
    ),
}
