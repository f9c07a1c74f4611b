"""Posteriors from invertible normalizing flows."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import InputError, suggestion, whole
from tightbound.core.numerics import bounded
from tightbound.nn.base import Network, Shape
from tightbound.nn.flows import build_flow
from tightbound.posteriors.base import Posterior
from tightbound.posteriors.pushforward import Pushforward

Kind = Literal["iaf", "nsf", "realnvp"]
KINDS = {
    "iaf": "maf",
    "nsf": "nsf",
    "realnvp": "realnvp",
}  # names in `build_flow`


class Flow(Posterior):
    """Flow posterior z = mu(x) + sigma(x) f(e; h(x)), e ~ N(0, I), with a flow f from zuko.

    f is initially the identity, so q starts as a diagonal Gaussian. The autoregressive kinds run in their fast
    direction: a draw and its log-density cost one pass; the density at another z takes `latent` passes per transform.
    The encoder's scale is applied last, so that the flow sees standard noise, in the range of the splines; with the
    affine kinds, the order does not change the family.

    Args:
        shape, latent, network: As for `Posterior`.
        kind: "iaf": affine autoregressive; "nsf": autoregressive monotonic rational-quadratic splines on [-5, 5];
            "realnvp": affine coupling, fast in both directions.
        transforms: Number of transforms; the order of the dimensions, or the unchanged half, alternates.
        hidden: Widths of the hidden layers of each transform.
        features: Size of h(x), the encoder output that conditions the transforms.

    References:
        Improved variational inference with inverse autoregressive flow (Kingma et al. 2016), Eqs. 8-11,
        https://arxiv.org/abs/1606.04934; Neural spline flows (Durkan et al. 2019), https://arxiv.org/abs/1906.04032;
        Density estimation using Real NVP (Dinh et al. 2017), https://arxiv.org/abs/1605.08803
    """

    expensive: ClassVar[bool] = True

    def __init__(
        self,
        shape: Shape = (),
        latent: int = 1,
        network: Network | None = None,
        kind: Kind = "iaf",
        transforms: int = 2,
        hidden: tuple[int, ...] = (64,),
        features: int = 32,
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"there is no flow {kind!r}; {suggestion(str(kind), KINDS)}")
        self.features = whole("features", features, least=1)
        super().__init__(shape, latent, network)
        self.flow = build_flow(KINDS[kind], latent, self.features, transforms, hidden)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """The shape of one example's parameters: mean, log-variance and h, concatenated."""
        return (2 * self.latent + self.features,)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at means, log-variances and features (B, 2 latent + features)."""
        mean, log_variance, features = raw.split((self.latent, self.latent, self.features), dim=-1)
        log_variance = bounded(log_variance, 50)
        scale, log_det = (0.5 * log_variance).exp(), 0.5 * log_variance.sum(-1)
        flow = self.flow(features)

        def push(e: Tensor) -> tuple[Tensor, Tensor]:
            u, by_flow = flow.call_and_ladj(e)
            return mean + scale * u, by_flow + log_det

        def pull(z: Tensor) -> Tensor:
            return flow.inv((z - mean) / scale)

        return Pushforward(push, pull, mean)
