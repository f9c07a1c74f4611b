"""The aggregate posterior q(z) = E_x q(z | x) from the densities log q(z_i | x_j) of a batch's codes under all of its
data. S samples, B data, L dimensions, N the size of the data set; all values in nats.

With N = B the batch is the data set, and its aggregate posterior is exact.
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
    """KL(q(z | x) || p(z)) in three, a value for each draw; their means over draws and data are the estimates.

    References:
        Isolating sources of disentanglement in VAEs (Chen et al. 2018), Eq. 2, https://arxiv.org/abs/1802.04942
    """

    mutual_information: Tensor  # (S, B) log q(z | x) - log q(z)
    total_correlation: Tensor  # (S, B) log q(z) - sum_d log q(z_d)
    dimension_wise_kl: Tensor  # (S, B) sum_d log q(z_d) - log p(z); p need not factorize


def log_weights(batch: int, size: int | None = None, sampling: Sampling = "mss") -> Tensor:
    """(B, B) log W with sum_j W_ij q(z_i | x_j) an estimate of q(z_i), for a batch drawn without replacement.

    "mss", stratified: an example's own density has weight 1 / N, on the diagonal, and the others of the batch
    share the rest. Unbiased, and exact for B = N. The paper's estimator gives one of the others another weight than
    the rest; this is its mean over which one that is, of the same expectation and less variance.
    "mws", weighted: 1 / (N B) throughout. Its logarithm is below log q(z) in expectation, by log N for B = N.

    Arguments:
        batch: B.
        size: N; None: the batch is the data set.

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
    """(S, B, B) log q(z_i | x_j) of z (S, B, L) under q with batch shape (B,).

    Raises:
        CompositionError: where q depends on the sample.
    """
    _one_for_each_example(q)
    return q.log_prob(z.unsqueeze(2))


def log_pairs_by_dimension(q: Distribution, z: Tensor) -> Tensor:
    """(S, B, B, L) log q(z_id | x_j) of z (S, B, L) under a factorized q with batch shape (B,).

    Raises:
        CompositionError: where q does not factorize over the dimensions of z, so that it has no marginals.
    """
    _one_for_each_example(q)
    pairs = log_factors(q, z.unsqueeze(2))
    if pairs.shape[-1] != z.shape[-1]:
        raise CompositionError(
            f"the marginals q(z_d | x) are needed and {type(q).__name__} does not factorize over the dimensions of z; "
            "use posterior 'normal'"
        )
    return pairs


def log_aggregate(pairs: Tensor, weights: Tensor) -> Tensor:
    """Pairs (S, B, B, ...) and log weights (B, B) -> (S, B, ...) log q(z_i)."""
    weights = weights.to(pairs)
    return (pairs + weights.reshape(*weights.shape, *[1] * (pairs.dim() - 3))).logsumexp(2)


def decompose(q: Distribution, z: Tensor, log_prior: Tensor, weights: Tensor) -> Decomposition:
    """Mutual information, total correlation and dimension-wise KL; their sum is log q(z | x) - log p(z), exactly.

    Arguments:
        q: Factorized, batch shape (B,).
        z: (S, B, L) draws of it.
        log_prior: (S, B) log p(z).
        weights: (B, B), from `log_weights`.

    Raises:
        CompositionError: where q does not factorize.
    """
    pairs = log_pairs_by_dimension(q, z)
    joint = pairs.sum(-1)
    aggregate, marginals = log_aggregate(joint, weights), log_aggregate(pairs, weights).sum(-1)
    return Decomposition(_own(joint) - aggregate, aggregate - marginals, marginals - log_prior)


def mutual_information(q: Distribution, z: Tensor, weights: Tensor | None = None) -> Tensor:
    """(S, B) log q(z | x) - log q(z), whose mean is I_q(x; z); at most log N where the batch is the data set.

    Arguments:
        q: Batch shape (B,).
        z: (S, B, L) draws of it.
        weights: (B, B), from `log_weights`; None: the batch is the data set.
    """
    pairs = log_pairs(q, z)
    return _own(pairs) - log_aggregate(pairs, log_weights(z.shape[1]) if weights is None else weights)


def aggregate_kl(q: Distribution, z: Tensor, log_prior: Tensor, weights: Tensor | None = None) -> Tensor:
    """(S, B) log q(z) - log p(z), whose mean is KL(q(z) || p(z)); arguments as above."""
    return log_aggregate(log_pairs(q, z), log_weights(z.shape[1]) if weights is None else weights) - log_prior


def _own(pairs: Tensor) -> Tensor:
    """(S, B, B) -> (S, B) log q(z_i | x_i)."""
    return pairs.diagonal(dim1=1, dim2=2)


def _one_for_each_example(q: Distribution) -> None:
    if len(q.batch_shape) != 1:
        raise CompositionError(
            f"densities of other data's codes need one q(z | x) an example, and {type(q).__name__} has batch shape "
            f"{tuple(q.batch_shape)}; use a posterior that does not depend on the sample, such as 'normal'"
        )
