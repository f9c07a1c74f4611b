"""The ELBO with an encoder that is trained ahead of the decoder."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tightbound.core.errors import whole
from tightbound.core.interfaces import Trainable
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
    """The ELBO, whose decoder (and prior) is at first updated at each `every`-th step only, the encoder at all.

    This aggressive phase is over once the mutual information I_q(x; z) on held-out data is less after an epoch than
    after the one before. It is estimated batch by batch, log q(z | x) - log q(z) with q(z) of the batch, which is at
    most the logarithm of the batch's size.

    Arguments:
        every: Steps of the encoder for each of the decoder.
        beta, samples, kl: As in the ELBO.

    References:
        Lagging inference networks and posterior collapse in variational autoencoders (He et al. 2019), Algorithm 1,
        whose inner loop runs until it gains no more, here for a fixed number of steps,
        https://arxiv.org/abs/1901.05534
    """

    def __init__(self, every: int = 10, beta: float | Schedule = 1.0, samples: int = 1, kl: KL = "auto") -> None:
        super().__init__(beta, samples, kl)
        self.every = whole("every", every, least=1)

    def prepare(self, model: Trainable, size: int | None) -> None:
        """Starts the aggressive phase."""
        self.networks = Phase()

    def check(self, terms: Terms) -> None:
        """Needs one group whose density is known at other data's z."""
        super().check(terms)
        group = require_single_group(terms, "lagging")
        log_pairs(require_evaluable_posterior(group, "lagging"), group.z)

    @property
    def phase(self) -> Phase:
        """After `prepare`."""
        if not isinstance(self.networks, Phase):
            raise unprepared_error("lagging")
        return self.networks

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """The encoder at each step; the rest when it is due."""

        def due(step: int) -> bool:
            return not self.phase.aggressive or step % self.every == self.every - 1

        return [
            ParameterGroup(model.inference_parameters(), self.loss),
            ParameterGroup(generative_parameters(model), self.loss, due),
        ]

    def end_epoch(self, terms: Iterable[Terms]) -> None:
        """Ends the aggressive phase where the mutual information has fallen."""
        if not self.phase.aggressive:
            return
        total, n = 0.0, 0
        for batch in terms:
            (group,) = batch.latents
            total += mutual_information(require_evaluable_posterior(group, "lagging"), group.z).mean(0).sum().item()
            n += group.z.shape[1]
        self.phase.after_epoch(total / n)


class Phase(nn.Module):
    """Whether the encoder leads, and the mutual information that it had: state that a resumed run takes up."""

    aggressive: Tensor
    information: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("aggressive", torch.tensor(True))
        self.register_buffer("information", torch.tensor(-torch.inf))

    def after_epoch(self, information: float) -> None:
        """Ends the phase where the mutual information (nats) is less than it was."""
        before = self.information.clone()
        self.information.fill_(information)
        if self.information < before:
            self.aggressive.fill_(False)
