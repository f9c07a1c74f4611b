"""Code prior that is missing, or worse than none."""

from __future__ import annotations

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding
from tightbound.analysis.estimate import scalar, scalar_error


class UniformPrior(Check):
    """Whether the code prior knows which code indices go together.

    A finding is a prior under which all code indices are equally probable, or one that, by two standard errors, is
    worse than that on test data: it was trained for too long or, if it is no better on training data, too briefly. All
    findings are moderate, since bound and reconstructions are valid, and only samples do not look like the data.

    References:
        Neural discrete representation learning (van den Oord et al. 2017), Section 3.3,
        https://arxiv.org/abs/1711.00937
    """

    name = "uniform-prior"
    question = "Has a code prior been trained?"

    def skips(self, case: Case) -> str | None:
        """Return a reason if there are no code indices."""
        return None if "prior_gain" in case.evaluation.per_example else "no latent is discrete"

    def measure(self, case: Case) -> Evidence:
        """Return what the prior in use saves, on test data and on training data."""
        found = {name: case.evaluation[name] for name in ("prior_gain", "prior_gain_share", "uniform_rate")}
        return found | {"train_prior_gain": case.train_evaluation["prior_gain"]}

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the gain over the uniform prior."""
        gain, trained = evidence["prior_gain"], evidence["train_prior_gain"]
        if case.evaluation.has_uniform_codes:
            description = (
                "All code indices are equally probable under the prior: samples decode random indices and do not look "
                "like data. See fit_code_prior(), which trains a code prior for this run as it is."
            )
            return Finding(self.name, "moderate", evidence, description, {"prior": "pixelcnn"})
        if not scalar(gain) + 2 * scalar_error(gain) < 0:
            return None
        by_heart = scalar(trained) - 2 * scalar_error(trained) > 0
        why = "it has memorized the code indices of the training data" if by_heart else "it has learned next to nothing"
        description = (
            f"The code prior is worse on test data than equal probabilities, by {-scalar(gain):.2g} nats: {why}."
        )
        remedy = remedies.other_prior_training(case.config, by_heart)
        return Finding(self.name, "moderate", evidence, description, remedy)
