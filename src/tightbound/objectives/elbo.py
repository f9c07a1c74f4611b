"""Evidence lower bound, and variants that weight the rate: beta, free bits and capacity."""

from __future__ import annotations

import functools
import warnings
from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.schedules import Knobs, Schedule, as_schedule
from tightbound.core.terms import Terms
from tightbound.objectives.base import Objective, require_density, require_rate

KL = Literal["auto", "closed", "monte-carlo"]


class RateDistortion(Objective):
    """Base class of objectives E_q[log p(x | z)] - penalty(rate).

    Args:
        samples: Number of samples per example.
        kl: "closed": require a closed-form KL; "monte-carlo": log q - log p at the samples; "auto": closed form if
            known.
    """

    def __init__(self, samples: int = 1, kl: KL = "auto") -> None:
        if kl not in ("auto", "closed", "monte-carlo"):
            raise InputError(f"kl = {kl!r}; needed: 'auto', 'closed' or 'monte-carlo'")
        self.samples, self.kl = whole("samples", samples, least=1), kl

    def __call__(self, terms: Terms, knobs: Knobs) -> Tensor:
        """Return the objective (B,) in nats."""
        return mean_over_samples(terms.log_likelihood) - self.penalty(self.rates(terms), knobs)

    def rates(self, terms: Terms) -> list[Tensor]:
        """Return the rates (B, F) of each group, averaged over samples."""
        if self.kl == "monte-carlo":
            return [mean_over_samples(group.log_ratio()).unsqueeze(-1) for group in terms.latents]
        return [mean_over_samples(group.rate()) for group in terms.latents]

    @abstractmethod
    def penalty(self, rates: list[Tensor], knobs: Knobs) -> Tensor:
        """Return the penalty in nats for the rates (B, F) of each group: (B,), or a scalar if the batch shares it."""

    def check(self, terms: Terms) -> None:
        """Require a density, and a closed-form KL if kl="closed"."""
        require_density(terms, self.name)
        if self.kl == "closed" and any(group.kl is None for group in terms.latents):
            raise CompositionError(
                "kl='closed' was given, but this prior and posterior have no closed-form KL; use kl='monte-carlo'"
            )


