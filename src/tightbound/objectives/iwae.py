"""The importance-weighted bound."""

from __future__ import annotations

import math

from torch import Tensor

from tightbound.core.errors import whole
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.objectives.base import Objective, require_density, require_draws


class ImportanceWeighted(Objective):
    """A function of the importance weights, which need a density and draws."""

    trains_proposal = True

    def check(self, terms: Terms) -> None:
        """Needs a density, and draws that differ."""
        require_density(terms, self.name)
        require_draws(terms, self.name)


class IWAE(ImportanceWeighted):
    """log (1/k) sum_i p(x, z_i) / q(z_i | x), a bound on log p(x) that tightens with k.

    Arguments:
        samples: k.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Eq. 8, https://arxiv.org/abs/1509.00519
    """

    def __init__(self, samples: int = 5) -> None:
        self.samples = whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        return logmeanexp(terms.log_weight)


def logmeanexp(log_weight: Tensor) -> Tensor:
    """(S, B) -> (B,): log of the mean over samples of exp(log_weight)."""
    return log_weight.logsumexp(0) - math.log(len(log_weight))
