"""Annealed importance sampling beside the importance-weighted bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.core.limits import PASSES

if TYPE_CHECKING:
    from tightbound.analysis.result import Result
    from tightbound.core.terms import Batch
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Ais(Analysis["Result"]):
    """Estimate log p(x) without the encoder, by annealed importance sampling, and compare it with the IWAE bound.

    What the IWAE bound loses because q(z|x) is far from p(z|x) shows as a positive difference. Bidirectional Monte
    Carlo, on examples drawn from the model, bounds the error of annealed importance sampling itself.

    References:
        Annealed importance sampling (Neal 2001), https://arxiv.org/abs/physics/9803008
        Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al. 2015),
        https://arxiv.org/abs/1511.02543
        On the quantitative analysis of decoder-based generative models (Wu et al. 2017),
        https://arxiv.org/abs/1611.04273
    """

    name = "ais"
    question = "How loose is the bound?"
    reported = False
    per_example = True

    temperatures: int = option(500, least=1, passes=True)
    """Number of temperatures between the prior and the posterior; more are more accurate and take longer."""
    chains: int = option(16, least=1, passes=True)
    """Number of annealing chains per example."""
    leapfrog: int = option(10, least=1, passes=True)
    """Leapfrog steps per Hamiltonian move."""
    samples: int = option(5000, least=1, most=PASSES)
    """Importance samples per example for the IWAE bound that is compared."""
    max_examples: int = option(50, least=1)
    """Maximum number of examples, picked at random; as many are drawn from the model for the check of the error."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Anneal some of the examples, and as many drawn from the model."""
        from tightbound.analysis.bounds.annealed import ais, bdmc
        from tightbound.analysis.bounds.annealing import check_annealable
        from tightbound.analysis.bounds.estimator import evaluate
        from tightbound.analysis.bounds.shown import annealed_figures, annealed_sentences
        from tightbound.analysis.result import Result

        model = trained.model
        check_annealable(model)
        some = self._picked(trained, subject)
        bound = evaluate(model, some, samples=self.samples, seed=self.seed, progress=self.progress)
        how = {"temperatures": self.temperatures, "chains": self.chains, "leapfrog": self.leapfrog}
        options = {**how, "seed": self.seed, "progress": self.progress}
        found = ais(model, some, against=bound, **options)
        drawn = bdmc(model, len(some), like=some, **options)
        gap = {name: estimate for name, estimate in drawn.estimates.items() if name.startswith("bdmc")}
        estimates = {**found.estimates, **gap}
        bounds = {name: bound.per_example[name] for name in ("iwae",) if name in bound.per_example}
        return Result(
            estimates,
            per_example={**found.per_example, **bounds},
            sentences=annealed_sentences(estimates),
            figures=annealed_figures(estimates),
            caption=f"{len(some):,} examples ({subject.name}) picked at random, {self.chains} chains each of "
            f"{self.temperatures} temperatures",
        )

    def _picked(self, trained: Trained, subject: Subject) -> Batch:
        import numpy as np
        import torch

        from tightbound.data import Indexed
        from tightbound.data.feed import pick

        split = subject.examples
        if not isinstance(split, Indexed):
            return pick(trained.model, split, self.max_examples, self.seed)
        some = np.random.default_rng(self.seed).permutation(len(split))[: self.max_examples]  # data may be sorted
        return split.batch(torch.from_numpy(np.sort(some)))
