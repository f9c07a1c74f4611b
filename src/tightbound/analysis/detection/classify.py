"""Classification of examples, by models that learn classes from few labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject
from tightbound.analysis.result import Result, Table

if TYPE_CHECKING:
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Classify(Analysis[Result]):
    """Infer the class of each example, and the probabilities of all classes.

    The model infers classes itself (context `inferred-labels`), or its latent sampler does (`m2`, `class-regions`).
    Values per example are the most probable class, its probability, and the probabilities of all classes. If the
    examples have labels, the result also holds the accuracy and the log-loss.

    References:
        Semi-supervised learning with deep generative models (Kingma et al. 2014), https://arxiv.org/abs/1406.5298
    """

    name = "classify"
    question = "Which class does each example belong to?"
    whole = True
    reported = False
    per_example = True

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Classify the examples."""
        import numpy as np

        from tightbound.analysis.estimate import Estimate, mean, share
        from tightbound.core.terms import UNKNOWN
        from tightbound.inference.classes import infer_classes
        from tightbound.inference.fitting import chosen_sampler

        model = trained.model
        found = infer_classes(model, subject.examples, chosen_sampler(trained.folder), seed=self.seed)
        labels, log_p = np.array(found.labels), found.log_probabilities.double().log_softmax(1).numpy()
        n, chosen = len(log_p), log_p.argmax(1)
        names = [model.schema.class_name(label) for label in found.labels]
        words = bool(subject.examples.classes) and not model.schema.classes
        label = np.full(n, UNKNOWN) if found.label is None or words else found.label.numpy()
        known = np.isin(label, labels)
        rows = [[name, f"{(chosen == i).sum():,}"] for i, name in enumerate(names)]
        columns = ["class", "predicted"]
        about = {
            "accuracy": {"unit": "share", "description": "share of examples whose most probable class is correct"},
            "log_loss": {"unit": "nats", "description": "mean of -log q(y|x) of the label; lower is better"},
        }
        about = {name: {**facts, "target": "classes of the examples"} for name, facts in about.items()}
        if known.any():
            truth = (label[known, None] == labels).argmax(1)
            right = chosen[known] == truth
            others = int((label != UNKNOWN).sum() - known.sum())
            if others:
                reason = f"leaves out {others:,} example{'s' * (others > 1)} whose label is not a class of the model"
                about = {name: {**facts, "reason": reason} for name, facts in about.items()}
            estimates = {
                "accuracy": share(right, estimator="argmax of q(y|x)", **about["accuracy"]),
                "log_loss": mean(-log_p[known, truth], estimator="sample mean", **about["log_loss"]),
            }
            columns += ["labeled", "recall (%)"]
            for i, row in enumerate(rows):
                own = right[truth == i]
                row += [f"{len(own):,}", f"{100 * own.mean():.1f}" if len(own) else "-"]
        else:
            reason = "the examples have no labels of the model's classes"
            reason = "the labels are words, and the model knows its classes by number" if words else reason
            estimates = {name: Estimate.missing(reason, n=n, **facts) for name, facts in about.items()}
        return Result(
            estimates,
            per_example={
                "index": np.arange(n),
                "class": np.array(names)[chosen],
                "probability": np.exp(log_p.max(1)),
                "probabilities": np.exp(log_p),
            },
            caption=f"{n:,} examples ({subject.name})",
            tables=[Table("Classes", columns, rows)],
        )
