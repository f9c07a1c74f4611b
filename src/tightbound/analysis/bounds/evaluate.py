"""Bounds on log p(x), rate, distortion and use of the latent space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tightbound.analysis.base import Analysis, Subject, option

if TYPE_CHECKING:
    from tightbound.analysis.result import Evaluation
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Evaluate(Analysis["Evaluation"]):
    """Compute bounds on log p(x), rate, distortion and the use of the latent space, each with its standard error.

    References:
        Importance weighted autoencoders (Burda et al. 2016), https://arxiv.org/abs/1509.00519
        Fixing a broken ELBO (Alemi et al. 2018), for rate and distortion, https://arxiv.org/abs/1711.00464
    """

    name = "evaluate"
    question = "How well does the model explain the data?"
    distributed = True
    per_example = True

    samples: int = option(5000, least=1, passes=True)
    """Importance samples per example: k of the IWAE bound."""
    precision: Literal["fp32", "bf16"] = option("fp32", choices=("fp32", "bf16"))
    """Precision of the networks: fp32, or bf16 (faster on processors with matrix units for it, AMX or a GPU, and slower
    on others, which a warning then says; its effect on the bound is reported)."""

    def run(self, trained: Trained, subject: Subject) -> Evaluation:
        """Evaluate the examples in one streaming pass."""
        from tightbound.analysis.bounds.estimator import evaluate
        from tightbound.analysis.bounds.shown import evaluation_figures, evaluation_sentences, ladder_table, left_out

        options = {"samples": self.samples, "seed": self.seed, "precision": self.precision, "progress": self.progress}
        found = evaluate(trained.model, subject.examples, **options)
        first = next(iter(found.estimates.values()))
        drawn = "the one value of z" if first.samples is None else f"{first.samples:,} samples of q(z|x)"
        return replace(
            found,
            sentences=[
                *found.sentences,
                *left_out(found.per_example, subject.examples),
                *evaluation_sentences(found.estimates),
            ],
            caption=f"Mean over {first.n:,} examples ({subject.name}), {drawn} each; target: {first.target}",
            tables=ladder_table(found.estimates),
            figures=evaluation_figures(found.estimates),
        )
