"""ELBO with an encoder that is trained ahead of the decoder."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tightbound.core.errors import whole
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Schedule
from tightbound.core.terms import Terms
from tightbound.information.aggregate import log_pairs, mutual_information
from tightbound.objectives.base import (
    ParameterGroup,
    generative_parameters,
    require_evaluable_posterior,
    require_single_group,
    unprepared_error,
)
from tightbound.objectives.elbo import ELBO, KL


class Lagging(ELBO):
    """ELBO with an initial phase in which decoder and prior are updated only at every `every`-th step.

    This aggressive phase ends when an epoch reduces the mutual information I_q(x; z) on held-out data, which is
    estimated batch by batch as log q(z | x) - log q(z), with q(z) from the batch, and is at most the logarithm of the
    batch size.

    Args:
        every: Steps of the encoder per step of the decoder.
        beta: Weight of the rate, or its schedule.
        samples: Latent samples per example.
        kl: "closed", "monte-carlo" or "auto", see `RateDistortion`.

    References:
        Lagging inference networks and posterior collapse in variational autoencoders (He et al. 2019), Algorithm 1,
        https://arxiv.org/abs/1901.05534; there the inner loop runs until it stops improving, here for a fixed number of
        steps
    """

    def __init__(self, every: int = 10, beta: float | Schedule = 1.0, samples: int = 1, kl: KL = "auto") -> None:
        super().__init__(beta, samples, kl)
        self.every = whole("every", every, least=1)

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Start the aggressive phase."""
        self.networks = Phase()

    def check(self, terms: Terms) -> None:
        """Require a single group whose density is known at the z of other examples."""
        super().check(terms)
        group = require_single_group(terms, "lagging")
        log_pairs(require_evaluable_posterior(group, "lagging"), group.z)

    @property
    def phase(self) -> Phase:
        """The current phase, which exists after `prepare`."""
        if not isinstance(self.networks, Phase):
            raise unprepared_error("lagging")
        return self.networks

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """Return the encoder, updated at each step, and the rest, updated when due."""

        def due(step: int) -> bool:
            return not self.phase.aggressive or step % self.every == self.every - 1

        return [
            ParameterGroup(model.inference_parameters(), self.loss),
            ParameterGroup(generative_parameters(model), self.loss, due),
        ]

    def end_epoch(self, terms: Iterable[Terms]) -> None:
        """End the aggressive phase if the mutual information has decreased."""
        if not self.phase.aggressive:
            return
        total, n = 0.0, 0
        for batch in terms:
            (group,) = batch.latents
            total += mutual_information(require_evaluable_posterior(group, "lagging"), group.z).mean(0).sum().item()
            n += group.z.shape[1]
        self.phase.after_epoch(total / n)


class Phase(nn.Module):
    """State of the phase: whether it is aggressive, and the last mutual information."""

    aggressive: Tensor
    information: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("aggressive", torch.tensor(True))
        self.register_buffer("information", torch.tensor(-torch.inf))

    def after_epoch(self, information: float) -> None:
        """End the phase if the mutual information (nats) has decreased."""
        before = self.information.clone()
        self.information.fill_(information)
        if self.information < before:
            self.aggressive.fill_(False)
