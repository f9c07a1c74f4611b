"""A prior over codes that is missing, or worse than none."""

from __future__ import annotations

from tightbound.evaluation.checks import remedies
from tightbound.evaluation.diagnosis import Check, Evidence, Finding, Subject
from tightbound.evaluation.numbers import scalar, scalar_error


class UniformPrior(Check):
    """Whether the prior over codes knows anything of which ones go together.

    A finding is a prior under which all codes are equally probable, or one that, by two standard errors, is worse on
    test data: both moderate, for bound and reconstructions are what they are, and only samples are none of the data's
    kind.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Section 3.3,
        https://arxiv.org/abs/1711.00937
    """

    name = "uniform-prior"
    asks = "has a prior over the codes been learned?"

    def skips(self, subject: Subject) -> str | None:
        """Needs codes with a price."""
        return None if "prior_gain" in subject.evaluation.per_datum else "no latent is discrete"

    def measure(self, subject: Subject) -> Evidence:
        """What the prior in use saves."""
        return {name: subject.evaluation[name] for name in ("prior_gain", "prior_gain_share", "uniform_rate")}

    def judge(self, evidence: Evidence, subject: Subject) -> Finding | None:
        """Nothing, or less."""
        gain = evidence["prior_gain"]
        if subject.evaluation.uniform_codes:
            says = (
                "All codes are equally probable under the prior: samples decode codes that were thrown together, and "
                "do not look like data. A prior can be learned on this run as it is: tightbound fit-prior RUN --prior "
                "pixelcnn."
            )
            return Finding(self.name, "moderate", evidence, says, ("--prior", "pixelcnn"))
        if not scalar(gain) + 2 * scalar_error(gain) < 0:
            return None
        says = (
            f"The prior over codes is worse on test data than equal odds for all, by {-scalar(gain):.1f} nats: it has "
            "learnt its training data's codes by heart, or next to nothing."
        )
        return Finding(self.name, "moderate", evidence, says, remedies.other_prior_training(subject.config))
