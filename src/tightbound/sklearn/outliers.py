"""Unusual rows found by a variational autoencoder, as an outlier detector of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import OutlierMixin

from tightbound.core.errors import InputError, number
from tightbound.sklearn.base import Estimator, seed_of
from tightbound.sklearn.tables import Array, rows_of

if TYPE_CHECKING:
    from tightbound.analysis.detection.scores import Score, View
    from tightbound.core.interfaces import Likelihood
    from tightbound.core.latents import Latents
    from tightbound.data import Split
    from tightbound.data.columns import Kinds
    from tightbound.nn.base import Architecture
    from tightbound.objectives.base import Objective
    from tightbound.posteriors.base import Posterior
    from tightbound.priors.base import Prior


REFERENCE = 1000  # number of training rows whose bounds and latent codes are stored for scores
IMPOSSIBLE = 1e100  # score per value of probability 0, larger than the scores of all other rows


class VAEOutlierDetector(OutlierMixin, Estimator):
    """Outlier detector that ranks rows by the bound on their log p(x), or by another score.

    The training rows may hold outliers, which the model explains worst. A value that a column cannot hold, such as a
    category that the training rows lack, has probability 0: rows with more such values are more unusual, and all of
    them are more unusual than other rows.

    Args:
        n_components: Number of dimensions of the latent code z, or "auto" (16).
        contamination: Share of the training rows that are outliers, in (0, 0.5].
        criterion: Score of a row, high for unusual rows: "nll", the negative of the bound, or another score of
            `model_.score`, by name or as an object: "elbo", "typicality", "reconstruction", "prior", "mahalanobis",
            "regret(steps=50)", ...
        calibration_fraction: Share of the rows of `fit` that the model is not trained on, in [0, 1); `p_values`
            compares with them.
        network, likelihood, prior, posterior, latents, objective, kinds, max_epochs, batch_size, lr, samples,
            random_state, verbose, fit_options: See `tightbound.sklearn.base.Estimator`, as for the other attributes.

    Attributes:
        offset_: Value of `score_samples` below which a row is an outlier.
    """

    offset_: float

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        contamination: float = 0.1,
        criterion: str | Score = "nll",
        calibration_fraction: float = 0.0,
        network: str | Architecture = "auto",
        likelihood: str | Likelihood | type[Likelihood] = "auto",
        prior: str | Prior | type[Prior] = "auto",
        posterior: str | Posterior | type[Posterior] = "auto",
        latents: str | Latents = "flat",
        objective: str | Objective = "elbo",
        kinds: Kinds | None = None,
        max_epochs: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        lr: float | Literal["auto"] = "auto",
        samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        fit_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            n_components, network=network, likelihood=likelihood, prior=prior, posterior=posterior, latents=latents,
            objective=objective, kinds=kinds, max_epochs=max_epochs, batch_size=batch_size, lr=lr, samples=samples,
            random_state=random_state, verbose=verbose, fit_options=fit_options,
        )  # fmt: skip
        self.contamination = contamination
        self.criterion = criterion
        self.calibration_fraction = calibration_fraction

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a model on rows X (N, D), and set the threshold; y is ignored.

        Raises:
            InputError: If X cannot be used, or a parameter is out of range.
            CompositionError: If the components do not fit each other or the columns.
        """
        from tightbound.core.noise import key_seed

        number("contamination", self.contamination, above=0, most=0.5)
        number("calibration_fraction", self.calibration_fraction, least=0, below=1)
        x = self._validated(X, reset=True)
        order = np.random.default_rng(key_seed("calibration", seed_of(self.random_state))).permutation(x.shape[0])
        kept = np.sort(order[round(self.calibration_fraction * len(order)) :])
        if len(kept) < 2:
            raise InputError(
                f"calibration_fraction = {self.calibration_fraction} leaves {len(kept)} of {len(order)} rows to train "
                "on; needed: 2 or more"
            )
        self._train(rows_of(x, kept))
        split = self._split(x)
        score, view = self._score(), self._view(split)
        if (reason := score.reason_missing(view)) is not None:
            raise InputError(
                f"criterion = {self.criterion!r} is not available for this model ({reason}); choose another one"
            )
        whole = view.evaluation
        some = np.sort(np.random.default_rng(key_seed("reference", self._seed)).permutation(kept)[:REFERENCE])
        self._reference = replace(whole, per_example={k: v[some] for k, v in whole.per_example.items()})
        scores = self._scores(score, view, split)
        self._calibration = np.sort(np.delete(scores, kept))
        self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> Array:
        """Return the negative criterion of each row (N,), low for unusual rows; by default, the bound in nats."""
        split = self._split(self._validated(X))
        return self._scores(self._score(), self._view(split), split)

    def decision_function(self, X: Any) -> Array:
        """Return `score_samples` (N,) minus `offset_`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def p_values(self, X: Any) -> Array:
        """Return conformal p-values (N,) of rows, compared with the held-out training rows.

        If k of n held-out rows (`calibration_fraction`) are at least as unusual as a row, its p-value is
        (1 + k) / (n + 1). If a row comes from the same distribution as the held-out rows, its p-value is at most t with
        probability at most t, for each t and any model. Outliers among the held-out rows make p-values larger.

        Raises:
            InputError: If no rows were held out.

        References:
            Testing for outliers with conformal p-values (Bates et al. 2023), https://arxiv.org/abs/2104.08279
        """
        scores, held_out = self.score_samples(X), self._calibration
        if not len(held_out):
            raise InputError("p_values needs rows that fit held out; fit again with calibration_fraction=, such as 0.2")
        return (1 + np.searchsorted(held_out, scores, side="right")) / (len(held_out) + 1)

    def _score(self) -> Score:
        from tightbound.components import make

        return make("score", self.criterion) if isinstance(self.criterion, str) else self.criterion

    def _view(self, split: Split) -> View:
        from tightbound.analysis.detection.scores import View

        return View(self._precise(), self._rows(split), self.samples, self._seed)

    def _scores(self, score: Score, view: View, split: Split) -> Array:
        """Return negated scores (N,), the lowest for rows with the most values of probability 0."""
        import torch

        found = -score(view, self._reference_view(view))
        unknown = split.unknown_entries(torch.arange(len(split)))
        if unknown is None:
            return found
        share = 0.5 - np.arctan(found) / np.pi  # in (0, 1); orders rows with equally many such values
        return np.where(unknown > 0, -IMPOSSIBLE * (unknown + share), found)

    def _reference_view(self, view: View) -> View:
        """Return a view of training rows for scores, from the stored bounds and latent codes."""
        known = replace(view, batch=view.batch[:0])
        known.evaluation = self._reference
        return known

    def predict(self, X: Any) -> Array:
        """Return -1 for outliers and 1 for other rows (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)
