"""Overfitting: of the model, of the encoder alone, and test data that the model was trained on."""

from __future__ import annotations

import math

from tightbound.analysis.bounds.gap import encoder_overfitting, inference_gap
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NO_RATE
from tightbound.analysis.diagnosis.checks.fit import NO_BOUND
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Estimate, estimate, mean, mean_error, scalar, scalar_error
from tightbound.core.terms import DETERMINISTIC
from tightbound.data.duplicates import CHANCE, FEW, collision_bits, verbatim


class TestedOnTraining(Check):
    """Test examples that are also training examples, verbatim.

    Numbers on them say nothing about new data. A finding is one in twenty, if independent elements would coincide less
    often than once in 2^40 pairs: rows of a few categories are equal by chance. It is moderate from a tenth, severe
    from a quarter.
    """

    name = "test-in-training"
    question = "Are test examples new to the model?"
    explains = ("overfitting", "amortization-gap", "memorization")

    def measure(self, case: Case) -> Evidence:
        """Return the share of the test examples that the training data contain."""
        found = verbatim(case.train, case.test_data).numpy()
        facts = {"stderr": None, "n": len(case.train_data), "target": "training data"}
        return {
            "verbatim": mean(
                found.astype(float), unit="share of test examples", target="test data", estimator="exact comparison",
                description="test examples that are also training examples",
            ),
            "collision_bits": Estimate(
                collision_bits(case.train_data), unit="bits", estimator="-log2 of the product over elements of sum p^2",
                description="how unlikely it is that two examples with independent elements are equal", **facts,
            ),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the share, unless chance may explain it."""
        share = scalar(evidence["verbatim"])
        if share < FEW or scalar(evidence["collision_bits"]) < CHANCE:
            return None
        severity: Severity = "severe" if share >= 0.25 else "moderate" if share >= 0.1 else "mild"
        description = (
            f"{share:.0%} of the test examples are also training examples, verbatim: numbers on test data are too "
            "good, and say little about new data. Remove the duplicates, then split the data again."
        )
        return Finding(self.name, severity, evidence, description, {})


class Overfitting(Check):
    """Compare what the model learned on the training data with how much of it holds on test data.

    What it learned is the nats by which the ELBO beats independent elements of x with the marginals of the training
    data. The rate of code indices is left out: their prior is trained after the rest, see code-prior. A finding is
    that, by two standard errors, less than half of it holds: mild; moderate below a quarter; severe if nothing holds.
    """

    name = "overfitting"
    question = "Does what was learned on the training data hold on test data?"

    def measure(self, case: Case) -> Evidence:
        """Return the ELBO on training and test data, and the share of the gain over the marginals that holds."""
        require(case.has_bound, NO_BOUND)
        fitted, new = case.train_evaluation, case.evaluation
        a, b = fitted.per_example["elbo"], new.per_example["elbo"]
        free = [part.per_example["rate"] if "prior_gain" in part.per_example else 0.0 for part in (fitted, new)]
        learned = a + free[0] + case.independent_elements(case.train_data)
        held = b + free[1] + case.independent_elements(case.test_data)
        evidence = {
            "train_elbo": fitted["elbo"],
            "test_elbo": new["elbo"],
            "gap": case.gap,
        }
        facts = {
            "n": len(b), "unit": "", "target": "gain over independent elements, on test / on training data",
            "description": "share of what was learned on training data that holds on test data",
        }  # fmt: skip
        value = held.mean() / learned.mean()
        error = math.hypot(mean_error(held), value * mean_error(learned)) / learned.mean()
        if learned.mean() <= 2 * mean_error(learned):
            reason = "the model is no better than independent elements on its own training data"
            share = Estimate.missing(reason, **facts)
        else:
            share = estimate(value, error, estimator="ratio of means, delta method", **facts)
        return evidence | {"share_that_holds": share}

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge whether less than half of it holds."""
        held, gap = evidence["share_that_holds"], scalar(evidence["gap"])
        value = scalar(held)
        if not value + 2 * scalar_error(held) < 0.5:
            return None
        severity: Severity = "severe" if value <= 0 else "moderate" if value < 0.25 else "mild"
        description = (
            f"The model has memorized its training data: {max(value, 0.0):.0%} of what it learned on them holds on "
            f"test data, which cost {gap:.1f} nats more."
        )
        return Finding(self.name, severity, evidence, description, _against(case))


def _against(case: Case) -> remedies.Options:
    """Stop at the best epoch if that was not done, else decay the weights."""
    if case.config.get("validation_size") == 0:
        return {"validation_size": max(1, min(5000, (case.train.size or 10_000) // 10)), "patience": 10}
    return remedies.weight_decay(case.config)


class EncoderOverfitting(Check):
    """The encoder loses more on test data than on training data.

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
    question = "Is the encoder as good on test data as on training data?"
    least = 1.0  # nats: a mean that is off by 1.4 standard deviations of the posterior
    grades: tuple[tuple[float, Severity], ...] = ((20.0, "severe"), (5.0, "moderate"))

    def __init__(self, max_examples: int = 100, steps: int = 60) -> None:
        self.max_examples, self.steps = max_examples, steps

    def expensive(self, case: Case) -> bool:
        """Return True: each example takes many steps."""
        return True

    def measure(self, case: Case) -> Evidence:
        """Return the gaps on test and training data, and their difference."""
        require(not case.model.deterministic, f"{DETERMINISTIC}: there is no posterior to fit to an example")
        require(case.has_bound, NO_RATE)
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
