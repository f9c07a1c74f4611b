"""Memorisation: samples that are copies of training data."""

from __future__ import annotations

import math

from tightbound.evaluation.checks import remedies
from tightbound.evaluation.diagnosis import Check, Evidence, Finding, Severity, Subject
from tightbound.evaluation.memorisation import memorisation
from tightbound.evaluation.numbers import scalar, scalar_error

FEW = 500  # samples, and test data
SIGNIFICANT = -3.0  # standard errors


class CopiedSamples(Check):
    """Whether samples are nearer to training data than test data are.

    A copy is nearer to its training datum than that one is to any other: of samples drawn from the model that must
    hold, by three standard errors, for more than of test data. (Those of a model of too little variety, in the middle
    of the data, are nearer as well, and no copies.) A finding is then either:

    - a Mann-Whitney z-score below -3, with three in five pairs or more in which the sample is the nearer: mild;
      moderate from four in five, severe from 19 in 20;
    - one in ten samples or more, beyond what holds for test data: mild, moderate from one in four, severe from one in
      two.

    References:
        A non-parametric test to detect data-copying in generative models (Meehan et al. 2020), Section 3,
        https://arxiv.org/abs/2004.05675; How faithful is your synthetic data? (Alaa et al. 2022),
        https://arxiv.org/abs/2102.08921
    """

    name = "memorisation"
    asks = "are samples copies of training data?"

    def measure(self, subject: Subject) -> Evidence:
        """The z-score and what stands behind it."""
        return memorisation(subject.model, subject.train, subject.test_data[:FEW], n=FEW, seed=subject.seed).numbers

    def judge(self, evidence: Evidence, subject: Subject) -> Finding | None:
        """By either of the two, of what is too near."""
        nearer = scalar(evidence["nearer_than_test"])
        pair = [evidence[name] for name in ("too_near", "too_near_test")]
        excess = scalar(pair[0]) - scalar(pair[1])
        if not excess > 3 * math.hypot(*(scalar_error(number) for number in pair)):
            return None
        grades = _grade(excess, 0.1, 0.25, 0.5)
        if scalar(evidence["copying_z"]) < SIGNIFICANT:
            grades += _grade(nearer, 0.6, 0.8, 0.95)
        if not grades:
            return None
        says = (
            f"Samples are copies: in {nearer:.0%} of pairs a sample is nearer to the training data than a test datum "
            f"is, and {scalar(pair[0]):.0%} of samples against {scalar(pair[1]):.0%} of test data are nearer to "
            "their training datum than that one is to any other."
        )
        return Finding(self.name, max(grades, key=_ORDER.index), evidence, says, remedies.dropout(subject.config))


_ORDER: list[Severity] = ["mild", "moderate", "severe"]


def _grade(value: float, *limits: float) -> list[Severity]:
    """The grade of the highest limit that is reached, if any."""
    reached = sum(value >= limit for limit in limits)
    return [_ORDER[reached - 1]] if reached else []
