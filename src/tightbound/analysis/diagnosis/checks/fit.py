"""Failures of the fit: numbers that are not finite, nothing learned, training too short, overfitting."""

from __future__ import annotations

import math

import numpy as np
import torch

from tightbound.analysis.bounds.gap import encoder_overfitting, inference_gap
from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.collapse import NO_RATE
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Estimate, estimate, mean, mean_error, scalar, scalar_error
from tightbound.core.terms import DETERMINISTIC

NO_BOUND = "the posterior is a point mass: no bound on log p(x) exists"


class NotFinite(Check):
    """Weights or log-densities that are NaN or infinite: nothing else can be measured then."""

    name = "not-finite"
    question = "Are all weights and all log-densities finite?"
    fatal = True

    def measure(self, case: Case) -> Evidence:
        """Count what is not finite."""
        tensors = [t for t in case.model.state_dict().values() if t.is_floating_point()]
        weights = sum(int((~torch.isfinite(t)).sum()) for t in tensors)
        size = sum(t.numel() for t in tensors)
        per_example = case.evaluation.per_example
        bad = ~np.isfinite(per_example.get("elbo", per_example["distortion"]))
        facts = {"stderr": None, "estimator": "count"}
        return {
            "bad_weights": Estimate(
                float(weights), n=size, unit=f"of {size:,}", target="weights of the model",
                description="weights that are not finite", **facts,
            ),
            "bad_examples": Estimate(
                float(bad.sum()), n=len(bad), unit=f"of {len(bad):,}", target="test data",
                description="test examples whose log-density is not finite", **facts,
            ),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """One is enough."""
        weights, examples = (int(scalar(evidence[name])) for name in ("bad_weights", "bad_examples"))
        if not weights + examples:
            return None
        description = (
            f"{weights} weights and the log-densities of {examples} of {evidence['bad_examples'].n} test examples are "
            "not finite."
        )
        lower = float(f"{float(case.config.get('lr') or 1e-3) / 10:g}")
        return Finding(self.name, "severe", evidence, description, {"lr": lower, "clip": 10.0})


class NothingLearned(Check):
    """The model knows less about its own training data than the frequencies of their elements tell.

    A finding is an ELBO that is worse, by two standard errors, than independent elements of x. If the rate has another
    weight than in the bound, that weight is the cause. For densities the cost of elements that hardly vary says
    nothing.
    """

    name = "nothing-learned"
    question = "Does the model know more about x than the frequencies of its elements?"

    def measure(self, case: Case) -> Evidence:
        """Return what is known beyond the marginals."""
        require(case.has_bound, NO_BOUND)
        dense = "p(x|z) is a density, and elements that hardly vary can have any density: nothing to compare with"
        require(case.model.observation.target.discrete, dense)
        weight = float(remedies.knobs(case.config).get("beta", math.nan))
        require(weight == 1, "the model was not trained to maximize the ELBO")
        uniform = "no code prior has been trained, so that code indices cost more than they need to: see uniform-prior"
        require(not case.evaluation.has_uniform_codes, uniform)
        learned = case.train_evaluation.per_example["elbo"] + case.independent_elements(case.train_data)
        return {
            "learned": mean(
                learned, unit="nats", target="ELBO - log p of independent elements, on training data",
                estimator="paired difference",
                description="what the model knows about x beyond the frequencies of its elements",
            ),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge whether it is less than nothing."""
        learned = evidence["learned"]
        if not scalar(learned) + 2 * scalar_error(learned) < 0:
            return None
        description = (
            f"The model has learned nothing: its training data cost {-scalar(learned):.2g} nats more than under a "
            "model with independent elements."
        )
        return Finding(self.name, "severe", evidence, description, remedies.learning(case.config))


class Undertrained(Check):
    """The loss fell as fast at the end as over the run as a whole.

    Of all that the loss fell by since the first epoch, the last quarter of the epochs brings a quarter if it falls in a
    straight line, and less as training settles. A finding is a quarter or more.
    """

    name = "undertrained"
    question = "Had the loss settled when training ended?"
    least = 8  # epochs: a line through the last three of them leaves one to measure its error by

    def measure(self, case: Case) -> Evidence:
        """Return the fall of the loss in the last quarter, also as a share of the whole fall."""
        rows = [row for row in case.metrics if not row.get("stage")]  # of the first stage
        require(len(rows) >= self.least, f"the run has {len(rows)} epochs; needed: {self.least}")
        made = remedies.objective(case.config)
        changing = "the objective is measured by an adversary that changes: its loss does not show progress"
        require(made is not None and made.has_best_epoch, changing)
        name = "validation_loss" if "validation_loss" in rows[-1] else "train_loss"
        loss = np.array([row[name] for row in rows], dtype=float)
        n, quarter = len(loss), len(loss) // 4
        late = loss[n - quarter - 1 :]  # from the end of the third quarter on
        epochs = np.arange(len(late)) - quarter / 2
        slope = float(epochs @ late / (epochs @ epochs))
        rest = late - late.mean() - slope * epochs
        stderr = quarter * math.sqrt(rest @ rest / (len(late) - 2) / (epochs @ epochs))
        fall, total = -slope * quarter, loss[0] - late.mean() - slope * epochs[-1]
        facts = {"n": n, "target": f"{name} by epoch"}
        share = (fall / total, stderr / total) if total > 0 else (0.0, 0.0)
        return {
            "fall": estimate(
                fall, stderr, unit="nats", description="fall of the loss in the last quarter of the epochs",
                estimator="least-squares line through the last quarter", **facts,
            ),
            "share_of_the_fall": estimate(
                *share, unit="", estimator="fall / (first epoch - end of the line)", **facts,
                description="fall as a share of the fall since the first epoch; 0.25 for a straight line",
            ),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Judge by the share of the fall."""
        share, fall = scalar(evidence["share_of_the_fall"]), evidence["fall"]
        if not (share >= 0.25 and scalar(fall) > 2 * scalar_error(fall)):
            return None
        description = (
            f"The loss was still falling when training ended: {share:.0%} of its fall came in the last quarter of the "
            "epochs."
        )
        return Finding(self.name, "moderate", evidence, description, remedies.longer(case.config))


class Overfitting(Check):
    """Compare what the model learned on the training data with how much of it holds on test data.

    What it learned is the nats by which the ELBO beats independent elements of x with the marginals of the training
    data. The rate of code indices that are all equally probable is left out: it is the same for all data. A finding is
    that, by two standard errors, less than half of it holds: mild; moderate below a quarter; severe if nothing holds.
    """

    name = "overfitting"
    question = "Does what was learned on the training data hold on test data?"

    def measure(self, case: Case) -> Evidence:
        """Return the ELBO on training and test data, and the share of the gain over the marginals that holds."""
        require(case.has_bound, NO_BOUND)
        fitted, new = case.train_evaluation, case.evaluation
        a, b = fitted.per_example["elbo"], new.per_example["elbo"]
        gap = a.mean() - b.mean()
        stderr = math.hypot(mean_error(a), mean_error(b))
        free = fitted.per_example["rate"].mean() if fitted.has_uniform_codes else 0.0
        learned = a + free + case.independent_elements(case.train_data)
        held = b + free + case.independent_elements(case.test_data)
        evidence = {
            "train_elbo": fitted["elbo"],
            "test_elbo": new["elbo"],
            "gap": estimate(
                gap, stderr, n=len(b), unit="nats", target=new["elbo"].target,
                description="ELBO of training data minus ELBO of test data",
                estimator=f"difference of means over {len(a)} training and {len(b)} test examples",
            ),
        }  # fmt: skip
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
    expensive = True
    question = "Is the encoder as good on test data as on training data?"
    least = 1.0  # nats: a mean that is off by 1.4 standard deviations of the posterior
    grades: tuple[tuple[float, Severity], ...] = ((20.0, "severe"), (5.0, "moderate"))

    def __init__(self, max_examples: int = 100, steps: int = 60) -> None:
        self.max_examples, self.steps = max_examples, steps

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
