"""Objectives that compare samples of the aggregate posterior and of the prior by maximum mean discrepancy."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.core.errors import InputError, number, whole
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.information.mmd import check_kernel, mmd
from tightbound.objectives.base import (
    Objective,
    draw_prior,
    require_density,
    require_fixed_prior,
    require_single_group,
    require_vae,
)
from tightbound.objectives.elbo import mean_rate


class InfoVAE(Objective):
    """InfoVAE objective E_q[log p(x | z)] - (1 - alpha) KL(q || p) - (alpha + lambda - 1) MMD^2(q(z), p(z)).

    It is not a bound on log p(x). The examples of a batch share the last term, whose estimate is unbiased and may be
    negative; it is zero for a batch of one example, which has no pairs.

    Args:
        alpha: Fraction of the KL to leave out; with 1, the posterior may be a point mass.
        lambda_: Together with alpha, the weight of the discrepancy in nats.
        kernel: "imq", "rbf" or "laplacian", each averaged over several widths.
        width: Squared length scale of the kernel; None: chosen for N(0, I).
        samples: Latent samples per example.

    References:
        InfoVAE: balancing learning and inference in variational autoencoders (Zhao et al. 2019), Eq. 6,
        https://arxiv.org/abs/1706.02262
    """

    pointwise = False
    min_batch_size = 2

    def __init__(
        self,
        alpha: float = 0.0,
        lambda_: float = 1000.0,
        kernel: str = "imq",
        width: float | None = None,
        samples: int = 1,
    ) -> None:
        self.alpha, self.lambda_ = number("alpha", alpha, most=1), number("lambda_", lambda_, least=0)
        if self.alpha + self.lambda_ < 1:
            raise InputError(
                f"alpha = {alpha} and lambda_ = {lambda_} would reward a discrepancy from the prior with weight "
                f"{1 - alpha - lambda_:g}; needed: alpha + lambda_ of at least 1"
            )
        check_kernel(kernel, width)
        self.kernel, self.width = kernel, width
        self.samples = whole("samples", samples, least=1)

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Require a prior without parameters, if there is no KL term to train them."""
        if self.alpha == 1:
            require_fixed_prior(require_vae(model, self.name), self.name)

    def check(self, terms: Terms) -> None:
        """Require a single group, and a density if there is a KL term."""
        require_single_group(terms, self.name)
        if self.alpha != 1:
            require_density(terms, self.name)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        value = terms.log_likelihood.mean(0)
        if self.alpha != 1:
            value = value - (1 - self.alpha) * mean_rate(terms)
        if len(terms.batch) == 1:
            return value
        (group,) = terms.latents
        pairs = zip(group.z.flatten(2), draw_prior(group).flatten(2), strict=True)
        discrepancy = torch.stack([mmd(z, prior, self.kernel, self.width) for z, prior in pairs]).mean()
        return value - (self.alpha + self.lambda_ - 1) * discrepancy


class WAE(InfoVAE):
    """Wasserstein autoencoder E_q[log p(x | z)] - weight MMD^2(q(z), p(z)), with the cost -log p(x | z).

    With a Gaussian likelihood of fixed scale, the cost is the squared error. It is not a bound on log p(x), and works
    with posterior 'point'. It is InfoVAE with alpha = 1, and treats batches of one example in the same way.

    Args:
        weight: Weight of the discrepancy, in nats.
        kernel: As in InfoVAE.
        width: As in InfoVAE.
        samples: Latent samples per example.

    References:
        Wasserstein auto-encoders (Tolstikhin et al. 2018), Algorithm 2, https://arxiv.org/abs/1711.01558
    """

    def __init__(self, weight: float = 10.0, kernel: str = "imq", width: float | None = None, samples: int = 1) -> None:
        super().__init__(1.0, number("weight", weight, least=0), kernel, width, samples)