class ELBO(RateDistortion):
    """Evidence lower bound E_q[log p(x | z)] - beta KL(q || p), which bounds log p(x) for beta = 1.

    Args:
        beta: Weight of the rate, or its schedule.
        samples: Latent samples per example.
        kl: "closed", "monte-carlo" or "auto", see `RateDistortion`.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling 2014), Eqs. 7 and 10, https://arxiv.org/abs/1312.6114;
        beta-VAE (Higgins et al. 2017), Eq. 4, https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(self, beta: float | Schedule = 1.0, samples: int = 1, kl: KL = "auto") -> None:
        super().__init__(samples, kl)
        self.schedules = {"beta": as_schedule("beta", beta, least=0)}

    def check(self, terms: Terms) -> None:
        """Check as `RateDistortion` does, and warn if beta has no effect."""
        super().check(terms)
        if terms.deterministic and (beta := float(Knobs.final(self.schedules)["beta"])) != 1:
            warnings.warn(
                f"beta = {beta:g} changes only the reported loss, because the rate of a deterministic posterior is "
                "constant until the code prior is trained; to change the rate, change the number of code indices or "
                "codebook_size=, or use quantizer 'gumbel'",
                stacklevel=2,
            )

    def penalty(self, rates: list[Tensor], knobs: Knobs) -> Tensor:
        """Return beta times the rate."""
        return knobs["beta"] * sum_factors(rates)


class FreeBits(RateDistortion):
    """ELBO with free bits: the penalty is sum max(free_bits, rate), so rates below `free_bits` nats cost the same.

    Args:
        free_bits: Free nats for each unit of `over`, or their schedule.
        over: Unit of the limit: "factor" (latent dimension), "group" or "total".
        average: "batch": the limit applies to the batch mean of each unit's rate, as in the paper; "example": it
            applies to each example's rate.
        beta: Weight of the rate, or its schedule.
        samples: Latent samples per example.
        kl: "closed", "monte-carlo" or "auto", see `RateDistortion`.

    References:
        Improved variational inference with inverse autoregressive flow (Kingma et al. 2016), Eq. 15,
        https://arxiv.org/abs/1606.04934
    """

    def __init__(
        self,
        free_bits: float | Schedule = 0.5,
        over: Literal["factor", "group", "total"] = "factor",
        average: Literal["batch", "example"] = "batch",
        beta: float | Schedule = 1.0,
        samples: int = 1,
        kl: KL = "auto",
    ) -> None:
        super().__init__(samples, kl)
        if over not in ("factor", "group", "total"):
            raise InputError(f"over = {over!r}; needed: 'factor', 'group' or 'total'")
        if average not in ("batch", "example"):
            raise InputError(f"average = {average!r}; needed: 'batch' or 'example'")
        self.over, self.average, self.pointwise = over, average, average == "example"
        self.schedules = {
            "beta": as_schedule("beta", beta, least=0),
            "free_bits": as_schedule("free_bits", free_bits, least=0),
        }

    def check(self, terms: Terms) -> None:
        """Require a rate that training changes and, for over="factor", a rate per latent dimension."""
        super().check(terms)
        require_rate(terms, self.name)
        pairs = zip(self.rates(terms), terms.latents, strict=True)
        if self.over == "factor" and any(r.shape[-1] == 1 < g.z[0, 0].numel() for r, g in pairs):
            raise CompositionError(
                "over='factor' needs the KL of each latent dimension, but only their sum is known here; "
                "use over='group', or kl='closed' with a prior and a posterior that factorize"
            )

    def penalty(self, rates: list[Tensor], knobs: Knobs) -> Tensor:
        """Return beta times the sum over units of max(free_bits, rate)."""
        if self.over != "factor":
            rates = [rate.sum(-1, keepdim=True) for rate in rates]
        if self.over == "total":
            rates = [torch.stack(rates).sum(0)]
        if self.average == "batch":
            rates = [rate.mean(0, keepdim=True).expand_as(rate) for rate in rates]
        limit = knobs["free_bits"]
        return knobs["beta"] * sum_factors([torch.maximum(rate, limit.to(rate)) for rate in rates])


class Capacity(RateDistortion):
    """Capacity objective E_q[log p(x | z)] - gamma |batch-mean KL - capacity|, which drives the rate to a target.

    Args:
        capacity: Target rate in nats, or its schedule, such as linear(stop=25).
        gamma: Weight of the distance from the target, or its schedule.
        samples: Latent samples per example.
        kl: "closed", "monte-carlo" or "auto", see `RateDistortion`.

    References:
        Understanding disentangling in beta-VAE (Burgess et al. 2018), Eq. 8, https://arxiv.org/abs/1804.03599
    """

    pointwise = False

    def __init__(
        self,
        capacity: float | Schedule = 25.0,
        gamma: float | Schedule = 100.0,
        samples: int = 1,
        kl: KL = "auto",
    ) -> None:
        super().__init__(samples, kl)
        self.schedules = {
            "capacity": as_schedule("capacity", capacity, least=0),
            "gamma": as_schedule("gamma", gamma, least=0),
        }

    def check(self, terms: Terms) -> None:
        """Require a rate that training changes."""
        super().check(terms)
        require_rate(terms, self.name)

    def penalty(self, rates: list[Tensor], knobs: Knobs) -> Tensor:
        """Return the scalar gamma |mean rate - capacity|."""
        return knobs["gamma"] * (sum_factors(rates).mean() - knobs["capacity"]).abs()


def mean_over_samples(values: Tensor) -> Tensor:
    """Average (S, ...) over samples to (...), without computation for one sample."""
    return values.squeeze(0) if len(values) == 1 else values.mean(0)


def sum_factors(rates: list[Tensor]) -> Tensor:
    """Sum the rates (B, F) of all groups to (B,); return 0 for a model without latents."""
    return functools.reduce(torch.add, (rate.sum(-1) for rate in rates)) if rates else torch.zeros(())


def mean_rate(terms: Terms) -> Tensor:
    """Return KL(q || p) (B,) of all groups, in closed form if known, averaged over samples."""
    return sum_factors([mean_over_samples(group.rate()) for group in terms.latents])
