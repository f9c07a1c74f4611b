"""Parts of the rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option

if TYPE_CHECKING:
    from tightbound.analysis.result import Result
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class RateDecomposition(Analysis["Result"]):
    """Split the rate into mutual information, total correlation and dimension-wise KL.

    Mutual information is the part that tells examples apart. The other two make up KL(q(z) || p(z)): how far the
    latent codes of all examples together are from the prior, from which samples suffer. An evaluation contains these
    numbers, too; here the number of draws can be chosen.

    References:
        ELBO surgery (Hoffman and Johnson 2016), http://approximateinference.org/accepted/HoffmanJohnson2016.pdf
        Isolating sources of disentanglement in VAEs (Chen et al. 2018), https://arxiv.org/abs/1802.04942
    """

    name = "rate-decomposition"
    question = "What is the rate made of?"
    reported = False
    distributed = True
    per_example = True

    max_examples: int | None = option(None, least=1)
    """Maximum number of examples to draw a latent code for, picked at random. Default: 1000, or 100 if densities are
    expensive."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Encode all examples and compare some of their codes with all posteriors."""
        from tightbound.analysis.bounds.rate import rate_decomposition
        from tightbound.analysis.bounds.shown import rate_figures, rate_sentences

        found = rate_decomposition(trained.model, subject.examples, max_examples=self.max_examples, seed=self.seed)
        first = next(iter(found.estimates.values()))
        return replace(
            found,
            sentences=rate_sentences(found.estimates),
            figures=rate_figures(found.estimates),
            caption=f"One draw of q(z|x) for each of {first.n:,} examples ({subject.name}); target: {first.target}",
        )
