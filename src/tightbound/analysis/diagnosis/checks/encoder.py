"""Overfitting of the encoder."""

from __future__ import annotations

from tightbound.analysis.bounds.gap import encoder_overfitting, inference_gap
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NO_POINT
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import scalar, scalar_error
from tightbound.core.terms import DETERMINISTIC

FEW = 100  # data of each split whose posteriors are fitted
STEPS = 60  # of each fit
LEAST = 1.0  # nats: a mean that is off by 1.4 standard deviations of the posterior
STRONG: tuple[tuple[float, Severity], ...] = ((20.0, "severe"), (5.0, "moderate"))


class EncoderOverfitting(Check):
    """What the encoder loses on test data that it does not lose on training data.

    The amortization gap is what a posterior fitted to a single example gains over the encoder's. That it is greater on
    test data than on training data is the encoder's overfitting, for the decoder is the same in both terms of each. A
    finding is, by two standard errors, more than a nat, and more than all that inference loses on training data, with
    the approximation gap, which is what the family of the posterior costs on any data: the inference gap at least
    doubles. Moderate from 5 nats, severe from 20. A gap that is the same on both is no overfitting, however large.

    References:
        Inference suboptimality in variational autoencoders (Cremer et al. 2018), Sections 3 and 5.4,
        https://arxiv.org/abs/1801.03558
    """

    name = "amortization-gap"
    expensive = True
    question = "is the encoder as good on test data as on training data?"

    def skips(self, case: Case) -> str | None:
        """There must be a posterior that can be fitted."""
        if case.model.latents.deterministic:
            return f"{DETERMINISTIC}: there is no posterior to fit to an example"
        return None if case.has_bound else NO_POINT

    def measure(self, case: Case) -> Evidence:
        """Gaps on test data, that on training data, and the difference."""
        test, train = (
            inference_gap(case.model, data[:FEW], samples=case.samples, steps=STEPS, seed=case.seed)
            for data in (case.test_data, case.train_data)
        )
        return {
            "overfitting": encoder_overfitting(test, train),
            "amortization_gap": test.numbers["amortization_gap"],
            "amortization_gap_train": train.numbers["amortization_gap"],
            "approximation_gap": test.numbers["approximation_gap"],
            "gain_of_doubling": test.numbers["gain_of_doubling"],
        }

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """More than a nat, and than the inference gap on training data."""
        lost, family = evidence["overfitting"], scalar(evidence["approximation_gap"])
        gap, fitted = scalar(evidence["amortization_gap"]), scalar(evidence["amortization_gap_train"])
        least = scalar(lost) - 2 * scalar_error(lost)
        if not least > max(LEAST, fitted + family):
            return None
        grades: list[Severity] = [grade for limit, grade in STRONG if scalar(lost) > limit]
        severity: Severity = grades[0] if grades else "mild"
        description = (
            f"The encoder is overfitted: on test data it loses {gap:.1f} nats against posteriors fitted to each example, "
            f"on training data {fitted:.1f}; the decoder could do better than its bound says."
        )
        return Finding(self.name, severity, evidence, description, remedies.dropout(case.config))
