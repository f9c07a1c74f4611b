"""Autoencoders whose decoder is smoothed by a penalty, in place of noise."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tightbound.core.errors import InputError, number, whole
from tightbound.core.interfaces import Trainable
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


class RAE(Objective):
    """log p(x | z) - beta |z|^2 / 2 - weight penalty: a regularized autoencoder, for posterior 'point'.

    It is no bound on log p(x), and the prior has no part in it: sample from a density fitted to the codes.
    For spectral normalization take penalty=None and a network with spectral_norm=True.

    Arguments:
        penalty: "l2": the squared norm of the decoder's weights (without biases); "gradient": that of the Jacobian
            d m / d z of the mean m of p(x | z), on the 0-1 scale where x has one, estimated without bias by one
            random projection a draw; None.
        weight: Of the penalty, in nats.
        beta: Weight of the codes' squared norm.
        samples: Draws of a posterior that is not a point.

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
        self.pointwise = penalty != "gradient"  # the projections are drawn for the batch
        self._decoder: MeanDecoder | None = None
        self._weights: list[torch.nn.Parameter] | None = None

    def prepare(self, model: Trainable, size: int | None) -> None:
        """Finds the decoder; needs a prior that is not learned."""
        require_fixed_prior(require_vae(model, "rae"), "rae")
        self._weights = [p for p in generative_parameters(model) if p.dim() > 1]
        self._decoder = MeanDecoder(model, "rae", only=False) if self.penalty == "gradient" else None

    def check(self, terms: Terms) -> None:
        """Needs one group."""
        require_single_group(terms, "rae")

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
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
    """(S, B) unbiased estimates of |d m / d z|^2 (Frobenius), at z (S, B, L): |J' v|^2 with random signs v, whose
    expectation is |J|^2 (Hutchinson 1990, https://doi.org/10.1080/03610919008812866)."""
    with torch.enable_grad():  # in validation, too
        z = z if z.requires_grad else z.detach().requires_grad_()
        mean = decoder.mean(z, context)
        signs = torch.randint_like(mean, 2) * 2 - 1
        (gradient,) = torch.autograd.grad(mean, z, signs, create_graph=True)
    return gradient.flatten(2).square().sum(-1)
