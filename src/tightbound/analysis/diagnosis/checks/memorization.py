"""Memorization: samples that are copies of training data."""

from __future__ import annotations

import math

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import scalar, scalar_error
from tightbound.analysis.samples.copies import memorization

FEW = 500  # samples, and test data


class CopiedSamples(Check):
    """Whether samples are nearer to training data than test data are.

    Test data are as near as data that are not copied can be. A finding is one in ten samples or more, drawn from the
    model, beyond what holds for test data and by three standard errors, that are nearer to their training example than
    that one is to any other: mild, moderate from one in four, severe from one in two. The Mann-Whitney test of all
    distances is shown and gives no alarm: samples that vary too little are near to the middle of the data too, and to
    no example in particular.

    References:
        A non-parametric test to detect data-copying in generative models (Meehan et al. 2020), Section 3,
        https://arxiv.org/abs/2004.05675; How faithful is your synthetic data? (Alaa et al. 2022),
        https://arxiv.org/abs/2102.08921
    """

    name = "memorization"
    question = "are samples copies of training data?"

    def measure(self, case: Case) -> Evidence:
        """The z-score and what stands behind it."""
        return memorization(case.model, case.train, case.test_data[:FEW], n_samples=FEW, seed=case.seed).estimates

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """By the excess over test data."""
        pair = [evidence[name] for name in ("too_near", "too_near_test")]
        excess = scalar(pair[0]) - scalar(pair[1])
        sure = excess > 3 * math.hypot(*(scalar_error(number) for number in pair))
        if not sure or excess < 0.1:
            return None
        severity: Severity = "severe" if excess >= 0.5 else "moderate" if excess >= 0.25 else "mild"
        description = (
            f"Samples are copies: {scalar(pair[0]):.0%} of them are nearer to their training example than that one is "
            f"to any other, against {scalar(pair[1]):.0%} of test data."
        )
        return Finding(self.name, severity, evidence, description, remedies.dropout(case.config))
