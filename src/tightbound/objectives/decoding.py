"""What objectives see of the decoder beside log p(x | z): the mean image."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError
from tightbound.core.interfaces import Trainable
from tightbound.core.terms import Terms
from tightbound.objectives.base import require_vae


class MeanDecoder:
    """The mean of p(x | z) and the target x, with bits, levels and the unit interval on the 0-1 scale.

    Arguments:
        model: The VAE.
        name: Of the objective.
        only: Nothing but the mean trains the likelihood, so that all of its parameters must have a part in it.

    Raises:
        CompositionError: a likelihood whose mean is unknown, has no gradient, or leaves a parameter untrained.
    """

    def __init__(self, model: Trainable, name: str, *, only: bool) -> None:
        self._model, self._name = require_vae(model, name), name
        self.span = self._model.observation.target.span
        was_training = self._model.training
        self._model.eval()  # leaves running statistics as they are
        try:
            self._check(only)
        finally:
            self._model.train(was_training)

    def mean(self, z: Tensor, context: Tensor | None) -> Tensor:
        """z (..., B, *latent_shape), context (B, ...) -> (..., B, *shape), decoded anew."""
        lead = z.shape[:-1]
        if context is not None:
            context = context.expand(*lead, *context.shape[1:]).flatten(0, len(lead) - 1)
        mean = self._model.decode(z.flatten(0, -2), context).mean
        return self.scaled(mean.reshape(*lead, *mean.shape[1:]))

    def reconstructed(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """x (B, *shape), and its reconstructions (S, B, *shape)."""
        return self.scaled(terms.batch.x), self.scaled(terms.likelihood.mean)

    def scaled(self, x: Tensor) -> Tensor:
        """Targets on the 0-1 scale; real numbers as they are."""
        return x if self.span in (1, torch.inf) else x / self.span

    def _check(self, only: bool) -> None:
        model = self._model
        z = next(model.parameters()).new_zeros(1, model.latents.latent)
        context = None if model.context is None else z.new_zeros(1, *model.context.shape)
        named = dict(model.likelihood.named_parameters())
        with torch.enable_grad():
            try:
                mean = self.mean(z.requires_grad_(), context)
            except NotImplementedError:
                mean = z.detach()
            if not mean.requires_grad:
                raise CompositionError(
                    f"objective '{self._name}' is a function of the mean of p(x | z), and that of "
                    f"{type(model.likelihood).__name__} has no gradient; use 'bernoulli' or 'gaussian(scale=1.0)'"
                )
            gradients = torch.autograd.grad(mean.sum(), [z, *named.values()], allow_unused=True)[1:]
        untrained = [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]
        if only and untrained:
            raise CompositionError(
                f"objective '{self._name}' sees the mean of p(x | z) alone, which would leave the likelihood's "
                f"{', '.join(untrained)} untrained; use a likelihood of fixed scale, such as 'gaussian(scale=1.0)'"
            )


def require_complete_data(terms: Terms, name: str) -> None:
    """Refuses data, or a context, that mask elements of x."""
    if terms.batch.mask is not None:
        raise CompositionError(
            f"objective '{name}' compares whole data, and elements of these are masked; use objective 'elbo'"
        )
