"""Whether training came to an end, and whether what was learnt holds on new data."""

from __future__ import annotations

import math

import numpy as np
import torch

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.checks.shared import independent_elements
from tightbound.analysis.diagnosis.engine import Case, Check
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Estimate, estimate, mean, scalar, scalar_error


class NotFinite(Check):
    """Weights or log-densities that are NaN or infinite: nothing else can be measured then."""

    name = "not-finite"
    question = "are all weights and all log-densities finite?"
    fatal = True

    def measure(self, case: Case) -> Evidence:
        """Counts."""
        tensors = [t for t in case.model.state_dict().values() if t.is_floating_point()]
        weights = sum(int((~torch.isfinite(t)).sum()) for t in tensors)
        size = sum(t.numel() for t in tensors)
        per_example = case.evaluation.per_example
        bad = ~np.isfinite(per_example.get("elbo", per_example["distortion"]))
        facts = {"stderr": None, "estimator": "count"}
        return {
            "bad_weights": Estimate(
                float(weights), n=size, unit=f"of {size:,}", target="the model's weights",
                description="weights that are not finite", **facts,
            ),
            "bad_data": Estimate(
                float(bad.sum()), n=len(bad), unit=f"of {len(bad):,}", target="test data",
                description="test data whose log-density is not finite", **facts,
            ),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """One is enough."""
        weights, data = (int(scalar(evidence[name])) for name in ("bad_weights", "bad_data"))
        if not weights + data:
            return None
        description = (
            f"{weights} weights and the log-densities of {data} of {evidence['bad_data'].n} test data are not finite."
        )
        lower = float(f"{float(case.config.get('lr') or 1e-3) / 10:g}")
        return Finding(self.name, "severe", evidence, description, {"lr": lower, "clip": 10.0})


class NothingLearned(Check):
    """The model knows less of its own training data than the frequencies of their elements tell.

    A finding is an ELBO that is worse, by two standard errors, than elements of x that are independent. Where the rate
    has another weight than in the bound this is that weight's doing; of a density the cost of elements that hardly vary
    says nothing.
    """

    name = "nothing-learned"
    question = "does the model know more of x than the frequencies of its elements?"

    def skips(self, case: Case) -> str | None:
        """Needs a probability, and an objective that was meant to raise the bound."""
        if not case.has_bound:
            return "the posterior is a point mass: no bound on log p(x) exists"
        if not case.model.observation.target.discrete:
            return "p(x|z) is a density: elements that hardly vary cost as little as one likes"
        if remedies.knobs(case.config).get("beta") != 1:
            return "what was maximized is not the ELBO"
        if case.evaluation.has_uniform_codes:
            return "all codes are equally probable, and cost more than they would: see uniform-prior"
        return None

    def measure(self, case: Case) -> Evidence:
        """What is known beyond the marginals."""
        learnt = case.train_evaluation.per_example["elbo"] + independent_elements(case, case.train_data)
        return {
            "learnt": mean(
                learnt, unit="nats", target="ELBO - log p of independent elements, on training data",
                estimator="paired difference", description="what the model knows of x beyond the frequencies of its elements",
            ),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Less than nothing."""
        learnt = evidence["learnt"]
        if not scalar(learnt) + 2 * scalar_error(learnt) < 0:
            return None
        description = (
            f"The model has learnt nothing: its training data cost {-scalar(learnt):.2g} nats more than if the "
            "elements of x were independent."
        )
        return Finding(self.name, "severe", evidence, description, remedies.learning(case.config))


class Undertrained(Check):
    """The loss fell as fast at the end as over the run as a whole.

    Of all that the loss fell by since the first epoch, the last quarter of the epochs brings a quarter if it falls in a
    straight line, and less as training settles. A finding is a quarter or more.
    """

    name = "undertrained"
    question = "had the loss settled when training ended?"
    least = 8  # epochs: a line through the last three leaves one to measure its error by

    def skips(self, case: Case) -> str | None:
        """Needs epochs, and a loss that means the same in each."""
        rows = _first_stage(case)
        if len(rows) < self.least:
            return f"the run has {len(rows)} epochs; needed: {self.least}"
        made = remedies.objective(case.config)
        if made is None or not made.has_best_epoch:
            return "the objective is measured by an adversary that moves: its loss says nothing of progress"
        return None

    def measure(self, case: Case) -> Evidence:
        """The fall of the loss, in all and in the last quarter."""
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
            "fall": estimate(fall, stderr, unit="nats", description="what the loss fell by in the last quarter of the epochs",
                             estimator="least-squares line through the last quarter", **facts),
            "share_of_the_fall": estimate(*share, unit="", estimator="fall / (first epoch - end of the line)", **facts,
                                          description="of all that it fell by since the first epoch; a straight line: 0.25"),
        }  # fmt: skip

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """A quarter or more."""
        share, fall = scalar(evidence["share_of_the_fall"]), evidence["fall"]
        if not (share >= 0.25 and scalar(fall) > 2 * scalar_error(fall)):
            return None
        description = (
            f"The loss was still falling when training ended: {share:.0%} of all that it fell by came in the last "
            "quarter of the epochs."
        )
        return Finding(self.name, "moderate", evidence, description, remedies.longer(case.config))


class Overfitting(Check):
    """What the model learnt on the training data, against how much of it holds on test data.

    What it learnt is the nats by which the ELBO beats elements of x that are independent, with the marginals of the
    training data. Of codes that are all equally probable the rate is left out: it is the same for all data. A finding
    is that, by two standard errors, less than half of it holds: mild; moderate below a quarter; severe where nothing
    does.
    """

    name = "overfitting"
    question = "does what was learnt on the training data hold on test data?"

    def skips(self, case: Case) -> str | None:
        """Needs a bound."""
        return None if case.has_bound else "the posterior is a point mass: no bound on log p(x) exists"

    def measure(self, case: Case) -> Evidence:
        """ELBO on training and test data, and the part of the gain over the marginals that holds."""
        fitted, new = case.train_evaluation, case.evaluation
        a, b = fitted.per_example["elbo"], new.per_example["elbo"]
        gap = a.mean() - b.mean()
        stderr = math.hypot(*(x.std(ddof=1) / math.sqrt(len(x)) for x in (a, b)))
        free = fitted.per_example["rate"].mean() if fitted.has_uniform_codes else 0.0
        learnt = a + free + independent_elements(case, case.train_data)
        held = b + free + independent_elements(case, case.test_data)
        evidence = {
            "train_elbo": fitted["elbo"],
            "test_elbo": new["elbo"],
            "gap": estimate(gap, stderr, n=len(b), unit="nats", target=new["elbo"].target, description="train less test ELBO",
                            estimator=f"difference of means over {len(a)} training and {len(b)} test data"),
        }  # fmt: skip
        value = held.mean() / learnt.mean()
        facts = {
            "n": len(b), "unit": "", "target": "gain over independent elements, on test / on training data",
            "description": "of what was learnt on training data, the part that holds on test data",
        }  # fmt: skip
        error = math.hypot(_of_mean(held) / learnt.mean(), value * _of_mean(learnt) / learnt.mean())
        if learnt.mean() <= 2 * _of_mean(learnt):
            reason = "the model is no better than independent elements on its own training data"
            held_share = Estimate(None, None, estimator="none", reason=reason, **facts)
        else:
            held_share = estimate(value, error, estimator="ratio of means, delta method", **facts)
        return evidence | {"share_that_holds": held_share}

    def judge(self, evidence: Evidence, case: Case) -> Finding | None:
        """Below half."""
        held, gap = evidence["share_that_holds"], scalar(evidence["gap"])
        value = scalar(held)
        if not value + 2 * scalar_error(held) < 0.5:
            return None
        severity: Severity = "severe" if value <= 0 else "moderate" if value < 0.25 else "mild"
        description = (
            f"The model has learnt its training data by heart: {max(value, 0.0):.0%} of what it learnt on them holds "
            f"on test data, which cost {gap:.1f} nats more."
        )
        return Finding(self.name, severity, evidence, description, _against(case))


def _against(case: Case) -> remedies.Options:
    """Stop at the best epoch, where that was not done; else decay the weights."""
    if case.config.get("validation_size") == 0:
        return {"validation_size": max(1, min(5000, (case.train.size or 10_000) // 10)), "patience": 10}
    return remedies.weight_decay(case.config)


def _of_mean(x: np.ndarray) -> float:
    return float(x.std(ddof=1) / math.sqrt(len(x)))


def _first_stage(case: Case) -> list:
    return [row for row in case.metrics if not row.get("stage")]
