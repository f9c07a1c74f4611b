"""Log-probability of each code index."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent

from tightbound.core.dispatch import Dispatched
from tightbound.core.errors import CompositionError
from tightbound.priors.codes.autoregressive import AutoregressiveCodes


@Dispatched
def log_factors(distribution: Distribution, codes: Tensor) -> Tensor:
    """Return log p (..., P, depth) of each index given those before it, in nats, for indices (..., P, depth).

    Raises:
        CompositionError: If the distribution has no log-probability per index.
    """
    raise CompositionError(f"a {type(distribution).__name__} has no log-probability per code index")


@log_factors.register
def _(distribution: Independent, codes: Tensor) -> Tensor:
    if not isinstance(distribution.base_dist, Categorical):
        raise CompositionError(f"a {type(distribution.base_dist).__name__} has no log-probability per code index")
    return distribution.base_dist.log_prob(codes)


@log_factors.register
def _(distribution: AutoregressiveCodes, codes: Tensor) -> Tensor:
    return distribution.log_factors(codes)
