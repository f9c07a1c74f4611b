"""The streaming estimator against the batch estimator, which is exact if the batch is the data set."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from tightbound.information import AggregateStream, decompose, log_pairs, log_pairs_by_dimension, log_weights

N, L = 9, 3


def posterior() -> Independent:
    generator = torch.Generator().manual_seed(0)
    mean = 2 * torch.randn(N, L, generator=generator, dtype=torch.float64)
    scale = 0.3 + torch.rand(N, L, generator=generator, dtype=torch.float64)
    return Independent(Normal(mean, scale), 1)


@pytest.mark.parametrize("block", [1, 4, N])
def test_blocks_of_any_size_give_the_batch_estimates(block: int) -> None:
    q = posterior()
    torch.manual_seed(1)
    z = q.rsample((1,))
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    pairs = log_pairs_by_dimension(q, z)[0]  # (N, N, L)
    own = torch.tensor([7, 0, 4])
    stream = AggregateStream(own, L)
    for part in pairs[own].split(block, dim=1):
        stream.add(part)
    exact = decompose(q, z, log_prior, log_weights(N))
    assert stream.size == N
    assert stream.by_dimension is not None
    marginals = stream.by_dimension.sum(-1)
    assert torch.allclose(stream.own - stream.aggregate, exact.mutual_information[0, own], atol=1e-12)
    assert torch.allclose(stream.aggregate - marginals, exact.total_correlation[0, own], atol=1e-12)
    assert torch.allclose(marginals - log_prior[0, own], exact.dimension_wise_kl[0, own], atol=1e-12)
    others = log_pairs(q, z)[0].masked_fill(torch.eye(N, dtype=torch.bool), -torch.inf)
    assert torch.allclose(stream.without_own, (others.logsumexp(1) - math.log(N - 1))[own], atol=1e-12)


def test_missing_marginals_and_other_examples() -> None:
    stream = AggregateStream(torch.tensor([0]), 2)
    stream.add(torch.tensor([[[-3.0]]]))
    assert stream.by_dimension is None
    assert stream.aggregate.item() == stream.own.item() == -3
    assert stream.without_own.item() == -math.inf
