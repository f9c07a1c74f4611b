"""Holes: regions where the prior draws latent codes but no codes of the data lie."""

from __future__ import annotations

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import scalar, scalar_error
from tightbound.analysis.samples.coverage import holes


class PriorHoles(Check):
    """Share of prior draws that lie where fewer than 1% of the latent codes of test data do.

    A prior that matches the codes has 1% of its draws there. A finding is, by two standard errors, more than half: most
    samples are then made of codes that the decoder has hardly ever seen. It is moderate, severe from 90%.

    Args:
        max_examples: Training examples that the aggregate posterior is made of, at most.
        draws: Number of prior draws.
        level: Share of the latent codes of test data that lie outside of the covered region.
    """

    name = "holes"
    question = "Does the prior draw latent codes where those of the data are?"

    def __init__(self, max_examples: int = 10_000, draws: int = 1000, level: float = 0.01) -> None:
        self.max_examples, self.draws, self.level = max_examples, draws, level

    def skips(self, case: Case) -> str | None:
        """Return a reason if codes do not lie in a space."""
        if not case.evaluation.has_code_indices:
            return None
        return "the decoder knows every code index, wherever the prior draws it: see uniform-prior"

    def measure(self, case: Case) -> Evidence:
        """Return the shares, and what is decoded in holes and elsewhere."""
        train = case.some(case.train, self.max_examples)
        return holes(
            case.model, train, case.test_data, n_samples=self.draws, level=self.level, seed=case.seed
        ).estimates

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the share of prior draws in holes."""
        share = evidence["uncovered"]
        if not scalar(share) - 2 * scalar_error(share) > 0.5:
            return None
        severity: Severity = "severe" if scalar(share) > 0.9 else "moderate"
        far, near = scalar(evidence["distance_holes"]), scalar(evidence["distance_codes"])
        distance = (
            f", and what they decode to is {far / near:.2f} times as far from training data as reconstructions are"
            if far > 0 and near > 0
            else ""
        )
        description = (
            f"{scalar(share):.0%} of the prior's draws lie where fewer than {self.level:.0%} of the latent codes of "
            "test "
            f"data do{distance}."
        )
        return Finding(self.name, severity, evidence, description, remedies.fitted_prior(case))
