"""Objectives with an adversary on z: FactorVAE, and the adversarial autoencoder (WAE-GAN)."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tightbound.core.errors import number, whole
from tightbound.core.interfaces import Trainable
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
    """log D / (1 - D), D the probability that its input is real.

    Arguments:
        shape: Of the input.
        network: Gives its features, on which stands one more hidden layer of the same width.
    """

    def __init__(self, shape: tuple[int, ...], network: Architecture) -> None:
        super().__init__()
        self.shape, self.body = shape, network.encoder(shape)
        self.width = width = output_size(self.body, shape, "discriminator")
        self.head = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def features(self, x: Tensor) -> Tensor:
        """(..., *shape) -> (..., width), below the last hidden layer."""
        return fold(self.body, x, len(self.shape)).flatten(x.dim() - len(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        """(..., *shape) -> (...)."""
        return self.head(self.features(x)).squeeze(-1)


class Adversarial(Objective):
    """An objective with a discriminator, which has a loss and an optimizer of its own.

    Arguments:
        network: Of the discriminator, below its last hidden layer.
        lr: Learning rate of the discriminator; Adam with betas (0.5, 0.9).
        samples: Draws of z for each example.
    """

    has_best_epoch = False

    def __init__(self, network: Architecture, lr: float, samples: int) -> None:
        self.network = network
        self.lr, self.samples = number("lr", lr, above=0), whole("samples", samples, least=1)
        self.networks = None

    def prepare(self, model: Trainable, size: int | None) -> None:
        """Makes the discriminator."""
        dtype = next(model.parameters()).dtype
        self.networks = Discriminator(self.input_shape(model), self.network).to(dtype)

    @property
    def discriminator(self) -> Discriminator:
        """After `prepare`."""
        if not isinstance(self.networks, Discriminator):
            raise unprepared_error(self.name)
        return self.networks

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """The model by the objective, and the discriminator by its own loss."""
        return [*super().parameter_groups(model), self.adversary()]

    def adversary(self) -> ParameterGroup:
        """The discriminator, by its binary cross-entropy."""

        def loss(terms: Terms, knobs: Knobs) -> Tensor:
            with torch.no_grad():
                pair = self.real_and_fake(terms)
            real, fake = (self.discriminator(z.detach()) for z in pair)  # nothing of the model is trained by it
            return F.softplus(-real).mean() + F.softplus(fake).mean()

        return ParameterGroup(list(self.discriminator.parameters()), loss, optim={"lr": self.lr, "betas": (0.5, 0.9)})

    def input_shape(self, model: Trainable) -> tuple[int, ...]:
        """Of what the discriminator sees: z."""
        return (require_vae(model, self.name).latents.latent,)

    @abstractmethod
    def real_and_fake(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """What the discriminator tells apart, (..., *input_shape) each."""


class FactorVAE(Adversarial):
    """The ELBO less gamma TC(q(z)), the total correlation from a density ratio: E_q log D(z) / (1 - D(z)).

    The discriminator D tells z from z whose dimensions are permuted, each by itself, over the batch. With the best D
    the value is, in expectation, below the ELBO; with another the estimate may err to either side, and the value is no
    bound.

    Arguments:
        gamma: Weight of the total correlation, or its schedule.
        network: Of the discriminator, below its last hidden layer; None: 2 layers of 256 leaky ReLU (the paper's whole:
            6 of 1000).
        lr: Learning rate of the discriminator; Adam with betas (0.5, 0.9).
        samples: Draws of z for each example.

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
        """Needs one group with a density."""
        require_density(terms, self.name)
        require_single_group(terms, self.name)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        (group,) = terms.latents
        total_correlation = self.discriminator(group.z.flatten(2)).mean(0)
        return terms.log_likelihood.mean(0) - mean_rate(terms) - knobs["gamma"] * total_correlation

    def real_and_fake(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """z, and z with permuted dimensions."""
        z = terms.latents[0].z.flatten(2)
        return z, permute_dimensions(z)


class AdversarialAutoencoder(Adversarial):
    """E_q[log p(x | z)] + weight log D(z), where D tells draws of the prior from z.

    It is no bound on log p(x), and works with posterior 'point'. With the cost -log p(x | z) in place of the squared
    error it is WAE-GAN, too. The encoder's loss is the non-saturating one.

    Arguments:
        weight: Of the adversary, in nats; the papers' 1 (AAE) and 10 (WAE-GAN).
        network: Of the discriminator, below its last hidden layer; None: 2 layers of 256 leaky ReLU.
        lr: Learning rate of the discriminator; Adam with betas (0.5, 0.9).
        samples: Draws of z for each example.

    References:
        Adversarial autoencoders (Makhzani et al. 2016), Section 2, https://arxiv.org/abs/1511.05644;
        Wasserstein auto-encoders (Tolstikhin et al. 2018), Algorithm 1, https://arxiv.org/abs/1711.01558
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

    def prepare(self, model: Trainable, size: int | None) -> None:
        """Makes the discriminator; needs a prior that is not learned."""
        require_fixed_prior(require_vae(model, self.name), self.name)
        super().prepare(model, size)

    def check(self, terms: Terms) -> None:
        """Needs one group."""
        require_single_group(terms, self.name)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        (group,) = terms.latents
        fooled = F.logsigmoid(self.discriminator(group.z.flatten(2))).mean(0)
        return terms.log_likelihood.mean(0) + knobs["weight"] * fooled

    def real_and_fake(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """Draws of the prior, and z."""
        (group,) = terms.latents
        return draw_prior(group).flatten(2), group.z.flatten(2)


def permute_dimensions(z: Tensor) -> Tensor:
    """z (S, B, L) with each dimension permuted over the batch by itself: about a draw of prod_d q(z_d)."""
    order = torch.rand(z.shape, device=z.device).argsort(1)
    return z.gather(1, order)
