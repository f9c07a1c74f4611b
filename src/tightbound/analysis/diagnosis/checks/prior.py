"""A prior over codes that is missing, or worse than none."""

from __future__ import annotations

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding
from tightbound.analysis.estimate import scalar, scalar_error


class UniformPrior(Check):
    """Whether the prior over codes knows anything of which ones go together.

    A finding is a prior under which all codes are equally probable, or one that, by two standard errors, is worse on
    test data: it was trained for too long or, where it is no better on training data, too briefly. All are moderate,
    for bound and reconstructions are what they are, and only samples are none of the data's kind.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Section 3.3,
        https://arxiv.org/abs/1711.00937
    """

    name = "uniform-prior"
    question = "has a prior over the codes been learned?"

    def skips(self, case: Case) -> str | None:
        """Needs codes with a price."""
        return None if "prior_gain" in case.evaluation.per_example else "no latent is discrete"

    def measure(self, case: Case) -> Evidence:
        """What the prior in use saves, on test data and on training data."""
        found = {name: case.evaluation[name] for name in ("prior_gain", "prior_gain_share", "uniform_rate")}
        return found | {"train_prior_gain": case.train_evaluation["prior_gain"]}

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Nothing, or less."""
        gain, trained = evidence["prior_gain"], evidence["train_prior_gain"]
        if case.evaluation.has_uniform_codes:
            description = (
                "All codes are equally probable under the prior: samples decode codes that were thrown together, and "
                "do not look like data. fit_code_prior() learns one for this run as it "
                "is."
            )
            return Finding(self.name, "moderate", evidence, description, {"prior": "pixelcnn"})
        if not scalar(gain) + 2 * scalar_error(gain) < 0:
            return None
        by_heart = scalar(trained) - 2 * scalar_error(trained) > 0
        why = "it has learnt its training data's codes by heart" if by_heart else "it has learnt next to nothing"
        description = (
            f"The prior over codes is worse on test data than equal odds for all, by {-scalar(gain):.2g} nats: {why}."
        )
        return Finding(
            self.name, "moderate", evidence, description, remedies.other_prior_training(case.config, by_heart)
        )
