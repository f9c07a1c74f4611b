"""Over- and under-regularization: the price that the posterior pays for what z carries."""

from __future__ import annotations

import numpy as np

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NO_RATE, NOTHING
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Estimate, estimate, mean_error, scalar, scalar_error

GRADES: tuple[tuple[float, Severity], ...] = ((16.0, "severe"), (4.0, "moderate"), (2.0, "mild"))


class _Regularization(Check):
    """Exchange rate between rate and distortion, compared with the 1 nat for 1 nat of the bound.

    A finding is a factor of two or more, by two standard errors: what was maximized then differs from the bound on
    log p(x) by at least that. It is moderate from four, severe from sixteen.

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
        return {
            "exchange_rate": case.exchange.rate,
            "rescaling_gain": case.exchange.gain,
            "aggregate_std": case.evaluation["latent_std"],
            "posterior_std": _posterior_std(case),
        }


class OverRegularized(_Regularization):
    """A rate that is weighted too heavily: more of it would pay for itself."""

    name = "over-regularized"
    question = "Would more rate save more distortion than it costs?"

    def measure(self, case: Case) -> Evidence:
        """Return the same, if the posterior was trained by the ELBO."""
        made = remedies.objective(case.config)
        wider = "q(z|x) was trained as the proposal of an importance sampler, which is wider than the ELBO asks for"
        require(made is None or not made.trains_proposal, wider)
        return super().measure(case)

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge whether a nat of rate saves more than two nats of distortion."""
        rate = evidence["exchange_rate"]
        value = scalar(rate)
        severity = _severity(value, value - 2 * scalar_error(rate))
        if severity is None:
            return None
        description = (
            f"Another nat in z would save {value:.1f} nats of distortion, where 1 is right: the rate is weighted too "
            "heavily, so that latent codes carry too little and reconstructions are blurred."
        )
        options = remedies.full_rate(case.config) or remedies.longer(case.config)
        return Finding(self.name, severity, evidence, description, options)


class UnderRegularized(_Regularization):
    """A rate that costs more than it saves."""

    name = "under-regularized"
    question = "Is the rate worth its cost?"

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge whether a nat of rate saves less than half a nat of distortion."""
        rate = evidence["exchange_rate"]
        value, most = scalar(rate), scalar(rate) + 2 * scalar_error(rate)
        if not most < 0.5:
            return None
        severity = _severity(1 / max(value, 1e-9), 1 / max(most, 1e-9))
        assert severity is not None  # the limits are the same
        description = (
            f"The last nat in z saves {value:.2g} nats of distortion, where 1 is right: posteriors are narrower than "
            "they should be, and latent codes need not lie where the prior draws them."
        )
        options = remedies.full_rate(case.config) or {"objective": "elbo"}
        return Finding(self.name, severity, evidence, description, options)


def _severity(factor: float, least: float) -> Severity | None:
    """Return the severity of a factor; None unless its lower limit is above two."""
    if not least > 2:
        return None
    return next(name for limit, name in GRADES if factor >= limit)


def _posterior_std(case: Case) -> Estimate:
    variance = case.codes.variance.double().numpy()
    value = np.sqrt(variance.mean(0))
    stderr = mean_error(variance) / (2 * np.maximum(value, 1e-12))
    return estimate(
        value, stderr, n=len(variance), unit="z", target="q(z|x) over the data", estimator="sqrt(E sigma^2)",
        description="width of the posterior by latent dimension",
    )  # fmt: skip
