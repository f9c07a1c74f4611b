"""Objective that compares reconstructions by the features of a discriminator."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tightbound.core.errors import CompositionError, number
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.nn import MLP, Architecture
from tightbound.objectives.adversarial import Adversarial
from tightbound.objectives.base import (
    ParameterGroup,
    draw_prior,
    generative_parameters,
    require_density,
    require_single_group,
    require_vae,
    unprepared_error,
)
from tightbound.objectives.decoding import MeanDecoder, require_complete_data
from tightbound.objectives.elbo import mean_rate


class VAEGAN(Adversarial):
    """VAE-GAN objective E_q[log N(f(x); f(E[x | z]), I)] - KL(q || p), where f are features of a discriminator.

    The features are taken below the discriminator's last hidden layer, which itself holds little beyond what separates
    data from fakes. They are standardized over the layer, so that distances do not depend on their scale (the paper
    uses batch normalization, which is not pointwise).

    It is not a bound on log p(x), and uses only the mean of p(x | z). Three groups of parameters have their own losses:
    the encoder maximizes the value; the decoder maximizes gamma times the first term (and a learned prior the second)
    and log D of reconstructions and of decoded draws from the prior (the non-saturating loss); the discriminator D
    learns to tell both from data.

    Args:
        gamma: Weight of the reconstruction in the decoder's loss.
        network: Architecture of the features; None: one fully connected layer of 256 leaky ReLU.
        lr: Learning rate of the discriminator; Adam with betas (0.5, 0.9).
        samples: Latent samples per example.

    References:
        Autoencoding beyond pixels using a learned similarity metric (Larsen et al. 2016), Algorithm 1,
        https://arxiv.org/abs/1512.09300
    """

    def __init__(
        self, gamma: float = 1.0, network: Architecture | None = None, lr: float = 1e-4, samples: int = 1
    ) -> None:
        super().__init__(network or MLP((256,), activation="leaky-relu"), lr, samples)
        self.gamma, self._decoder = number("gamma", gamma, least=0), None

    _decoder: MeanDecoder | None

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Create the discriminator; require a likelihood that is trained by its mean."""
        self._decoder = MeanDecoder(model, self.name, trains_likelihood=True)
        super().prepare(model, n_examples)
        if self.discriminator.width < 3:
            raise CompositionError(
                f"objective 'vae-gan' compares standardized features, and the discriminator has "
                f"{self.discriminator.width}; pass network= with at least 3 units in its last layer"
            )

    def check(self, terms: Terms) -> None:
        """Require a single group with a density, and complete examples."""
        require_density(terms, self.name)
        require_single_group(terms, self.name)
        require_complete_data(terms, self.name)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        return self.likeness(terms) - mean_rate(terms)

    def likeness(self, terms: Terms) -> Tensor:
        """Return the Gaussian log-density (B,) of the features of x around those of its reconstructions."""
        x, decoded = self.decoder.reconstructed(terms)
        error = self._standardized(decoded) - self._standardized(x)
        return -0.5 * (error.square().sum(-1).mean(0) + error.shape[-1] * math.log(2 * math.pi))

    def _standardized(self, x: Tensor) -> Tensor:
        features = self.discriminator.features(x)
        return F.layer_norm(features, features.shape[-1:])

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """Return the groups of encoder, decoder (with a learned prior) and discriminator."""

        def decoder_loss(terms: Terms, knobs: Knobs) -> Tensor:
            fooled = F.logsigmoid(self.discriminator(self._fakes(terms))).mean(1).sum()
            return (mean_rate(terms) - self.gamma * self.likeness(terms)).mean() - fooled

        encoder = ParameterGroup(model.inference_parameters(), self.loss)
        return [encoder, ParameterGroup(generative_parameters(model), decoder_loss), self.adversary()]

    def input_shape(self, model: Trainable) -> tuple[int, ...]:
        """Return the shape of x."""
        return require_vae(model, self.name).shape

    def real_and_fake(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """Return the data, and the fakes: reconstructions and decoded draws from the prior."""
        return self.decoder.scaled(terms.batch.x), self._fakes(terms)

    def _fakes(self, terms: Terms) -> Tensor:
        """Return reconstructions and decoded draws from the prior, (2, S B, *shape)."""
        (group,) = terms.latents
        decoded = self.decoder.reconstructed(terms)[1]
        drawn = self.decoder.mean(draw_prior(group), terms.batch.context)
        return torch.stack([decoded.flatten(0, 1), drawn.flatten(0, 1)])

    @property
    def decoder(self) -> MeanDecoder:
        """The mean decoder, which exists after `prepare`."""
        if self._decoder is None:
            raise unprepared_error(self.name)
        return self._decoder
