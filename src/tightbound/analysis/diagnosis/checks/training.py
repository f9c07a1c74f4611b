"""Training that ended too early."""

from __future__ import annotations

import math

import numpy as np

from tightbound.analysis.diagnosis.checks import remedies
from tightbound.analysis.diagnosis.engine import Case, Check, require
from tightbound.analysis.diagnosis.findings import Evidence, Finding, Severity
from tightbound.analysis.estimate import Estimate, estimate, scalar, scalar_error

SHORT = 500  # steps: of a run that is shorter, two epochs are enough to judge


class Undertrained(Check):
    """The loss was still falling when training ended.

    Of all that the loss fell by since the first epoch, the last quarter of the epochs brings a quarter if it falls in a
    straight line, and less as training settles. A finding is a twentieth or more, if the slope of that quarter promises
    a tenth of a nat from twice the steps, by two standard errors; in a straight line a hundredth of a nat is enough, by
    four. It is moderate from a tenth and severe from a fifth, or if twice the steps promise more nats than the latent
    code carries yet: nothing can be said of such a model but that it needs more training. A decoder that models x
    without z is left out of the latter, since it learns whether z carries anything or not.

    Without validation examples the loss is that of the training data, which falls as a model memorizes them, too. Then
    there is no finding if the ELBO of test data is further below that of training data, by two standard errors, than
    twice the steps promise.
    """

    name = "undertrained"
    question = "Had the loss settled when training ended?"
    explains = ("nothing-learned", "wrong-family", "posterior-collapse", "inactive-units", "posterior-too-wide",
                "posterior-too-narrow", "unused-latents", "codebook-collapse", "code-prior")  # fmt: skip
    least = 8  # epochs: a line through the last three of them leaves one to measure its error by

    def measure(self, case: Case) -> Evidence:
        """Return the fall of the loss in the last quarter, also as a share of the whole fall."""
        rows = [row for row in case.metrics if not row.get("stage")]  # of the first stage
        steps = rows[-1].get("step") if rows else None
        short = len(rows) > 1 and steps is not None and steps < SHORT
        require(len(rows) >= self.least or short, f"the run has {len(rows)} epochs; needed: {self.least}")
        made = remedies.objective(case.config)
        changing = "the objective is measured by an adversary that changes: its loss does not show progress"
        require(made is not None and made.has_best_epoch, changing)
        name = "validation_loss" if "validation_loss" in rows[-1] else "train_loss"
        loss = np.array([row[name] for row in rows], dtype=float)
        n, quarter = len(loss), max(1, len(loss) // 4)
        late = loss[n - quarter - 1 :]  # from the end of the third quarter on
        epochs = np.arange(len(late)) - quarter / 2
        slope = float(epochs @ late / (epochs @ epochs))
        rest = late - late.mean() - slope * epochs
        stderr = quarter * math.sqrt(rest @ rest / max(len(late) - 2, 1) / (epochs @ epochs))
        fall, total = -slope * quarter, loss[0] - late.mean() - slope * epochs[-1]
        facts = {"n": n, "target": f"{name} by epoch"}
        doubling = n * math.log(2) / quarter
        share = (fall / total, stderr / total) if total > 0 else (0.0, 0.0)
        memorized = {"gap": case.gap} if name == "train_loss" and case.has_bound else {}
        return memorized | {
            "steps": Estimate(
                None if steps is None else float(steps), None, unit="steps", estimator="count", target="training", n=n,
                description="optimizer steps of the run",
            ),
            "per_doubling": estimate(
                fall * doubling, stderr * doubling, unit="nats per doubling of steps",
                description="fall of the loss that twice the steps promise, if it goes on by the logarithm of steps",
                estimator="slope of the least-squares line through the last quarter, times n log 2", **facts,
            ),
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
        """Judge by the share of the fall, and by what twice the steps promise."""
        share, fall, promise = scalar(evidence["share_of_the_fall"]), evidence["fall"], evidence["per_doubling"]
        straight = share >= 0.2 and scalar(fall) > max(4 * scalar_error(fall), 0.01)  # however slowly
        if not (straight or (share >= 0.05 and scalar(promise) > max(2 * scalar_error(promise), 0.1))):
            return None
        gap = evidence.get("gap")
        if gap is not None and scalar(gap) - 2 * scalar_error(gap) > scalar(promise):
            return None
        early = case.has_bound and not case.model.likelihood.autoregressive
        early = early and scalar(promise) > scalar(case.evaluation["rate"])
        severity: Severity = "severe" if share >= 0.2 or early else "moderate" if share >= 0.1 else "mild"
        after = f" after {scalar(evidence['steps']):,.0f} steps" if evidence["steps"].value is not None else ""
        description = (
            f"The loss was still falling when training ended{after}: by {scalar(fall):.2g} nats in the last quarter of "
            f"the epochs, which is {share:.0%} of its whole fall. Twice the steps promise {scalar(promise):.2g} nats."
        )
        return Finding(self.name, severity, evidence, description, remedies.learning(case.config))
