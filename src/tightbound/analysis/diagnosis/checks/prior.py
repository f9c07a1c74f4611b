"""Check of whether the prior matches the latent codes."""

from __future__ import annotations

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NO_RATE, NOTHING
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.diagnosis.worth import drawn
from tightbound.analysis.estimate import mean, scalar, scalar_error
from tightbound.data.feed import evaluating
from tightbound.inference.samplers import GaussianMixture

LARGEST = 1000  # dimensions of z, since a component of the mixture holds a square matrix of that size


class PriorMismatch(Check):
    """The aggregate posterior, of the latent codes of all examples, is far from the prior.

    A mixture of Gaussians is fitted to the codes of training examples, unless the latent sampler that samples come from
    has a density. What it saves on the codes of test examples,
    compared with the prior, is a lower bound on KL(q(z) || p(z)), and it is what the ELBO on test data would gain with
    that mixture as the prior. A finding is, by two standard errors, a nat and a tenth of the rate; it is moderate from
    a quarter, severe from half of the rate. If samples come from a latent sampler, the check adds a note instead.

    References:
        ELBO surgery (Hoffman and Johnson 2016), http://approximateinference.org/accepted/HoffmanJohnson2016.pdf
    """

    name = "prior-mismatch"
    question = "How much of the rate is due to a prior that does not match the latent codes?"
    explains = ("nothing-learned",)

    def measure(self, case: Case) -> Evidence:
        """Return what a fitted density would save."""
        require(case.has_bound, NO_RATE)
        require(not case.evaluation.has_code_indices, "the latent is a grid of code indices: see code-prior")
        support = case.model.latents.support
        require(support == "real", f"codes lie on {support}, which no mixture of Gaussians fits")
        size = case.codes.mean.shape[1]
        require(size <= LARGEST, f"z has {size:,} dimensions: no density is fitted to more than {LARGEST:,}")
        nothing = f"z carries less than {NOTHING} nats: its prior costs nothing"
        require(scalar(case.evaluation["rate"]) >= NOTHING, nothing)
        codes, model = case.codes, case.model
        z = drawn(codes)
        context = None if codes.context is None else codes.context.to(model.device)
        with evaluating(model):
            now = model.log_prior(z.to(model.device).unsqueeze(0), context)[0].cpu().double().numpy()
        density = case.density
        saved = density.log_prob(z.cpu()).double().numpy() - now
        fitted = type(density).__name__
        if isinstance(density, GaussianMixture):
            fitted = f"{density.components} Gaussian{'s' * (density.components > 1)} ({density.covariance} covariance)"
        return {
            "saving": mean(
                saved, unit="nats", target="latent codes of test data, one draw each",
                description="rate that a density fitted to training codes saves; a lower bound on KL(q(z) || p(z))",
                estimator=f"held-out log-density of {fitted} minus log prior",
            ),
            "rate": case.evaluation["rate"],
            "aggregate_kl": case.evaluation["aggregate_kl"],
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the nats and the share of the rate."""
        if case.sampler is not None or not _apart(evidence):
            return None
        share = scalar(evidence["saving"]) / scalar(evidence["rate"])
        severity: Severity = "severe" if share >= 0.5 else "moderate" if share >= 0.25 else "mild"
        description = f"{_distance(evidence)}, which makes samples worse."
        return Finding(self.name, severity, evidence, description, remedies.fitted_prior(case))

    def note(self, evidence: Evidence, case: Case) -> str | None:
        """Report the distance if samples come from a latent sampler."""
        if case.sampler is None or not _apart(evidence):
            return None
        return f"{_distance(evidence)}; samples come from a latent sampler instead, and the bounds use the prior."


def _apart(evidence: Evidence) -> bool:
    """Return whether the distance exceeds a nat and a tenth of the rate, by two standard errors."""
    saving = evidence["saving"]
    return scalar(saving) - 2 * scalar_error(saving) > max(1.0, 0.1 * scalar(evidence["rate"]))


def _distance(evidence: Evidence) -> str:
    return (
        f"The prior does not match the latent codes: at least {scalar(evidence['saving']):.1f} of the "
        f"{scalar(evidence['rate']):.1f} nats of the rate are the distance between the two"
    )
