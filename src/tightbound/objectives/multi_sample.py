"""Variants of the importance-weighted bound."""

from __future__ import annotations

import torch
from torch import Tensor

from tightbound.core.errors import number, whole
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.objectives.base import ParameterGroup, require_separate_parameters, split_groups
from tightbound.objectives.iwae import ImportanceWeighted, logmeanexp


class MIWAE(ImportanceWeighted):
    """Mean of m independent IWAE bounds with k samples each.

    Args:
        m: Number of bounds.
        k: Samples per bound.

    References:
        Tighter variational bounds are not necessarily better (Rainforth et al. 2018), Eq. 16,
        https://arxiv.org/abs/1802.04537
    """

    def __init__(self, m: int = 8, k: int = 8) -> None:
        self.m, self.k = whole("m", m, least=1), whole("k", k, least=1)
        self.samples = self.m * self.k

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        weight = terms.log_weight
        return logmeanexp(weight.reshape(self.k, self.m, *weight.shape[1:])).mean(0)


class PIWAE(ImportanceWeighted):
    """IWAE with m * k samples for decoder and prior, and MIWAE(m, k) for the encoder.

    With IWAE, the signal in the encoder's gradient is lost in noise as k grows. The value is that of IWAE.

    Args:
        m: Number of bounds for the encoder.
        k: Samples per bound.

    References:
        Tighter variational bounds are not necessarily better (Rainforth et al. 2018), on PIWAE,
        https://arxiv.org/abs/1802.04537
    """

    def __init__(self, m: int = 8, k: int = 8) -> None:
        self._encoder = MIWAE(m, k)
        self.samples = self._encoder.samples

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        return logmeanexp(terms.log_weight)

    def prepare(self, model: Trainable, n_examples: int | None) -> None:
        """Require an encoder that shares no parameters with decoder and prior."""
        require_separate_parameters(model, "piwae")

    def parameter_groups(self, model: Trainable) -> list[ParameterGroup]:
        """Return decoder and prior with IWAE, and the encoder with MIWAE."""
        return split_groups(
            model,
            encoder=lambda terms, knobs: -self._encoder(terms, knobs).mean(),
            others=lambda terms, knobs: -self(terms, knobs).mean(),
        )


class CIWAE(ImportanceWeighted):
    """Combination beta ELBO + (1 - beta) IWAE, from the same k samples.

    Args:
        samples: Number of samples k.
        beta: Weight of the ELBO, in [0, 1].

    References:
        Tighter variational bounds are not necessarily better (Rainforth et al. 2018), Eq. 17,
        https://arxiv.org/abs/1802.04537
    """

    def __init__(self, samples: int = 64, beta: float = 0.05) -> None:
        self.samples, self.beta = whole("samples", samples, least=1), number("beta", beta, least=0, most=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        weight = terms.log_weight
        return self.beta * weight.mean(0) + (1 - self.beta) * logmeanexp(weight)


class Renyi(ImportanceWeighted):
    """Variational Renyi bound 1 / (1 - alpha) log (1/k) sum_i w_i^(1 - alpha).

    alpha = 1 is the ELBO (as a limit), alpha = 0 is IWAE. For alpha < 0, its limit in k lies above log p(x), so it is
    not a lower bound; as alpha goes to -infinity, it becomes `VRMax`.

    Args:
        alpha: Order of the divergence.
        samples: Number of samples k.

    References:
        Renyi divergence variational inference (Li and Turner 2016), Eq. 14, https://arxiv.org/abs/1602.02311
    """

    def __init__(self, alpha: float = 0.5, samples: int = 5) -> None:
        self.alpha, self.samples = number("alpha", alpha), whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        weight, power = terms.log_weight, 1 - self.alpha
        if power == 0:
            return weight.mean(0)
        mean = weight.mean(0)
        off = power * (weight - mean)
        # near alpha = 1, the logarithm of a mean of numbers near 1 would lose all digits
        near = mean + off.clamp(-1, 1).expm1().mean(0).log1p() / power
        return torch.where(off.abs().amax(0) < 0.1, near, logmeanexp(power * weight) / power)


class VRMax(ImportanceWeighted):
    """Largest of k log-weights, the variational Renyi bound as alpha goes to -infinity; not a lower bound.

    Args:
        samples: Number of samples k.

    References:
        Renyi divergence variational inference (Li and Turner 2016), on VR-max,
        https://arxiv.org/abs/1602.02311
    """

    def __init__(self, samples: int = 5) -> None:
        self.samples = whole("samples", samples, least=1)

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        return terms.log_weight.amax(0)
