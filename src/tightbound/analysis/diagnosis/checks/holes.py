"""Holes: prior draws where there are no codes."""

from __future__ import annotations

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import scalar, scalar_error
from tightbound.analysis.samples.coverage import holes

CENTERS = 10_000  # training data that the aggregate posterior is made of, at most
DRAWS = 1000
NUMBERS = "codes are numbers of a codebook's entries, all of which the decoder knows: see uniform-prior"
LEVEL = 0.01


class PriorHoles(Check):
    """The share of prior draws that lie where fewer than 1 % of the test data's codes do.

    A prior that is where the codes are has 1 % of its draws there. A finding is, by two standard errors, more than
    half: most samples are then made of codes such as the decoder has hardly ever seen. Moderate, severe from 90 %.
    """

    name = "holes"
    question = "does the prior draw codes where those of data are?"

    def skips(self, case: Case) -> str | None:
        """Codes must lie in a space."""
        return NUMBERS if case.evaluation.has_code_indices else None

    def measure(self, case: Case) -> Evidence:
        """Shares, and what is decoded in holes and elsewhere."""
        train = case.some(case.train, CENTERS)
        found = holes(case.model, train, case.test_data, n_samples=DRAWS, level=LEVEL, seed=case.seed)
        return found.estimates

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """More than half."""
        share = evidence["uncovered"]
        if not scalar(share) - 2 * scalar_error(share) > 0.5:
            return None
        severity: Severity = "severe" if scalar(share) > 0.9 else "moderate"
        far, near = scalar(evidence["distance_holes"]), scalar(evidence["distance_codes"])
        description = (
            f"{scalar(share):.0%} of the prior's draws lie where fewer than {LEVEL:.0%} of the test data's codes do"
            + (f"; what they decode to is {far / near:.2f} times as far from training data as reconstructions." if
               far > 0 and near > 0 else ".")
        )  # fmt: skip
        return Finding(self.name, severity, evidence, description, remedies.fitted_prior(case))
