"""Objectives that encourage independent dimensions of the aggregate posterior q(z), without an adversary."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError, InputError, number, whole
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Knobs, Schedule, as_schedule
from tightbound.core.terms import Terms
from tightbound.information.aggregate import Sampling, decompose, log_pairs_by_dimension, log_weights
from tightbound.objectives.base import (
    Objective,
    require_density,
    require_evaluable_posterior,
    require_single_group,
    unprepared_error,
)
from tightbound.objectives.elbo import mean_rate


class BetaTC(Objective):
    """beta-TC objective E_q[log p(x | z)] - alpha I_q(x; z) - beta TC(q(z)) - gamma sum_d KL(q(z_d) || p(z_d)).

    The last three terms are estimated from the batch. With all weights 1, the value is the Monte Carlo ELBO for any
    `sampling`; with other weights it is not a bound on log p(x). If the prior does not factorize, the last term is
    KL(prod_d q(z_d) || p(z)).

    Args:
        beta: Weight of the total correlation, or its schedule.
        alpha: Weight of the mutual information, or its schedule.
        gamma: Weight of the dimension-wise KL, or its schedule.
        sampling: "mss" (stratified) or "mws" (weighted) estimate of q(z). The total correlation of "mws" is too high by
            up to (L - 1) log N in value, with hardly an effect on its gradient.
        samples: Latent samples per example.

    References:
        Isolating sources of disentanglement in VAEs (Chen et al. 2018), Eq. 4, https://arxiv.org/abs/1802.04942
    """

    pointwise = False
    min_batch_size = 2

    def __init__(
        self,
        beta: float | Schedule = 6.0,
        alpha: float | Schedule = 1.0,
        gamma: float | Schedule = 1.0,
        sampling: Sampling = "mss",
        samples: int = 1,
    ) -> None:
        log_weights(1, 1, sampling)  # raises if the name is unknown
        self.sampling: Sampling = sampling
        self.samples, self._size = whole("samples", samples, least=1), 0
        weights = {"beta": beta, "alpha": alpha, "gamma": gamma}
        self.schedules = {name: as_schedule(name, value, least=0) for name, value in weights.items()}

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Store the number of training examples N."""
        if n_examples is None:
            raise CompositionError(
                "objective 'beta-tc' needs the number of training examples, which is unknown for a stream; "
                "pass data of known length, pass size= to VAE.loss, or use objective 'factor'"
            )
        self._size = n_examples

    def check(self, terms: Terms) -> None:
        """Require a single group with a factorized posterior."""
        require_density(terms, "beta-tc")
        group = require_single_group(terms, "beta-tc")
        log_pairs_by_dimension(require_evaluable_posterior(group, "beta-tc"), group.z)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        (group,) = terms.latents
        q, log_prior = require_evaluable_posterior(group, "beta-tc"), group.log_prior
        if not self._size or log_prior is None:
            raise unprepared_error("beta-tc")
        parts = decompose(q, group.z, log_prior, log_weights(len(terms.batch), self._size, self.sampling))
        penalty = (
            knobs["alpha"] * parts.mutual_information
            + knobs["beta"] * parts.total_correlation
            + knobs["gamma"] * parts.dimension_wise_kl
        )
        return (terms.log_likelihood - penalty).mean(0)


class DIP(Objective):
    """DIP objective: ELBO minus a penalty on the covariance C of the latent codes.

    The penalty is lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2, with C estimated from the batch, whose
    examples share it. The value is a lower bound on the ELBO.

    Args:
        kind: 1: C = Cov_x E[z | x], the covariance of the means; 2: C = Cov z, which adds E_x Var[z | x].
        lambda_od: Weight of the off-diagonal elements.
        lambda_d: Weight of the diagonal; None: 10 lambda_od for kind 1, lambda_od for kind 2.
        samples: Latent samples per example.

    References:
        Variational inference of disentangled latent concepts from unlabeled observations (Kumar et al. 2018),
        Eqs. 6 and 7, https://arxiv.org/abs/1711.00848; the default weights: Challenging common assumptions in the
        unsupervised learning of disentangled representations (Locatello et al. 2019), https://arxiv.org/abs/1811.12359
    """

    pointwise = False
    min_batch_size = 2

    def __init__(self, kind: int = 1, lambda_od: float = 10.0, lambda_d: float | None = None, samples: int = 1) -> None:
        if kind not in (1, 2):
            raise InputError(f"kind = {kind!r}; needed: 1 or 2")
        self.kind, self.lambda_od = kind, number("lambda_od", lambda_od, least=0)
        ratio = 10 if kind == 1 else 1
        self.lambda_d = ratio * self.lambda_od if lambda_d is None else number("lambda_d", lambda_d, least=0)
        self.samples = whole("samples", samples, least=1)

    def check(self, terms: Terms) -> None:
        """Require a single group whose posterior has known means and, for kind 2, covariances."""
        require_density(terms, "dip")
        q = require_evaluable_posterior(group := require_single_group(terms, "dip"), "dip")
        if self.kind == 2:
            log_pairs_by_dimension(q, group.z)  # raises unless q factorizes and so Cov[z | x] is diagonal
        try:
            _ = q.mean
        except NotImplementedError:
            raise CompositionError(
                f"objective 'dip' needs the mean of q(z | x), and {type(q).__name__} has none in closed form; "
                "use posterior 'normal'"
            ) from None

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        (group,) = terms.latents
        return terms.log_likelihood.mean(0) - mean_rate(terms) - self.penalty(require_evaluable_posterior(group, "dip"))

    def penalty(self, q: Distribution) -> Tensor:
        """Return the scalar penalty for q with batch shape (B,)."""
        centered = q.mean - q.mean.mean(0)
        covariance = centered.mT @ centered / len(centered)
        variance = covariance.diagonal()
        off = covariance.square().sum() - variance.square().sum()
        if self.kind == 2:
            variance = variance + q.variance.mean(0)
        return self.lambda_od * off + self.lambda_d * (variance - 1).square().sum()
