"""Sample quality: distances between samples and test data, each beside its floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option

if TYPE_CHECKING:
    from tightbound.analysis.samples.sample_quality import SampleQuality
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Quality(Analysis["SampleQuality"]):
    """Compare samples with test data: distances between features, precision and recall, diversity, sharpness.

    Each number stands beside its floor, the best that can be expected: the same number for as many training examples
    instead of samples. Samples of a conditional model are given the contexts of the test examples that they are
    compared with.
    """

    name = "quality"
    question = "Do samples look like the data?"
    splits = True

    n_samples: int = option(5000, least=1, short="-n")
    """Number of samples, compared with as many test examples; fewer if there are fewer examples."""
    features: str = option("auto", metavar="COMPONENT")
    """Features to compare: pca, classifier (trained on the labels of the data), identity (the values themselves), or
    your own, "module:Class(...)"; auto: classifier if there are class labels, else pca."""
    draw: bool = option(False, variant=True)
    """Draw x from p(x|z) instead of taking its mean, which is smoother than data."""
    sampler: str | None = option(None, metavar="NAME", variant=True)
    """Draw z from this latent sampler, fitted with fit_sampler(), or from the "prior". Default: as sample() does."""
    trust: bool = False
    """Allow importing components of your own that the run or features= names ("module:Class")."""

    def run(self, trained: Trained, subject: Subject) -> SampleQuality:
        """Fit the features, draw samples, and compare them."""
        from tightbound.analysis.samples.sample_quality import sample_quality
        from tightbound.inference.fitting import chosen_sampler

        sampler = chosen_sampler(trained.folder, self.sampler)
        codes = None if sampler is None else sampler.sample
        return sample_quality(
            trained.model, subject.training_data, subject.examples, name=subject.name, n_samples=self.n_samples,
            features=self.features, draw=self.draw, codes=codes, seed=self.seed, trust=self.trust,
            progress=self.progress,
        )  # fmt: skip
