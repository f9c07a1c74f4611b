"""Width of the posterior: the noise of a latent code that is worth its price."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NO_RATE, NOTHING
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Estimate, estimate, mean_error, scalar, scalar_error

GRADES: tuple[tuple[float, Severity], ...] = ((16.0, "severe"), (4.0, "moderate"))


class _Width(Check):
    """Exchange rate between rate and distortion, compared with the 1 nat for 1 nat of the bound.

    A finding is a factor of two or more, by two standard errors: what was maximized then differs from the bound on
    log p(x) by at least that. It is moderate from four, severe from sixteen. Where wider noise would cost more rate,
    not less, posteriors are too wide for any weight of the rate; the factor is then the one on the variance that is
    best for the ELBO.

    References:
        Fixing a broken ELBO (Alemi et al. 2018), Section 2, https://arxiv.org/abs/1711.00464;
        beta-VAE (Higgins et al. 2017), https://openreview.net/forum?id=Sy2fzU9gl
    """

    def measure(self, case: Case) -> Evidence:
        """Return the exchange rate, what rescaling would gain, and the scales of the codes."""
        support, groups = case.model.latents.support, case.evaluation["kl_per_group"].value
        require(case.has_bound, NO_RATE)
        nothing = f"z carries less than {NOTHING} nats: there is nothing to weigh"
        require(scalar(case.evaluation["rate"]) >= NOTHING, nothing)
        require(support == "real", f"codes lie on {support}, where posteriors cannot be rescaled")
        following = "posteriors of lower groups follow the draws of higher ones, and leave their family when rescaled"
        require(not isinstance(groups, list) or len(groups) < 2, following)
        found = case.exchange
        return {
            "exchange_rate": found.rate,
            "best_width": found.width,
            "rescaling_gain": found.gain,
            "too_wide": found.too_wide,
            "too_narrow": found.too_narrow,
            "aggregate_std": case.evaluation["latent_std"],
            "posterior_std": _posterior_std(case),
        }

    def _factor(self, evidence: Evidence) -> float | None:
        """Return the factor by which the width is off, at least two; None if it is not known to be off."""
        excess, rate = evidence[self.name.removeprefix("posterior-").replace("-", "_")], evidence["exchange_rate"]
        if not scalar(excess) > 2 * scalar_error(excess):
            return None
        off = scalar(rate) if rate.value is not None else scalar(evidence["best_width"]) ** -2
        return max(2.0, off, 1 / max(off, 1e-9))

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge whether a nat of rate saves more than two nats of distortion, or less than half a nat."""
        factor = self._factor(evidence)
        if factor is None:
            return None
        description, options = self.conclude(evidence["exchange_rate"], case)
        return Finding(self.name, _severity(factor), evidence, description, options)

    @abstractmethod
    def conclude(self, rate: Estimate, case: Case) -> tuple[str, remedies.Options]:
        """Return what is wrong at this exchange rate, and the options that change it."""


class TooWide(_Width):
    """A posterior that is wider than the bound asks for, as when the rate is weighted too heavily."""

    name = "posterior-too-wide"
    question = "Would narrower posteriors save more distortion than they cost?"
    explains = ("unused-latents", "nothing-learned", "prior-mismatch", "holes")

    def measure(self, case: Case) -> Evidence:
        """Return the same, if the posterior was trained by the ELBO."""
        made = remedies.objective(case.config)
        wider = "q(z|x) was trained as the proposal of an importance sampler, which is wider than the ELBO asks for"
        require(made is None or not made.trains_proposal, wider)
        return super().measure(case)

    def conclude(self, rate: Estimate, case: Case) -> tuple[str, remedies.Options]:
        """Return that distortion would fall, or even the rate, and options that weight the rate less."""
        worth = (
            "even the rate would fall if they were narrower"
            if rate.value is None
            else f"another nat in z would save {scalar(rate):.1f} nats of distortion, where 1 is right"
        )
        description = (
            f"Posteriors are too wide: {worth}. Latent codes carry too little, and reconstructions are blurred."
        )
        return description, remedies.full_rate(case.config) or remedies.learning(case.config)


class TooNarrow(_Width):
    """A posterior that is narrower than the bound asks for, as when the rate is weighted too lightly."""

    name = "posterior-too-narrow"
    question = "Is the rate worth its cost?"

    def conclude(self, rate: Estimate, case: Case) -> tuple[str, remedies.Options]:
        """Return that the last nat of rate saves too little, and options that weight the rate as the bound does."""
        worth = (
            "wider ones would cost less"
            if rate.value is None
            else f"the last nat in z saves {scalar(rate):.2g} nats of distortion, where 1 is right"
        )
        description = f"Posteriors are too narrow: {worth}. Latent codes need not lie where the prior draws them."
        return description, remedies.bound(case.config)


def _severity(factor: float) -> Severity:
    reached: list[Severity] = [name for limit, name in GRADES if factor >= limit]
    return reached[0] if reached else "mild"


def _posterior_std(case: Case) -> Estimate:
    variance = case.codes.variance.double().numpy()
    value = np.sqrt(variance.mean(0))
    stderr = mean_error(variance) / (2 * np.maximum(value, 1e-12))
    return estimate(
        value, stderr, n=len(variance), unit="z", target="q(z|x) over the data", estimator="sqrt(E sigma^2)",
        description="width of the posterior by latent dimension",
    )  # fmt: skip
