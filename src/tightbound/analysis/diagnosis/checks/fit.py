"""Failures of the fit: numbers that are not finite, nothing learned, training too short, overfitting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.shared import independent_elements
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Array, Estimate, estimate, mean, scalar, scalar_error

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

    def skips(self, case: Case) -> str | None:
        """Return a reason unless x has a probability and the objective was meant to raise the bound."""
        if not case.has_bound:
            return NO_BOUND
        if not case.model.observation.target.discrete:
            return (
                "p(x|z) is a density, and elements that hardly vary can have any density: there is nothing to "
                "compare with"
            )
        if remedies.knobs(case.config).get("beta") != 1:
            return "the model was not trained to maximize the ELBO"
        if case.evaluation.has_uniform_codes:
            return "no code prior has been trained, so that code indices cost more than they need to: see uniform-prior"
        return None

    def measure(self, case: Case) -> Evidence:
        """Return what is known beyond the marginals."""
        learned = case.train_evaluation.per_example["elbo"] + independent_elements(case, case.train_data)
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

    def skips(self, case: Case) -> str | None:
        """Return a reason unless there are enough epochs with a loss that means the same in each of them."""
        rows = _first_stage(case)
        if len(rows) < self.least:
            return f"the run has {len(rows)} epochs; needed: {self.least}"
        made = remedies.objective(case.config)
        if made is None or not made.has_best_epoch:
            return "the objective is measured by an adversary that changes: its loss does not show progress"
        return None

    def measure(self, case: Case) -> Evidence:
        """Return the fall of the loss in the last quarter, also as a share of the whole fall."""
        rows = _first_stage(case)
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
    """What the model learned on the training data, compared with how much of it holds on test data.

    What it learned is the nats by which the ELBO beats independent elements of x with the marginals of the training
    data. The rate of code indices that are all equally probable is left out: it is the same for all data. A finding is
    that, by two standard errors, less than half of it holds: mild; moderate below a quarter; severe if nothing holds.
    """

    name = "overfitting"
    question = "Does what was learned on the training data hold on test data?"

    def skips(self, case: Case) -> str | None:
        """Return a reason if there is no bound."""
        return None if case.has_bound else NO_BOUND

    def measure(self, case: Case) -> Evidence:
        """Return the ELBO on training and test data, and the share of the gain over the marginals that holds."""
        fitted, new = case.train_evaluation, case.evaluation
        a, b = fitted.per_example["elbo"], new.per_example["elbo"]
        gap = a.mean() - b.mean()
        stderr = math.hypot(*(x.std(ddof=1) / math.sqrt(len(x)) for x in (a, b)))
        free = fitted.per_example["rate"].mean() if fitted.has_uniform_codes else 0.0
        learned = a + free + independent_elements(case, case.train_data)
        held = b + free + independent_elements(case, case.test_data)
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
        error = math.hypot(_error(held) / learned.mean(), value * _error(learned) / learned.mean())
        if learned.mean() <= 2 * _error(learned):
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


def _error(x: Array) -> float:
    """Return the standard error of the mean of x (N,)."""
    return float(x.std(ddof=1) / math.sqrt(len(x)))


def _first_stage(case: Case) -> list[Mapping[str, Any]]:
    """Return the epochs of the first training stage."""
    return [row for row in case.metrics if not row.get("stage")]
