"""Overfitting of the encoder."""

from __future__ import annotations

from tightbound.analysis.bounds.gap import encoder_overfitting, inference_gap
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NO_RATE
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import scalar, scalar_error
from tightbound.core.terms import DETERMINISTIC


class EncoderOverfitting(Check):
    """What the encoder loses on test data but not on training data.

    The amortization gap is what a posterior fitted to a single example gains over the encoder's. If it is larger on
    test data than on training data, the encoder is overfitted, since the decoder is the same in both terms of each gap.
    A finding is, by two standard errors, more than a nat, and more than all that inference loses on training data,
    including the approximation gap, which the posterior's family costs on any data: the inference gap at least
    doubles. It is moderate from 5 nats, severe from 20. An equal gap on both is no overfitting, however large.

    Args:
        max_examples: Examples of each split that posteriors are fitted to, at most.
        steps: Steps of each fit.

    References:
        Inference suboptimality in variational autoencoders (Cremer et al. 2018), Sections 3 and 5.4,
        https://arxiv.org/abs/1801.03558
    """

    name = "amortization-gap"
    expensive = True
    question = "Is the encoder as good on test data as on training data?"
    least = 1.0  # nats: a mean that is off by 1.4 standard deviations of the posterior
    grades: tuple[tuple[float, Severity], ...] = ((20.0, "severe"), (5.0, "moderate"))

    def __init__(self, max_examples: int = 100, steps: int = 60) -> None:
        self.max_examples, self.steps = max_examples, steps

    def skips(self, case: Case) -> str | None:
        """Return a reason if there is no posterior to fit."""
        if case.model.deterministic:
            return f"{DETERMINISTIC}: there is no posterior to fit to an example"
        return None if case.has_bound else NO_RATE

    def measure(self, case: Case) -> Evidence:
        """Return the gaps on test and training data, and their difference."""
        test, train = (
            inference_gap(case.model, data[: self.max_examples], samples=case.samples, steps=self.steps, seed=case.seed)
            for data in (case.test_data, case.train_data)
        )
        return {
            "overfitting": encoder_overfitting(test, train),
            "amortization_gap": test["amortization_gap"],
            "amortization_gap_train": train["amortization_gap"],
            "approximation_gap": test["approximation_gap"],
            "gain_of_doubling": test["gain_of_doubling"],
        }

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the difference of the gaps."""
        lost, family = evidence["overfitting"], scalar(evidence["approximation_gap"])
        gap, fitted = scalar(evidence["amortization_gap"]), scalar(evidence["amortization_gap_train"])
        if not scalar(lost) - 2 * scalar_error(lost) > max(self.least, fitted + family):
            return None
        grades: list[Severity] = [grade for limit, grade in self.grades if scalar(lost) > limit]
        severity: Severity = grades[0] if grades else "mild"
        description = (
            f"The encoder is overfitted: on test data it loses {gap:.1f} nats compared with posteriors fitted to each "
            f"example, on training data {fitted:.1f}; the model explains test data better than its bound says."
        )
        return Finding(self.name, severity, evidence, description, remedies.dropout(case.config))
