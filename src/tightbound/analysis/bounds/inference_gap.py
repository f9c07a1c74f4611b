"""Loss of the bound to the encoder and to the family of its posterior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.core.limits import PASSES

if TYPE_CHECKING:
    from tightbound.analysis.result import Result
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class InferenceGap(Analysis["Result"]):
    """Split the gap between the ELBO and log p(x) into a part of the encoder and a part of the posterior's family.

    A posterior is fitted to each example while the model is held fixed. What it gains over the encoder's posterior is
    the amortization gap; what it still loses is the approximation gap.

    References:
        Inference suboptimality in variational autoencoders (Cremer et al. 2018), https://arxiv.org/abs/1801.03558
    """

    name = "inference-gap"
    question = "Does the encoder or the posterior family lose the bound?"
    reported = False
    per_example = True

    samples: int = option(1000, least=1, most=PASSES)
    """Latent samples per example, for the bounds and for the estimate of log p(x)."""
    steps: int = option(200, least=2, most=PASSES)
    """Optimizer steps that fit the posterior of each example."""
    max_examples: int = option(200, least=1)
    """Maximum number of examples, picked at random."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Fit posteriors to some of the examples."""
        from tightbound.analysis.bounds.gap import inference_gap
        from tightbound.analysis.bounds.shown import gap_figures, gap_sentences
        from tightbound.data.feed import pick

        some = pick(trained.model, subject.examples, self.max_examples, self.seed)
        found = inference_gap(trained.model, some, samples=self.samples, steps=self.steps, seed=self.seed)
        return replace(
            found,
            sentences=gap_sentences(found.estimates),
            figures=gap_figures(found.estimates),
            caption=f"Mean over {len(some):,} examples ({subject.name}), {self.samples:,} samples of each posterior",
        )
