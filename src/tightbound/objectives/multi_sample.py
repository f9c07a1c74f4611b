"""Relatives of the importance-weighted bound."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.core.errors import number, whole
from tightbound.core.interfaces import Trainable
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.objectives.base import ParameterGroup, require_separate_parameters, split_groups
from tightbound.objectives.iwae import ImportanceWeighted, logmeanexp


class MIWAE(ImportanceWeighted):
    """The mean of m independent IWAE bounds of k samples each.

    Arguments:
        m, k: Their numbers; m k samples are drawn.

    References:
        Tighter variational bounds are not necessarily better (Rainforth et al. 2018), Eq. 16,
        https://arxiv.org/abs/1802.04537
    """

    def __init__(self, m: int = 8, k: int = 8) -> None:
        self.m, self.k = whole("m", m, least=1), whole("k", k, least=1)
        self.samples = self.m * self.k

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        weight = terms.log_weight
        return logmeanexp(weight.reshape(self.k, self.m, *weight.shape[1:])).mean(0)


class PIWAE(ImportanceWeighted):
    """IWAE with m k samples for the decoder and the prior, MIWAE(m, k) for the encoder, whose gradient drowns in noise
    as k grows. Its value is the former.

    Arguments:
        m, k: Of the encoder's bound.

    References:
        Tighter variational bounds are not necessarily better (Rainforth et al. 2018), on PIWAE,
        https://arxiv.org/abs/1802.04537
    """

    def __init__(self, m: int = 8, k: int = 8) -> None:
        self._encoder = MIWAE(m, k)
        self.samples = self._encoder.samples

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        return logmeanexp(terms.log_weight)

    def prepare(self, model: Trainable, size: int | None) -> None:
        """Needs encoder and decoder apart."""
        require_separate_parameters(model, "piwae")

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """The decoder and the prior by IWAE, the encoder by MIWAE."""
        return split_groups(
            model,
            encoder=lambda terms, knobs: -self._encoder(terms, knobs).mean(),
            others=lambda terms, knobs: -self(terms, knobs).mean(),
        )


class CIWAE(ImportanceWeighted):
    """beta ELBO + (1 - beta) IWAE, from the same k samples.

    Arguments:
        samples: k.
        beta: Weight of the ELBO, in [0, 1].

    References:
        Tighter variational bounds are not necessarily better (Rainforth et al. 2018), Eq. 17,
        https://arxiv.org/abs/1802.04537
    """

    def __init__(self, samples: int = 64, beta: float = 0.05) -> None:
        self.samples, self.beta = whole("samples", samples, least=1), number("beta", beta, least=0, most=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        weight = terms.log_weight
        return self.beta * weight.mean(0) + (1 - self.beta) * logmeanexp(weight)


class Renyi(ImportanceWeighted):
    """The variational Renyi bound, 1 / (1 - alpha) log (1/k) sum_i w_i^(1 - alpha).

    alpha = 1: the ELBO (its limit); 0: IWAE; for alpha < 0 its limit in k lies above log p(x): no lower bound, and
    `VRMax` is what it tends to.

    Arguments:
        alpha: Order of the divergence.
        samples: k.

    References:
        Renyi divergence variational inference (Li and Turner 2016), Eq. 14, https://arxiv.org/abs/1602.02311
    """

    def __init__(self, alpha: float = 0.5, samples: int = 5) -> None:
        self.alpha, self.samples = number("alpha", alpha), whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        weight, power = terms.log_weight, 1 - self.alpha
        if power == 0:
            return weight.mean(0)
        mean = weight.mean(0)
        off = power * (weight - mean)
        # near alpha = 1 the logarithm of a mean of numbers near 1 loses all digits
        near = mean + off.clamp(-1, 1).expm1().mean(0).log1p() / power
        return torch.where(off.abs().amax(0) < 0.1, near, logmeanexp(power * weight) / power)


class VRMax(ImportanceWeighted):
    """The largest of k log-weights: the variational Renyi bound as alpha goes to -infinity. No lower bound.

    Arguments:
        samples: k.

    References:
        Renyi divergence variational inference (Li and Turner 2016), on VR-max,
        https://arxiv.org/abs/1602.02311
    """

    def __init__(self, samples: int = 5) -> None:
        self.samples = whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """(B,) nats."""
        return terms.log_weight.amax(0)
