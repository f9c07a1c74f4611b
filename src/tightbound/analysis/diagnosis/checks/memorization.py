"""Memorization: samples that are copies of training examples."""

from __future__ import annotations

import math

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import scalar, scalar_error
from tightbound.analysis.samples.copies import memorization


class CopiedSamples(Check):
    """Whether samples are nearer to training examples than test examples are.

    Test examples are as near as an example can be that is no copy. A finding is that, by three standard errors, at
    least one in ten samples, beyond the share of the test examples, is nearer to its closest training example than that
    one is to any other: mild, moderate from one in four, severe from one in two. The Mann-Whitney test of all distances
    is shown but raises no alarm: samples that vary too little are near to the middle of the data, too, and to no
    example in particular.

    Args:
        max_examples: Number of samples, and of test examples at most.

    References:
        A non-parametric test to detect data-copying in generative models (Meehan et al. 2020), Section 3,
        https://arxiv.org/abs/2004.05675; How faithful is your synthetic data? (Alaa et al. 2022),
        https://arxiv.org/abs/2102.08921
    """

    name = "memorization"
    question = "Are samples copies of training examples?"

    def __init__(self, max_examples: int = 500) -> None:
        self.max_examples = max_examples

    def measure(self, case: Case) -> Evidence:
        """Return the z-score and the distances behind it."""
        few = case.test_data[: self.max_examples]
        return memorization(case.model, case.train, few, n_samples=self.max_examples, seed=case.seed).estimates

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the excess over test data."""
        pair = [evidence[name] for name in ("too_near", "too_near_test")]
        excess = scalar(pair[0]) - scalar(pair[1])
        sure = excess > 3 * math.hypot(*(scalar_error(number) for number in pair))
        if not sure or excess < 0.1:
            return None
        severity: Severity = "severe" if excess >= 0.5 else "moderate" if excess >= 0.25 else "mild"
        description = (
            f"Samples are copies: {scalar(pair[0]):.0%} of them are nearer to their closest training example than that "
            f"one is to any other, compared with {scalar(pair[1]):.0%} of test data."
        )
        return Finding(self.name, severity, evidence, description, remedies.dropout(case.config))
