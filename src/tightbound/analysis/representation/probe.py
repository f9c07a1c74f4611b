"""What latent codes are worth downstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from tightbound.analysis.base import Analysis, Subject
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError, whole

if TYPE_CHECKING:
    from tightbound.trained import Trained

Task = Literal["auto", "classes", "numbers"]


@dataclass(frozen=True, kw_only=True)
class Probe(Analysis[Result]):
    """Evaluate the latent codes on downstream tasks: prediction, clustering, few labels, uncertainty.

    Latent codes of the training split are fitted to, those of the test split are judged. Posterior means are compared
    with draws from q(z|x) and with as many principal components of the input. Without labels, only uncertainty is
    measured, against reconstruction errors.

    References:
        Selective classification for deep neural networks (Geifman and El-Yaniv 2017), https://arxiv.org/abs/1705.08500
    """

    name = "probe"
    question = "What are the latent codes worth?"
    splits = True

    max_examples: int = 10_000
    """Use at most so many examples of each split, picked at random."""
    task: Task = "auto"
    """Whether labels are classes or numbers; auto: integers with at most 200 values are classes."""
    neighbors: int = 5
    """Number of neighbors in k-NN classification and regression."""
    samples: int = 16
    """Latent samples per test example, for its uncertainty."""

    def check(self) -> None:
        """Raise InputError for options out of range."""
        super().check()
        whole("max_examples", self.max_examples, least=2)
        whole("neighbors", self.neighbors, least=1)
        whole("samples", self.samples, least=2)
        if self.task not in get_args(Task):
            raise InputError(f"task = {self.task!r}; needed: one of {', '.join(get_args(Task))}")

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Fit to the training split, and judge the examples."""
        from tightbound.analysis.representation.engine import probe
        from tightbound.analysis.representation.shown import figures, sentences, tables

        found = probe(
            trained.model, subject.train, subject.examples, max_examples=self.max_examples, task=self.task,
            neighbors=self.neighbors, samples=self.samples, seed=self.seed,
        )  # fmt: skip
        about = found.about
        return Result(
            found.estimates,
            tabulated=True,
            caption=f"Fitted to {about['train']:,} training examples, judged by {about['test']:,} ({subject.name})",
            sentences=sentences(found),
            tables=tables(found),
            figures=figures(found),
            details=found.details,
        )
