"""Variational autoencoder as a transformer and a density of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from tightbound.sklearn.base import Estimator
from tightbound.sklearn.tables import Array, Frame, framed, spelled


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Variational autoencoder: latent codes of rows, a bound on their density, and new rows.

    As a transformer it returns posterior means, and as a density the bound on log p(x). Parameters and attributes: see
    `tightbound.sklearn.base.Estimator`.
    """

    def __sklearn_tags__(self) -> Any:
        """Return the tags of scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # the type of latent codes, whatever that of X is
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a model on rows X (N, D); y is ignored.

        If validation rows show that the prior does not match the latent codes, a Gaussian mixture is fitted to these,
        and `sample` uses it, as with `tightbound.train`.

        Raises:
            InputError: If X cannot be used, or a parameter is out of range.
            CompositionError: If the components do not fit each other or the columns.
        """
        self._train_sampled(self._validated(X, reset=True))
        return self

    def transform(self, X: Any) -> Array:
        """Return the posterior mean of z for each row (N, n_components)."""
        rows = self._rows(self._validated(X))
        return self.model_.encode(rows).numpy()

    def inverse_transform(self, X: Any) -> Array | Frame:
        """Return E[x | z] for latent codes (N, n_components): a table, or a data frame if one was fitted."""
        check_is_fitted(self)
        z = np.array(check_array(X), np.float32)
        return self._table(self.model_.decode(z).numpy())

    def sample(self, n_samples: int = 1) -> Array | Frame:
        """Draw rows (n_samples, D) from the model: a table, or a data frame if one was fitted."""
        check_is_fitted(self)
        return self._table(self.model_.sample(n_samples, draw=True, seed=self._seed).numpy())

    def score_samples(self, X: Any) -> Array:
        """Return a lower bound on log p(x) of each row (N,), in nats; missing entries are integrated out.

        The bound is that of `samples` importance samples, which depend on a row's values, and not on the other rows.
        """
        return self._bound(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples`; y is ignored."""
        return float(self.score_samples(X).mean(dtype=np.float64))

    @property
    def _n_features_out(self) -> int:
        return self.model_.model.latents.latent

    def _table(self, x: Array) -> Array | Frame:
        x = spelled(x, [own.words for own in self.model_.model.observation.source.columns])
        names = getattr(self, "feature_names_in_", None)
        return x if names is None or self._package is None else framed(x, names, self._package)
