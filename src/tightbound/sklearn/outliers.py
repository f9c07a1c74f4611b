"""Unusual rows found by a variational autoencoder, as an outlier detector of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import OutlierMixin

from tightbound.core.errors import number
from tightbound.sklearn.base import Estimator
from tightbound.sklearn.tables import Array

if TYPE_CHECKING:
    from tightbound.core.interfaces import Likelihood
    from tightbound.core.latents import Latents
    from tightbound.data.columns import Kinds
    from tightbound.nn.base import Architecture
    from tightbound.objectives.base import Objective
    from tightbound.posteriors.base import Posterior
    from tightbound.priors.base import Prior


class VAEOutlierDetector(OutlierMixin, Estimator):
    """Outlier detector: rows are unusual if the bound on their log p(x) is low.

    The training rows may hold outliers: these are the rows that the model explains least.

    Args:
        n_components: Number of dimensions of the latent code z, or "auto" (16).
        contamination: Share of the training rows that are outliers, in (0, 0.5].
        network, likelihood, prior, posterior, latents, objective, kinds, max_epochs, batch_size, lr, samples,
            random_state, verbose, fit_options: See `tightbound.sklearn.base.Estimator`, as for the other attributes.

    Attributes:
        offset_: The bound below which a row is an outlier, in nats: `decision_function` is `score_samples` minus it.
    """

    offset_: float

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        contamination: float = 0.1,
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

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a model on rows X (N, D), and set the threshold; y is ignored.

        Raises:
            InputError: If X cannot be used, or a parameter is out of range.
            CompositionError: If the components do not fit each other or the columns.
        """
        number("contamination", self.contamination, above=0, most=0.5)
        self._train(self._validated(X, reset=True))
        self.offset_ = float(np.percentile(self.score_samples(X), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> Array:
        """Return the bound on log p(x) of each row (N,), in nats: the lower, the more unusual."""
        return self._bound(X)

    def decision_function(self, X: Any) -> Array:
        """Return the bound of each row (N,) minus `offset_`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Array:
        """Return -1 for outliers and 1 for other rows (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)
