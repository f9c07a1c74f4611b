"""Autoencoder objectives without a rate: plain reconstruction, or with a penalty that smooths the decoder."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tightbound.core.errors import InputError, number, whole
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.objectives.base import (
    Objective,
    generative_parameters,
    require_fixed_prior,
    require_single_group,
    require_vae,
    unprepared_error,
)
from tightbound.objectives.decoding import MeanDecoder


class Autoencoder(Objective):
    """Plain autoencoder log p(x | z) without a rate, for posterior 'point'; not a bound on log p(x).

    Args:
        samples: Latent samples per example, for a posterior that is not a point.
    """

    def __init__(self, samples: int = 1) -> None:
        self.samples = whole("samples", samples, least=1)

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Require a prior without parameters, because they would not be trained."""
        require_fixed_prior(require_vae(model, "autoencoder"), "autoencoder")

    def check(self, terms: Terms) -> None:
        """Require a single group, because the inference networks of higher groups would not be trained."""
        require_single_group(terms, "autoencoder")

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        return terms.log_likelihood.mean(0)


class RAE(Objective):
    """Regularized autoencoder log p(x | z) - beta |z|^2 / 2 - weight penalty, for posterior 'point'.

    It is not a bound on log p(x), and does not use the prior: sample from a density fitted to the latent codes. For
    spectral normalization, use penalty=None and a network with spectral_norm=True.

    Args:
        penalty: "l2": the squared norm of the decoder's weights (without biases); "gradient": the squared norm of the
            Jacobian d m / d z of the mean m of p(x | z), on the 0-1 scale if x has one, estimated without bias by one
            random projection per draw; None: no penalty.
        weight: Weight of the penalty, in nats.
        beta: Weight of the squared norm of the latent codes.
        samples: Latent samples per example, for a posterior that is not a point.

    References:
        From variational to deterministic autoencoders (Ghosh et al. 2020), Section 3, https://arxiv.org/abs/1903.12436
    """

    def __init__(
        self,
        penalty: Literal["l2", "gradient"] | None = "l2",
        weight: float = 1e-2,
        beta: float = 0.1,
        samples: int = 1,
    ) -> None:
        if penalty not in ("l2", "gradient", None):
            raise InputError(f"penalty = {penalty!r}; needed: 'l2', 'gradient' or None")
        self.penalty, self.weight = penalty, number("weight", weight, least=0)
        self.beta, self.samples = number("beta", beta, least=0), whole("samples", samples, least=1)
        self.pointwise = penalty != "gradient"  # the random projections depend on the batch
        self._decoder: MeanDecoder | None = None
        self._weights: list[torch.nn.Parameter] | None = None

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Find the decoder; require a prior without parameters."""
        require_fixed_prior(require_vae(model, "rae"), "rae")
        self._weights = [p for p in generative_parameters(model) if p.dim() > 1]
        self._decoder = MeanDecoder(model, "rae", trains_likelihood=False) if self.penalty == "gradient" else None

    def check(self, terms: Terms) -> None:
        """Require a single group of latent variables."""
        require_single_group(terms, "rae")

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        if self._weights is None:
            raise unprepared_error("rae")
        (group,) = terms.latents
        value = terms.log_likelihood - 0.5 * self.beta * group.z.flatten(2).square().sum(-1)
        if self.penalty == "l2" and self._weights:
            value = value - self.weight * torch.stack([w.square().sum() for w in self._weights]).sum()
        if self._decoder is not None:
            value = value - self.weight * jacobian_norm(self._decoder, group.z, terms.batch.context)
        return value.mean(0)


def jacobian_norm(decoder: MeanDecoder, z: Tensor, context: Tensor | None) -> Tensor:
    """Return unbiased estimates (S, B) of the squared Frobenius norm of J = d m / d z at z (S, B, L).

    Each is |J' v|^2 with random signs v, whose expectation is |J|^2.

    References:
        A stochastic estimator of the trace of the influence matrix (Hutchinson 1990),
        https://doi.org/10.1080/03610919008812866
    """
    with torch.enable_grad():  # needed in validation too
        z = z if z.requires_grad else z.detach().requires_grad_()
        mean = decoder.mean(z, context)
        signs = torch.randint_like(mean, 2) * 2 - 1
        (gradient,) = torch.autograd.grad(mean, z, signs, create_graph=True)
    return gradient.flatten(2).square().sum(-1)
