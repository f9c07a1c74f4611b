"""Value of latent codes for a classifier or regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.analysis.result import Result

if TYPE_CHECKING:
    from tightbound.trained import Trained

Task = Literal["auto", "classes", "numbers"]


@dataclass(frozen=True, kw_only=True)
class Probe(Analysis[Result]):
    """Evaluate the latent codes on downstream tasks: prediction, clustering, few labels, uncertainty.

    Predictors are fitted to latent codes of the training split and evaluated on those of the test split. Posterior
    means are compared with draws from q(z|x) and with as many principal components of the input. Without labels, only
    uncertainty is evaluated, against reconstruction errors.

    References:
        Selective classification for deep neural networks (Geifman and El-Yaniv 2017), https://arxiv.org/abs/1705.08500
    """

    name = "probe"
    question = "What are the latent codes worth?"
    splits = True

    max_examples: int = option(10_000, least=2, short="-n")
    """Maximum number of examples of each split, picked at random."""
    task: Task = option("auto", choices=("auto", "classes", "numbers"))
    """Kind of the labels: classes or numbers; auto: integers with at most 200 values are classes."""
    neighbors: int = option(5, least=1)
    """Number of neighbors in k-NN classification and regression."""
    samples: int = option(16, least=2, passes=True)
    """Latent samples per test example, for the estimate of its uncertainty."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Fit to the training split, and judge the examples."""
        from tightbound.analysis.representation.engine import probe
        from tightbound.analysis.representation.shown import result_of

        found = probe(
            trained.model, subject.train, subject.examples, max_examples=self.max_examples, task=self.task,
            neighbors=self.neighbors, samples=self.samples, seed=self.seed,
            partial=trained.infers_labels,
        )  # fmt: skip
        return result_of(found, subject.name)
