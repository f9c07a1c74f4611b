"""Sample quality: distances between samples and test data, each beside its floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option

if TYPE_CHECKING:
    from tightbound.analysis.samples.sample_quality import SampleQuality
    from tightbound.core.latents import Draw
    from tightbound.trained import Trained


@dataclass(frozen=True, kw_only=True)
class Quality(Analysis["SampleQuality"]):
    """Compare samples with test data: features, precision and recall, diversity, sharpness; for a table, its columns.

    Each number stands beside its floor, the best that can be expected: the same number for as many training examples
    instead of samples. Samples of a conditional model are given the contexts of the test examples that they are
    compared with.

    For a table, rows are drawn from p(x|z) and compared by the distributions of columns, the dependence of columns, how
    well a classifier tells them from data, how well a model that is trained on them predicts a target column, and their
    distance to the training rows (privacy). Distances between features are added if features are named.
    """

    name = "quality"
    question = "Do samples look like the data?"
    splits = True

    n_samples: int = option(5000, least=1, short="-n")
    """Number of samples, compared with as many test examples; fewer if there are fewer examples."""
    features: str = option("auto", metavar="COMPONENT")
    """Features to compare: pca, classifier (trained on the labels of the data), identity (the values themselves), or
    your own, "module:Class(...)"; auto: none for a table, else classifier if there are class labels, else pca."""
    draw: bool = option(False, variant=True)
    """Draw x from p(x|z) instead of taking its mean, which is smoother than data. Rows of a table are always drawn."""
    target: str | None = option(None, metavar="COLUMN")
    """Column of a table to predict from the other columns, by a classifier or regression model that is trained on
    samples and tested on real rows."""
    sampler: str | None = option(None, metavar="NAME", variant=True)
    """Draw z from this latent sampler, fitted with fit_sampler(), or from the "prior". Default: as sample() does."""
    trust: bool = False
    """Allow importing components of your own that the run or features= names ("module:Class")."""

    def run(self, trained: Trained, subject: Subject) -> SampleQuality:
        """Draw samples and compare them with test data."""
        from tightbound.core.errors import InputError
        from tightbound.inference.fitting import chosen_sampler

        sampler = chosen_sampler(trained.folder, self.sampler)
        codes = None if sampler is None else sampler.sample
        is_table = trained.model.is_table
        if self.target is not None and not is_table:
            raise InputError("target= names a column of a table, and this model is not of a table; leave it out")
        parts = [self._rows(trained, subject, codes)] if is_table else []
        if not is_table or self.features != "auto":
            parts.append(self._features(trained, subject, codes, draw=self.draw or is_table))
        return parts[0] if len(parts) == 1 else parts[0].joined(parts[1])

    def _rows(self, trained: Trained, subject: Subject, codes: Draw | None) -> SampleQuality:
        from tightbound.analysis.samples.row_quality import row_quality

        return row_quality(
            trained.model, subject.training_data, subject.examples, name=subject.name, n_samples=self.n_samples,
            target=self.target, codes=codes, seed=self.seed,
        )  # fmt: skip

    def _features(self, trained: Trained, subject: Subject, codes: Draw | None, *, draw: bool) -> SampleQuality:
        from tightbound.analysis.samples.sample_quality import sample_quality

        return sample_quality(
            trained.model, subject.training_data, subject.examples, name=subject.name, n_samples=self.n_samples,
            features=self.features, draw=draw, codes=codes, seed=self.seed, trust=self.trust,
            progress=self.progress,
        )  # fmt: skip
