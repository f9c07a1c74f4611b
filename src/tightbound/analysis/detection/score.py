"""How unusual examples are under a model, by several scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, R, Subject, option
from tightbound.analysis.result import Result

if TYPE_CHECKING:
    from tightbound.analysis.estimate import Array
    from tightbound.core.component import Component
    from tightbound.trained import Trained


@dataclass(frozen=True, repr=False)
class Scores(Result):
    """Scores of examples, the higher the more unusual; `per_example` holds them beside "index"."""

    def unusual(self, n: int = 8) -> dict[str, list[int]]:
        """Return the positions of the n most unusual examples by each score, the most unusual first.

        Examples with entries of probability 0, which scores leave out, come before all others.
        """
        index, unknown = self.per_example["index"], self.per_example.get("unknown_entries")
        scores = {name: values for name, values in self.per_example.items() if name in self.estimates}
        return {name: index[most_unusual(values, unknown)[:n]].tolist() for name, values in scores.items()}


def most_unusual(values: Array, unknown: Array | None = None) -> Array:
    """Return the order of scores (N,), the highest first; those that are missing come last.

    Args:
        values: The scores.
        unknown: Number of entries of probability 0 of each example: examples with more of them come first.
    """
    import numpy as np

    falling = -np.nan_to_num(values, nan=-np.inf, posinf=np.inf)
    return np.argsort(falling) if unknown is None else np.lexsort((falling, -unknown))


@dataclass(frozen=True, kw_only=True)
class Scoring(Analysis[R]):
    """Base of the analyses that score examples, with their options."""

    distributed = True
    reported = False
    per_example = True
    own_training_data = True

    scores: tuple[str | Component, ...] = option((), metavar="SCORE ...", variant=True)
    """Scores to compute, with arguments if you like: nll "regret(steps=200)". Default: all scores."""
    samples: int = option(100, least=1, passes=True)
    """Importance samples per example: k of the IWAE bound, which takes the place of log p(x)."""


@dataclass(frozen=True, kw_only=True)
class ScoreExamples(Scoring[Scores]):
    """Score examples by how unusual they are under the model: the higher, the more unusual.

    The scores are the negative log-likelihood, and others that were proposed because a likelihood alone can be misled:
    simple examples are likely, whatever they show. A score that needs what a model lacks is missing, with the reason.

    References:
        Do deep generative models know what they don't know? (Nalisnick et al. 2019), https://arxiv.org/abs/1810.09136
    """

    name = "score"
    question = "How unusual are these examples?"
    whole = True

    max_examples: int | None = option(None, least=1, short="-n")
    """Maximum number of examples, picked at random. Default: 1000 of the model's own data, all of other data."""

    def run(self, trained: Trained, subject: Subject) -> Scores:
        """Score the examples; some scores compare them with the training data."""
        from tightbound.analysis.detection import shown
        from tightbound.analysis.detection.engine import score

        size = subject.examples.size if subject.given else None
        found = score(
            trained.model, subject.examples, subject.train, scores=self.scores, samples=self.samples,
            max_examples=self.max_examples or size or 1000, seed=self.seed, progress=self.progress,
        )  # fmt: skip
        unusual = subject.marked(Scores(found.estimates, per_example=found.per_example)).unusual()
        return Scores(
            found.estimates,
            per_example=found.per_example,
            caption=f"Mean over {len(found.batch):,} examples ({subject.name}); the higher, the more unusual",
            sentences=[
                *shown.left_out(found.per_example["index"], subject.examples),
                *shown.most_often(unusual, subject.examples),
            ],
            tables=shown.unusual_table(unusual, subject.examples),
            figures=[
                *shown.histograms(found.estimates, {subject.name: found.per_example}),
                *shown.pictures(trained.model, found),
            ],
            details={"unusual": unusual},
        )
