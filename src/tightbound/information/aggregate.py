"""The aggregate posterior q(z) = E_x q(z | x), estimated from a batch.

It is computed from the densities log q(z_i | x_j) of the batch's latent codes given each of its examples. Shapes: S
samples, B examples, L dimensions; N is the size of the data set, and all values are in nats. If N = B, the batch is the
data set and q(z) is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.terms import log_factors

Sampling = Literal["mss", "mws"]


@dataclass(frozen=True)
class Decomposition:
    """Decomposition of KL(q(z | x) || p(z)) into three terms per sample, whose means over samples and examples count.

    References:
        Isolating sources of disentanglement in VAEs (Chen et al. 2018), Eq. 2, https://arxiv.org/abs/1802.04942
    """

    mutual_information: Tensor  # (S, B) log q(z | x) - log q(z)
    total_correlation: Tensor  # (S, B) log q(z) - sum_d log q(z_d)
    dimension_wise_kl: Tensor  # (S, B) sum_d log q(z_d) - log p(z); p need not factorize


def log_weights(batch: int, size: int | None = None, sampling: Sampling = "mss") -> Tensor:
    """Return log W (B, B) such that sum_j W_ij q(z_i | x_j) estimates q(z_i), for a batch drawn without replacement.

    "mss" (stratified): an example's own density has weight 1 / N, on the diagonal, and the other examples of the batch
    share the rest. It is unbiased, and exact for B = N. The paper's estimator gives one of the others a different
    weight; this is the mean over all choices of that one, with the same expectation and less variance. "mws"
    (weighted): all weights are 1 / (N B). Its logarithm is below log q(z) in expectation, by log N for B = N.

    Args:
        batch: Batch size B.
        size: Size N of the data set; None: the batch is the data set.
        sampling: "mss" or "mws".

    References:
        Isolating sources of disentanglement in VAEs (Chen et al. 2018), Appendix C, https://arxiv.org/abs/1802.04942
    """
    batch = whole("batch", batch, least=1)
    size = batch if size is None else whole("size", size, least=1)
    if sampling not in get_args(Sampling):
        raise InputError(f"sampling = {sampling!r}; needed: 'mss' or 'mws'")
    if sampling == "mws":
        return torch.full((batch, batch), -math.log(size * batch), dtype=torch.float64)
    others = (size - 1) / (size * max(batch - 1, 1))
    weights = torch.full((batch, batch), others, dtype=torch.float64)
    return weights.fill_diagonal_(1 / size).log()


def log_pairs(q: Distribution, z: Tensor) -> Tensor:
    """Return log q(z_i | x_j) (S, B, B) at z (S, B, L) for q with batch shape (B,).

    Raises:
        CompositionError: If q depends on the sample.
    """
    _require_one_per_example(q)
    return q.log_prob(z.unsqueeze(2))


def log_pairs_by_dimension(q: Distribution, z: Tensor) -> Tensor:
    """Return log q(z_id | x_j) (S, B, B, L) at z (S, B, L) for a factorized q with batch shape (B,).

    Raises:
        CompositionError: If q does not factorize over the dimensions of z.
    """
    _require_one_per_example(q)
    pairs = log_factors(q, z.unsqueeze(2))
    if pairs.shape[-1] != z.shape[-1]:
        raise CompositionError(
            f"marginals q(z_d | x) are needed, and {type(q).__name__} does not factorize over the dimensions of z; "
            "use posterior 'normal'"
        )
    return pairs


def log_aggregate(pairs: Tensor, weights: Tensor) -> Tensor:
    """Return log q(z_i) (S, B, ...) from pairs (S, B, B, ...) and log weights (B, B)."""
    weights = weights.to(pairs)
    return (pairs + weights.reshape(*weights.shape, *[1] * (pairs.dim() - 3))).logsumexp(2)


def decompose(q: Distribution, z: Tensor, log_prior: Tensor, weights: Tensor) -> Decomposition:
    """Return mutual information, total correlation and dimension-wise KL; their sum is exactly log q(z | x) - log p(z).

    Args:
        q: Factorized posterior with batch shape (B,).
        z: Draws (S, B, L) from q.
        log_prior: log p(z), (S, B).
        weights: Log weights (B, B) from `log_weights`.

    Raises:
        CompositionError: If q does not factorize.
    """
    pairs = log_pairs_by_dimension(q, z)
    joint = pairs.sum(-1)
    aggregate, marginals = log_aggregate(joint, weights), log_aggregate(pairs, weights).sum(-1)
    return Decomposition(_own(joint) - aggregate, aggregate - marginals, marginals - log_prior)


def mutual_information(q: Distribution, z: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return log q(z | x) - log q(z) (S, B), whose mean is I_q(x; z).

    It is at most log N if the batch is the data set.

    Args:
        q: Posterior with batch shape (B,).
        z: Draws (S, B, L) from q.
        weights: Log weights (B, B) from `log_weights`; None: the batch is the data set.
    """
    pairs = log_pairs(q, z)
    return _own(pairs) - log_aggregate(pairs, log_weights(z.shape[1]) if weights is None else weights)


def aggregate_kl(q: Distribution, z: Tensor, log_prior: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return log q(z) - log p(z) (S, B), whose mean is KL(q(z) || p(z)).

    Args:
        q: Posterior with batch shape (B,).
        z: Draws (S, B, L) from q.
        log_prior: log p(z), (S, B).
        weights: Log weights (B, B) from `log_weights`; None: the batch is the data set.
    """
    return log_aggregate(log_pairs(q, z), log_weights(z.shape[1]) if weights is None else weights) - log_prior


def _own(pairs: Tensor) -> Tensor:
    """Return log q(z_i | x_i) (S, B) from pairs (S, B, B)."""
    return pairs.diagonal(dim1=1, dim2=2)


def _require_one_per_example(q: Distribution) -> None:
    """Raise CompositionError if q depends on the sample."""
    if len(q.batch_shape) != 1:
        raise CompositionError(
            f"densities at z of other examples need one q(z | x) per example, and {type(q).__name__} has batch shape "
            f"{tuple(q.batch_shape)}; use a posterior that does not depend on the sample, such as 'normal'"
        )
