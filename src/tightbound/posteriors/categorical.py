"""Categorical posterior, trained with the gradient of its continuous relaxation."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.latents import LogLikelihood
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs, Schedule, as_schedule
from tightbound.core.terms import CodeTerms, LatentTerms
from tightbound.nn.base import Architecture
from tightbound.posteriors.base import Posterior
from tightbound.priors.categorical import OneHotGroups, one_hot, one_hot_space, perturbed


class RelaxedCategorical(Posterior):
    """Categorical posterior over one-hot vectors, with the straight-through Gumbel-softmax gradient.

    z is exactly one-hot, even in training, and log q, log p and the KL belong to the discrete distributions, so every
    bound holds for the discrete model. Only the gradient is approximate: z has the gradient of
    softmax((log p + g) / t), where g is the Gumbel noise of the draw. As the temperature t falls, its bias falls and
    its variance grows. The closed-form KL has its exact gradient.

    Args:
        shape: Shape of the encoder's input.
        latent: Size of z: groups * classes.
        network: Encoder; see `Posterior`.
        groups: Number of one-hot vectors.
        temperature: Temperature t >= 0.01, or a schedule, such as linear(start=1.0, stop=0.5).

    Raises:
        CompositionError: If the groups do not divide `latent` into at least two classes each.

    References:
        Categorical reparameterization with Gumbel-softmax (Jang et al. 2017), Section 2.2,
        https://arxiv.org/abs/1611.01144; The concrete distribution (Maddison et al. 2017),
        https://arxiv.org/abs/1611.00712
    """

    outputs = 1
    support = "one-hot"
    least = 2

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        latent: int = 2,
        network: Architecture | nn.Module | None = None,
        groups: int = 1,
        temperature: float | Schedule = 0.67,
    ) -> None:
        super().__init__(shape, latent, network)
        self.support, self.logits_shape = one_hot_space(latent, groups)
        self.schedules = {"temperature": as_schedule("temperature", temperature, least=0.01)}

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at logits (B, 1, latent)."""
        return OneHotGroups(raw.reshape(len(raw), *self.logits_shape))

    def nearest(self, z: Tensor) -> Tensor:
        """Return the most probable one-hot vectors for probabilities (..., latent)."""
        return one_hot(z.unflatten(-1, self.logits_shape))

    def terms(
        self,
        q: Distribution,
        prior: Distribution,
        samples: int,
        noise: Noise,
        knobs: Knobs,
        log_likelihood: LogLikelihood | None = None,
    ) -> LatentTerms:
        """Draw one-hot z (S, B, latent) and its class indices (S, B, groups)."""
        logits = perturbed(cast(OneHotGroups, q).logits, (samples,), noise)
        soft = (logits / knobs["temperature"].to(logits)).softmax(-1).flatten(-2)
        z = one_hot(logits) + (soft - soft.detach())
        return CodeTerms(z, prior, q, indices=logits.argmax(-1), codebook_size=logits.shape[-1], relaxed=True)
