"""Memorization: samples that are copies of training examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.analysis.estimate import scalar, scalar_error
from tightbound.analysis.figures import Figure, Histograms
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError

if TYPE_CHECKING:
    from tightbound.analysis.samples.copies import Copies
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Memorization(Analysis[Result]):
    """Compare the distances of samples and of test examples to their nearest training examples.

    Test examples cannot be copies of training examples. If samples are clearly nearer to training examples than test
    examples are, the model copies. A model that fits badly makes samples far from all data; that does not make them
    novel.

    References:
        A non-parametric test to detect data-copying in generative models (Meehan et al. 2020), Section 3 (the test on
        one cell), https://arxiv.org/abs/2004.05675
        Authenticity: How faithful is your synthetic data? (Alaa et al. 2022), Section 3,
        https://arxiv.org/abs/2102.08921
    """

    name = "memorization"
    question = "Are the samples copies of training examples?"
    splits = True
    reported = False

    n_samples: int = option(1000, least=2, most=10**7, short="-n", variant=True)
    """Number of samples."""
    components: int | None = option(None, least=1, metavar="INT", variant=True)
    """Number of principal components in which distances are measured. Default: all values of an example."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Find the nearest training example of each sample and of each test example."""
        import numpy as np

        from tightbound.analysis.samples.copies import memorization

        found = memorization(
            trained.model, subject.train, subject.examples, n_samples=self.n_samples, components=self.components,
            seed=self.seed,
        )  # fmt: skip
        first, at = found.estimates["copying_z"], np.linspace(0, 100, 101)
        return Result(
            found.estimates,
            sentences=(_verdict(found),),
            caption=f"{self.n_samples:,} samples, drawn from p(x|z), against {first.n:,} examples ({subject.name})",
            figures=_figures(trained, found),
            details={"percentiles": {name: np.percentile(d, at).tolist() for name, d in found.distance.items()}},
        )


def _verdict(found: Copies) -> str:
    near, usual = (found.estimates[name] for name in ("too_near", "too_near_test"))
    excess = scalar(near) - scalar(usual)
    copies = excess >= 0.1 and excess > 3 * math.hypot(scalar_error(near), scalar_error(usual))
    return (
        f"{scalar(near):.0%} of the samples are nearer to their nearest training example than that example is to any "
        "other, "
        f"against {scalar(usual):.0%} of the test examples: "
        + ("some samples are copies." if copies else "no sign of copying.")
    )


def _figures(trained: Trained, found: Copies) -> Sequence[Figure]:
    from tightbound.analysis import pictures

    series = {"test examples": found.distance["test"].tolist(), "samples": found.distance["samples"].tolist()}
    panel = Histograms(series=series, x_label="distance to the nearest training example")
    explained = "Samples far to the left of the test examples would be copies of training examples."
    figures = [Figure("nearest-distances", "Distance to the nearest training example", explained, (panel,))]
    try:
        domain = trained.model.observation.source
        rows = [pictures.to_pixels(x, domain) for x in (found.closest, found.neighbors)]
    except InputError:  # not images
        return figures
    picture = pictures.panel(rows, ("samples", "nearest training examples"))
    explained = "The samples that are nearest to a training example, each above that example."
    return [*figures, Figure("nearest-samples", "The most similar pairs", explained, (picture,))]
