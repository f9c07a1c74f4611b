"""Importance-weighted bound."""

from __future__ import annotations

import math

from torch import Tensor

from tightbound.core.errors import whole
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.objectives.base import Objective, require_density, require_draws


class ImportanceWeighted(Objective):
    """Base class of objectives that are functions of the importance weights."""

    trains_proposal = True

    def check(self, terms: Terms) -> None:
        """Require a density, and a posterior that is not deterministic."""
        require_density(terms, self.name)
        require_draws(terms, self.name)


class IWAE(ImportanceWeighted):
    """Importance-weighted bound log (1/k) sum_i p(x, z_i) / q(z_i | x), which tightens with k.

    Args:
        samples: Number of samples k.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Eq. 8, https://arxiv.org/abs/1509.00519
    """

    def __init__(self, samples: int = 5) -> None:
        self.samples = whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        return logmeanexp(terms.log_weight)


def logmeanexp(log_weight: Tensor) -> Tensor:
    """Return the logarithm (B,) of the mean over samples of exp(log_weight) for log-weights (S, B)."""
    return log_weight.logsumexp(0) - math.log(len(log_weight))
