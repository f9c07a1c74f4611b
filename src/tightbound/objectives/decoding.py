"""The mean of p(x | z), for objectives that use more than log p(x | z)."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError
from tightbound.core.latents import Trainable
from tightbound.core.terms import Terms
from tightbound.objectives.base import require_vae


class MeanDecoder:
    """Mean of p(x | z) and target x; bits, levels and the unit interval are on the 0-1 scale.

    Args:
        model: The VAE.
        name: Name of the objective, for error messages.
        trains_likelihood: Whether the likelihood is trained only through its mean, which must then depend on all of its
            parameters.

    Raises:
        CompositionError: If the likelihood's mean is unknown, has no gradient, or leaves a parameter untrained.
    """

    def __init__(self, model: Trainable, name: str, *, trains_likelihood: bool) -> None:
        self._model, self._name = require_vae(model, name), name
        self.span = self._model.observation.target.span
        was_training = self._model.training
        self._model.eval()  # running statistics must not change
        try:
            self._check(trains_likelihood)
        finally:
            self._model.train(was_training)

    def mean(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Decode z (..., B, *latent_shape) with context (B, ...) to means (..., B, *shape)."""
        lead = z.shape[:-1]
        if context is not None:
            context = context.expand(*lead, *context.shape[1:]).flatten(0, len(lead) - 1)
        mean = self._model.decode(z.flatten(0, -2), context).mean
        return self.scaled(mean.reshape(*lead, *mean.shape[1:]))

    def reconstructed(self, terms: Terms) -> tuple[Tensor, Tensor]:
        """Return x (B, *shape) and its reconstructions (S, B, *shape)."""
        return self.scaled(terms.batch.x), self.scaled(terms.likelihood.mean)

    def scaled(self, x: Tensor) -> Tensor:
        """Return targets on the 0-1 scale; real numbers are unchanged."""
        return x if self.span in (1, torch.inf) else x / self.span

    def _check(self, trains_likelihood: bool) -> None:
        """Check that the mean has a gradient and, if required, reaches all of the likelihood's parameters."""
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
                    f"objective '{self._name}' uses the gradient of the mean of p(x | z), and the mean of "
                    f"{type(model.likelihood).__name__} has no gradient; use 'bernoulli' or 'gaussian(scale=1.0)'"
                )
            gradients = torch.autograd.grad(mean.sum(), [z, *named.values()], allow_unused=True)[1:]
        untrained = [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]
        if trains_likelihood and untrained:
            raise CompositionError(
                f"objective '{self._name}' uses only the mean of p(x | z), which would leave the likelihood's "
                f"{', '.join(untrained)} untrained; use a likelihood with fixed scale, such as 'gaussian(scale=1.0)'"
            )


def require_complete_data(terms: Terms, name: str) -> None:
    """Raise CompositionError if the data or a context mask elements of x."""
    if terms.batch.mask is not None:
        raise CompositionError(
            f"objective '{name}' needs complete examples, and some elements are masked; use objective 'elbo'"
        )
