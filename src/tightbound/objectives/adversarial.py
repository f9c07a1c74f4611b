"""Objectives with an adversary on z: FactorVAE and the adversarial autoencoder (WAE-GAN)."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.errors import number, whole
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Knobs, Schedule, as_schedule
from tightbound.core.terms import Terms
from tightbound.nn import MLP, Architecture, fold, output_size
from tightbound.objectives.base import (
    Objective,
    ParameterGroup,
    draw_prior,
    require_density,
    require_fixed_prior,
    require_single_group,
    require_vae,
    unprepared_error,
)
from tightbound.objectives.elbo import mean_rate


class Discriminator(nn.Module):
    """Network that returns log D / (1 - D), where D is the probability that its input is real.

    Args:
        shape: Shape of the input.
        network: Architecture of the features, followed by one more hidden layer of the same width.
    """

    def __init__(self, shape: tuple[int, ...], network: Architecture) -> None:
        super().__init__()
        self.shape, self.body = shape, network.encoder(shape)
        self.width = width = output_size(self.body, shape, "discriminator")
        self.head = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def features(self, x: Tensor) -> Tensor:
        """Return the features (..., width) below the last hidden layer for inputs (..., *shape)."""
        return fold(self.body, x, len(self.shape)).flatten(x.dim() - len(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (..., *shape) to logits (...)."""
        return self.head(self.features(x)).squeeze(-1)


class Adversarial(Objective):
    """Base class of objectives with a discriminator, which has its own loss and optimizer.

    Args:
        network: Architecture of the discriminator below its last hidden layer.
        lr: Learning rate of the discriminator; Adam with betas (0.5, 0.9).
        samples: Latent samples per example.
    """

    has_best_epoch = False

    def __init__(self, network: Architecture, lr: float, samples: int) -> None:
        self.network = network
        self.lr, self.samples = number("lr", lr, above=0), whole("samples", samples, least=1)
        self.networks = None

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Create the discriminator."""
        dtype = next(model.parameters()).dtype
        self.networks = Discriminator(self.input_shape(model), self.network).to(dtype)

    @property
    def discriminator(self) -> Discriminator:
        """The discriminator, which exists after `prepare`."""
        if not isinstance(self.networks, Discriminator):
            raise unprepared_error(self.name)
        return self.networks

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """Return the model's parameters with the objective, and the discriminator's with its own loss."""
        return [*super().parameter_groups(model), self.adversary()]

    def adversary(self) -> ParameterGroup:
        """Return the discriminator's parameters with its binary cross-entropy."""

        def loss(terms: Terms, knobs: Knobs) -> Tensor:
            with torch.no_grad():
                pair = self.real_and_fake(terms)
            real, fake = (self.discriminator(z.detach()) for z in pair)  # this loss does not train the model
            return F.softplus(-real).mean() + F.softplus(fake).mean()

        return ParameterGroup(list(self.discriminator.parameters()), loss, optim={"lr": self.lr, "betas": (0.5, 0.9)})

    def input_shape(self, model: Trainable) -> tuple[int, ...]:
        """Return the shape of the discriminator's input, by default the shape of z."""
        return (require_vae(model, self.name).latents.latent,)

    @abstractmethod
    def real_and_fake(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """Return the two inputs that the discriminator tells apart, each (..., *input_shape)."""


class FactorVAE(Adversarial):
    """FactorVAE objective: ELBO minus gamma TC(q(z)), where a discriminator estimates the total correlation TC.

    The discriminator D tells z from z with dimensions permuted independently over the batch, and TC is estimated as
    E_q log D(z) / (1 - D(z)). With the optimal D, the value is below the ELBO in expectation; with any other D, the
    estimate may err in either direction, and the value is not a bound.

    Args:
        gamma: Weight of the total correlation, or its schedule.
        network: Architecture of the discriminator below its last hidden layer; None: 2 layers of 256 leaky ReLU (the
            paper has 6 layers of 1000 in total).
        lr: Learning rate of the discriminator; Adam with betas (0.5, 0.9).
        samples: Latent samples per example.

    References:
        Disentangling by factorizing (Kim and Mnih 2018), Eqs. 2 and 3 and Algorithm 2, https://arxiv.org/abs/1802.05983
    """

    min_batch_size = 2

    def __init__(
        self,
        gamma: float | Schedule = 35.0,
        network: Architecture | None = None,
        lr: float = 1e-4,
        samples: int = 1,
    ) -> None:
        super().__init__(network or MLP((256, 256), activation="leaky-relu"), lr, samples)
        self.schedules = {"gamma": as_schedule("gamma", gamma, least=0)}

    def check(self, terms: Terms) -> None:
        """Require a single group of latent variables with a density."""
        require_density(terms, self.name)
        require_single_group(terms, self.name)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        (group,) = terms.latents
        total_correlation = self.discriminator(group.z.flatten(2)).mean(0)
        return terms.log_likelihood.mean(0) - mean_rate(terms) - knobs["gamma"] * total_correlation

    def real_and_fake(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """Return z, and z with permuted dimensions."""
        z = terms.latents[0].z.flatten(2)
        return z, permute_dimensions(z)


class AdversarialAutoencoder(Adversarial):
    """Adversarial autoencoder E_q[log p(x | z)] + weight log D(z), where D tells draws from the prior from z.

    It is not a bound on log p(x), and works with posterior 'point'. It is also WAE-GAN, with the cost -log p(x | z)
    instead of the squared error. The encoder has the non-saturating loss.

    Args:
        weight: Weight of the adversary, in nats; the papers use 1 (AAE) and 10 (WAE-GAN).
        network: Architecture of the discriminator below its last hidden layer; None: 2 layers of 256 leaky ReLU.
        lr: Learning rate of the discriminator; Adam with betas (0.5, 0.9).
        samples: Latent samples per example.

    References:
        Adversarial autoencoders (Makhzani et al. 2016), Section 2, https://arxiv.org/abs/1511.05644; Wasserstein
        auto-encoders (Tolstikhin et al. 2018), Algorithm 1, https://arxiv.org/abs/1711.01558
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        network: Architecture | None = None,
        lr: float = 1e-4,
        samples: int = 1,
    ) -> None:
        super().__init__(network or MLP((256, 256), activation="leaky-relu"), lr, samples)
        self.schedules = {"weight": as_schedule("weight", weight, least=0)}

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Create the discriminator; require a prior that is not learned."""
        require_fixed_prior(require_vae(model, self.name), self.name)
        super().prepare(model, n_examples)

    def check(self, terms: Terms) -> None:
        """Require a single group of latent variables."""
        require_single_group(terms, self.name)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        (group,) = terms.latents
        fooled = F.logsigmoid(self.discriminator(group.z.flatten(2))).mean(0)
        return terms.log_likelihood.mean(0) + knobs["weight"] * fooled

    def real_and_fake(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """Return draws from the prior, and z."""
        (group,) = terms.latents
        return draw_prior(group).flatten(2), group.z.flatten(2)


def permute_dimensions(z: Tensor) -> Tensor:
    """Permute each dimension of z (S, B, L) over the batch independently, to draw approximately from prod_d q(z_d)."""
    order = torch.rand(z.shape, device=z.device).argsort(1)
    return z.gather(1, order)
