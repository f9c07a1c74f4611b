"""One group of latent variables."""

from __future__ import annotations

from torch import Tensor, nn

from tightbound.core.errors import CompositionError
from tightbound.core.interfaces import Latents, State
from tightbound.core.noise import Noise, draw
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.posteriors.base import Posterior
from tightbound.priors.normal import Prior


class Flat(Latents):
    """z ~ p(z), x ~ p(x | z), with q(z | x); features are z itself.

    Arguments:
        prior: p(z).
        posterior: q(z | x), over vectors of the same size.

    Raises:
        CompositionError: where the sizes differ.
    """

    def __init__(self, prior: Prior, posterior: Posterior) -> None:
        super().__init__()
        if prior.latent != posterior.latent:
            raise CompositionError(
                f"the prior has {prior.latent} dimensions and the posterior {posterior.latent}; "
                "give both the same latent="
            )
        self.prior, self.posterior = prior, posterior
        self.latent = self.features = prior.latent

    def encode(self, x: Tensor, context: Tensor | None = None) -> State:
        """(q(z | x), p(z)) for x (B, *shape)."""
        return self.posterior(x, context), self.prior(context)

    def infer(self, state: State, samples: int, noise: Noise, knobs: Knobs) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """One group; features (S, B, latent)."""
        posterior, prior = state
        z = draw(posterior, (samples,), noise)
        return (LatentTerms(z, prior, posterior if self.posterior.has_density else None),), z

    def generate(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """(n, latent) draws from the prior."""
        prior = self.prior(context)
        return draw(prior, () if prior.batch_shape else (n,), noise)

    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """(B, latent) mean and variance of q(z | x)."""
        return state[0].mean, state[0].variance

    def decode(self, code: Tensor) -> Tensor:
        """The code is z."""
        return code

    def inference_parameters(self) -> list[nn.Parameter]:
        """Those of the posterior."""
        return list(self.posterior.parameters())
