"""One group of latent variables."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError, DensityUnknown
from tightbound.core.interfaces import Latents, LogLikelihood, State
from tightbound.core.noise import Noise, draw
from tightbound.core.schedules import Knobs, Schedule
from tightbound.core.terms import LatentTerms, log_factors
from tightbound.posteriors.base import Posterior
from tightbound.priors.base import Prior

SUPPORTS = {"real": "R^L", "sphere": "the unit sphere", "one-hot": "one-hot vectors", "ball": "the Poincaré ball"}


class Flat(Latents):
    """z ~ p(z), x ~ p(x | z), with q(z | x); features are z itself.

    Arguments:
        prior: p(z).
        posterior: q(z | x), over vectors of the same size. A prior that needs an encoder is given this one.

    Raises:
        CompositionError: where the sizes differ, or the sets that z lies in; where a prior that is made of the encoder
            does not fit it; where the posterior is one for the prior N(0, I) and this is another.
    """

    def __init__(self, prior: Prior, posterior: Posterior) -> None:
        super().__init__()
        if prior.latent != posterior.latent:
            raise CompositionError(
                f"the prior has {prior.latent} dimensions and the posterior {posterior.latent}; "
                "give both the same latent="
            )
        if prior.support not in ("any", posterior.support):
            here, there = (
                f"{type(part).__name__} is a distribution on {SUPPORTS.get(part.support, part.support)}"
                for part in (prior, posterior)
            )
            raise CompositionError(
                f"prior {here} and posterior {there}, so that no bound exists; use two on the same, such as prior "
                "'normal' with posterior 'normal', 'sphere' with 'von-mises-fisher' or 'categorical' with "
                "'relaxed-categorical'"
            )
        if posterior.needs_standard_prior and not prior.standard:
            raise CompositionError(
                f"posterior {type(posterior).__name__} is made for the prior N(0, I) and this one is "
                f"{type(prior).__name__}; use prior 'normal', or posterior 'normal'"
            )
        if prior.needs_evaluable and not posterior.evaluable:
            raise CompositionError(
                f"prior {type(prior).__name__} is made of the posterior's density at any z, and that of "
                f"{type(posterior).__name__} is not known there; use another posterior, such as 'normal'"
            )
        if prior.needs_encoder and prior.shape not in ((), posterior.shape):
            raise CompositionError(
                f"prior {type(prior).__name__} holds encoder inputs of shape {prior.shape} and the encoder takes "
                f"{posterior.shape}; construct the prior with shape={posterior.shape}"
            )
        self.prior, self.posterior = prior, posterior
        self.latent = self.features = prior.latent

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those of prior and posterior."""
        return {**self.prior.schedules, **self.posterior.schedules}

    @property
    def support(self) -> str:
        """That of the posterior."""
        return self.posterior.support

    @property
    def evaluable(self) -> bool:
        """As the posterior declares."""
        return self.posterior.evaluable

    @property
    def shares_parameters(self) -> bool:
        """Where the prior is made of the encoder."""
        return self.prior.needs_encoder

    def start_at(self, x: Tensor, context: Tensor | None = None) -> None:
        """Shows the prior encoder inputs x (N, *shape)."""
        self.prior.start_at(x)

    def _prior(self, context: Tensor | None) -> Distribution:
        flat = None if context is None else context.flatten(1)
        # the encoder is passed at each call: a prior that held it would put its weights into the model twice
        return self.prior(flat, self.posterior) if self.prior.needs_encoder else self.prior(flat)

    def local(self, x: Tensor) -> Tensor:
        """The parameters of the posterior's family."""
        return self.posterior.raw(x)

    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """(q(z | x), p(z))."""
        return self.posterior.at(local), self._prior(context)

    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """One group; features (S, B, latent)."""
        posterior, prior = state
        group = self.posterior.terms(posterior, prior, samples, noise, knobs, log_likelihood)
        return (group,), group.z

    def draw(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """(n, latent) draws from the prior."""
        prior = self._prior(context)
        return draw(prior, () if prior.batch_shape else (n,), noise)

    def log_prior(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """(B,) log p(z)."""
        return self._prior(context).log_prob(code)

    def log_pairs(self, code: Tensor, local: Tensor) -> Tensor:
        """F is 1 where the posterior's dimensions depend on each other."""
        if self.posterior.has_density and not self.posterior.evaluable:
            raise DensityUnknown(
                f"the density of {type(self.posterior).__name__} is not known at other data's codes; use a posterior "
                "such as 'normal' or 'flow'"
            )
        return log_factors(self.posterior.at(local), code.unsqueeze(1))

    @property
    def expensive_pairs(self) -> bool:
        """As the posterior says."""
        return self.posterior.expensive

    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """(B, latent) mean and variance of q(z | x)."""
        return state[0].mean, state[0].variance

    def decode(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """The code is z: the nearest point of its support, where the code (a mean) lies off it."""
        return self.posterior.nearest(code)

    def inference_parameters(self) -> list[nn.Parameter]:
        """Those of the posterior."""
        return list(self.posterior.parameters())
